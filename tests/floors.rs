//! Imports go down, or sideways within a folder and without a circle; host calls are named in one file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
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

/// Files that stand in a circle of imports, with the reason. The list may only shrink.
const CIRCLES: &[(&str, &[&str])] = &[(
    "an object hands out cursors, which read objects, and both record their errors",
    &["config::cursor", "config::object", "config::recorder"],
)];

/// The path of the module that a file is: `router::route`, or `router` for its `mod.rs`.
fn module_path(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("a file of the crate").with_extension("");
    let names: Vec<_> = inside.iter().map(|name| name.to_str().expect("UTF-8")).collect();
    let names = names.strip_suffix(&["mod"]).unwrap_or(&names);
    names.join("::")
}

/// Splits a list at the commas outside its braces.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found
}

/// Lists the paths that the text begins with, `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expanded(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(rest) = rest.strip_prefix("::").filter(|_| end > 0) else {
        return vec![name.to_owned()];
    };
    let tails = match rest.strip_prefix('{') {
        None => expanded(rest),
        Some(list) => {
            let mut depth = 1;
            let end = list.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            let list = &list[..end.expect("a closing brace")];
            items(list).iter().flat_map(|item| expanded(item.trim())).collect()
        }
    };
    tails.into_iter().map(|tail| format!("{name}::{tail}")).collect()
}

/// Lists the files of the same room that a file uses, re-exports included. A `mod` is no use.
fn used(path: &Path, all: &BTreeSet<String>) -> BTreeSet<String> {
    let own = module_path(path);
    let room = own.split("::").next().expect("a room");
    let code: Vec<_> = code(path).into_iter().map(|(_, line)| line).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let is_inside =
                code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            for path in expanded(&code[at..]).iter().filter(|_| !is_inside) {
                let mut names: Vec<&str> = own.split("::").collect();
                for name in path.split("::") {
                    match name {
                        "crate" => names.clear(),
                        "self" => {}
                        "super" => drop(names.pop()),
                        _ => names.push(name),
                    }
                }
                let is_file = |names: &[&str]| all.contains(&names.join("::"));
                let used = (1..=names.len()).rev().find(|&end| is_file(&names[..end]));
                let used = used.map(|end| names[..end].join("::"));
                found.extend(used.filter(|used| *used != own && names[0] == room));
            }
        }
    }
    found
}

#[test]
fn files_of_a_folder_import_each_other_without_a_circle() {
    let files = sources(&root());
    let all: BTreeSet<_> = files.iter().map(|path| module_path(path)).collect();
    let uses: BTreeMap<_, _> =
        files.iter().map(|path| (module_path(path), used(path, &all))).collect();
    let count: usize = uses.values().map(BTreeSet::len).sum();
    assert!(count > 300, "{count} imports are found");
    let reached = |from: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            open.extend(uses[file].iter().filter(|used| reached.insert((*used).clone())));
        }
        reached
    };
    let reached: BTreeMap<_, _> = all.iter().map(|file| (file, reached(file))).collect();
    let meant: BTreeSet<_> = CIRCLES.iter().flat_map(|(_, files)| files.iter().copied()).collect();
    let mut wrong = Vec::new();
    for file in &all {
        let is_circular = reached[file].contains(file);
        if is_circular && !meant.contains(file.as_str()) {
            let back = uses[file].iter().filter(|used| reached[*used].contains(file));
            let back: Vec<_> = back.map(String::as_str).collect();
            wrong.push(format!("{file} imports {}, and is imported back", back.join(", ")));
        }
        if !is_circular && meant.contains(file.as_str()) {
            wrong.push(format!("{file} stands in no circle any more: take it off the list"));
        }
    }
    let is_gone = |file: &&&str| !all.contains(**file);
    wrong.extend(meant.iter().filter(is_gone).map(|file| format!("{file} is no file any more")));
    assert!(wrong.is_empty(), "circles of imports:\n{}", wrong.join("\n"));
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
