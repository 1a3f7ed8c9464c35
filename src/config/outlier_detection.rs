//! When an endpoint's answers take it out of use.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::duration::Spelled;
use super::error::ConfigError;
use super::node::Node;
use super::problem::Problem;

/// When an endpoint is ejected for what it answers, and for how long. Fields and defaults are
/// those of Envoy's `OutlierDetection`; percentages are whole numbers up to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx answers in a row, local origin failures among them.
    pub consecutive_5xx: u32,
    /// The chance that so many eject.
    pub enforcing_consecutive_5xx: u8,
    /// 502, 503 and 504 in a row, local origin failures among them.
    pub consecutive_gateway_failure: u32,
    /// The chance that so many eject.
    pub enforcing_consecutive_gateway_failure: u8,
    /// Whether failures to reach an endpoint count apart from what it answers.
    pub split_external_local_origin_errors: bool,
    /// Failures to reach it in a row, where they count apart.
    pub consecutive_local_origin_failure: u32,
    /// The chance that so many eject.
    pub enforcing_consecutive_local_origin_failure: u8,
    /// How often success rates are looked at.
    pub interval: Duration,
    /// The least endpoints with enough requests for the success rate to say anything.
    pub success_rate_minimum_hosts: u32,
    /// How many requests in an interval are enough.
    pub success_rate_request_volume: u32,
    /// How many thousandths of a standard deviation below the mean are too low.
    pub success_rate_stdev_factor: u32,
    /// The chance that a low success rate ejects.
    pub enforcing_success_rate: u8,
    /// The failures, in percent of an interval's requests, that are too many.
    pub failure_percentage_threshold: u8,
    /// The least endpoints with enough requests for that.
    pub failure_percentage_minimum_hosts: u32,
    /// How many requests in an interval are enough.
    pub failure_percentage_request_volume: u32,
    /// The chance that too many failures eject.
    pub enforcing_failure_percentage: u8,
    /// The time of a first ejection; it is multiplied by the number of ejections.
    pub base_ejection_time: Duration,
    /// The longest time; never below the base.
    pub max_ejection_time: Duration,
    /// The most that is added to it at random.
    pub max_ejection_time_jitter: Duration,
    /// The most endpoints that are ejected at a time.
    pub max_ejection_percent: u8,
    /// Whether one may be ejected whatever the percentage.
    pub always_eject_one_host: bool,
}

impl OutlierDetection {
    /// The most of what is counted.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The shortest and the longest of its times.
    pub const TIMES: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(86_400);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "consecutive_5xx",
        "enforcing_consecutive_5xx",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "interval",
        "success_rate_minimum_hosts",
        "success_rate_request_volume",
        "success_rate_stdev_factor",
        "enforcing_success_rate",
        "failure_percentage_threshold",
        "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume",
        "enforcing_failure_percentage",
        "base_ejection_time",
        "max_ejection_time",
        "max_ejection_time_jitter",
        "max_ejection_percent",
        "always_eject_one_host",
    ];

    /// Reads what differs from the defaults. `max_ejection_time` must not be below
    /// `base_ejection_time`, as in Envoy; where it is left out it is at least that.
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut found = Self::default();
        for (name, slot) in [
            ("consecutive_5xx", &mut found.consecutive_5xx),
            ("consecutive_gateway_failure", &mut found.consecutive_gateway_failure),
            ("consecutive_local_origin_failure", &mut found.consecutive_local_origin_failure),
            ("success_rate_minimum_hosts", &mut found.success_rate_minimum_hosts),
            ("success_rate_request_volume", &mut found.success_rate_request_volume),
            ("success_rate_stdev_factor", &mut found.success_rate_stdev_factor),
            ("failure_percentage_minimum_hosts", &mut found.failure_percentage_minimum_hosts),
            ("failure_percentage_request_volume", &mut found.failure_percentage_request_volume),
        ] {
            object.set(name, slot, |node| node.integer(1..=Self::MAX_COUNT))?;
        }
        for (name, slot) in [
            ("enforcing_consecutive_5xx", &mut found.enforcing_consecutive_5xx),
            (
                "enforcing_consecutive_gateway_failure",
                &mut found.enforcing_consecutive_gateway_failure,
            ),
            (
                "enforcing_consecutive_local_origin_failure",
                &mut found.enforcing_consecutive_local_origin_failure,
            ),
            ("enforcing_success_rate", &mut found.enforcing_success_rate),
            ("failure_percentage_threshold", &mut found.failure_percentage_threshold),
            ("enforcing_failure_percentage", &mut found.enforcing_failure_percentage),
            ("max_ejection_percent", &mut found.max_ejection_percent),
        ] {
            object.set(name, slot, Node::percent)?;
        }
        let jitter = Duration::ZERO..=*Self::TIMES.end();
        for (name, slot, limits) in [
            ("interval", &mut found.interval, Self::TIMES),
            ("base_ejection_time", &mut found.base_ejection_time, Self::TIMES),
            ("max_ejection_time", &mut found.max_ejection_time, Self::TIMES),
            ("max_ejection_time_jitter", &mut found.max_ejection_time_jitter, jitter),
        ] {
            object.set(name, slot, |node| node.duration(limits))?;
        }
        for (name, slot) in [
            ("split_external_local_origin_errors", &mut found.split_external_local_origin_errors),
            ("always_eject_one_host", &mut found.always_eject_one_host),
        ] {
            object.set(name, slot, Node::boolean)?;
        }
        let (base, most) = (found.base_ejection_time, found.max_ejection_time);
        if base > most && object.has("max_ejection_time") {
            let (found, most) = (Spelled(base).to_string(), Spelled(most).to_string());
            let problem = Problem::Above { found, other: "max_ejection_time", most };
            return Err(object.refused("base_ejection_time", problem));
        }
        Ok(Self { max_ejection_time: most.max(base), ..found })
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            interval: Duration::from_secs(10),
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            enforcing_success_rate: 100,
            failure_percentage_threshold: 85,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            enforcing_failure_percentage: 0,
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
        }
    }
}
