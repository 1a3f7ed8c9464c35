//! What is asked of Consul for one service.

use super::service::Service;
use super::whole::Config;
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
    /// their order. A service without datacenters has that of `consul`. Two may ask the same.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.services.iter().zip((0..=u16::MAX).map(ServiceId::nth)).flat_map(
            move |(service, id)| {
                self.datacenters(service).zip(0..=u8::MAX).map(move |(datacenter, preference)| {
                    Source { id, service, datacenter, preference }
                })
            },
        )
    }

    /// The datacenters in which a service is looked for, in order of preference; none is the
    /// agent's own.
    pub fn datacenters<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let default = self.consul.datacenter.as_deref();
        let default = service.datacenters.is_empty().then_some(default);
        default.into_iter().chain(service.datacenters.iter().map(|name| Some(name.as_str())))
    }
}
