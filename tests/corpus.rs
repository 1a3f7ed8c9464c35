//! The corpus of the fuzz targets, given to the same functions that the fuzzer calls.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

// Promise: R-912
#[test]
fn what_must_hold_holds_for_every_file_of_the_corpus() {
    for (target, check) in fuzz::TARGETS {
        let files = files(&folder().join("corpus").join(target));
        assert!(files.len() >= 3, "{target} has {} files to start from", files.len());
        for file in files {
            let input = fs::read(&file).unwrap();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
                eprintln!("it does not hold for {}", file.display());
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn fuzz_targets_have_a_binary_and_a_corpus() {
    let named: Vec<String> = fuzz::TARGETS.map(|(name, _)| name.to_owned()).to_vec();
    let stems = |folder: PathBuf| -> Vec<String> {
        files(&folder).iter().map(|f| f.file_stem().unwrap().to_str().unwrap().into()).collect()
    };
    assert_eq!(stems(folder().join("targets")), named);
    assert_eq!(stems(folder().join("corpus")), named);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in &named {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}

#[test]
fn an_input_that_is_cut_anywhere_is_an_input_like_any_other() {
    for (target, check) in fuzz::TARGETS {
        for file in files(&folder().join("corpus").join(target)) {
            let input = fs::read(&file).unwrap();
            (0..input.len().min(300)).for_each(|end| check(&input[..end]));
        }
    }
}
