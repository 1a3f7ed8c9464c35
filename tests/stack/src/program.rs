//! Finds the programs of the workspace that tests start as processes of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program could not be found or built.
#[derive(Debug, thiserror::Error)]
#[error("no program `{program}`: run `cargo build --package {package}`")]
pub struct NoProgram {
    package: &'static str,
    program: &'static str,
}

/// Finds a program beside the running one (`target/<profile>/<program>`), and has cargo build it
/// where it is missing.
///
/// # Errors
/// It is not there and cargo cannot build it.
pub fn find(package: &'static str, program: &'static str) -> Result<PathBuf, NoProgram> {
    let missing = || NoProgram { package, program };
    let current = std::env::current_exe().map_err(|_| missing())?;
    // target/<profile>/deps/<test>-<hash>, or target/<profile>/<program>
    let folder = current.parent().ok_or_else(missing)?;
    let profile =
        if folder.ends_with("deps") { folder.parent().ok_or_else(missing)? } else { folder };
    let path = profile.join(program);
    if path.is_file() || build(package, program, profile) && path.is_file() {
        Ok(path)
    } else {
        Err(missing())
    }
}

fn build(package: &str, program: &str, profile: &Path) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", package, "--bin", program]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // `tools/timed` sets this for the test; cargo would build other things with it.
    command.env_remove("RUSTC_BOOTSTRAP");
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.status().is_ok_and(|status| status.success())
}
