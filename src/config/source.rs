//! What is asked of Consul for one service.

use super::{Config, ConfigError, Place, Problem, Service};
use crate::model::service::ServiceId;

/// A service in one of its datacenters: what one query to Consul asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source<'a> {
    /// The position of the service.
    pub id: ServiceId,
    /// The service.
    pub service: &'a Service,
    /// The datacenter; none: the agent's own.
    pub datacenter: Option<&'a str>,
    /// The place of the datacenter in the service's list; the first, 0, is preferred.
    pub preference: u8,
}

impl Config {
    /// The most sources: their ids have 16 bits.
    pub const MAX_SOURCES: usize = 65_535;

    /// Lists what is asked of Consul: service by service, and the datacenters of each in
    /// their order. A service without datacenters has that of `consul`. The order decides
    /// their ids.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let default = self.consul.datacenter.as_deref();
        self.services.iter().zip(0..=u16::MAX).flat_map(move |(service, id)| {
            let default = service.datacenters.is_empty().then_some(default);
            let listed = service.datacenters.iter().map(|name| Some(name.as_str()));
            default.into_iter().chain(listed).zip(0..=u8::MAX).map(
                move |(datacenter, preference)| Source {
                    id: ServiceId::nth(id),
                    service,
                    datacenter,
                    preference,
                },
            )
        })
    }
}

/// Refuses services that have more sources than there are ids.
pub(super) fn check_sources_fit(services: &[Service], place: Place) -> Result<(), ConfigError> {
    let found = services.iter().map(|service| service.datacenters.len().max(1)).sum();
    if found > Config::MAX_SOURCES {
        let problem = Problem::TooManySources { limit: Config::MAX_SOURCES, found };
        return Err(ConfigError::refused(place, problem));
    }
    Ok(())
}
