//! Bringing an endpoint to its share by and by.

use core::time::Duration;

use crate::config::SlowStart;

/// How much of its weight an endpoint has, in thousandths, so long after it began.
///
/// `max(floor, (time / window)^(1 / aggression))`, as in Envoy's [slow start]
/// (`applySlowStartFactor` in its `load_balancer_impl.cc`); all of it after the window. An
/// aggression of 0 or less, or none at all, counts as 1, as it does there. It is never 0: an
/// endpoint without traffic would not get warm.
///
/// [slow start]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start
pub fn factor(settings: &SlowStart, since_start: Duration) -> u16 {
    if since_start >= settings.window {
        return WHOLE;
    }
    let time = since_start.as_secs_f64() / settings.window.as_secs_f64();
    let is_curved = settings.aggression > 0.0 && settings.aggression != 1.0;
    let grown = if is_curved { time.powf(1.0 / settings.aggression) } else { time };
    let floor = u16::from(settings.min_weight_percent) * 10;
    ((grown * f64::from(WHOLE)) as u16).max(floor).clamp(1, WHOLE)
}

/// The whole weight, in thousandths.
const WHOLE: u16 = 1_000;

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
    fn the_weight_grows_in_a_line_from_its_floor() {
        assert_eq!(
            [0, 6, 15, 30, 59, 60, 600].map(|s| at(&LINE, s)),
            [100, 100, 250, 500, 983, 1_000, 1_000]
        );
    }

    #[test]
    fn more_aggression_is_faster_at_the_beginning() {
        let fast = SlowStart { aggression: 2.0, ..LINE };
        assert_eq!(at(&fast, 15), 500);
        let slow = SlowStart { aggression: 0.5, ..LINE };
        assert_eq!(at(&slow, 30), 250);
    }

    #[test]
    fn an_aggression_that_means_nothing_is_a_line() {
        for aggression in [0.0, -3.0, f64::NAN] {
            assert_eq!(at(&SlowStart { aggression, ..LINE }, 30), 500);
        }
        assert_eq!(at(&SlowStart { aggression: f64::INFINITY, ..LINE }, 30), 1_000);
    }

    #[test]
    fn without_a_window_the_weight_is_whole_at_once() {
        assert_eq!(at(&SlowStart { window: Duration::ZERO, ..LINE }, 0), 1_000);
    }

    #[test]
    fn the_floor_may_be_anything() {
        assert_eq!(at(&SlowStart { min_weight_percent: 0, ..LINE }, 0), 1);
        assert_eq!(at(&SlowStart { min_weight_percent: 255, ..LINE }, 0), 1_000);
    }
}
