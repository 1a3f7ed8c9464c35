//! Tokens of Rust text, and patterns of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use proc_macro2::{LexError, Span, TokenStream, TokenTree};

/// An identifier, a literal, one character of an operator, or one delimiter.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// The bytes where it stands.
    pub(crate) range: Range<usize>,
    is_identifier: bool,
}

/// Splits a text into its tokens. Leaves out comments, and a comma before a closing delimiter, which
/// rustfmt puts there or takes away.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    flatten(TokenStream::from_str(text)?, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let whole = group.to_string();
                let edge = |text: Option<char>, span: Span| Token {
                    text: text.into_iter().collect(),
                    range: span.byte_range(),
                    is_identifier: false,
                };
                tokens.push(edge(whole.chars().next(), group.span_open()));
                flatten(group.stream(), tokens);
                tokens.pop_if(|last| last.text == ",");
                tokens.push(edge(whole.chars().last(), group.span_close()));
            }
            leaf => tokens.push(Token {
                text: leaf.to_string(),
                range: leaf.span().byte_range(),
                is_identifier: matches!(leaf, TokenTree::Ident(_)),
            }),
        }
    }
}

/// Tokens that are looked for. `$name` stands for one identifier, `$..name` for any balanced run of
/// tokens, the shortest that fits.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Exactly(String),
    Identifier(String),
    Run(String),
}

/// The tokens that stand where a metavariable is, by its name: their places in the source.
type Bindings = BTreeMap<String, Range<usize>>;

/// A place where a pattern fits.
#[derive(Debug)]
pub(crate) struct Fit {
    /// The tokens that it covers, by their places in the source.
    pub(crate) range: Range<usize>,
    bindings: Bindings,
}

/// The longest part of a pattern that stands anywhere.
#[derive(Debug)]
pub(crate) struct Nearest {
    /// How many tokens of the pattern fit there, metavariables aside.
    pub(crate) fitting: usize,
    /// How many there are.
    pub(crate) of: usize,
    /// The first token of the part, by its place in the source.
    pub(crate) at: usize,
    /// The token of the pattern that did not fit any more, if it is not at its end.
    pub(crate) expected: Option<String>,
}

impl Pattern {
    pub(crate) fn read(text: &str) -> Result<Self, LexError> {
        let tokens = tokens(text)?;
        let pieces = metavariables(&tokens).into_iter().map(|(range, piece)| match piece {
            Some(piece) => piece,
            None => Piece::Exactly(tokens[range.start].text.clone()),
        });
        Ok(Self(pieces.collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the places where it fits, which do not overlap.
    pub(crate) fn find(&self, source: &[Token]) -> Vec<Fit> {
        let mut fits: Vec<Fit> = Vec::new();
        for start in 0..source.len() {
            let mut search = Search::new(&self.0, source);
            let end = search.fit(0, start);
            if let Some(end) = end.filter(|_| fits.last().is_none_or(|it| it.range.end <= start)) {
                fits.push(Fit { range: start..end, bindings: search.bindings });
            }
        }
        fits
    }

    /// Finds where most of it stands, where all of it stands nowhere.
    pub(crate) fn nearest(&self, source: &[Token]) -> Option<Nearest> {
        let exact = |pieces: &[Piece]| {
            pieces.iter().filter(|piece| matches!(piece, Piece::Exactly(_))).count()
        };
        let from = |skipped: usize| {
            (0..source.len()).map(move |at| {
                let mut search = Search::new(&self.0[skipped..], source);
                search.fit(0, at);
                let last = skipped + search.furthest;
                (exact(&self.0[skipped..last]), at, last)
            })
        };
        let all = (0..self.0.len()).flat_map(from);
        let best = all.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let (fitting, at, last) = best.filter(|(fitting, ..)| *fitting > 0)?;
        let expected = self.0.get(last).map(Piece::to_string);
        Some(Nearest { fitting, of: exact(&self.0), at, expected })
    }

    /// Names a metavariable of a replacement that the pattern does not bind.
    pub(crate) fn unbound(&self, replacement: &str) -> Result<Option<String>, LexError> {
        let is_bound = |piece: &Piece| self.0.iter().any(|it| it.name() == piece.name());
        let used = metavariables(&tokens(replacement)?);
        let mut used = used.into_iter().filter_map(|(_, piece)| piece);
        Ok(used.find(|piece| !is_bound(piece)).map(|piece| piece.to_string()))
    }
}

impl Piece {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Exactly(_) => None,
            Self::Identifier(name) | Self::Run(name) => Some(name),
        }
    }
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(text) => write!(f, "{text}"),
            Self::Identifier(name) => write!(f, "${name}"),
            Self::Run(name) => write!(f, "$..{name}"),
        }
    }
}

impl Fit {
    /// Writes a replacement with the text that stands where each of its metavariables is.
    pub(crate) fn fill(
        &self,
        replacement: &str,
        text: &str,
        source: &[Token],
    ) -> Result<String, LexError> {
        let tokens = tokens(replacement)?;
        let (mut filled, mut done) = (String::new(), 0);
        for (range, piece) in metavariables(&tokens) {
            let Some(bound) = piece.as_ref().and_then(Piece::name) else { continue };
            let bound = self.bindings.get(bound).cloned().unwrap_or_default();
            filled.push_str(&replacement[done..tokens[range.start].range.start]);
            filled.push_str(&text[bytes(source, &bound)]);
            done = tokens[range.end - 1].range.end;
        }
        filled.push_str(&replacement[done..]);
        Ok(filled)
    }
}

/// Returns the bytes from the first of some tokens to the last.
pub(crate) fn bytes(source: &[Token], tokens: &Range<usize>) -> Range<usize> {
    match source.get(tokens.clone()) {
        Some([first, .., last]) => first.range.start..last.range.end,
        Some([only]) => only.range.clone(),
        _ => 0..0,
    }
}

/// Groups tokens into metavariables and those that are none.
fn metavariables(tokens: &[Token]) -> Vec<(Range<usize>, Option<Piece>)> {
    let (mut groups, mut at) = (Vec::new(), 0);
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        let is = |place: usize, text| rest.get(place).is_some_and(|it: &Token| it.text == text);
        let name = |place: usize| {
            rest.get(place).filter(|it: &&Token| it.is_identifier).map(|it| it.text.clone())
        };
        let run = if is(0, "$") && is(1, ".") && is(2, ".") { name(3) } else { None };
        let one = if is(0, "$") { name(1) } else { None };
        let (length, piece) = match (run, one) {
            (Some(name), _) => (4, Some(Piece::Run(name))),
            (None, Some(name)) => (2, Some(Piece::Identifier(name))),
            (None, None) => (1, None),
        };
        groups.push((at..at + length, piece));
        at += length;
    }
    groups
}

/// A try to fit a pattern at one place.
struct Search<'a> {
    pieces: &'a [Piece],
    source: &'a [Token],
    bindings: Bindings,
    /// How many pieces fitted at best.
    furthest: usize,
}

impl<'a> Search<'a> {
    const fn new(pieces: &'a [Piece], source: &'a [Token]) -> Self {
        Self { pieces, source, bindings: Bindings::new(), furthest: 0 }
    }

    /// Returns where the pieces from one on end if they stand at a place of the source.
    fn fit(&mut self, piece: usize, at: usize) -> Option<usize> {
        self.furthest = self.furthest.max(piece);
        let source = self.source;
        match self.pieces.get(piece) {
            None => Some(at),
            Some(Piece::Exactly(text)) => {
                source.get(at).filter(|it| it.text == *text)?;
                self.fit(piece + 1, at + 1)
            }
            Some(Piece::Identifier(name)) => {
                source.get(at).filter(|it| it.is_identifier)?;
                self.bind(name, at..at + 1, piece)
            }
            Some(Piece::Run(name)) => {
                let mut depth = 0_usize;
                for end in at..=source.len() {
                    if depth == 0
                        && let found @ Some(_) = self.bind(name, at..end, piece)
                    {
                        return found;
                    }
                    match source.get(end)?.text.as_str() {
                        "(" | "[" | "{" => depth += 1,
                        ")" | "]" | "}" => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                }
                None
            }
        }
    }

    /// Binds a metavariable to some tokens, and goes on behind them. A metavariable that is bound
    /// already stands for the same tokens everywhere.
    fn bind(&mut self, name: &str, tokens: Range<usize>, piece: usize) -> Option<usize> {
        let end = tokens.end;
        if let Some(before) = self.bindings.get(name) {
            let texts = |range: Range<usize>| self.source[range].iter().map(|token| &token.text);
            let is_same = texts(before.clone()).eq(texts(tokens));
            return if is_same { self.fit(piece + 1, end) } else { None };
        }
        self.bindings.insert(name.into(), tokens);
        let found = self.fit(piece + 1, end);
        if found.is_none() {
            self.bindings.remove(name);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// Replaces a pattern wherever it fits.
    fn replace(text: &str, pattern: &str, with: &str) -> Vec<String> {
        let source = tokens(text).unwrap();
        let fits = Pattern::read(pattern).unwrap().find(&source);
        let replaced = |fit: &Fit| {
            let mut replaced = text.to_owned();
            let filled = fit.fill(with, text, &source).unwrap();
            replaced.replace_range(bytes(&source, &fit.range), &filled);
            replaced
        };
        fits.iter().map(replaced).collect()
    }

    #[test]
    fn a_pattern_fits_whatever_the_white_space_and_comments() {
        let text = "f(\n    a, // the first\n    b,\n);";
        assert_eq!(replace(text, "f(a,b)", "g()"), ["g();"]);
        assert_eq!(replace("f(a, b)", "f(a, b,)", "g()"), ["g()"]);
    }

    #[test]
    fn a_metavariable_stands_for_one_identifier() {
        assert_eq!(replace("x.y() + 1", "$a.$b()", "$b($a)"), ["y(x) + 1"]);
        assert_eq!(replace("1 + 1", "$a + 1", ""), [""; 0]);
        assert_eq!(replace("a == b && c == c", "$x == $x", "true"), ["a == b && true"]);
    }

    #[test]
    fn a_run_is_balanced_and_as_short_as_may_be() {
        assert_eq!(replace("f(g(1, 2), 3);", "f($..x, 3)", "[$..x]"), ["[g(1, 2)];"]);
        assert_eq!(replace("f(); g(3)", "f($..x)", "h($..x)"), ["h(); g(3)"]);
        assert_eq!(replace("f(a; b)", "(a $..x b)", "($..x)"), ["f(;)"]);
        assert_eq!(replace("(a) (b)", "(a $..x b)", ""), [""; 0]);
    }

    #[test]
    fn a_pattern_is_found_at_each_place_where_it_fits() {
        assert_eq!(replace("a.f(); b.f();", "$x.f();", "").len(), 2);
    }

    #[test]
    fn an_unbound_metavariable_of_a_replacement_is_named() {
        let pattern = Pattern::read("f($a, $..b)").unwrap();
        assert_eq!(pattern.unbound("$a $..b").unwrap(), None);
        assert_eq!(pattern.unbound("$a $c").unwrap().as_deref(), Some("$c"));
    }

    #[test]
    fn the_nearest_place_is_where_most_of_a_pattern_stands() {
        let source = tokens("if a { b() } if a.c() > 3 { d() }").unwrap();
        let nearest = Pattern::read("if $x.e() > 3 {").err();
        assert!(nearest.is_some(), "a pattern is balanced");
        let nearest = Pattern::read("if $x.c() > 4").unwrap().nearest(&source).unwrap();
        assert_eq!((nearest.fitting, nearest.expected.as_deref()), (6, Some("4")));
        assert_eq!(source[nearest.at].range.start, 13);
    }
}
