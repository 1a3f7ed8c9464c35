//! The hosts that a request may go to, by its version.

use std::rc::Rc;

use crate::balancer::locality::{LocalZone, ZonePlan};
use crate::balancer::pick_context::PickContext;
use crate::balancer::policy::PoolPolicy;
use crate::balancer::policy::hash_table::{HashTable, Table};
use crate::balancer::policy::host_group::HostGroup;
use crate::balancer::ticket::Ticket;
use crate::balancer::upstream_host::UpstreamHost;
use crate::util::rng::Rng;

/// The hosts of one datacenter that have a version that some requests want, or all hosts; in groups by
/// zone where zones make a difference.
#[derive(Debug, Default)]
pub(super) struct Subset {
    /// Sorted by address.
    hosts: Vec<Rc<UpstreamHost>>,
    /// The zone of each host.
    zones: Vec<Option<Rc<str>>>,
    /// The table of a hash policy.
    table: Option<HashTable>,
    groups: Vec<HostGroup>,
    plan: ZonePlan,
}

impl Subset {
    /// Replaces the hosts, each with its zone. `is_of_version`: they are the hosts of a version. A
    /// table of `known` that fits is kept. [`Subset::rebuild`] must follow.
    pub(super) fn set(
        &mut self,
        hosts: Vec<(Rc<UpstreamHost>, Option<Rc<str>>)>,
        is_of_version: bool,
        policy: &PoolPolicy,
        known: &mut Vec<Rc<Table>>,
    ) {
        (self.hosts, self.zones) = hosts.into_iter().unzip();
        self.table = policy.hash_table(&self.hosts, is_of_version, known);
    }

    /// The table of a hash policy.
    pub(super) fn table(&self) -> Option<Rc<Table>> {
        self.table.as_ref().map(|table| Rc::clone(table.table()))
    }

    /// Prepares picks from the present shares of the hosts.
    pub(super) fn rebuild(&mut self, policy: &PoolPolicy, local_zone: &LocalZone, rng: &mut Rng) {
        let mut zones: Vec<Option<Rc<str>>> = vec![None];
        if local_zone.matters(self.len()) {
            zones = self.zones.clone();
            zones.sort_unstable();
            zones.dedup();
        }
        let is_one = zones.len() < 2;
        let before = core::mem::take(&mut self.groups);
        let group_of = |zone: Option<Rc<str>>| {
            let hosts = self.hosts.iter().zip(&self.zones);
            let hosts = hosts.filter(|(_, its)| is_one || **its == zone);
            let hosts = hosts.map(|(host, _)| Rc::clone(host)).collect();
            let before = before.iter().find(|group| group.zone() == zone.as_ref());
            policy.group(zone, hosts, before, rng)
        };
        let groups: Vec<_> = match is_one {
            true => [None].into_iter().map(group_of).collect(),
            false => zones.iter().cloned().map(group_of).collect(),
        };
        let local =
            groups.iter().position(|group| group.zone().is_some_and(|zone| local_zone.is(zone)));
        let capacities: Vec<_> = groups.iter().map(HostGroup::capacity).collect();
        self.plan = ZonePlan::new(local, &capacities);
        self.groups = groups;
    }

    /// Picks a host by the hash of the request, or else by the policy within a zone; none of an empty
    /// subset.
    pub(super) fn pick(
        &mut self,
        policy: &PoolPolicy,
        context: &PickContext,
        rng: &mut Rng,
    ) -> Option<Ticket> {
        if let (Some(table), Some(hash)) = (&self.table, context.hash) {
            let has_room = |host: &Rc<UpstreamHost>| table.has_room(host);
            let found = table.sequence(hash, &self.hosts).find(|host| has_room(host));
            if let Some(host) = found.or_else(|| self.draw(rng, has_room)) {
                return Some(Ticket::new(host));
            }
        }
        let groups = &mut self.groups;
        self.plan.find(rng, |index, rng| {
            policy.pick(groups.get_mut(index)?, context.now, rng).map(Ticket::new)
        })
    }

    /// Chooses a host for a retry that `is_allowed` accepts: the next host for the hash of the request,
    /// or else one by the policy.
    pub(super) fn alternative(
        &self,
        policy: &PoolPolicy,
        context: &PickContext,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let next = self.table.as_ref().zip(context.hash).and_then(|(table, hash)| {
            table.sequence(hash, &self.hosts).find(|host| is_allowed(host))
        });
        next.or_else(|| {
            self.plan.find(rng, |index, rng| {
                policy.choose(self.groups.get(index)?, context.now, rng, &is_allowed)
            })
        })
    }

    /// Draws a host by its share, preferably of the zone that the plan chooses.
    fn draw(
        &self,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        self.plan.find(rng, |index, rng| self.groups.get(index)?.draw(rng, &is_allowed))
    }

    /// Returns true if there is no host.
    pub(super) const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The number of hosts.
    pub(super) const fn len(&self) -> usize {
        self.hosts.len()
    }
}
