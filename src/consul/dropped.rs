//! What was listed and takes no traffic.

use core::fmt;

use crate::consul::health::Health;

/// How many entries of an answer became no endpoint, by the reason.
///
/// An entry has one reason: the first that applies, in the order of the fields below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// `Service` is null, absent or no object.
    pub no_service: usize,
    /// Not healthy enough.
    pub unhealthy: Unhealthy,
    /// The weight is 0, by which an operator takes an instance out of traffic.
    pub weightless: usize,
    /// Neither the instance nor its node has an address.
    pub no_address: usize,
    /// The address is a name. Envoy is handed addresses only, and looking up names here
    /// would be a second discovery with its own failures.
    pub hostname: usize,
    /// The port is missing, no integer, 0, negative or above 65535. There is no default:
    /// a silent 80 has sent traffic to strangers elsewhere.
    pub bad_port: usize,
}

impl Dropped {
    /// The faulty entries: those that somebody should mend in Consul. Unhealthy and
    /// weightless ones are as they are meant to be, and are not among them.
    pub const fn total(&self) -> usize {
        self.no_service + self.no_address + self.hostname + self.bad_port
    }

    /// Whether nothing of what was dropped makes sense: no entry is out of service on
    /// purpose or by a check that is understood, and there is at least one.
    pub const fn is_nonsense(&self) -> bool {
        let Unhealthy { maintenance, critical, warning, unknown } = self.unhealthy;
        maintenance + critical + warning + self.weightless == 0 && self.total() + unknown > 0
    }

    /// Counts one entry.
    pub(super) const fn count(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::NoService => &mut self.no_service,
            Reason::Unhealthy(Health::Maintenance) => &mut self.unhealthy.maintenance,
            Reason::Unhealthy(Health::Critical) => &mut self.unhealthy.critical,
            Reason::Unhealthy(Health::Warning) => &mut self.unhealthy.warning,
            Reason::Unhealthy(Health::Unknown | Health::Passing) => &mut self.unhealthy.unknown,
            Reason::Weightless => &mut self.weightless,
            Reason::NoAddress => &mut self.no_address,
            Reason::Hostname => &mut self.hostname,
            Reason::BadPort => &mut self.bad_port,
        };
        *counter += 1;
    }
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

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.unhealthy.critical, "critical"),
            (self.unhealthy.maintenance, "in maintenance"),
            (self.unhealthy.warning, "in warning"),
            (self.unhealthy.unknown, "with a check of unknown status"),
            (self.weightless, "of weight 0"),
            (self.no_service, "without a service"),
            (self.no_address, "without an address"),
            (self.hostname, "with a name instead of an IP address"),
            (self.bad_port, "with a port that is not from 1 to 65535"),
        ];
        let mut separator = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Why one entry became no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    NoService,
    Unhealthy(Health),
    Weightless,
    NoAddress,
    Hostname,
    BadPort,
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_total_counts_what_is_faulty_and_not_what_is_out_of_service() {
        let mut dropped = Dropped::default();
        for health in [Health::Maintenance, Health::Critical, Health::Unknown, Health::Warning] {
            dropped.count(Reason::Unhealthy(health));
        }
        dropped.count(Reason::Weightless);
        assert_eq!((dropped.total(), dropped.unhealthy.total()), (0, 4));
        for reason in [Reason::NoService, Reason::NoAddress, Reason::Hostname, Reason::BadPort] {
            dropped.count(reason);
        }
        assert_eq!((dropped.total(), dropped.unhealthy.total()), (4, 4));
        assert_eq!(dropped.weightless, 1);
    }

    #[test]
    fn nonsense_is_what_says_nothing_that_is_understood() {
        let of = |reasons: &[Reason]| {
            let mut dropped = Dropped::default();
            reasons.iter().for_each(|&reason| dropped.count(reason));
            dropped.is_nonsense()
        };
        assert!(!of(&[]), "an empty answer is an answer");
        assert!(of(&[Reason::NoService]));
        assert!(of(&[Reason::BadPort, Reason::Hostname, Reason::Unhealthy(Health::Unknown)]));
        for understood in [
            Reason::Unhealthy(Health::Critical),
            Reason::Unhealthy(Health::Maintenance),
            Reason::Unhealthy(Health::Warning),
            Reason::Weightless,
        ] {
            assert!(!of(&[Reason::NoService, understood]));
        }
    }
}
