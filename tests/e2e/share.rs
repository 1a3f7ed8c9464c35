//! What share of the requests somebody got, against what it should be.

use std::collections::BTreeMap;

/// How many requests of a round went where.
pub type Seen = BTreeMap<String, usize>;

/// How many went to instances whose names begin so.
pub fn count(seen: &Seen, prefix: &str) -> usize {
    let all = seen.iter().filter(|(name, _)| name.starts_with(prefix));
    all.map(|(_, count)| count).sum()
}

/// Five standard deviations of the number of those, of so many requests, that are drawn with
/// this probability: a fair draw is further away once in 1.7 million times.
pub fn tolerance(requests: usize, probability: f64) -> f64 {
    5.0 * (requests as f64 * probability * (1.0 - probability)).sqrt()
}

/// Fails where the instances whose names begin with `prefix` got another share of the requests
/// than `percent`, by more than the [`tolerance`].
pub fn assert_share(seen: &Seen, prefix: &str, percent: f64) {
    let requests = count(seen, "");
    let probability = percent / 100.0;
    let off = count(seen, prefix) as f64 - requests as f64 * probability;
    let most = tolerance(requests, probability);
    assert!(off.abs() <= most, "{prefix}: {percent} % were expected, within {most:.0}: {seen:?}");
}
