//! Whose success rate is too low among many.

/// The requests of one endpoint in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    requests: u32,
    successes: u32,
}

impl Tally {
    /// The tally with one request more.
    pub(super) const fn plus(self, is_success: bool) -> Self {
        Self {
            requests: self.requests.saturating_add(1),
            successes: self.successes.saturating_add(is_success as u32),
        }
    }

    /// The successes in percent, if there were at least `volume` requests, and one.
    pub(super) fn success_rate(self, volume: u32) -> Option<f64> {
        (self.requests >= volume.max(1))
            .then(|| f64::from(self.successes) * 100.0 / f64::from(self.requests))
    }
}

/// Finds the success rate below which an endpoint is an outlier: so many thousandths of the
/// standard deviation below the mean. None when there are fewer than `least` rates, or none.
///
/// `successRateEjectionThreshold` of Envoy's `outlier_detection_impl.cc`. The deviation is
/// the population's, and is summed in a second pass over `rates`, so that rates near 100 do
/// not lose it to rounding.
pub(super) fn threshold(
    rates: impl Iterator<Item = f64> + Clone,
    least: u32,
    thousandths: u32,
) -> Option<f64> {
    let (count, sum) = rates.clone().fold((0_u32, 0.0), |(n, sum), rate| (n + 1, sum + rate));
    if count < least.max(1) {
        return None;
    }
    let mean = sum / f64::from(count);
    let variance = rates.map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / f64::from(count);
    Some(mean - f64::from(thousandths) / 1000.0 * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_threshold_is_that_of_envoys_own_example() {
        // From the comment of successRateEjectionThreshold.
        let rates = [50.0, 100.0, 100.0, 100.0, 100.0];
        assert_eq!(threshold(rates.into_iter(), 5, 1_900), Some(52.0));
    }

    #[test]
    fn too_few_endpoints_have_no_threshold() {
        assert_eq!(threshold([50.0, 100.0].into_iter(), 3, 1_900), None);
        assert_eq!(threshold([].into_iter(), 0, 1_900), None);
    }

    #[test]
    fn equal_rates_leave_no_outlier() {
        let rates = [99.9; 7];
        let threshold = threshold(rates.into_iter(), 5, 1_900).unwrap();
        assert!(rates.iter().all(|&rate| rate >= threshold - 1e-9), "{threshold}");
    }

    #[test]
    fn a_rate_of_too_few_requests_is_none() {
        let tally = Tally::default().plus(true).plus(false).plus(true).plus(true);
        assert_eq!(tally.success_rate(4), Some(75.0));
        assert_eq!(tally.success_rate(5), None);
        assert_eq!(Tally::default().success_rate(0), None);
    }
}
