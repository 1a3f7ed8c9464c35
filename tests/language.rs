//! The language of the sources: docs begin with a verb or the thing's name, names are the field's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Words that begin a noun clause instead of saying what a thing is or does.
const OPENINGS: [&str; 10] =
    ["What", "Whether", "How", "Which", "When", "Whose", "Where", "Whoever", "Whatever", "That"];

/// The rooms whose docs are held to the rule; the others follow.
const ROOMS: &[&str] = &[
    "src/balancer",
    "src/calls",
    "src/config",
    "src/discovery",
    "src/election",
    "src/handoff",
    "src/health_check",
    "src/host",
    "src/model",
    "src/proxy",
    "src/registration",
    "src/request",
    "src/router",
    "src/shared",
    "src/telemetry",
    "src/util",
    "src/xds",
];

/// The folders whose test names are held to the rule; the others follow.
const TESTS: &[&str] = &[
    "src/balancer",
    "src/calls",
    "src/config",
    "src/election",
    "src/handoff",
    "src/health_check",
    "src/model",
    "src/registration",
    "src/request",
    "src/router",
    "src/shared",
    "src/util",
    "src/xds",
    "tests/balance",
    "tests/config",
    "tests/discovery",
    "tests/e2e",
    "tests/fake-consul",
    "tests/simulation",
    "tests/stack",
];

/// Words of a dialect that the sources once had, by what the field says. They are looked for in the parts
/// of names of types, functions, fields and modules.
const DIALECT: [(&str, &str); 17] = [
    ("errand", "agent_call"),
    ("keeper", "reconciler"),
    ("registrar", "controller"),
    ("kinship", "relation"),
    ("letter", "message"),
    ("tracker", "source"),
    ("workshop", "factory"),
    ("manner", "handler"),
    ("lesson", "feedback"),
    ("hurry", "prioritize"),
    ("peek", "check_for_update"),
    ("firstborn", "oldest"),
    ("cleanse", "strip"),
    ("charge", "lease"),
    ("unseen", "missing"),
    ("surroundings", "node_info"),
    ("tenure", "holder"),
];

/// The longest name of a test, in characters.
const LONGEST_TEST: usize = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, with their texts.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The places that a test complains about, one a line.
fn assert_none(places: &[String], advice: &str) {
    assert!(places.is_empty(), "{advice}:\n{}", places.join("\n"));
}

/// The first lines of all doc comments: file, number, text.
fn openings(folder: &str) -> Vec<(PathBuf, usize, String)> {
    let mut found = Vec::new();
    for (path, text) in sources(folder) {
        let mut is_inside = false;
        for (number, line) in text.lines().enumerate() {
            let doc = line.trim_start().strip_prefix("///");
            if let Some(doc) = doc.filter(|_| !is_inside) {
                found.push((path.clone(), number + 1, doc.trim().to_owned()));
            }
            is_inside = doc.is_some();
        }
    }
    found
}

#[test]
fn docs_begin_with_a_verb_or_the_name_of_the_thing() {
    let all: Vec<_> = ROOMS.iter().copied().flat_map(openings).collect();
    assert!(all.len() > 500, "{} docs are found", all.len());
    let is_clause = |doc: &str| {
        let word = doc.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        OPENINGS.contains(&word)
    };
    let places: Vec<_> = all
        .iter()
        .filter(|(_, _, doc)| is_clause(doc))
        .map(|(path, number, doc)| format!("{}:{number}: {doc}", path.display()))
        .collect();
    assert_none(&places, "begin with a verb or the thing's name (\"Returns true if …\")");
}

/// The names of the tests of a file.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]\n").skip(1).filter_map(|rest| {
        let name = rest.split_once("fn ")?.1;
        name.split_once('(').map(|(name, _)| name)
    })
}

#[test]
fn test_names_are_short() {
    let mut places = Vec::new();
    let mut count = 0;
    for (path, text) in TESTS.iter().copied().flat_map(sources) {
        for name in tests(&text) {
            count += 1;
            let length = name.chars().count();
            if length > LONGEST_TEST {
                places.push(format!("{}: {name}: {length}", path.display()));
            }
        }
    }
    assert!(count > 300, "{count} tests are found");
    assert_none(&places, "use at most 60 characters, <subject>_<expected>_when_<condition>");
}

/// The names that a line of code defines.
fn defined(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        let rest =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |it| it.1);
        rest.trim_start()
    });
    let line = ["const ", "async "].iter().fold(line, |line, word| {
        line.strip_prefix(word).filter(|rest| rest.starts_with("fn ")).unwrap_or(line)
    });
    let kinds = ["fn ", "struct ", "enum ", "trait ", "type ", "mod ", "const "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| !name.is_empty())
}

/// A name in lower case, its words parted by `_`.
fn snake(name: &str) -> String {
    let mut words = String::new();
    for (n, c) in name.char_indices() {
        let begins = c.is_uppercase()
            && n > 0
            && !name[..n].ends_with(|c: char| c.is_uppercase() || c == '_');
        if begins {
            words.push('_');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[test]
fn names_are_the_terms_of_the_field() {
    let mut places = Vec::new();
    for (path, text) in sources("src") {
        for (number, line) in text.lines().enumerate() {
            let Some(name) = defined(line) else { continue };
            let words = format!("_{}_", snake(name));
            for (word, term) in DIALECT {
                if words.contains(&format!("_{word}_")) || words.contains(&format!("_{word}s_")) {
                    places.push(format!("{}:{}: {name}: {term}", path.display(), number + 1));
                }
            }
        }
    }
    assert_none(&places, "use the field's term");
}

#[test]
fn type_names_are_used_once() {
    let mut all: Vec<(String, bool, String)> = Vec::new();
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "tests.rs");
    // The module is built with this file in the place of another one.
    let is_twin = |path: &Path| path.ends_with("config/no_recorder.rs");
    let files = sources("src").into_iter().filter(|(path, _)| !is_test(path) && !is_twin(path));
    for (path, text) in files {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.starts_with(' ')) {
            let is_public = line.starts_with("pub");
            let is_type = ["struct ", "enum ", "trait ", "type "].iter().any(|kind| {
                line.starts_with(kind) || (is_public && line.contains(&format!(" {kind}")))
            });
            if let Some(name) = defined(line).filter(|_| is_type) {
                all.push((name.to_owned(), is_public, path.display().to_string()));
            }
        }
    }
    assert!(all.len() > 200, "{} types are found", all.len());
    all.sort();
    let mut places = Vec::new();
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        // A name may be private to several files.
        if same.len() > 1 && same.iter().any(|(_, is_public, _)| *is_public) {
            let files: Vec<_> = same.iter().map(|(_, _, path)| path.as_str()).collect();
            places.push(format!("{}: {}", same[0].0, files.join(", ")));
        }
    }
    assert_none(
        &places,
        "give a type a name that no other has, or keep both private to their files",
    );
}
