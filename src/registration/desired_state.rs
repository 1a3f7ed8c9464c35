//! The desired state of a registration, and the relation of an orphan to it.

use core::time::Duration;
use std::rc::Rc;

use crate::config;
use crate::election::lease::PERIOD;
use crate::registration::down_dependencies::DownDependencies;
use crate::registry::consul::registration::{Definition, Id};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The desired state of a registration at its agent.
#[derive(Debug)]
pub enum DesiredState {
    /// The service is registered as configured.
    Present {
        /// The definition of the service.
        definition: Rc<Definition>,
        /// The dependencies that are down. Followers know them too, so that a new leader reports
        /// the same.
        down: DownDependencies,
    },
    /// The service is not registered any more.
    Absent(Orphan),
}

/// A registration that an earlier configuration has left behind.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// The id at the agent.
    pub id: Id,
    /// The cluster of this configuration.
    pub configured: String,
    /// True if this configuration registers the same id through its own cluster.
    pub is_wanted: bool,
    /// The variable that holds the token.
    pub token_env: Option<String>,
}

impl DesiredState {
    /// Desires a service that is registered as configured.
    pub fn present(definition: Definition) -> Self {
        Self::Present { definition: Rc::new(definition), down: DownDependencies::default() }
    }

    /// Desires that an orphan is not registered any more.
    pub fn absent(id: Id, consul: &config::Consul) -> Self {
        let (configured, token_env) = (consul.cluster.clone(), consul.token_env.clone());
        Self::Absent(Orphan { id, configured, is_wanted: false, token_env })
    }

    /// Returns the id at the agent.
    pub fn id(&self) -> &Id {
        match self {
            Self::Present { definition, .. } => &definition.id,
            Self::Absent(orphan) => &orphan.id,
        }
    }

    /// Returns true if the service must be absent.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }

    /// Sets whether this configuration registers the id of an orphan through its own cluster.
    pub const fn on_wanted(&mut self, is_wanted: bool) {
        if let Self::Absent(orphan) = self {
            orphan.is_wanted = is_wanted;
        }
    }

    /// Updates the dependencies that are down. Returns the services to warn of.
    pub fn review_dependencies(
        &mut self,
        down_of: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) -> &[String] {
        let Self::Present { definition, down } = self else { return &[] };
        if let names @ [_, ..] = definition.service().depends_on.as_slice() {
            let hold = definition.service().least_ttl().unwrap_or_default() / 3;
            down.on_down(down_of(names), hold, now, rng);
        }
        down.lasting(now)
    }
}

/// The time for which an orphan's lease must be unchanged before its removal, because another
/// listener may have the registration.
const ORPHANED: Duration = Duration::from_secs(5);
/// The time for which a lease must be unchanged before a configuration that is not newer may claim
/// or remove the registration. It is longer than a lease period, so that followers of the same
/// configuration take over first.
pub(super) const ABANDONED: Duration = Duration::from_secs(4 * PERIOD.as_secs());

/// The relation of an orphan to the configuration of this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrphanRelation {
    /// The orphan was registered through the same cluster.
    SameCluster,
    /// The orphan was registered through another cluster.
    OtherCluster,
    /// The orphan was registered through another cluster, and this configuration registers the same
    /// id. Both may be at the same agent.
    IdConfigured,
    /// Another configuration may register the same id through some cluster.
    IdMaybeConfigured,
}

impl OrphanRelation {
    /// Returns the time for which an orphan's lease must be unchanged before a VM claims it. The
    /// oldest VM comes first, but others follow in case it is dead. Configurations that know more
    /// about the orphan come before others.
    pub(super) fn claim_delay(self, is_oldest: bool) -> Duration {
        let deference = match self {
            Self::SameCluster | Self::IdConfigured => Duration::ZERO,
            Self::OtherCluster => ORPHANED,
            Self::IdMaybeConfigured => Duration::from_secs(60),
        };
        deference + if is_oldest { ORPHANED } else { ABANDONED }
    }
}
