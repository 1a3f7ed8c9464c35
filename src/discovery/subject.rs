//! What a tracker is to find out.

use crate::config::{Config, ShrinkGuard, Source};
use crate::consul::query::Query;
use crate::discovery::circuit::Datacenter;

/// What is asked for a source, and how far its answers are trusted.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The question, and how its answer is read.
    pub query: Query,
    /// When an answer is doubted.
    pub guard: ShrinkGuard,
    /// Whose servers answer it.
    pub datacenter: Datacenter,
}

impl Subject {
    /// What a configuration says of a source.
    pub fn new(config: &Config, source: Source<'_>) -> Self {
        let query = Query::new(config, source.service, source.datacenter);
        let datacenter = source.datacenter.map(Into::into);
        Self { query, guard: source.service.shrink_guard, datacenter }
    }
}
