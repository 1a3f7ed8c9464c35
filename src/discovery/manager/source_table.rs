//! The sources of one VM, by id and by query.

use hashbrown::HashMap;

use crate::config::Consul;
use crate::discovery::tracked_source::TrackedSource;
use crate::model::service::{QueryKey, SourceId};
use crate::model::slot_map::SlotMap;
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::VmId;

/// The sources of one VM. Each query has one source, however many services use it.
#[derive(Debug)]
pub(super) struct SourceTable {
    me: VmId,
    consul: Consul,
    sources: SlotMap<SourceId, TrackedSource>,
    by_query: HashMap<QueryKey, SourceUse>,
    /// The sources without users, forgotten once all commands are executed.
    retired: Vec<SourceId>,
}

/// The source of a query with the number of its users, and the number of those that clients have
/// named.
#[derive(Debug, Clone, Copy)]
struct SourceUse {
    source: SourceId,
    users: usize,
    named: usize,
}

/// The users that a source still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemainingUsers {
    /// No user is left.
    None,
    /// Only users that clients have named are left.
    OnlyNamed,
    /// Other users are left.
    Some,
}

impl SourceTable {
    /// Starts with sources in the order of their specifications. Of several with the same query the
    /// first counts.
    pub(super) fn new(me: VmId, specs: Vec<SourceSpec>, consul: &Consul) -> Self {
        let (sources, by_query) = (SlotMap::new(), HashMap::new());
        let mut table = Self { me, consul: consul.clone(), sources, by_query, retired: Vec::new() };
        for spec in specs {
            if table.add_user(&spec).is_none() {
                table.add(spec, false);
            }
        }
        table
    }

    /// Adds a user to the source of the same query, if there is one.
    pub(super) fn add_user(&mut self, spec: &SourceSpec) -> Option<SourceId> {
        let known = self.by_query.get_mut(&spec.query.key())?;
        known.users = known.users.saturating_add(1);
        known.named = known.named.saturating_add(spec.on_trial.into());
        Some(known.source)
    }

    /// Adds a source with one user. Returns `None` if there are too many sources. A standby leaves a
    /// free lease to other VMs for a while.
    pub(super) fn add(&mut self, spec: SourceSpec, is_standby: bool) -> Option<SourceId> {
        let (me, consul, key, named) = (self.me, &self.consul, spec.query.key(), spec.on_trial);
        let source = self.sources.add(|source| {
            let tracked = TrackedSource::new(me, source, spec, consul);
            if is_standby { tracked.as_standby() } else { tracked }
        })?;
        self.by_query.insert(key, SourceUse { source, users: 1, named: named.into() });
        Some(source)
    }

    /// Removes a user of a source, and retires the source after its last user. Returns `None` if
    /// there is no such source.
    pub(super) fn remove_user(
        &mut self,
        source: SourceId,
        is_named: bool,
    ) -> Option<RemainingUsers> {
        let key = self.sources.get(source)?.key();
        let known = self.by_query.get_mut(&key)?;
        known.users = known.users.saturating_sub(1);
        known.named = known.named.saturating_sub(is_named.into());
        if known.users == 0 {
            self.retired.push(source);
            return Some(RemainingUsers::None);
        }
        let only_named = known.users == known.named;
        Some(if only_named { RemainingUsers::OnlyNamed } else { RemainingUsers::Some })
    }

    /// Forgets the retired sources.
    pub(super) fn forget_retired(&mut self) {
        for source in self.retired.drain(..) {
            if let Some(source) = self.sources.remove(source) {
                self.by_query.remove(&source.key());
            }
        }
    }

    /// Returns the source of a query.
    pub(super) fn of_query(&self, query: QueryKey) -> Option<SourceId> {
        self.by_query.get(&query).map(|known| known.source)
    }

    pub(super) fn get_mut(&mut self, source: SourceId) -> Option<&mut TrackedSource> {
        self.sources.get_mut(source)
    }

    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Returns all sources in their order.
    pub(super) fn values(&self) -> impl Iterator<Item = &TrackedSource> {
        self.sources.values()
    }

    /// Returns all sources in their order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut TrackedSource> {
        self.sources.iter_mut().map(|(_, source)| source)
    }
}
