//! Finds this package's own program, which some parts start as processes of their own.

use std::path::PathBuf;
use std::process::Command;

/// The program could not be found or built.
#[derive(Debug, thiserror::Error)]
#[error("no `stack` program: run `cargo build -p stack`, or set STACK_BIN=/path/to/stack")]
pub struct NoProgram;

/// The path of `stack`: `STACK_BIN`; else this very program if it is it; else the one beside the
/// running test (`target/<profile>/stack`), built with cargo where it is missing.
///
/// # Errors
/// It is not there and cargo cannot build it.
pub fn stack() -> Result<PathBuf, NoProgram> {
    if let Some(path) = std::env::var_os("STACK_BIN").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let current = std::env::current_exe().map_err(|_| NoProgram)?;
    if current.file_name().is_some_and(|name| name == "stack") {
        return Ok(current);
    }
    // target/<profile>/deps/<test>-<hash>, or target/<profile>/<program>
    let folder = current.parent().ok_or(NoProgram)?;
    let profile = if folder.ends_with("deps") { folder.parent().ok_or(NoProgram)? } else { folder };
    let program = profile.join("stack");
    if program.is_file() || build(profile) && program.is_file() {
        Ok(program)
    } else {
        Err(NoProgram)
    }
}

fn build(profile: &std::path::Path) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "stack", "--bin", "stack"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.status().is_ok_and(|status| status.success())
}
