//! The desired state of a registration.

use std::rc::Rc;

use crate::config;
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
