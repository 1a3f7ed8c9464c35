//! Items of the sources, by their names.

use std::error::Error;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::{ImplItem, Item, TraitItem, Type};
use walkdir::WalkDir;

use crate::tokens::{Token, tokens};

/// All files of `src`, parsed.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) files: Vec<File>,
    items: Vec<Named>,
}

#[derive(Debug)]
pub(crate) struct File {
    /// The path from the root of the tree.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

impl File {
    /// Counts the line where a token stands.
    pub(crate) fn line(&self, token: &Token) -> usize {
        self.text[..token.range.start].matches('\n').count() + 1
    }
}

/// A function, method, constant or type.
#[derive(Debug)]
pub(crate) struct Named {
    /// The modules, the type if it is a method, and the name.
    path: Vec<String>,
    /// The place of its file.
    pub(crate) file: usize,
    /// The bytes where it stands.
    range: Range<usize>,
    /// The bytes of its body between the braces, if it is a function.
    pub(crate) body: Option<Range<usize>>,
}

impl Named {
    /// The whole path, from the crate's root.
    pub(crate) fn path(&self) -> String {
        self.path.join("::")
    }

    /// The places of its tokens in those of the file.
    pub(crate) fn tokens(&self, file: &File) -> Range<usize> {
        let before = |end: usize| file.tokens.partition_point(|token| token.range.start < end);
        before(self.range.start)..before(self.range.end)
    }
}

impl Sources {
    /// Reads and parses the sources of a tree.
    pub(crate) fn read(root: &Path) -> Result<Self, Box<dyn Error>> {
        let mut sources = Self { files: Vec::new(), items: Vec::new() };
        for path in rust_files(&root.join("src"))? {
            let text = fs::read_to_string(&path)?;
            let path = path.strip_prefix(root)?.to_owned();
            sources.add(path.clone(), text).map_err(|error| format!("{path:?}: {error}"))?;
        }
        Ok(sources)
    }

    #[cfg(test)]
    pub(crate) fn of(path: &str, text: &str) -> Result<Self, Box<dyn Error>> {
        let mut sources = Self { files: Vec::new(), items: Vec::new() };
        sources.add(path.into(), text.into())?;
        Ok(sources)
    }

    fn add(&mut self, path: PathBuf, text: String) -> Result<(), Box<dyn Error>> {
        let modules = modules(path.strip_prefix("src")?);
        let tokens = tokens(&text)?;
        let parsed = syn::parse_file(&text)?;
        let file = self.files.len();
        if !modules.iter().any(|module| module == "tests") {
            Index { file, items: &mut self.items }.add_all(&parsed.items, &modules);
        }
        self.files.push(File { path, text, tokens });
        Ok(())
    }

    /// Finds the items whose paths end with a name such as `Watch::on_answer`.
    pub(crate) fn find(&self, name: &str) -> Vec<&Named> {
        let name: Vec<&str> = name.split("::").collect();
        let is_named = |path: &[String]| {
            path.len() >= name.len()
                && path.iter().rev().zip(name.iter().rev()).all(|(have, want)| have == want)
        };
        self.items.iter().filter(|item| is_named(&item.path)).collect()
    }

    /// Finds the items whose names are most like one that there is not.
    pub(crate) fn similar(&self, name: &str) -> Vec<&Named> {
        let length = name.split("::").count();
        let likeness = |item: &Named| {
            let tail = item.path[item.path.len().saturating_sub(length)..].join("::");
            let is_part = |part: &str| item.path.iter().any(|segment| segment == part);
            let parts = name.split("::").filter(|part| is_part(part)).count() as f64;
            strsim::normalized_damerau_levenshtein(&tail, name) + parts
        };
        let mut items: Vec<_> = self.items.iter().map(|item| (likeness(item), item)).collect();
        items.retain(|(likeness, _)| *likeness > 0.5);
        items.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        items.into_iter().map(|(_, item)| item).take(3).collect()
    }
}

/// Lists the Rust files of a folder, by name.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, walkdir::Error> {
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter();
    let paths = entries.map(|entry| entry.map(walkdir::DirEntry::into_path));
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|it| it == "rs");
    paths.filter(|path| path.as_ref().map_or(true, is_rust)).collect()
}

/// Returns the modules of a file by its path from the crate's root.
pub(crate) fn modules(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let names = path.iter().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    names
}

struct Index<'a> {
    file: usize,
    items: &'a mut Vec<Named>,
}

impl Index<'_> {
    fn add_all(&mut self, items: &[Item], scope: &[String]) {
        for item in items {
            match item {
                Item::Fn(it) => self.add(scope, &it.sig.ident, it, Some(&it.block)),
                Item::Const(it) => self.add(scope, &it.ident, it, None),
                Item::Static(it) => self.add(scope, &it.ident, it, None),
                Item::Struct(it) => self.add(scope, &it.ident, it, None),
                Item::Enum(it) => self.add(scope, &it.ident, it, None),
                Item::Mod(it) if it.ident != "tests" => {
                    let items = it.content.as_ref().map(|(_, items)| items.as_slice());
                    self.add_all(items.unwrap_or_default(), &inside(scope, &it.ident));
                }
                Item::Impl(it) => {
                    let Type::Path(of) = &*it.self_ty else { continue };
                    let Some(of) = of.path.segments.last() else { continue };
                    let scope = inside(scope, &of.ident);
                    for item in &it.items {
                        match item {
                            ImplItem::Fn(it) => {
                                self.add(&scope, &it.sig.ident, it, Some(&it.block));
                            }
                            ImplItem::Const(it) => self.add(&scope, &it.ident, it, None),
                            _ => {}
                        }
                    }
                }
                Item::Trait(it) => {
                    let scope = inside(scope, &it.ident);
                    for item in &it.items {
                        if let TraitItem::Fn(it) = item {
                            self.add(&scope, &it.sig.ident, it, it.default.as_ref());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn add(
        &mut self,
        scope: &[String],
        name: &syn::Ident,
        item: &impl Spanned,
        body: Option<&syn::Block>,
    ) {
        let body = body.map(|block| {
            let braces = block.brace_token.span;
            braces.open().byte_range().end..braces.close().byte_range().start
        });
        let range = item.span().byte_range();
        self.items.push(Named { path: inside(scope, name), file: self.file, range, body });
    }
}

fn inside(scope: &[String], name: &syn::Ident) -> Vec<String> {
    scope.iter().cloned().chain([name.to_string()]).collect()
}
