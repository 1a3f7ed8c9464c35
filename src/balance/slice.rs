//! The endpoints that a request may go to, by its version.

use std::rc::Rc;

use crate::balance::group::{Group, Occasion};
use crate::balance::hash_table::{HashTable, Table};
use crate::balance::locality::ZonePlan;
use crate::balance::outlier::monitor::Monitor;
use crate::balance::settings::Settings;
use crate::balance::target::Target;
use crate::balance::ticket::Ticket;
use crate::rng::Rng;

/// The endpoints of one datacenter that have a version that some requests want, or all of them;
/// in groups by zone where zones make a difference.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Sorted by address, whatever their state.
    targets: Vec<Rc<Target>>,
    /// The zone of each.
    zones: Vec<Option<Rc<str>>>,
    table: Option<HashTable>,
    /// Of those in use.
    groups: Vec<Group>,
    plan: ZonePlan,
    /// Whether ejected endpoints are used, because too few others are left.
    panic: bool,
}

impl Slice {
    /// Takes over the endpoints of a newer snapshot, each with its zone; those of a version, or
    /// all. Of the `known` tables it takes the one that fits. [`Slice::rebuild`] must follow.
    pub(super) fn set(
        &mut self,
        members: Vec<(Rc<Target>, Option<Rc<str>>)>,
        is_of_version: bool,
        settings: &Settings,
        known: &mut Vec<Rc<Table>>,
    ) {
        (self.targets, self.zones) = members.into_iter().unzip();
        self.table = HashTable::new(&settings.policy, &self.targets, is_of_version, known);
    }

    /// The table of a hash policy.
    pub(super) fn table(&self) -> Option<Rc<Table>> {
        self.table.as_ref().map(|table| Rc::clone(table.table()))
    }

    /// Builds what picks need from the state of the endpoints as it is. Where the other
    /// datacenters can take what this one cannot, it has no reason to panic.
    pub(super) fn rebuild(&mut self, settings: &Settings, may_panic: bool, rng: &mut Rng) {
        let (len, active) = (self.len() as u64, self.count(Monitor::is_active) as u64);
        self.panic = may_panic && active * 100 < len * u64::from(settings.panic_threshold);
        let panic = self.panic;
        let in_use = |target: &Target| panic || !target.monitor().is_barred();
        let members = || self.targets.iter().zip(&self.zones).filter(|(target, _)| in_use(target));
        if let Some(table) = &mut self.table {
            table.set_weight(members().map(|(target, _)| u64::from(target.weight().get())).sum());
        }

        let mut zones: Vec<Option<Rc<str>>> = vec![None];
        if !panic && settings.zones_matter(self.targets.len()) {
            zones = members().map(|(_, zone)| zone.clone()).collect();
            zones.sort_unstable();
            zones.dedup();
        }
        let is_one = zones.len() < 2;
        let before = core::mem::take(&mut self.groups);
        let group_of = |zone: Option<Rc<str>>| {
            let members = members().filter(|(_, its)| is_one || **its == zone);
            let members = members.map(|(target, _)| Rc::clone(target)).collect();
            let before = before.iter().find(|group| group.zone() == zone.as_ref());
            Group::new(zone, members, &settings.policy, before, rng)
        };
        let groups: Vec<_> = match is_one {
            true => [None].into_iter().map(group_of).collect(),
            false => zones.iter().cloned().map(group_of).collect(),
        };
        let local = groups
            .iter()
            .position(|group| group.zone().is_some() && group.zone() == settings.zone.as_ref());
        let capacities: Vec<_> = groups.iter().map(Group::capacity).collect();
        self.plan = ZonePlan::new(local, &capacities);
        self.groups = groups;
    }

    /// Picks by the policy, by `hash` where it is one that hashes; none where no endpoint takes
    /// a request.
    pub(super) fn pick(
        &mut self,
        occasion: Occasion<'_>,
        hash: Option<u64>,
        rng: &mut Rng,
    ) -> Option<Ticket> {
        let occasion = occasion.in_panic(self.panic);
        if let (Some(table), Some(hash)) = (&self.table, hash) {
            let takes = |target: &Rc<Target>| occasion.admits(target) && table.has_room(target);
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
        occasion: Occasion<'_>,
        hash: Option<u64>,
        rng: &mut Rng,
        allows: impl Fn(&Rc<Target>) -> bool,
    ) -> Option<&Rc<Target>> {
        let allows =
            |target: &Rc<Target>| (self.panic || target.monitor().is_active()) && allows(target);
        let next = self.table.as_ref().zip(hash).and_then(|(table, hash)| {
            table.sequence(hash, &self.targets).find(|target| allows(target))
        });
        next.or_else(|| {
            self.plan.find(rng, |index, rng| self.groups.get(index)?.choose(occasion, rng, allows))
        })
    }

    /// Draws an endpoint by its share, of the zone that the plan chooses if one there is allowed.
    fn draw(&self, rng: &mut Rng, allows: impl Fn(&Rc<Target>) -> bool) -> Option<&Rc<Target>> {
        self.plan.find(rng, |index, rng| self.groups.get(index)?.draw(rng, &allows))
    }

    /// Whether a target is one of its endpoints.
    pub(super) fn contains(&self, target: &Rc<Target>) -> bool {
        let found = self.targets.binary_search_by(|other| other.address().cmp(target.address()));
        let found = found.ok().and_then(|index| self.targets.get(index));
        found.is_some_and(|found| Rc::ptr_eq(found, target))
    }

    /// Whether ejected endpoints are used, because too few others are left.
    pub(super) const fn is_in_panic(&self) -> bool {
        self.panic
    }

    /// Whether it has no endpoint.
    pub(super) const fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// How many endpoints it has.
    pub(super) const fn len(&self) -> usize {
        self.targets.len()
    }

    /// How many of them are so.
    pub(super) fn count(&self, is: fn(&Monitor) -> bool) -> usize {
        self.targets.iter().filter(|target| is(target.monitor())).count()
    }
}
