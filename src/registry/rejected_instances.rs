//! The instances of a response that take no traffic.

use core::fmt;
use core::net::IpAddr;

use crate::registry::consul::health::Health;

/// The entries of a response that became no endpoint, counted by reason.
///
/// An entry has one reason: the first that applies, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RejectedInstances {
    /// `Service` is null, absent or no object.
    pub no_service: usize,
    /// The instance is not healthy enough.
    pub unhealthy: Unhealthy,
    /// The weight is 0. An operator takes an instance out of traffic by this.
    pub weightless: usize,
    /// Neither the instance nor its node has an address.
    pub no_address: usize,
    /// The address is no IP address, and the configuration does not permit names. Looking up names
    /// here would be a second discovery with failures of its own.
    pub hostname: usize,
    /// Names are permitted, and the address is neither an IP address nor a name.
    pub bad_name: usize,
    /// The port is missing, no integer, 0, negative or above 65535. There is no default: a silent
    /// 80 has sent traffic to strangers elsewhere.
    pub bad_port: usize,
    /// The address policy denies the address.
    pub denied: Denied,
}

impl RejectedInstances {
    /// Returns the number of faulty entries, which need a correction in Consul. Unhealthy and
    /// weightless entries are intended, and denied ones may need a correction of the policy
    /// instead.
    pub const fn total(&self) -> usize {
        self.no_service + self.no_address + self.hostname + self.bad_name + self.bad_port
    }

    /// Returns true if at least one entry was rejected and no rejection is intended: none by a
    /// known check, by weight or by the address policy.
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

/// The addresses that the policy denies: their number and an example for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Denied {
    /// The number of entries.
    pub count: usize,
    /// The lowest of the addresses, so that the order of the entries does not matter.
    pub least: Option<IpAddr>,
}

/// The entries that are not healthy enough, by health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unhealthy {
    /// In maintenance, of the node or the service.
    pub maintenance: usize,
    /// With a critical check.
    pub critical: usize,
    /// With a check of unknown status.
    pub unknown: usize,
    /// With a warning check, where only passing instances are used.
    pub warning: usize,
}

impl Unhealthy {
    /// Returns the number of all.
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

/// The reason why an entry became no endpoint.
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
    fn total_counts_faulty_entries_only() {
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
    fn denied_example_does_not_depend_on_the_order() {
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
    fn rejection_is_nonsense_when_no_entry_is_understood() {
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
