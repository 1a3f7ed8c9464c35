//! The rules by which endpoints are ejected, and return.

use core::time::Duration;

use super::monitor::{Admission, Monitor, State};
use super::outcome::Outcome;
use super::statistics::{self, Tally};
use super::transition::{Cause, Transition};
use crate::config::OutlierDetection;
use crate::rng::Rng;
use crate::time::Time;

/// Judges the endpoints of a pool by what their [`Monitor`]s have seen.
///
/// Two kinds of rules eject: rows of failures, at once; and success rates, every `interval`,
/// against the other endpoints or a fixed percentage. An ejection lasts the base time × a
/// multiplier, which every ejection raises and every interval in use lowers.
#[derive(Debug, Clone)]
pub struct Detector {
    config: OutlierDetection,
    interval_began: Option<Time>,
    ejected: usize,
}

impl Detector {
    /// Starts with no endpoint ejected.
    pub const fn new(config: OutlierDetection) -> Self {
        Self { config, interval_began: None, ejected: 0 }
    }

    /// The endpoints that are out of use: ejected, or not yet back.
    pub const fn ejected(&self) -> usize {
        self.ejected
    }

    /// Counts the outcome of a request to one of `hosts` endpoints, and judges its rows.
    ///
    /// The outcome of a probe brings the endpoint back, or ejects it again for longer; neither
    /// percentages nor chances are asked, since it is out of use already. Other requests tell
    /// nothing of an endpoint that was ejected, or came back, since they began.
    pub fn on_outcome(
        &mut self,
        monitor: &Monitor,
        admission: Admission,
        outcome: Outcome,
        hosts: usize,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        match monitor.state() {
            State::Active { .. } if monitor.is_current(admission) => {
                self.judge_rows(monitor, outcome, hosts, now, rng)
            }
            State::Probation { .. } if monitor.is_decided_by(admission) => {
                if outcome == Outcome::Success {
                    monitor.admit_again(now);
                    self.ejected = self.ejected.saturating_sub(1);
                    Some(Transition::Returned)
                } else {
                    self.eject(monitor, now, rng);
                    Some(Transition::Ejected(Cause::Probe))
                }
            }
            _ => None,
        }
    }

    /// Ends the ejections whose time is over, and judges success rates when an interval is.
    ///
    /// `endpoints` are all of the pool's; `on` learns which were ejected. Returns whether some
    /// take requests that took none before, or the other way round. A clock that was set
    /// back ends the interval, and an ejection that would last longer than any can. A probe that
    /// is not answered for the base ejection time has failed: nobody else is sent there meanwhile.
    pub fn on_tick<'a, T: AsRef<Monitor> + 'a>(
        &mut self,
        endpoints: impl Iterator<Item = &'a T> + Clone,
        now: Time,
        rng: &mut Rng,
        mut on: impl FnMut(&'a T, Transition),
    ) -> bool {
        let mut changed = false;
        let longest = self.longest_ejection().saturating_add(self.config.max_ejection_time_jitter);
        for endpoint in endpoints.clone() {
            let monitor = endpoint.as_ref();
            if let State::Ejected { until } = monitor.state()
                && (until <= now || until.since(now) > longest)
            {
                monitor.end_ejection();
                changed = true;
            } else if monitor.is_probe_overdue(now, self.config.base_ejection_time) {
                self.eject(monitor, now, rng);
                on(endpoint, Transition::Ejected(Cause::Probe));
                changed = true;
            }
        }
        let began = *self.interval_began.get_or_insert(now);
        if began <= now && now.since(began) < self.config.interval {
            return changed;
        }
        self.interval_began = Some(now);
        let mut on = |endpoint, transition| {
            changed = true;
            on(endpoint, transition);
        };
        self.judge_rates(endpoints.clone(), Monitor::answers, &Cause::ANSWERS, now, rng, &mut on);
        if self.config.split_external_local_origin_errors {
            let causes = &Cause::CONNECTIONS;
            self.judge_rates(endpoints.clone(), Monitor::connections, causes, now, rng, &mut on);
        }
        for monitor in endpoints.map(AsRef::as_ref) {
            monitor.end_interval();
            if let State::Active { since } = monitor.state()
                && now.since(since) >= self.config.interval
            {
                monitor.lower_multiplier();
            }
        }
        changed
    }

    /// Learns how many of the endpoints of a newer snapshot are out of use.
    pub const fn on_endpoints(&mut self, ejected: usize) {
        self.ejected = ejected;
    }

    /// Counts an outcome in its rows; a row that is full starts again, whether or not it
    /// ejects (`onConsecutiveErrorWorker`). A row whose limit is 0 never is.
    fn judge_rows(
        &mut self,
        monitor: &Monitor,
        outcome: Outcome,
        hosts: usize,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let config = self.config;
        if config.split_external_local_origin_errors {
            let is_success = outcome != Outcome::LocalOrigin;
            if monitor.count_connection(is_success) == config.consecutive_local_origin_failure
                && !is_success
            {
                monitor.restart_local_origin_failures();
                let chance = config.enforcing_consecutive_local_origin_failure;
                if self.may_eject(chance, hosts, rng) {
                    self.eject_first(monitor, now, rng);
                    return Some(Transition::Ejected(Cause::ConsecutiveLocalOriginFailure));
                }
            }
            if !is_success {
                return None;
            }
        }
        let (gateway_failures, of_5xx) = monitor.count_answer(outcome);
        if outcome == Outcome::Success {
            return None;
        }
        if gateway_failures == config.consecutive_gateway_failure && gateway_failures > 0 {
            monitor.restart_gateway_failures();
            if self.may_eject(config.enforcing_consecutive_gateway_failure, hosts, rng) {
                self.eject_first(monitor, now, rng);
                return Some(Transition::Ejected(Cause::ConsecutiveGatewayFailure));
            }
        }
        if of_5xx == config.consecutive_5xx {
            monitor.restart_5xx();
            if self.may_eject(config.enforcing_consecutive_5xx, hosts, rng) {
                self.eject_first(monitor, now, rng);
                return Some(Transition::Ejected(Cause::Consecutive5xx));
            }
        }
        None
    }

    /// Judges the success rates of an interval: first each against the others, then each
    /// against the fixed percentage (`processSuccessRateEjections`).
    ///
    /// The rates by which they are judged are those of all that were in use when the interval
    /// ended. One that the first rule has ejected is not ejected again by the second.
    fn judge_rates<'a, T: AsRef<Monitor> + 'a>(
        &mut self,
        endpoints: impl Iterator<Item = &'a T> + Clone,
        tally: fn(&Monitor) -> Tally,
        causes: &[Cause; 2],
        now: Time,
        rng: &mut Rng,
        on: &mut impl FnMut(&'a T, Transition),
    ) {
        let config = self.config;
        let hosts = endpoints.clone().count();
        let rates = |volume| {
            let in_use = endpoints.clone().filter(|endpoint| !endpoint.as_ref().is_ejected());
            in_use.filter_map(move |e| Some((e, tally(e.as_ref()).success_rate(volume)?)))
        };
        let [far_below, too_low] = *causes;

        let comparable = rates(config.success_rate_request_volume).map(|(_, rate)| rate);
        let threshold = statistics::threshold(
            comparable,
            config.success_rate_minimum_hosts,
            config.success_rate_stdev_factor,
        );
        let percentage = rates(config.failure_percentage_request_volume).count();

        if let Some(threshold) = threshold {
            for (endpoint, rate) in rates(config.success_rate_request_volume) {
                if rate < threshold && self.may_eject(config.enforcing_success_rate, hosts, rng) {
                    self.eject_first(endpoint.as_ref(), now, rng);
                    on(endpoint, Transition::Ejected(far_below));
                }
            }
        }
        if percentage >= config.failure_percentage_minimum_hosts as usize {
            for (endpoint, rate) in rates(config.failure_percentage_request_volume) {
                if 100.0 - rate >= f64::from(config.failure_percentage_threshold)
                    && self.may_eject(config.enforcing_failure_percentage, hosts, rng)
                {
                    self.eject_first(endpoint.as_ref(), now, rng);
                    on(endpoint, Transition::Ejected(too_low));
                }
            }
        }
    }

    /// Whether one more of so many may be ejected, and the chance has it (`ejectHost`).
    fn may_eject(&self, chance: u8, hosts: usize, rng: &mut Rng) -> bool {
        let most = u64::from(self.config.max_ejection_percent.min(100));
        let is_within = (self.ejected as u64 + 1) * 100 <= most * hosts as u64;
        let is_only = self.config.always_eject_one_host && self.ejected == 0;
        (is_within || is_only) && rng.below(100) < u32::from(chance)
    }

    /// Ejects an endpoint that was in use.
    fn eject_first(&mut self, monitor: &Monitor, now: Time, rng: &mut Rng) {
        self.ejected += 1;
        self.eject(monitor, now, rng);
    }

    /// Ejects an endpoint for the next multiple of the base time, up to the longest, and a
    /// jitter.
    ///
    /// The multiplier is not raised further than the longest time makes sense of, so that it
    /// comes down again as fast as it went up.
    fn eject(&self, monitor: &Monitor, now: Time, rng: &mut Rng) {
        let base = self.config.base_ejection_time;
        let longest = self.longest_ejection();
        let previous = monitor.multiplier();
        let is_useful = base.saturating_mul(previous) < longest.saturating_add(base);
        let multiplier = previous.saturating_add(u32::from(is_useful));
        let time = base.saturating_mul(multiplier).min(longest);
        let jitter = self.config.max_ejection_time_jitter.mul_f64(rng.unit());
        monitor.eject(now + time + jitter, multiplier);
    }

    /// The longest ejection without its jitter.
    fn longest_ejection(&self) -> Duration {
        self.config.max_ejection_time.max(self.config.base_ejection_time)
    }
}
