//! What a tracker is to find out.

use hashbrown::HashMap;

use crate::calls::circuit::Datacenter;
use crate::config::{Config, Discover, Service, ShrinkGuardConfig, Source};
use crate::consul::query::Query;
use crate::model::service::SourceId;

/// What is asked for a source, and how far its answers are trusted.
#[derive(Debug, Clone)]
pub struct SourceSpec {
    /// The question, and how its answer is read.
    pub query: Query,
    /// When an answer is doubted.
    pub guard: ShrinkGuardConfig,
    /// Whose servers answer it.
    pub datacenter: Datacenter,
    /// Whether a client has named it, so that it has to show first that it is there.
    pub on_trial: bool,
}

impl SourceSpec {
    /// What a configuration says of a source.
    pub fn new(config: &Config, source: Source<'_>) -> Self {
        Self::of(config, source.service, source.datacenter)
    }

    /// Lists what a configuration asks of Consul, in the order of its sources, each with its id. The
    /// ids are in that order, too, but that a question which was asked before has that one's id.
    pub fn all(config: &Config) -> Vec<(SourceId, Source<'_>, Self)> {
        let mut ids = HashMap::new();
        let each = config.sources().map(|source| {
            let spec = Self::new(config, source);
            let next = SourceId::nth(u16::try_from(ids.len()).unwrap_or(u16::MAX));
            (*ids.entry(spec.query.key()).or_insert(next), source, spec)
        });
        each.collect()
    }

    /// What a configuration says of a service in a datacenter; none is the agent's own.
    pub fn of(config: &Config, service: &Service, datacenter: Option<&str>) -> Self {
        let query = Query::new(config, service, datacenter);
        let datacenter = datacenter.map(Into::into);
        Self { query, guard: service.shrink_guard, datacenter, on_trial: false }
    }

    /// What a configuration says of the catalog.
    pub fn catalog(config: &Config, discover: &Discover) -> Self {
        let datacenter = config.consul.datacenter.as_deref().map(Into::into);
        let guard = ShrinkGuardConfig::default();
        let query = Query::catalog(config, discover);
        Self { query, guard, datacenter, on_trial: false }
    }
}
