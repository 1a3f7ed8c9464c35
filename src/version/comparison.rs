//! The comparisons of which a range consists.

use core::cmp::Ordering;

use super::limit::Limit;
use super::number::Partial;

pub(super) type Interval = (Option<Limit>, Option<Limit>);

/// Reads comparisons, and keeps the highest low limit and the lowest high one. None that is
/// passed over names a pre-release that the interval still has.
pub(super) fn interval(text: &str) -> Option<Interval> {
    let (mut low, mut high) = (None, None);
    let mut rest = text.trim_start_matches(is_separator);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (operator, after) = operator(rest);
        let after = after.trim_start();
        let end = after.find(|c| is_separator(c) || is_operator(c)).unwrap_or(after.len());
        let (version, next) = after.split_at(end);
        let (from, to) = comparison(operator, &Partial::parse(version)?)?;
        low = narrower(low, from, Ordering::Greater);
        high = narrower(high, to, Ordering::Less);
        rest = next.trim_start_matches(is_separator);
    }
    Some((low, high))
}

/// The one of two limits that leaves less on its `side`.
fn narrower(one: Option<Limit>, other: Option<Limit>, side: Ordering) -> Option<Limit> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let ordering = other.version().cmp(one.version());
            let is_other = ordering == side || ordering.is_eq() && !other.is_inclusive;
            Some(if is_other { other } else { one })
        }
        (one, other) => one.or(other),
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Equal,
    Tilde,
    Caret,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// The operators; a longer one comes before the one that it begins with.
const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

fn operator(text: &str) -> (Operator, &str) {
    OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
        .unwrap_or((Operator::Equal, text))
}

/// The interval of one comparison; none where nothing can be above or below everything.
fn comparison(operator: Operator, partial: &Partial<'_>) -> Option<Interval> {
    let Some(last) = partial.given.checked_sub(1) else {
        let is_strict = matches!(operator, Operator::Greater | Operator::Less);
        return (!is_strict).then_some((None, None));
    };
    let is_whole = last == 2;
    let low = Some(partial.limit(true));
    let kept = |at| (low.clone(), Some(partial.end(at)));
    Some(match operator {
        Operator::Equal if is_whole => (low.clone(), low),
        Operator::Equal => kept(last),
        Operator::Tilde => kept(last.min(1)),
        Operator::Caret => {
            let first = partial.version.numbers.iter().position(|number| *number != 0);
            kept(first.unwrap_or(last).min(last))
        }
        Operator::Greater if is_whole => (Some(partial.limit(false)), None),
        Operator::Greater => {
            let next = Limit { prerelease: String::new(), is_inclusive: true, ..partial.end(last) };
            (Some(next), None)
        }
        Operator::GreaterOrEqual => (low, None),
        Operator::Less if is_whole => (None, Some(partial.limit(false))),
        Operator::Less => {
            let numbers = partial.version.numbers;
            (None, Some(Limit { numbers, prerelease: "0".into(), is_inclusive: false }))
        }
        Operator::LessOrEqual if is_whole => (None, low),
        Operator::LessOrEqual => (None, Some(partial.end(last))),
    })
}

pub(super) fn is_separator(c: char) -> bool {
    c.is_whitespace() || c == ','
}

pub(super) const fn is_operator(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '~' | '^')
}
