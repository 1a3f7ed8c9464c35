//! The specification of a source.

use hashbrown::HashMap;

use crate::config::{Config, Discover, DnsNames, Service, ShrinkGuardConfig, Source};
use crate::model::service::{QueryKey, SourceId};
use crate::registry::query::{Query, service_of_host};

/// The query of a source, and the trust in its responses.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// The query and the reader of its responses.
    pub query: Query,
    /// The settings of the shrink guard.
    pub guard: ShrinkGuardConfig,
    /// The datacenter whose servers respond.
    pub datacenter: Option<Box<str>>,
    /// True if only a client has named the source, so that its existence is not certain.
    pub on_trial: bool,
}

impl SourceSpec {
    /// Returns the specification of a configured source.
    pub fn new(config: &Config, source: Source<'_>) -> Self {
        Self::of(config, source.service, source.datacenter)
    }

    /// Lists the sources of a configuration in their order, each with its id. Sources with the same
    /// query share the id of the first.
    pub fn all(config: &Config) -> Vec<(SourceId, Source<'_>, Self)> {
        let mut ids = HashMap::new();
        let each = config.sources().map(|source| {
            let spec = Self::new(config, source);
            let next = SourceId::nth(u16::try_from(ids.len()).unwrap_or(u16::MAX));
            (*ids.entry(spec.query.key()).or_insert(next), source, spec)
        });
        each.collect()
    }

    /// Returns the specification of a service in a datacenter; `None` is the agent's own.
    pub fn of(config: &Config, service: &Service, datacenter: Option<&str>) -> Self {
        let query = Query::new(config, service, datacenter);
        let datacenter = datacenter.map(Into::into);
        Self { query, guard: service.shrink_guard, datacenter, on_trial: false }
    }

    /// Returns the specification of the catalog.
    pub fn catalog(config: &Config, discover: &Discover) -> Self {
        let datacenter = config.consul.datacenter.as_deref().map(Into::into);
        let guard = ShrinkGuardConfig::default();
        let query = Query::catalog(config, discover);
        Self { query, guard, datacenter, on_trial: false }
    }

    /// Returns the service that a host names in Consul's DNS, and the key of its query.
    pub fn named(config: &Config, names: &DnsNames, host: &[u8]) -> Option<(Service, QueryKey)> {
        let (mut service, datacenter) = service_of_host(host, names)?;
        service.datacenters.extend(datacenter);
        let datacenter = config.datacenters(&service).next().flatten();
        let key = Query::new(config, &service, datacenter).key();
        Some((service, key))
    }
}
