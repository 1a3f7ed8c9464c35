//! A bug: what it is, how it gets into the sources, and what catches it.

use std::error::Error;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::sources::{File, Named, Sources};
use crate::tokens::{Nearest, Pattern, Token, bytes};

/// A bug, as a file of `bugs/` describes it (`tests/mutants/README.md`).
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
    edits: Vec<Edit>,
}

/// A change of one item of the sources.
#[derive(Debug)]
struct Edit {
    /// The end of the item's path.
    item: String,
    change: Change,
}

#[derive(Debug)]
enum Change {
    /// Replaces the one place where a pattern fits.
    Replace { text: String, pattern: Pattern, with: String },
    /// Replaces all that stands between the braces of a function.
    Body(String),
}

impl Change {
    fn replace(text: String, with: String) -> Result<Self, Box<dyn Error>> {
        let pattern = Pattern::read(&text).map_err(|error| format!("`{text}`: {error}"))?;
        if pattern.is_empty() {
            return Err("expected tokens to replace".into());
        }
        match pattern.unbound(&with)? {
            Some(name) => Err(format!("{name} stands in `with` alone").into()),
            None => Ok(Self::Replace { text, pattern, with }),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBug {
    what: String,
    caught_by: String,
    edit: Vec<RawEdit>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdit {
    #[serde(rename = "in")]
    item: String,
    replace: Option<String>,
    with: Option<String>,
    remove: Option<String>,
    body: Option<String>,
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

    fn read(name: String, text: &str) -> Result<Self, Box<dyn Error>> {
        let RawBug { what, caught_by, edit } = toml::from_str(text)?;
        let (target, filter) = caught_by
            .split_once(' ')
            .ok_or("caught_by: expected a test or `lib`, and a part of its tests' names")?;
        let edits = edit.into_iter().map(Edit::read).collect::<Result<Vec<_>, _>>()?;
        if edits.is_empty() {
            return Err("expected an edit".into());
        }
        Ok(Self { name, what, target: target.into(), filter: filter.into(), edits })
    }

    /// Returns the files that change, as they are with the bug.
    pub(crate) fn apply(
        &self,
        sources: &Sources,
    ) -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
        let unfit = |error| format!("tests/mutants/bugs/{}.toml: {error}", self.name);
        let found = self.edits.iter().map(|edit| edit.find(sources));
        let mut changes = found.collect::<Result<Vec<_>, _>>().map_err(unfit)?;
        // From behind, so that what stands before a change stays where it is.
        changes.sort_by_key(|(file, range, _)| (*file, std::cmp::Reverse(range.start)));
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for (file, range, with) in changes {
            let File { path, text, .. } = &sources.files[file];
            if files.last().is_none_or(|(last, _)| last != path) {
                files.push((path.clone(), text.clone()));
            }
            if let Some((_, text)) = files.last_mut() {
                text.replace_range(range, &with);
            }
        }
        for (path, text) in &files {
            let path = path.display();
            syn::parse_file(text).map_err(|error| {
                format!("{}: {path} is no Rust with the bug: {error}", self.name)
            })?;
        }
        Ok(files)
    }
}

impl Edit {
    fn read(raw: RawEdit) -> Result<Self, Box<dyn Error>> {
        let RawEdit { item, replace, with, remove, body } = raw;
        let change = match (replace, with, remove, body) {
            (Some(text), Some(with), None, None) => Change::replace(text, with),
            (None, None, Some(text), None) => Change::replace(text, String::new()),
            (None, None, None, Some(body)) => Ok(Change::Body(body)),
            _ => Err("expected `replace` and `with`, or `remove`, or `body`".into()),
        };
        let change = change.map_err(|error| format!("in {item}: {error}"))?;
        Ok(Self { item, change })
    }

    /// Finds the bytes of a file that change, and what stands there then.
    fn find(&self, sources: &Sources) -> Result<(usize, Range<usize>, String), Box<dyn Error>> {
        let item = self.find_item(sources)?;
        let (pattern, with) = match &self.change {
            Change::Replace { pattern, with, .. } => (pattern, with),
            Change::Body(body) => {
                let no_body = || Unfit::NoBody { item: self.item.clone() };
                let range = item.body.clone().ok_or_else(no_body)?;
                return Ok((item.file, range, format!(" {body} ")));
            }
        };
        let file = &sources.files[item.file];
        let tokens = &file.tokens[item.tokens(file)];
        let fits = pattern.find(tokens);
        let [fit] = fits.as_slice() else {
            let lines: Vec<_> =
                fits.iter().map(|fit| file.line(&tokens[fit.range.start])).collect();
            return Err(match lines.is_empty() {
                true => self.no_place(pattern, file, tokens).into(),
                false => Unfit::SeveralPlaces { place: self.place(file), lines }.into(),
            });
        };
        let with = fit.fill(with, &file.text, tokens)?;
        Ok((item.file, bytes(tokens, &fit.range), with))
    }

    /// Finds the only item of that name.
    fn find_item<'a>(&self, sources: &'a Sources) -> Result<&'a Named, Box<dyn Error>> {
        let item = self.item.clone();
        let path = |it: &Named| {
            let file = sources.files[it.file].path.display();
            format!("{} ({file})", it.path())
        };
        let paths = |items: Vec<&Named>| items.into_iter().map(path).collect();
        let found = sources.find(&item);
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(Unfit::NoItem { similar: paths(sources.similar(&item)), item }.into()),
            _ => Err(Unfit::SeveralItems { item, found: paths(found) }.into()),
        }
    }

    fn no_place(&self, pattern: &Pattern, file: &File, tokens: &[Token]) -> Unfit {
        let nearest = pattern.nearest(tokens).map(|nearest| {
            let line = file.line(&tokens[nearest.at]);
            let text = file.text.lines().nth(line - 1).unwrap_or_default();
            (nearest, line, text.trim().to_owned())
        });
        Unfit::NoPlace { place: self.place(file), nearest }
    }

    fn place(&self, file: &File) -> Place {
        let pattern = match &self.change {
            Change::Replace { text, .. } | Change::Body(text) => text.split_whitespace(),
        };
        let pattern = pattern.collect::<Vec<_>>().join(" ");
        Place { item: self.item.clone(), file: file.path.clone(), pattern }
    }
}

/// Says why an edit does not fit the sources any more, and what is nearest.
#[derive(Debug)]
enum Unfit {
    NoItem { item: String, similar: Vec<String> },
    SeveralItems { item: String, found: Vec<String> },
    NoBody { item: String },
    NoPlace { place: Place, nearest: Option<(Nearest, usize, String)> },
    SeveralPlaces { place: Place, lines: Vec<usize> },
}

/// A pattern and the item where it is looked for.
#[derive(Debug)]
struct Place {
    item: String,
    file: PathBuf,
    pattern: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, file, pattern } = self;
        write!(f, "`{pattern}` in {item} ({})", file.display())
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoItem { item, similar } if similar.is_empty() => {
                write!(f, "there is no {item}, nor anything like it")
            }
            Self::NoItem { item, similar } => {
                write!(f, "there is no {item}; alike is {}", similar.join(", "))
            }
            Self::SeveralItems { item, found } => write!(
                f,
                "{item} is several items, put as much of the path before it as makes it one: {}",
                found.join(", ")
            ),
            Self::NoBody { item } => write!(f, "{item} has no body: expected a function"),
            Self::NoPlace { place, nearest: Some((nearest, line, text)) } => {
                let Nearest { fitting, of, expected, .. } = nearest;
                write!(f, "there is no {place}: {fitting} of {of} tokens stand in line {line}, ")?;
                match expected {
                    Some(expected) => write!(f, "but then no `{expected}`: {text}"),
                    None => write!(f, "but not those before: {text}"),
                }
            }
            Self::NoPlace { place, .. } => write!(f, "there is no {place}, nor a part of it"),
            Self::SeveralPlaces { place, lines } => {
                write!(f, "there is {place} in lines {lines:?}: write more of one of them")
            }
        }
    }
}

impl Error for Unfit {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const SOURCE: &str = "
impl Watch {
    /// Takes a response.
    fn on_response(&mut self, id: u32) -> u32 {
        if id > self.last {
            self.last = id;
        }
        self.last
    }
}

impl Lease {
    fn on_response(&mut self) {}
}

const MOST: u8 = 3;
";

    /// Applies an edit to a file `src/watch.rs`.
    fn apply(item: &str, edit: &str) -> Result<String, String> {
        let sources = Sources::of("src/watch.rs", SOURCE).unwrap();
        let text = format!("what = ''\ncaught_by = 'lib watch'\n[[edit]]\nin = '{item}'\n{edit}");
        let bug = Bug::read("late".into(), &text).map_err(|error| error.to_string())?;
        let mut files = bug.apply(&sources).map_err(|error| error.to_string())?;
        Ok(files.remove(0).1)
    }

    #[test]
    fn an_edit_changes_its_item_alone() {
        let check = |item, edit, before, after| {
            assert_eq!(apply(item, edit).unwrap(), SOURCE.replacen(before, after, 1), "{edit}");
        };
        check("Watch::on_response", "remove = 'self.$last = $id;'", "self.last = id;", "");
        let later = "replace = '$a > self.$b'\nwith = '$a > self.$b + 1'";
        check("watch::Watch::on_response", later, "id > self.last", "id > self.last + 1");
        check("Lease::on_response", "body = 'loop {}'", "{}", "{ loop {} }");
        check("MOST", "replace = '= $..most;'\nwith = '= 4;'", "= 3;", "= 4;");
    }

    #[test]
    fn an_edit_that_does_not_fit_says_what_is_nearest() {
        let check = |item, edit, says: &str| assert_eq!(apply(item, edit).unwrap_err(), says);
        check(
            "Watch::on_answer",
            "body = ''",
            "tests/mutants/bugs/late.toml: there is no Watch::on_answer; alike is \
             watch::Watch::on_response (src/watch.rs)",
        );
        check(
            "on_response",
            "body = ''",
            "tests/mutants/bugs/late.toml: on_response is several items, put as much of the path \
             before it as makes it one: watch::Watch::on_response (src/watch.rs), \
             watch::Lease::on_response (src/watch.rs)",
        );
        check(
            "Watch::on_response",
            "remove = 'self.$last = $id + 1;'",
            "tests/mutants/bugs/late.toml: there is no `self.$last = $id + 1;` in \
             Watch::on_response (src/watch.rs): 3 of 6 tokens stand in line 6, but then no `+`: \
             self.last = id;",
        );
        check(
            "Watch::on_response",
            "remove = 'self.$last'",
            "tests/mutants/bugs/late.toml: there is `self.$last` in Watch::on_response \
             (src/watch.rs) in lines [5, 6, 8]: write more of one of them",
        );
        check(
            "MOST",
            "body = '4'",
            "tests/mutants/bugs/late.toml: MOST has no body: expected a function",
        );
        check(
            "Watch::on_response",
            "remove = 'id'\nbody = ''",
            "in Watch::on_response: expected `replace` and `with`, or `remove`, or `body`",
        );
        check(
            "MOST",
            "replace = '= 3;'\nwith = '= $most;'",
            "in MOST: $most stands in `with` alone",
        );
    }

    #[test]
    fn an_edit_must_leave_rust() {
        let error = apply("MOST", "remove = 'const'").unwrap_err();
        assert!(error.starts_with("late: src/watch.rs is no Rust with the bug: "), "{error}");
    }
}
