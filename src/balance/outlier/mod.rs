//! Taking endpoints out of use for what they answer.
//!
//! Envoy's [outlier detection] (`source/common/upstream/outlier_detection_impl.cc`), by one
//! worker for the requests that it sends itself. A [`detector::Detector`] has the rules and
//! belongs to a pool; each endpoint has a [`monitor::Monitor`], which it keeps as long as it
//! is in the snapshots.
//!
//! What is otherwise than in Envoy:
//!
//! - An endpoint whose time is over does not take its share at once. One request *probes* it,
//!   and the outcome decides.
//! - A request that began before an ejection or a return says nothing about the time after it,
//!   and is not counted.
//! - The rates of what could not be reached, where that counts apart, have the chances of the
//!   rates of what was answered (`enforcing_success_rate`, `enforcing_failure_percentage`).
//!
//! [outlier detection]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier

pub mod detector;
pub mod monitor;
pub mod outcome;
mod statistics;
pub mod transition;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::detector::Detector;
    use super::monitor::Monitor;
    use super::outcome::Outcome;
    use super::transition::{Cause, Transition};
    use crate::config::OutlierDetection;
    use crate::rng::Rng;
    use crate::time::Time;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A pool of endpoints under a detector, and a clock.
    struct Fleet {
        detector: Detector,
        monitors: Vec<Monitor>,
        rng: Rng,
        now: Time,
    }

    impl Fleet {
        fn new(endpoints: usize, config: OutlierDetection) -> Self {
            let mut fleet = Self {
                detector: Detector::new(config),
                monitors: (0..endpoints).map(|_| Monitor::default()).collect(),
                rng: Rng::new(17),
                now: Time::from_start(Duration::from_secs(1_000)),
            };
            fleet.tick();
            fleet
        }

        /// Sends a request, which ends like that.
        fn request(&mut self, endpoint: usize, outcome: Outcome) -> Option<Transition> {
            let monitor = &self.monitors[endpoint];
            let admission = monitor.begin_request();
            let hosts = self.monitors.len();
            let (now, rng) = (self.now, &mut self.rng);
            let transition = self.detector.on_outcome(monitor, admission, outcome, hosts, now, rng);
            monitor.end_request(admission);
            transition
        }

        /// Sends some; tells what came of them.
        fn requests(&mut self, endpoint: usize, outcome: Outcome, count: u32) -> Vec<Transition> {
            (0..count).filter_map(|_| self.request(endpoint, outcome)).collect()
        }

        fn tick(&mut self) -> Vec<(usize, Transition)> {
            let Self { detector, monitors, rng, now } = self;
            let mut told = Vec::new();
            detector.on_tick(monitors.iter(), *now, rng, |endpoint, transition| {
                let index = monitors.iter().position(|m| core::ptr::eq(m, endpoint));
                told.push((index.unwrap(), transition));
            });
            told
        }

        /// Lets time pass, in steps of a second.
        fn wait(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now = self.now + Duration::from_secs(1);
                self.tick();
            }
        }

        /// Ejects an endpoint by a row of failures.
        fn eject(&mut self, endpoint: usize) {
            assert_eq!(self.requests(endpoint, Outcome::ServerError, 5), [EJECTED]);
        }
    }

    const EJECTED: Transition = Transition::Ejected(Cause::Consecutive5xx);

    /// As Envoy's defaults, but that all may be ejected.
    fn any_number() -> OutlierDetection {
        OutlierDetection { max_ejection_percent: 100, ..OutlierDetection::default() }
    }

    #[test]
    fn five_failures_in_a_row_eject_and_an_answer_between_them_does_not() {
        let mut fleet = Fleet::new(2, any_number());
        assert_eq!(fleet.requests(0, Outcome::ServerError, 4), []);
        assert_eq!(fleet.request(0, Outcome::Success), None);
        for outcome in [Outcome::ServerError, Outcome::GatewayFailure].repeat(2) {
            assert_eq!(fleet.request(0, outcome), None);
        }
        assert_eq!(fleet.request(0, Outcome::LocalOrigin), Some(EJECTED));
        assert!(fleet.monitors[0].is_ejected() && !fleet.monitors[0].admits());
        assert!(!fleet.monitors[1].is_ejected());
        assert_eq!(fleet.detector.ejected(), 1);
    }

    #[test]
    fn gateway_failures_have_a_row_of_their_own() {
        let mut fleet = Fleet::new(
            1,
            OutlierDetection {
                consecutive_gateway_failure: 3,
                enforcing_consecutive_gateway_failure: 100,
                ..any_number()
            },
        );
        fleet.requests(0, Outcome::GatewayFailure, 2);
        fleet.request(0, Outcome::ServerError);
        fleet.request(0, Outcome::Success);
        let cause = Cause::ConsecutiveGatewayFailure;
        assert_eq!(
            fleet.requests(0, Outcome::GatewayFailure, 3),
            [Transition::Ejected(cause)],
            "the row began again"
        );
    }

    #[test]
    fn split_errors_count_what_was_out_of_reach_apart() {
        let split = OutlierDetection { split_external_local_origin_errors: true, ..any_number() };
        let mut fleet = Fleet::new(1, split);
        assert_eq!(fleet.requests(0, Outcome::LocalOrigin, 4), []);
        // It answered: it was reached.
        assert_eq!(fleet.requests(0, Outcome::ServerError, 4), []);
        assert_eq!(fleet.requests(0, Outcome::LocalOrigin, 4), []);
        let cause = Cause::ConsecutiveLocalOriginFailure;
        assert_eq!(fleet.request(0, Outcome::LocalOrigin), Some(Transition::Ejected(cause)));
    }

    #[test]
    fn a_row_of_no_length_and_a_chance_of_nothing_never_eject() {
        for config in [
            OutlierDetection {
                consecutive_5xx: 0,
                consecutive_gateway_failure: 0,
                enforcing_consecutive_gateway_failure: 100,
                consecutive_local_origin_failure: 0,
                split_external_local_origin_errors: true,
                ..any_number()
            },
            OutlierDetection { enforcing_consecutive_5xx: 0, ..any_number() },
        ] {
            let mut fleet = Fleet::new(1, config);
            for outcome in [Outcome::ServerError, Outcome::GatewayFailure, Outcome::Success] {
                assert_eq!(fleet.requests(0, outcome, 50), []);
            }
        }
    }

    #[test]
    fn no_more_than_the_percentage_is_ejected_but_one_if_it_must() {
        let mut fleet = Fleet::new(19, OutlierDetection::default());
        fleet.eject(0);
        assert_eq!(fleet.requests(1, Outcome::ServerError, 20), [], "two of 19 are above 10 %");

        let mut few = Fleet::new(9, OutlierDetection::default());
        assert_eq!(few.requests(0, Outcome::ServerError, 20), [], "one of 9 is above 10 %");

        let config =
            OutlierDetection { always_eject_one_host: true, ..OutlierDetection::default() };
        let mut few = Fleet::new(9, config);
        few.eject(0);
        assert_eq!(few.requests(1, Outcome::ServerError, 20), []);
    }

    #[test]
    fn a_probe_that_succeeds_brings_an_endpoint_back() {
        let mut fleet = Fleet::new(2, any_number());
        fleet.eject(0);
        fleet.wait(29);
        assert!(!fleet.monitors[0].admits());
        fleet.wait(1);
        assert!(fleet.monitors[0].admits());
        assert_eq!(fleet.detector.ejected(), 1, "until it is probed");
        assert_eq!(fleet.request(0, Outcome::Success), Some(Transition::Returned));
        assert_eq!(fleet.detector.ejected(), 0);
        assert_eq!(fleet.requests(0, Outcome::ServerError, 4), [], "rows began again");
    }

    #[test]
    fn a_probe_that_fails_ejects_for_longer_up_to_the_longest() {
        let mut fleet = Fleet::new(1, any_number());
        fleet.eject(0);
        for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300] {
            fleet.wait(seconds - 1);
            assert!(!fleet.monitors[0].admits(), "before {seconds} s");
            fleet.wait(1);
            assert!(fleet.monitors[0].admits(), "after {seconds} s");
            let failed = Transition::Ejected(Cause::Probe);
            assert_eq!(fleet.request(0, Outcome::GatewayFailure), Some(failed));
        }
        assert_eq!(fleet.detector.ejected(), 1);
    }

    #[test]
    fn a_probe_that_is_not_answered_fails_in_time() {
        let mut fleet = Fleet::new(1, any_number());
        fleet.eject(0);
        fleet.wait(30);
        let hung = fleet.monitors[0].begin_request();
        fleet.wait(29);
        assert!(!fleet.monitors[0].admits() && !fleet.monitors[0].is_barred());
        fleet.wait(2);
        assert!(fleet.monitors[0].is_barred(), "for twice the base time");
        fleet.monitors[0].end_request(hung);
        fleet.wait(58);
        assert!(!fleet.monitors[0].admits());
        fleet.wait(2);
        assert!(fleet.monitors[0].admits());
    }

    #[test]
    fn every_interval_in_use_makes_the_next_ejection_shorter() {
        let mut fleet = Fleet::new(1, any_number());
        fleet.eject(0);
        for seconds in [30, 60] {
            fleet.wait(seconds);
            fleet.request(0, Outcome::ServerError);
        }
        fleet.wait(90);
        assert_eq!(fleet.request(0, Outcome::Success), Some(Transition::Returned));
        // From 3 down to 1: the next one has 2 × the base.
        fleet.wait(20);
        fleet.eject(0);
        fleet.wait(59);
        assert!(!fleet.monitors[0].admits());
        fleet.wait(1);
        assert!(fleet.monitors[0].admits());
    }

    #[test]
    fn requests_from_before_an_ejection_tell_nothing_after_it() {
        let mut fleet = Fleet::new(1, any_number());
        let old = fleet.monitors[0].begin_request();
        fleet.eject(0);
        let late = |fleet: &mut Fleet, outcome| {
            let (now, rng) = (fleet.now, &mut fleet.rng);
            fleet.detector.on_outcome(&fleet.monitors[0], old, outcome, 1, now, rng)
        };
        assert_eq!(late(&mut fleet, Outcome::Success), None);
        fleet.wait(30);
        assert_eq!(late(&mut fleet, Outcome::Success), None);
        assert_eq!(late(&mut fleet, Outcome::ServerError), None);
        assert!(fleet.monitors[0].admits(), "its probe is still to come");
        fleet.request(0, Outcome::Success);
        fleet.requests(0, Outcome::ServerError, 4);
        assert_eq!(late(&mut fleet, Outcome::ServerError), None, "and after its return");
    }

    #[test]
    fn jitter_only_adds_and_differs() {
        let jitter = Duration::from_secs(20);
        let mut fleet =
            Fleet::new(40, OutlierDetection { max_ejection_time_jitter: jitter, ..any_number() });
        for endpoint in 0..40 {
            fleet.eject(endpoint);
        }
        let admitted = |fleet: &Fleet| fleet.monitors.iter().filter(|m| m.admits()).count();
        fleet.wait(29);
        assert_eq!(admitted(&fleet), 0);
        fleet.wait(11);
        assert!((10..30).contains(&admitted(&fleet)), "half of them: {}", admitted(&fleet));
        fleet.wait(10);
        assert_eq!(admitted(&fleet), 40);
    }

    #[test]
    fn the_worst_of_many_is_ejected_for_its_success_rate() {
        let mut fleet = Fleet::new(10, any_number());
        for endpoint in 0..10 {
            // 1 % of failures, and 25 %: never two in a row.
            let every = if endpoint == 3 { 4 } else { 100 };
            for n in 1..=100 {
                let fails = n % every == 0;
                let outcome = if fails { Outcome::ServerError } else { Outcome::Success };
                assert_eq!(fleet.request(endpoint, outcome), None);
            }
        }
        fleet.now = fleet.now + Duration::from_secs(10);
        assert_eq!(fleet.tick(), [(3, Transition::Ejected(Cause::SuccessRate))]);
        fleet.now = fleet.now + Duration::from_secs(10);
        assert_eq!(fleet.tick(), [], "an interval without requests says nothing");
    }

    #[test]
    fn too_many_failures_eject_by_percentage_where_that_is_enforced() {
        for (outcome, cause) in [
            (Outcome::ServerError, Cause::FailurePercentage),
            (Outcome::LocalOrigin, Cause::FailurePercentageLocalOrigin),
        ] {
            let percentage = OutlierDetection {
                consecutive_5xx: 0,
                consecutive_local_origin_failure: 0,
                enforcing_success_rate: 0,
                enforcing_failure_percentage: 100,
                split_external_local_origin_errors: true,
                ..any_number()
            };
            let mut fleet = Fleet::new(5, percentage);
            // 84 % and 86 %, with a threshold of 85.
            for (endpoint, failures) in [42, 43, 0, 0, 0].into_iter().enumerate() {
                fleet.requests(endpoint, outcome, failures);
                fleet.requests(endpoint, Outcome::Success, 50 - failures);
            }
            fleet.now = fleet.now + Duration::from_secs(10);
            assert_eq!(fleet.tick(), [(1, Transition::Ejected(cause))]);
        }
    }

    #[test]
    fn an_endpoint_that_leaves_is_not_counted_any_more() {
        let mut fleet = Fleet::new(2, any_number());
        fleet.eject(0);
        fleet.monitors[0].forget();
        fleet.monitors[1].forget();
        fleet.detector.on_endpoints(0);
        assert_eq!(fleet.detector.ejected(), 0);
        assert_eq!(fleet.requests(1, Outcome::ServerError, 20), []);
        fleet.wait(30);
        assert_eq!(fleet.request(0, Outcome::Success), None);
        assert_eq!(fleet.detector.ejected(), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_prolong_an_ejection_for_long() {
        let mut fleet = Fleet::new(1, any_number());
        fleet.eject(0);
        fleet.now = Time::from_start(Duration::from_secs(600));
        fleet.tick();
        assert!(fleet.monitors[0].admits());
        fleet.request(0, Outcome::Success);
        fleet.wait(20);
        fleet.eject(0);
        fleet.wait(30);
        assert!(fleet.monitors[0].admits(), "intervals went on");
    }
}
