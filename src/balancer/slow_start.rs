//! Raising the share of a new host step by step.

use core::time::Duration;

use crate::config::SlowStart;

/// Returns the share of its weight that a host has, in thousandths, at this time after its start.
///
/// `max(floor, (time / window)^(1 / aggression))`, as in Envoy's [slow start]
/// (`applySlowStartFactor` in its `load_balancer_impl.cc`); the whole weight after the window. An
/// aggression of 0 or less, or not a number, counts as 1, as in Envoy. The share is never 0: a host
/// without traffic would not get warm.
///
/// [slow start]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start
pub(super) fn factor(settings: &SlowStart, since_start: Duration) -> u16 {
    if since_start >= settings.window {
        return WHOLE;
    }
    let time = since_start.as_secs_f64() / settings.window.as_secs_f64();
    let is_curved = settings.aggression > 0.0 && settings.aggression != 1.0;
    let grown = if is_curved { time.powf(1.0 / settings.aggression) } else { time };
    let floor = u16::from(settings.min_weight_percent) * 10;
    ((grown * f64::from(WHOLE)) as u16).max(floor).clamp(1, WHOLE)
}

/// Returns the time between two updates of the shares: a twentieth of the window, but at most a second.
pub(super) fn step(settings: Option<&SlowStart>) -> Duration {
    const LONGEST: Duration = Duration::from_secs(1);
    settings.map_or(LONGEST, |settings| (settings.window / 20).min(LONGEST))
}

/// The whole weight, in thousandths.
pub(super) const WHOLE: u16 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const LINE: SlowStart = SlowStart {
        window: Duration::from_secs(60),
        aggression: SlowStart::DEFAULT_AGGRESSION,
        min_weight_percent: SlowStart::DEFAULT_MIN_WEIGHT_PERCENT,
    };

    fn at(settings: &SlowStart, seconds: u64) -> u16 {
        factor(settings, Duration::from_secs(seconds))
    }

    #[test]
    fn share_grows_linearly_from_its_floor() {
        assert_eq!(
            [0, 6, 15, 30, 59, 60, 600].map(|s| at(&LINE, s)),
            [100, 100, 250, 500, 983, 1_000, 1_000]
        );
    }

    #[test]
    fn share_grows_sooner_when_aggression_is_greater() {
        let fast = SlowStart { aggression: 2.0, ..LINE };
        assert_eq!(at(&fast, 15), 500);
        let slow = SlowStart { aggression: 0.5, ..LINE };
        assert_eq!(at(&slow, 30), 250);
    }

    #[test]
    fn share_grows_linearly_when_aggression_is_invalid() {
        for aggression in [0.0, -3.0, f64::NAN] {
            assert_eq!(at(&SlowStart { aggression, ..LINE }, 30), 500);
        }
        assert_eq!(at(&SlowStart { aggression: f64::INFINITY, ..LINE }, 30), 1_000);
    }

    #[test]
    fn share_is_whole_when_there_is_no_window() {
        assert_eq!(at(&SlowStart { window: Duration::ZERO, ..LINE }, 0), 1_000);
    }

    #[test]
    fn share_is_in_range_when_the_floor_is_not() {
        assert_eq!(at(&SlowStart { min_weight_percent: 0, ..LINE }, 0), 1);
        assert_eq!(at(&SlowStart { min_weight_percent: 255, ..LINE }, 0), 1_000);
    }
}
