//! What was listed and takes no traffic.

use core::fmt;
use core::net::IpAddr;

use crate::registry::consul::health::Health;

/// How many entries of an answer became no endpoint, by the reason.
///
/// An entry has one reason: the first that applies, in the order of the fields below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RejectedInstances {
    /// `Service` is null, absent or no object.
    pub no_service: usize,
    /// Not healthy enough.
    pub unhealthy: Unhealthy,
    /// The weight is 0, by which an operator takes an instance out of traffic.
    pub weightless: usize,
    /// Neither the instance nor its node has an address.
    pub no_address: usize,
    /// The address is no IP address, and the configuration does not say that names are
    /// resolved: looking them up here would be a second discovery with its own failures.
    pub hostname: usize,
    /// Names are resolved, and the address is neither an IP address nor a name.
    pub bad_name: usize,
    /// The port is missing, no integer, 0, negative or above 65535. There is no default:
    /// a silent 80 has sent traffic to strangers elsewhere.
    pub bad_port: usize,
    /// The address policy does not admit the address.
    pub denied: Denied,
}

impl RejectedInstances {
    /// The faulty entries: those that somebody should mend in Consul. Unhealthy and
    /// weightless ones are as they are meant to be, and are not among them; nor are denied
    /// ones, for it may as well be the policy that is to be mended.
    pub const fn total(&self) -> usize {
        self.no_service + self.no_address + self.hostname + self.bad_name + self.bad_port
    }

    /// Whether nothing of what was dropped makes sense: no entry is out of service on
    /// purpose, by a check that is understood or by the address policy, and there is at least
    /// one.
    pub const fn is_nonsense(&self) -> bool {
        let Unhealthy { maintenance, critical, warning, unknown } = self.unhealthy;
        let understood = maintenance + critical + warning + self.weightless + self.denied.count;
        understood == 0 && self.total() + unknown > 0
    }

    /// Counts one entry.
    pub(super) fn count(&mut self, reason: RejectReason) {
        let counter = match reason {
            RejectReason::NoService => &mut self.no_service,
            RejectReason::Unhealthy(Health::Maintenance) => &mut self.unhealthy.maintenance,
            RejectReason::Unhealthy(Health::Critical) => &mut self.unhealthy.critical,
            RejectReason::Unhealthy(Health::Warning) => &mut self.unhealthy.warning,
            RejectReason::Unhealthy(Health::Unknown | Health::Passing) => {
                &mut self.unhealthy.unknown
            }
            RejectReason::Weightless => &mut self.weightless,
            RejectReason::NoAddress => &mut self.no_address,
            RejectReason::Hostname => &mut self.hostname,
            RejectReason::BadName => &mut self.bad_name,
            RejectReason::BadPort => &mut self.bad_port,
            RejectReason::Denied(ip) => {
                let least = self.denied.least.map_or(ip, |least| least.min(ip));
                self.denied.least = Some(least);
                &mut self.denied.count
            }
        };
        *counter += 1;
    }
}

/// How many addresses the policy did not admit, with one of them: an operator who reads only
/// how many would have to search for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Denied {
    /// How many entries.
    pub count: usize,
    /// The least of their addresses, the same one whatever the order of the entries.
    pub least: Option<IpAddr>,
}

/// How many entries were not healthy enough, by their health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unhealthy {
    /// In maintenance, of the node or the service.
    pub maintenance: usize,
    /// With a critical check.
    pub critical: usize,
    /// With a check whose status is unknown.
    pub unknown: usize,
    /// With a check in warning, where only passing instances are wanted.
    pub warning: usize,
}

impl Unhealthy {
    /// All of them.
    pub const fn total(&self) -> usize {
        self.maintenance + self.critical + self.unknown + self.warning
    }
}

impl fmt::Display for RejectedInstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.unhealthy.critical, "critical"),
            (self.unhealthy.maintenance, "in maintenance"),
            (self.unhealthy.warning, "in warning"),
            (self.unhealthy.unknown, "with a check of unknown status"),
            (self.weightless, "of weight 0"),
            (self.no_service, "without a service"),
            (self.no_address, "without an address"),
            (self.hostname, "with a name instead of an IP address, without resolve_names"),
            (self.bad_name, "with an address that is neither an IP address nor a name"),
            (self.bad_port, "with a port that is not from 1 to 65535"),
        ];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        match self.denied {
            Denied { count, least: Some(least) } => {
                write!(f, "{separator}{count} denied by the address policy, such as {least}")
            }
            Denied { .. } if separator.is_empty() => f.write_str("none"),
            Denied { .. } => Ok(()),
        }
    }
}

/// Why one entry became no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectReason {
    NoService,
    Unhealthy(Health),
    Weightless,
    NoAddress,
    Hostname,
    BadName,
    BadPort,
    Denied(IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn denied(ip: &str) -> RejectReason {
        RejectReason::Denied(ip.parse().unwrap())
    }

    #[test]
    fn the_total_counts_what_is_faulty_and_not_what_is_out_of_service() {
        let mut dropped = RejectedInstances::default();
        for health in [Health::Maintenance, Health::Critical, Health::Unknown, Health::Warning] {
            dropped.count(RejectReason::Unhealthy(health));
        }
        dropped.count(RejectReason::Weightless);
        assert_eq!((dropped.total(), dropped.unhealthy.total()), (0, 4));
        dropped.count(denied("169.254.0.1"));
        assert_eq!((dropped.total(), dropped.unhealthy.total()), (0, 4));
        for reason in [
            RejectReason::NoService,
            RejectReason::NoAddress,
            RejectReason::Hostname,
            RejectReason::BadName,
            RejectReason::BadPort,
        ] {
            dropped.count(reason);
        }
        assert_eq!((dropped.total(), dropped.unhealthy.total()), (5, 4));
        assert_eq!((dropped.weightless, dropped.denied.count), (1, 1));
    }

    #[test]
    fn what_is_denied_is_told_with_the_same_example_whatever_the_order() {
        for order in [["169.254.169.254", "10.0.0.9"], ["10.0.0.9", "169.254.169.254"]] {
            let mut dropped = RejectedInstances::default();
            assert_eq!(dropped.to_string(), "none");
            order.iter().for_each(|ip| dropped.count(denied(ip)));
            let text = "2 denied by the address policy, such as 10.0.0.9";
            assert_eq!(dropped.to_string(), text);
            dropped.count(RejectReason::BadPort);
            let both = format!("1 with a port that is not from 1 to 65535, {text}");
            assert_eq!(dropped.to_string(), both);
        }
    }

    #[test]
    fn nonsense_is_what_says_nothing_that_is_understood() {
        let of = |reasons: &[RejectReason]| {
            let mut dropped = RejectedInstances::default();
            reasons.iter().for_each(|&reason| dropped.count(reason));
            dropped.is_nonsense()
        };
        assert!(!of(&[]), "an empty answer is an answer");
        assert!(of(&[RejectReason::NoService]));
        assert!(of(&[
            RejectReason::BadPort,
            RejectReason::Hostname,
            RejectReason::Unhealthy(Health::Unknown)
        ]));
        for understood in [
            RejectReason::Unhealthy(Health::Critical),
            RejectReason::Unhealthy(Health::Maintenance),
            RejectReason::Unhealthy(Health::Warning),
            RejectReason::Weightless,
            denied("169.254.0.1"),
        ] {
            assert!(!of(&[RejectReason::NoService, understood]));
        }
    }
}
