//! Puts known bugs into a copy of the sources, one at a time, and demands that a test fails.
//!
//! `make mutants` runs all of them, `make mutants BUG=backoff` those with that in their names.
//! A bug that no longer fits the sources, or does not compile, is an error as well as one that
//! nothing catches.

mod bug;
mod sources;
mod tokens;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use bug::Bug;
use sources::Sources;

/// What a build needs of the tree.
const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "src",
    "tests",
    "benches",
    "fuzz",
    "tools",
    "README.md",
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut bugs = Bug::read_all(&root.join("tests/mutants/bugs"))?;
    bugs.retain(|bug| bug.name.contains(&wanted));
    if bugs.is_empty() {
        return Err(format!("no bug has {wanted:?} in its name").into());
    }
    let sources = Sources::read(&root)?;
    let tree = Tree::copy(&root)?;
    let mut missed = 0;
    for bug in &bugs {
        let verdict = tree.try_out(bug, &sources).unwrap_or_else(|error| {
            eprintln!("{error}");
            Verdict::Invalid
        });
        println!("{:<40} {verdict:<8} {}", bug.name, bug.what);
        missed += usize::from(verdict != Verdict::Caught);
    }
    println!("{} of {} bugs are caught", bugs.len() - missed, bugs.len());
    Ok(missed == 0)
}

/// What became of a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// A test fails.
    Caught,
    /// The tests pass.
    Missed,
    /// It does not fit the sources, or does not compile.
    Invalid,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Caught => "caught",
            Self::Missed => "MISSED",
            Self::Invalid => "INVALID",
        })
    }
}

/// A copy of the sources. What it depends on is built already, where the tree itself is built.
struct Tree {
    copy: PathBuf,
    built: PathBuf,
}

impl Tree {
    fn copy(root: &Path) -> Result<Self, Box<dyn Error>> {
        let copy = root.join("target/mutants/tree");
        for part in PARTS {
            mirror(&root.join(part), &copy.join(part))?;
        }
        Ok(Self { copy, built: root.join("target") })
    }

    /// Builds with the bug and runs what is to catch it; then the bug is gone again.
    fn try_out(&self, bug: &Bug, sources: &Sources) -> Result<Verdict, Box<dyn Error>> {
        let with_bug = bug.apply(sources)?;
        let mut sound = Vec::new();
        for (file, text) in with_bug {
            let file = self.copy.join(file);
            sound.push((fs::read(&file)?, file.clone()));
            fs::write(file, text)?;
        }
        let built = self.cargo(bug, &["--no-run"])?;
        let passed = built && self.cargo(bug, &[])?;
        for (bytes, file) in sound {
            fs::write(file, bytes)?;
        }
        match (built, passed) {
            (false, _) => Err(format!("{}: it does not compile with the bug", bug.name).into()),
            (true, true) => Ok(Verdict::Missed),
            (true, false) => Ok(Verdict::Caught),
        }
    }

    fn cargo(&self, bug: &Bug, more: &[&str]) -> Result<bool, Box<dyn Error>> {
        let target = match bug.target.as_str() {
            "lib" => vec!["--lib"],
            test => vec!["--test", test],
        };
        let status = Command::new("cargo")
            .args(["test", "--quiet", "--package", "consul-resolver"])
            .args(target)
            .args(more)
            .arg(&bug.filter)
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.built)
            .env("RUST_BACKTRACE", "0")
            .env("PROPTEST_FAILURE_PERSISTENCE", "off")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    }
}

/// Makes `to` like `from`; what is the same already keeps its time, so that it is not built again.
fn mirror(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    if from.is_file() {
        let bytes = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(to.parent().unwrap_or(to))?;
            fs::write(to, bytes)?;
        }
        return Ok(());
    }
    if to.is_dir() {
        for entry in fs::read_dir(to)? {
            let entry = entry?;
            if !from.join(entry.file_name()).exists() {
                remove(&entry.path())?;
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        mirror(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::sources::{modules, rust_files};
    use crate::tokens::tokens;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn bugs() -> Vec<Bug> {
        Bug::read_all(&root().join("tests/mutants/bugs")).unwrap()
    }

    /// Lists the tests of a target with their modules, as far as files are modules.
    fn tests_of(target: &str) -> Vec<String> {
        let folder = match target {
            "lib" => root().join("src"),
            test => root().join("tests").join(test),
        };
        let mut files = if folder.is_dir() { rust_files(&folder).unwrap() } else { Vec::new() };
        files.extend(Some(folder.with_extension("rs")).filter(|file| file.is_file()));
        let mut tests = Vec::new();
        for file in files {
            let modules = file.strip_prefix(&folder).map(modules).unwrap_or_default();
            let tokens = tokens(&fs::read_to_string(&file).unwrap()).unwrap();
            let texts: Vec<_> = tokens.iter().map(|token| token.text.as_str()).collect();
            let mut rest = texts.as_slice();
            let marker = ["#", "[", "test", "]"];
            while let Some(place) = rest.windows(marker.len()).position(|four| four == marker) {
                rest = &rest[place + marker.len()..];
                let name = rest.iter().skip_while(|text| **text != "fn").nth(1).copied();
                tests.push([modules.join("::").as_str(), name.unwrap_or_default()].join("::"));
            }
        }
        tests
    }

    #[test]
    fn copy_has_all_members_of_the_workspace() {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        let members = manifest["workspace"]["members"].as_array().expect("members");
        assert!(members.len() > 3, "{members:?}");
        for member in members.iter().filter_map(|member| member.as_str()).filter(|it| *it != ".") {
            let part = member.split('/').next().unwrap_or_default();
            assert!(PARTS.contains(&part), "{member} is not copied: add {part:?} to PARTS");
        }
    }

    #[test]
    fn every_bug_fits_the_sources_as_they_are() {
        let sources = Sources::read(&root()).unwrap();
        let failures: Vec<String> = bugs()
            .iter()
            .filter_map(|bug| bug.apply(&sources).err().map(|error| error.to_string()))
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn every_bug_names_tests_that_there_are() {
        let mut targets = BTreeMap::new();
        for Bug { name, target, filter, .. } in bugs() {
            let tests = targets.entry(target.clone()).or_insert_with(|| tests_of(&target));
            let is_meant = |test: &String| test.contains(&filter);
            assert!(tests.iter().any(is_meant), "{name}: {target} has no test like {filter:?}");
        }
    }

    #[test]
    fn every_bug_is_listed_with_what_catches_it() {
        let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
        let listed = read("tests/mutants/README.md");
        for bug in bugs() {
            let row =
                format!("| `{}` | {} | `{} {}` |", bug.name, bug.what, bug.target, bug.filter);
            assert!(listed.contains(&row), "missing from tests/mutants/README.md:\n{row}");
        }
        assert_eq!(listed.matches("\n| `").count(), bugs().len(), "one row each");
        let example = read("tests/mutants/bugs/backoff_has_no_jitter.toml");
        assert!(listed.contains(&format!("```toml\n{example}```\n")), "the example is a bug");
    }
}
