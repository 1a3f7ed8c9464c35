//! A bug: what it is, how it gets into the sources, and what catches it.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A bug, as a file of `bugs/` describes it:
///
/// ```text
/// What the bug is, in one line.
/// caught by: simulation whatever
/// file: src/discovery/watch.rs
/// <<<<
/// what stands there, exactly once
/// ====
/// what stands there instead
/// >>>>
/// ```
///
/// `caught by` names a test of the package, or `lib`, and a part of its tests' names. Files and
/// replacements may follow each other. They name no lines, so that the bug still fits when the
/// sources move.
#[derive(Debug)]
pub(crate) struct Bug {
    /// The name of its file.
    pub(crate) name: String,
    /// What it is.
    pub(crate) what: String,
    /// The test that catches it, or `lib`.
    pub(crate) target: String,
    /// A part of the names of the tests that do.
    pub(crate) filter: String,
    /// How it gets into the sources.
    changes: Vec<Change>,
}

/// A text in the place of another one.
#[derive(Debug)]
pub(crate) struct Change {
    /// The file, from the root of the tree.
    file: PathBuf,
    before: String,
    after: String,
}

impl Bug {
    /// Reads all bugs of a folder, by name.
    pub(crate) fn read_all(folder: &Path) -> Result<Vec<Self>, Box<dyn Error>> {
        let mut bugs = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path)?;
            bugs.push(Self::read(name, &text).map_err(|error| format!("{path:?}: {error}"))?);
        }
        bugs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(bugs)
    }

    fn read(name: String, text: &str) -> Result<Self, &'static str> {
        let (what, rest) = text.split_once('\n').ok_or("expected what it is, in one line")?;
        let (caught, rest) = rest
            .strip_prefix("caught by: ")
            .and_then(|rest| rest.split_once('\n'))
            .ok_or("expected `caught by: <test> <part of a name>`")?;
        let (target, filter) = caught.split_once(' ').ok_or("expected a part of a test's name")?;
        let (mut changes, mut rest, mut file) = (Vec::new(), rest, None);
        while !rest.is_empty() {
            if let Some((path, next)) =
                rest.strip_prefix("file: ").and_then(|rest| rest.split_once('\n'))
            {
                (file, rest) = (Some(path), next);
                continue;
            }
            let (before, next) = rest
                .strip_prefix("<<<<\n")
                .and_then(|rest| rest.split_once("====\n"))
                .ok_or("expected `file:`, or a replacement between `<<<<`, `====` and `>>>>`")?;
            let (after, next) = next.split_once(">>>>\n").ok_or("expected `>>>>`")?;
            let file = file.ok_or("expected `file:` before the first replacement")?.into();
            changes.push(Change { file, before: before.into(), after: after.into() });
            rest = next;
        }
        match changes.is_empty() {
            true => Err("expected a replacement"),
            false => Ok(Self {
                name,
                what: what.into(),
                target: target.into(),
                filter: filter.into(),
                changes,
            }),
        }
    }

    /// The files of the tree as they are with the bug.
    pub(crate) fn apply(&self, root: &Path) -> Result<Vec<(PathBuf, String)>, Unfit> {
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for change in &self.changes {
            let known = files.iter().position(|(file, _)| *file == change.file);
            let place = known.unwrap_or_else(|| {
                let text = fs::read_to_string(root.join(&change.file)).unwrap_or_default();
                files.push((change.file.clone(), text));
                files.len() - 1
            });
            let text = &mut files[place].1;
            let found = text.matches(&change.before).count();
            if found != 1 {
                let (bug, file) = (self.name.clone(), change.file.clone());
                return Err(Unfit { bug, file, found });
            }
            *text = text.replacen(&change.before, &change.after, 1);
        }
        Ok(files)
    }
}

/// A bug no longer fits the sources.
#[derive(Debug)]
pub(crate) struct Unfit {
    bug: String,
    file: PathBuf,
    found: usize,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bug, file, found } = self;
        write!(
            f,
            "tests/mutants/bugs/{bug}.txt does not fit the sources any more: what it replaces \
             stands {found} times in {}, and must stand there once",
            file.display()
        )
    }
}

impl Error for Unfit {}
