//! Hosts among which a policy picks freely.

use std::rc::Rc;

use crate::balancer::policy::alias::AliasTable;
use crate::balancer::policy::round_robin::RoundRobin;
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::Policy;
use crate::util::rng::Rng;

/// The hosts of one zone, or of all zones.
#[derive(Debug)]
pub(in crate::balancer) struct HostGroup {
    zone: Option<Rc<str>>,
    /// Sorted by address.
    hosts: Vec<Rc<UpstreamHost>>,
    table: AliasTable,
    /// The turns of a round robin.
    turns: Option<RoundRobin>,
    /// The mean of the hosts' shares.
    mean_share: f64,
}

impl HostGroup {
    /// Groups `hosts`, which are sorted by address. `zone` is their common zone, if they are grouped
    /// by it.
    pub(super) fn new(zone: Option<Rc<str>>, hosts: Vec<Rc<UpstreamHost>>) -> Self {
        let shares: Vec<_> = hosts.iter().map(|host| host.share()).collect();
        let total: f64 = shares.iter().map(|share| f64::from(share.get())).sum();
        let mean_share = total / shares.len().max(1) as f64;
        Self { zone, table: AliasTable::new(&shares), turns: None, mean_share, hosts }
    }

    /// Gives each host its turns. The round of the group `before` is finished first, so that a host
    /// whose turn is due is not passed over, however often the group changes.
    pub(super) fn with_turns(mut self, before: Option<&Self>, rng: &mut Rng) -> Self {
        let shares: Vec<_> = self.hosts.iter().map(|host| host.share()).collect();
        let mut turns = RoundRobin::new(&shares, rng);
        if let Some((before, earlier)) = before.and_then(|it| Some((it, it.turns.as_ref()?))) {
            turns.go_on(earlier, |index| {
                let address = before.hosts.get(index)?.address();
                self.hosts.binary_search_by(|host| host.address().cmp(address)).ok()
            });
        }
        self.turns = Some(turns);
        self
    }

    /// The zone of all hosts, if they are grouped by it.
    pub(in crate::balancer) const fn zone(&self) -> Option<&Rc<str>> {
        self.zone.as_ref()
    }

    /// The sum of the hosts' weights.
    pub(in crate::balancer) fn capacity(&self) -> u64 {
        self.hosts.iter().map(|host| u64::from(host.weight().get())).sum()
    }

    /// The mean of the hosts' shares.
    pub(super) const fn mean_share(&self) -> f64 {
        self.mean_share
    }

    /// Returns the host whose turn it is; none of a group that is empty or has no turns.
    pub(super) fn take_turn(&mut self, rng: &mut Rng) -> Option<&Rc<UpstreamHost>> {
        self.hosts.get(self.turns.as_mut()?.take(rng)?)
    }

    /// Draws a host by its share, among those that `is_allowed` accepts.
    pub(in crate::balancer) fn draw(
        &self,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let is_refused = |index| self.hosts.get(index).is_none_or(|host| !is_allowed(host));
        self.hosts.get(self.table.draw_unless(rng, is_refused)?)
    }

    /// Draws `count` different hosts by their share, and more as long as the best is not good. Returns
    /// the best; of equally good hosts the first drawn.
    pub(super) fn best_of(
        &self,
        count: u8,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
        is_better: impl Fn(&UpstreamHost, &UpstreamHost) -> bool,
        is_good: impl Fn(&UpstreamHost) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let is_refused = |index| self.hosts.get(index).is_none_or(|host| !is_allowed(host));
        let mut drawn = [usize::MAX; Policy::MAX_CHOICE_COUNT as usize];
        let mut best: Option<&Rc<UpstreamHost>> = None;
        for n in 0..drawn.len() {
            if n >= usize::from(count) && best.is_none_or(|best| is_good(best)) {
                break;
            }
            let earlier = drawn.get(..n).unwrap_or_default();
            let is_excluded = |index| earlier.contains(&index) || is_refused(index);
            let Some(index) = self.table.draw_unless(rng, is_excluded) else {
                break;
            };
            if let Some(slot) = drawn.get_mut(n) {
                *slot = index;
            }
            let is_best = |host: &&Rc<UpstreamHost>| best.is_none_or(|best| is_better(host, best));
            best = self.hosts.get(index).filter(is_best).or(best);
        }
        best
    }
}
