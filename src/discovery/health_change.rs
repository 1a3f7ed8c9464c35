//! What probes have changed.

use core::fmt;
use core::net::SocketAddr;

use crate::health::roll::Roll;
use crate::health::verdict::Reason;

/// So many endpoints are named in a log line.
const NAMED: usize = 3;

/// How the endpoints of a source have changed, as far as probes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// How many endpoints there are.
    pub endpoints: usize,
    /// How many of them are not healthy.
    pub unhealthy: usize,
    /// How many are not healthy any more.
    pub fallen: usize,
    /// How many are healthy again; those that have gone are not counted.
    pub risen: usize,
    /// The first of those that are not healthy any more, and why.
    first_fallen: Vec<(SocketAddr, Option<Reason>)>,
    /// The first of those that are healthy again.
    first_risen: Vec<SocketAddr>,
}

impl HealthChange {
    /// What is different; both lists are in the order of the addresses.
    pub(super) fn new(roll: &Roll, before: &[SocketAddr], after: &[SocketAddr]) -> Self {
        let fallen = || after.iter().filter(|it| before.binary_search(it).is_err());
        let is_here = |address: &SocketAddr| roll.has(address);
        let risen =
            || before.iter().filter(|it| after.binary_search(it).is_err()).filter(|it| is_here(it));
        let reason = |address: &SocketAddr| (*address, roll.reason(address).cloned());
        Self {
            endpoints: roll.len(),
            unhealthy: after.len(),
            fallen: fallen().count(),
            risen: risen().count(),
            first_fallen: fallen().take(NAMED).map(reason).collect(),
            first_risen: risen().take(NAMED).copied().collect(),
        }
    }

    /// Whether anything is different.
    pub const fn is_news(&self) -> bool {
        self.fallen + self.risen > 0
    }
}

impl fmt::Display for HealthChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoints, unhealthy, fallen, risen, .. } = self;
        write!(f, "{unhealthy} of {endpoints} endpoints do not pass active_health_check")?;
        if self.is_news() {
            f.write_str(" (")?;
            if *fallen > 0 {
                write!(f, "{fallen} more: ")?;
                for (n, (address, reason)) in self.first_fallen.iter().enumerate() {
                    f.write_str(if n > 0 { "; " } else { "" })?;
                    write!(f, "{address}")?;
                    if let Some(reason) = reason {
                        write!(f, ", {reason}")?;
                    }
                }
                f.write_str(if *fallen > NAMED { "; ..." } else { "" })?;
            }
            f.write_str(if *fallen > 0 && *risen > 0 { "; " } else { "" })?;
            if *risen > 0 {
                write!(f, "{risen} fewer: ")?;
                for (n, address) in self.first_risen.iter().enumerate() {
                    f.write_str(if n > 0 { ", " } else { "" })?;
                    write!(f, "{address}")?;
                }
                f.write_str(if *risen > NAMED { ", ..." } else { "" })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}
