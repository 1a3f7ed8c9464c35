//! Imports go down, or sideways within a folder; host calls are named in one file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first: each is a list of modules of the crate's root.
const FLOORS: [&[&str]; 9] = [
    &["util"],
    &["model"],
    &["config", "handoff", "registry", "shared"],
    &["calls", "election", "balancer", "health_check"],
    &["telemetry", "host"],
    // Discovery and registration know nothing of each other.
    &["discovery", "registration", "xds"],
    &["router", "vm"],
    &["request", "driver"],
    &["proxy"],
];

/// Imports between different modules of one floor that are meant, by importer and imported.
const NEIGHBOURS: [(&str, &str); 3] = [
    // The configuration chooses the handoff.
    ("handoff", "config"),
    // A query is built from the configuration.
    ("registry", "config"),
    // A command reports an event to operators.
    ("host", "telemetry"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the crate") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module of the crate's root that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("a file of the crate");
    let first = inside.components().next().expect("a name").as_os_str();
    first.to_str().expect("UTF-8").trim_end_matches(".rs").to_owned()
}

/// The lines of code: neither comments nor tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a source file");
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

/// The modules of the root that a line names by `crate::`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn imports_go_down_or_stay_within_their_folder() {
    let floor_of: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect();
    let mut wrong = Vec::new();
    for path in sources(&root()) {
        let from = module(&path);
        if from == "lib" {
            continue;
        }
        let floor = floor_of.get(from.as_str()).unwrap_or_else(|| panic!("{from} has no floor"));
        for (number, line) in code(&path) {
            for to in named(&line).filter(|to| *to != from) {
                // The small parts of the lowest floor are one folder in all but name.
                let below = floor_of.get(to).is_some_and(|to| to < floor || *to == 0);
                if !below && !NEIGHBOURS.contains(&(from.as_str(), to)) {
                    wrong.push(format!("{}:{number}: {from} imports {to}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

/// Lines of code outside `allowed`, files of the proxy floor, in which one of `words` stands.
fn strays(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let allowed: Vec<_> = allowed.iter().map(|file| root().join("proxy").join(file)).collect();
    let mut strays = Vec::new();
    for path in sources(&root()).iter().filter(|path| !allowed.contains(path)) {
        for (number, line) in code(path) {
            if words.iter().any(|word| line.contains(word)) {
                strays.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    strays
}

#[test]
fn host_calls_are_imported_and_named_in_one_file_each() {
    let none: [String; 0] = [];
    // The exports need a place to allocate.
    assert_eq!(strays(&["abi::"], &["host.rs", "exports.rs"]), none);
    assert_eq!(strays(&["wasm_import_module", "fn proxy_"], &["abi.rs", "exports.rs"]), none);
    assert_eq!(strays(&["extern \"C\" fn", "no_mangle"], &["exports.rs"]), none);
    assert_eq!(strays(&["extern \"C\"", "unsafe"], &["abi.rs", "exports.rs"]), none);
}

#[test]
fn no_registry_is_named_outside_its_room() {
    // Registrations are Consul's by nature, and reach its agent by this path alone.
    const ALLOWED: &str = "registry::consul::registration";
    let is_test = |path: &PathBuf| path.iter().any(|part| part == "tests" || part == "tests.rs");
    let outside = |path: &PathBuf| module(path) != "registry" && !is_test(path);
    let mut strays = Vec::new();
    for path in sources(&root()).into_iter().filter(outside) {
        for (number, line) in code(&path) {
            if line.replace(ALLOWED, "").contains("registry::consul") {
                strays.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert!(strays.is_empty(), "a registry behind its seam is named:\n{}", strays.join("\n"));
}

#[test]
fn no_file_is_longer_than_four_hundred_lines() {
    for path in sources(&root()) {
        let lines = fs::read_to_string(&path).expect("a source file").lines().count();
        assert!(lines <= 400, "{} has {lines} lines: two nouns?", path.display());
    }
}
