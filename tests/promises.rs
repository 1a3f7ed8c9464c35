//! Every promise of `docs/reliability.md` has tests that carry its id, and the page lists them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/reliability.md";

/// The line above `#[test]` that has the ids of a test's promises.
const MARKER: &str = "// Promise: ";

/// The lines between which the page lists the tests.
const BEGIN: &str = "<!-- tests of promises -->\n";
const END: &str = "<!-- end -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files of a folder, as paths from the root.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder");
    let paths = entries.map(|entry| folder.join(entry.expect("an entry").file_name()));
    let files = paths.flat_map(|path| match root().join(&path).is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// A test that keeps promises.
struct Test {
    promises: Vec<String>,
    file: PathBuf,
    /// Where the marker stands, from 1.
    line: usize,
    name: String,
}

impl Test {
    /// All tests that carry a promise, by file and name.
    fn all() -> Vec<Self> {
        let files = ["src", "tests"].into_iter().flat_map(|folder| rust_files(Path::new(folder)));
        let mut tests: Vec<_> = files.flat_map(|file| Self::in_file(&file)).collect();
        tests.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        tests
    }

    fn in_file(file: &Path) -> Vec<Self> {
        let text = read(file);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let marked = lines.iter().enumerate().filter_map(|(number, line)| {
            let promises = line.strip_prefix(MARKER)?.split(", ").map(str::to_owned).collect();
            let (file, line) = (file.to_owned(), number + 1);
            let name = name_of_test(lines.get(line..).unwrap_or_default()).unwrap_or_else(|| {
                panic!(
                    "{}:{line}: no test that runs follows; put the line directly above #[test]",
                    file.display()
                )
            });
            Some(Self { promises, file, line, name: name.to_owned() })
        });
        marked.collect()
    }

    /// The command that runs the test.
    fn command(&self) -> String {
        let parts: Vec<_> = self.file.iter().filter_map(|part| part.to_str()).collect();
        let target = match parts[..] {
            ["src", ..] => "--lib".to_owned(),
            [tests, target, ..] => {
                let target = target.trim_end_matches(".rs");
                let roots = [format!("{target}.rs"), format!("{target}/main.rs")];
                let is_target = roots.iter().any(|file| root().join(tests).join(file).is_file());
                assert!(is_target, "{}: {target} is no test target", self.file.display());
                format!("--test {target}")
            }
            _ => panic!("{} is in no target", self.file.display()),
        };
        format!("cargo test {target} {}", self.name)
    }

    /// The row of the page for one promise.
    fn row(&self, promise: &str) -> String {
        let (file, command) = (self.file.display(), self.command());
        format!("| {promise} | [{file}](../{file}) | `{command}` |\n")
    }
}

/// The name of the test whose attributes these lines begin with, unless the test is ignored.
fn name_of_test<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let (&first, rest) = lines.split_first()?;
    let is_attribute = |line: &&&str| line.starts_with("#[");
    let is_ignored = rest.iter().take_while(is_attribute).any(|line| line.contains("ignore"));
    let function = rest.iter().find(|line| !is_attribute(line))?.strip_prefix("fn ")?;
    let (name, _) = function.split_once('(')?;
    (first == "#[test]" && !is_ignored).then_some(name)
}

/// The page, as far as it is written by hand.
fn written_by_hand(page: &str) -> &str {
    page.split_once(BEGIN).expect("the line above the tests").0
}

/// The ids of the page's promises, in order.
fn promises(page: &str) -> Vec<&str> {
    let rows = written_by_hand(page).lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" | ").next()).filter(|cell| *cell != "id").collect()
}

/// The page with the tests listed anew.
fn with_tests(page: &str, tests: &[Test]) -> String {
    let rest = page.split_once(END).expect("the line below the tests").1;
    let mut list = "\n| id | test | command |\n|---|---|---|\n".to_owned();
    for promise in promises(page) {
        let kept_by = tests.iter().filter(|test| test.promises.iter().any(|it| it == promise));
        list.extend(kept_by.map(|test| test.row(promise)));
    }
    [written_by_hand(page), BEGIN, &list, "\n", END, rest].concat()
}

#[test]
fn ids_of_promises_ascend_within_the_page() {
    let page = read(Path::new(PAGE));
    let promises = promises(&page);
    for id in &promises {
        let number = id.strip_prefix("R-").unwrap_or_default();
        let is_id = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_id, "{PAGE}: a row begins with `{id}`, not with an id such as R-101");
    }
    for (id, next) in promises.iter().zip(promises.iter().skip(1)) {
        assert!(id < next, "{PAGE}: {next} follows {id}; give it a number of its own, in order");
    }
}

#[test]
fn markers_of_tests_name_promises_of_the_page() {
    let page = read(Path::new(PAGE));
    let promises: BTreeSet<_> = promises(&page).into_iter().collect();
    for test in Test::all() {
        for id in &test.promises {
            let Test { file, line, .. } = &test;
            let is_known = promises.contains(id.as_str());
            assert!(is_known, "{}:{line}: {PAGE} has no promise `{id}`", file.display());
        }
    }
}

#[test]
fn promises_have_a_test() {
    let tests = Test::all();
    let kept: BTreeSet<_> = tests.iter().flat_map(|test| &test.promises).collect();
    for id in promises(&read(Path::new(PAGE))) {
        let has_test = kept.contains(&id.to_owned());
        assert!(has_test, "{id} has no test; put `{MARKER}{id}` above the #[test] that keeps it");
    }
}

#[test]
fn page_lists_the_tests_of_each_promise() {
    let page = read(Path::new(PAGE));
    let expected = with_tests(&page, &Test::all());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(PAGE), expected).expect("written");
        return;
    }
    // Whole pages would hide the one line.
    let mut lines = page.lines().zip(expected.lines());
    let differing = lines.find(|(line, expected)| line != expected);
    assert!(
        page == expected,
        "{PAGE} does not list the tests that carry its promises; run `make promises` to write it.\n\
         The first difference: {differing:?}"
    );
}

#[test]
fn commands_of_the_page_name_targets_of_make() {
    let (page, makefile) = (read(Path::new(PAGE)), read(Path::new("Makefile")));
    let commands = written_by_hand(&page).split("`make ").skip(1);
    let targets: Vec<_> = commands.filter_map(|rest| rest.split([' ', '`']).next()).collect();
    assert!(targets.contains(&"sim"), "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}: ")), "the Makefile has no {target}");
    }
}
