//! Endpoints among which a policy picks freely.

use std::rc::Rc;

use crate::balancer::policy::alias::AliasTable;
use crate::balancer::policy::round_robin::RoundRobin;
use crate::balancer::policy::{least_request, peak_ewma};
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::Policy;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// Endpoints of one zone, or of all, with what their policy remembers from pick to pick.
#[derive(Debug)]
pub(in crate::balancer) struct HostGroup {
    zone: Option<Rc<str>>,
    /// Sorted by address.
    members: Vec<Rc<UpstreamHost>>,
    table: AliasTable,
    /// Only where the policy takes turns.
    turns: Option<RoundRobin>,
    /// The mean of the members' shares.
    mean_share: f64,
}

/// What a pick goes by beside the group itself.
#[derive(Clone, Copy)]
pub(in crate::balancer) struct PickArgs<'a> {
    policy: &'a Policy,
    now: Time,
    /// The latency of an endpoint that has not answered yet, in seconds.
    usual_latency: f64,
}

impl<'a> PickArgs<'a> {
    /// One at this moment.
    pub(in crate::balancer) fn new(
        policy: &'a Policy,
        now: Time,
        usual_latency: Option<f64>,
    ) -> Self {
        // While no endpoint has answered any will do: it is the same for all.
        let usual_latency = usual_latency.unwrap_or(1.0);
        Self { policy, now, usual_latency }
    }
}

impl HostGroup {
    /// A group of these members, sorted by address. Where it takes turns, it ends the round first
    /// that it was in `before`: those who had their turn wait, however often the group changes.
    pub(in crate::balancer) fn new(
        zone: Option<Rc<str>>,
        members: Vec<Rc<UpstreamHost>>,
        policy: &Policy,
        before: Option<&Self>,
        rng: &mut Rng,
    ) -> Self {
        let shares: Vec<_> = members.iter().map(|target| target.share()).collect();
        let turns = matches!(policy, Policy::RoundRobin).then(|| {
            let mut turns = RoundRobin::new(&shares, rng);
            if let Some((before, earlier)) = before.and_then(|it| Some((it, it.turns.as_ref()?))) {
                turns.go_on(earlier, |index| {
                    let address = before.members.get(index)?.address();
                    members.binary_search_by(|member| member.address().cmp(address)).ok()
                });
            }
            turns
        });
        let total: f64 = shares.iter().map(|share| f64::from(share.get())).sum();
        let mean_share = total / shares.len().max(1) as f64;
        Self { zone, table: AliasTable::new(&shares), turns, mean_share, members }
    }

    /// The zone that its members have in common, if that is what makes it a group.
    pub(in crate::balancer) const fn zone(&self) -> Option<&Rc<str>> {
        self.zone.as_ref()
    }

    /// The sum of its members' weights.
    pub(in crate::balancer) fn capacity(&self) -> u64 {
        self.members.iter().map(|target| u64::from(target.weight().get())).sum()
    }

    /// Picks by the policy; none where there is no member.
    pub(in crate::balancer) fn pick(
        &mut self,
        occasion: PickArgs<'_>,
        rng: &mut Rng,
    ) -> Option<&Rc<UpstreamHost>> {
        match &mut self.turns {
            Some(turns) => self.members.get(turns.take(rng)?),
            None => self.choose(occasion, rng, |_| true),
        }
    }

    /// Chooses a member that `allows` it by the policy, but takes no turn; none where none does.
    pub(in crate::balancer) fn choose(
        &self,
        occasion: PickArgs<'_>,
        rng: &mut Rng,
        allows: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        match *occasion.policy {
            Policy::LeastRequest { choice_count, active_request_bias: bias } => {
                let is_better = |this: &UpstreamHost, that: &UpstreamHost| {
                    least_request::is_better(this, that, bias)
                };
                self.best_of(choice_count, rng, allows, is_better, |_| true)
            }
            Policy::PeakEwma { choice_count, decay } => {
                let PickArgs { now, usual_latency, .. } = occasion;
                let expected =
                    |target: &UpstreamHost| peak_ewma::expected(target, usual_latency, now, decay);
                let cost = |target: &UpstreamHost| {
                    peak_ewma::cost(expected(target), target, self.mean_share)
                };
                let is_better = |this: &UpstreamHost, that: &UpstreamHost| cost(this) < cost(that);
                let is_good = |it: &UpstreamHost| peak_ewma::is_good(expected(it), usual_latency);
                self.best_of(choice_count, rng, allows, is_better, is_good)
            }
            Policy::RoundRobin
            | Policy::Random
            | Policy::RingHash { .. }
            | Policy::Maglev { .. } => self.draw(rng, allows),
        }
    }

    /// Draws a member by its share; none where none is allowed.
    pub(in crate::balancer) fn draw(
        &self,
        rng: &mut Rng,
        allows: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let refuses = |index| self.members.get(index).is_none_or(|target| !allows(target));
        self.members.get(self.table.draw_unless(rng, refuses)?)
    }

    /// Draws some different members by their share, and more as long as the best is not good; takes
    /// the best, and of equally good ones that which was drawn first.
    fn best_of(
        &self,
        count: u8,
        rng: &mut Rng,
        allows: impl Fn(&Rc<UpstreamHost>) -> bool,
        is_better: impl Fn(&UpstreamHost, &UpstreamHost) -> bool,
        is_good: impl Fn(&UpstreamHost) -> bool,
    ) -> Option<&Rc<UpstreamHost>> {
        let refuses = |index| self.members.get(index).is_none_or(|target| !allows(target));
        let mut drawn = [usize::MAX; Policy::MAX_CHOICE_COUNT as usize];
        let mut best: Option<&Rc<UpstreamHost>> = None;
        for n in 0..drawn.len() {
            if n >= usize::from(count) && best.is_none_or(|best| is_good(best)) {
                break;
            }
            let earlier = drawn.get(..n).unwrap_or_default();
            let taken = |index| earlier.contains(&index) || refuses(index);
            let Some(index) = self.table.draw_unless(rng, taken) else {
                break;
            };
            if let Some(place) = drawn.get_mut(n) {
                *place = index;
            }
            let is_best =
                |other: &&Rc<UpstreamHost>| best.is_none_or(|best| is_better(other, best));
            best = self.members.get(index).filter(is_best).or(best);
        }
        best
    }
}
