//! The endpoints that a request may go to, by its version.

use std::rc::Rc;

use crate::balancer::locality::ZonePlan;
use crate::balancer::policy::hash_table::{HashTable, Table};
use crate::balancer::policy::host_group::{HostGroup, PickArgs};
use crate::balancer::pool_settings::PoolSettings;
use crate::balancer::ticket::Ticket;
use crate::balancer::upstream_host::UpstreamHost;
use crate::util::rng::Rng;

/// The endpoints of one datacenter that have a version that some requests want, or all of them;
/// in groups by zone where zones make a difference.
#[derive(Debug, Default)]
pub(super) struct Subset {
    /// Sorted by address.
    targets: Vec<Rc<UpstreamHost>>,
    /// The zone of each.
    zones: Vec<Option<Rc<str>>>,
    table: Option<HashTable>,
    groups: Vec<HostGroup>,
    plan: ZonePlan,
}

impl Subset {
    /// Takes over the endpoints of a newer snapshot, each with its zone; those of a version, or
    /// all. Of the `known` tables it takes the one that fits. [`Subset::rebuild`] must follow.
    pub(super) fn set(
        &mut self,
        members: Vec<(Rc<UpstreamHost>, Option<Rc<str>>)>,
        is_of_version: bool,
        settings: &PoolSettings,
        known: &mut Vec<Rc<Table>>,
    ) {
        (self.targets, self.zones) = members.into_iter().unzip();
        self.table = HashTable::new(&settings.policy, &self.targets, is_of_version, known);
    }

    /// The table of a hash policy.
    pub(super) fn table(&self) -> Option<Rc<Table>> {
        self.table.as_ref().map(|table| Rc::clone(table.table()))
    }

    /// Builds what picks need from the shares of the endpoints as they are.
    pub(super) fn rebuild(&mut self, settings: &PoolSettings, rng: &mut Rng) {
        let mut zones: Vec<Option<Rc<str>>> = vec![None];
        if settings.zones_matter(self.len()) {
            zones = self.zones.clone();
            zones.sort_unstable();
            zones.dedup();
        }
        let is_one = zones.len() < 2;
        let before = core::mem::take(&mut self.groups);
        let group_of = |zone: Option<Rc<str>>| {
            let members = self.targets.iter().zip(&self.zones);
            let members = members.filter(|(_, its)| is_one || **its == zone);
            let members = members.map(|(target, _)| Rc::clone(target)).collect();
            let before = before.iter().find(|group| group.zone() == zone.as_ref());
            HostGroup::new(zone, members, &settings.policy, before, rng)
        };
        let groups: Vec<_> = match is_one {
            true => [None].into_iter().map(group_of).collect(),
            false => zones.iter().cloned().map(group_of).collect(),
        };
        let local = groups
            .iter()
            .position(|group| group.zone().is_some() && group.zone() == settings.zone.as_ref());
        let capacities: Vec<_> = groups.iter().map(HostGroup::capacity).collect();
        self.plan = ZonePlan::new(local, &capacities);
        self.groups = groups;
    }

    /// Picks by the policy, by `hash` where it is one that hashes; none where there is no
    /// endpoint.
    pub(super) fn pick(
        &mut self,
        occasion: PickArgs<'_>,
        hash: Option<u64>,
        rng: &mut Rng,
    ) -> Option<Ticket> {
        if let (Some(table), Some(hash)) = (&self.table, hash) {
            let takes = |target: &Rc<UpstreamHost>| table.has_room(target);
            let found = table.sequence(hash, &self.targets).find(|target| takes(target));
            if let Some(target) = found.or_else(|| self.draw(rng, takes)) {
                return Some(Ticket::new(target));
            }
        }
        let groups = &mut self.groups;
        self.plan
            .find(rng, |index, rng| groups.get_mut(index)?.pick(occasion, rng).map(Ticket::new))
    }

    /// An endpoint for a retry that `allows` it, by the policy, or the next one for `hash`.
    pub(super) fn alternative(
        &self,
        occasion: PickArgs<'_>,
        hash: Option<u64>,
        rng: &mut Rng,
        allows: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let next = self.table.as_ref().zip(hash).and_then(|(table, hash)| {
            table.sequence(hash, &self.targets).find(|target| allows(target))
        });
        next.or_else(|| {
            self.plan.find(rng, |index, rng| self.groups.get(index)?.choose(occasion, rng, &allows))
        })
    }

    /// Draws an endpoint by its share, of the zone that the plan chooses if one there is allowed.
    fn draw(
        &self,
        rng: &mut Rng,
        allows: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        self.plan.find(rng, |index, rng| self.groups.get(index)?.draw(rng, &allows))
    }

    /// Whether it has no endpoint.
    pub(super) const fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// How many endpoints it has.
    pub(super) const fn len(&self) -> usize {
        self.targets.len()
    }
}
