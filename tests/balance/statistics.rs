//! Whether counts are those of a distribution.

use std::iter;

/// What chi-square exceeds once in a thousand times, by degrees of freedom from 1 on.
const ONE_IN_A_THOUSAND: [f64; 9] = [10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88];

/// Demands that counts follow `shares` (of whatever sum), by Pearson's chi-square test at a level
/// of one in a thousand. What has no share must not be counted at all.
pub(crate) fn assert_follows(counts: &[u32], shares: &[f64], what: &str) {
    assert_eq!(counts.len(), shares.len(), "{what}");
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let whole: f64 = shares.iter().sum();
    let mut chi_square = 0.0;
    for (&count, &share) in iter::zip(counts, shares) {
        let want = total * share / whole;
        if want > 0.0 {
            // Below, the test would not hold.
            assert!(want > 5.0, "{what}: too few of {counts:?}");
            chi_square += (f64::from(count) - want).powi(2) / want;
        } else {
            assert_eq!(count, 0, "{what}: {counts:?}");
        }
    }
    let freedom = shares.iter().filter(|&&share| share > 0.0).count() - 1;
    let limit = ONE_IN_A_THOUSAND[freedom - 1];
    assert!(chi_square < limit, "{what}: {chi_square} of {counts:?} for {shares:?}");
}
