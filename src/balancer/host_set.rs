//! The endpoints of one datacenter.

use core::num::NonZeroU32;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balancer::pool_settings::PoolSettings;
use crate::balancer::priority::PriorityHealth;
use crate::balancer::slow_start;
use crate::balancer::subset::Subset;
use crate::balancer::subset_selectors::{SubsetId, SubsetSelectors};
use crate::balancer::upstream_host::UpstreamHost;
use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::Snapshot;
use crate::util::time::Time;

/// The endpoints of one datacenter, as the latest snapshot has them, in slices by version.
#[derive(Debug, Default)]
pub(super) struct HostSet {
    /// None until the first snapshot.
    installed: Option<Installed>,
    /// By [`SubsetId`].
    slices: Vec<Subset>,
    /// How many instances of each slice Consul lists beside its endpoints; by [`SubsetId`], too.
    lacking: Vec<u64>,
}

#[derive(Debug, Default)]
struct Installed {
    /// Sorted by address, as the snapshot is.
    members: Vec<WeightedEndpoint>,
    /// How many instances Consul lists beside them, of any version or none.
    lacking: u64,
    /// How many of these each version has.
    lacks: Vec<(Rc<str>, u32)>,
}

/// An endpoint with what Consul says of it.
#[derive(Debug)]
struct WeightedEndpoint {
    target: Rc<UpstreamHost>,
    zone: Option<Rc<str>>,
    version: Option<Rc<str>>,
}

impl HostSet {
    /// Replaces the endpoints by those of `snapshot`. [`HostSet::slice`] and `rebuild`
    /// must follow.
    ///
    /// An endpoint whose address stays keeps its [`UpstreamHost`], and with it its statistics, and has
    /// its weight updated; for each new one `prepare` makes the handoff. Tickets of removed
    /// endpoints stay valid.
    pub(super) fn install(
        &mut self,
        snapshot: &Snapshot,
        now: Time,
        prepare: &mut dyn FnMut(&Endpoint) -> EncodedHandoff,
    ) {
        let is_first = self.installed.is_none();
        let before = self.installed.take().unwrap_or_default();
        let mut before = before.members.into_iter().peekable();
        let mut place = |endpoint: &Endpoint| {
            while before.next_if(|m| *m.target.address() < endpoint.address).is_some() {}
            let kept = before.next_if(|m| *m.target.address() == endpoint.address);
            let target = kept.map(|member| member.target).unwrap_or_else(|| {
                let target = UpstreamHost::new(endpoint, prepare(endpoint));
                target.set_warming(Some(now).filter(|_| !is_first));
                Rc::new(target)
            });
            target.set_weight(endpoint.weight);
            let (zone, version) = (endpoint.zone.clone(), endpoint.version.clone());
            WeightedEndpoint { target, zone, version }
        };
        let members: Vec<_> = snapshot.endpoints().iter().map(&mut place).collect();
        let registered = snapshot.registered().map_or(0, u64::from);
        let lacking = registered.saturating_sub(members.len() as u64);
        self.installed = Some(Installed { members, lacking, lacks: snapshot.lacks() });
    }

    /// Goes back to where it was before its first snapshot.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Cuts the endpoints into the slices that there are now.
    pub(super) fn slice(&mut self, subsets: &SubsetSelectors, settings: &PoolSettings) {
        let members = self.installed.as_ref().map_or(&[][..], |installed| &installed.members);
        let mut inside = vec![Vec::new(); subsets.len()];
        // There are many endpoints, and few versions.
        let mut known = HashMap::new();
        for WeightedEndpoint { target, zone, version } in members {
            target.leave_totals();
            let version = version.as_deref();
            let ids = known.entry(version).or_insert_with(|| subsets.holding(version));
            for id in ids {
                if let Some(inside) = inside.get_mut(id.0) {
                    inside.push((Rc::clone(target), zone.clone()));
                }
            }
        }
        self.lacking.clear();
        self.lacking.resize(subsets.len(), 0);
        if let Some(Installed { lacking, lacks, .. }) = &self.installed {
            for (version, count) in lacks {
                for id in subsets.holding(Some(version)) {
                    if let Some(of_slice) = self.lacking.get_mut(id.0) {
                        *of_slice += u64::from(*count);
                    }
                }
            }
            if let Some(of_all) = self.lacking.get_mut(SubsetId::ALL.0) {
                *of_all = *lacking;
            }
        }
        let mut tables = self.slices.iter().filter_map(Subset::table).collect();
        self.slices.resize_with(subsets.len(), Subset::default);
        for (id, (slice, inside)) in self.slices.iter_mut().zip(inside).enumerate() {
            slice.set(inside, SubsetId(id) != SubsetId::ALL, settings, &mut tables);
        }
    }

    /// Brings the shares of the endpoints up to this moment.
    pub(super) fn warm(&self, settings: &PoolSettings, now: Time) {
        for target in self.targets() {
            target.set_share(share(target, settings, now));
        }
    }

    /// The endpoints of a slice.
    pub(super) fn get(&self, id: SubsetId) -> Option<&Subset> {
        self.slices.get(id.0)
    }

    /// The endpoints of a slice, to pick from.
    pub(super) fn get_mut(&mut self, id: SubsetId) -> Option<&mut Subset> {
        self.slices.get_mut(id.0)
    }

    /// Whether a snapshot has ever been installed.
    pub(super) const fn is_resolved(&self) -> bool {
        self.installed.is_some()
    }

    /// True where a snapshot is installed, and there is no endpoint to pick.
    pub(super) fn is_down(&self) -> bool {
        self.is_resolved() && self.get(SubsetId::ALL).is_none_or(Subset::is_empty)
    }

    /// The endpoints, sorted by address.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> + Clone {
        self.installed.iter().flat_map(|installed| &installed.members).map(|m| &m.target)
    }

    /// True where one of its endpoints has this address.
    pub(super) fn has(&self, address: &Address) -> bool {
        let members = self.installed.as_ref().map_or(&[][..], |installed| &installed.members);
        members.binary_search_by(|member| member.target.address().cmp(address)).is_ok()
    }

    /// The versions that its endpoints have.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Rc<str>> {
        let members = self.installed.iter().flat_map(|installed| &installed.members);
        members.filter_map(|member| member.version.as_ref())
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.installed.as_ref().map_or(0, |installed| installed.members.len())
    }

    /// Sums up how much of what is registered of a slice can be used. An instance that Consul does not
    /// call healthy counts in the slices of its own version.
    pub(super) fn health(&self, id: SubsetId) -> PriorityHealth {
        let usable = self.get(id).map_or(0, Subset::len) as u64;
        let lacking = self.lacking.get(id.0).copied().unwrap_or(0);
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        PriorityHealth {
            usable: number(usable),
            registered: number(lacking.saturating_add(usable)),
        }
    }

    /// Whether an endpoint has not come to its full share yet.
    pub(super) fn is_warming(&self) -> bool {
        self.targets().any(|target| target.warming_since().is_some())
    }
}

/// A target's weight in thousandths, less while it starts slowly.
fn share(target: &UpstreamHost, settings: &PoolSettings, now: Time) -> NonZeroU32 {
    const FULL: u16 = 1_000;
    let permille = match (&settings.slow_start, target.warming_since()) {
        (Some(settings), Some(since)) => slow_start::factor(settings, now.since(since)),
        _ => FULL,
    };
    if permille >= FULL {
        target.set_warming(None);
    }
    let weight = NonZeroU32::from(target.weight());
    NonZeroU32::new(u32::from(permille)).map_or(weight, |permille| weight.saturating_mul(permille))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::priority::Loads;
    use crate::config::LoadBalancing;
    use crate::registry::decoded::MAX_ENDPOINTS;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Fails where a number of endpoints is multiplied by another one in 32 bits.
    #[test]
    fn as_many_endpoints_as_there_can_be_keep_all_requests() {
        let place = |n: usize| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80));
        let endpoints: Vec<_> = (0..MAX_ENDPOINTS).map(|n| Endpoint::new(place(n))).collect();
        let registered = endpoints.len() as u32;
        let snapshot = Snapshot::new(endpoints).with_unhealthy(Vec::new());
        let settings = PoolSettings::new(&LoadBalancing::default(), None);
        let mut level = HostSet::default();
        level.install(&snapshot, Time::ZERO, &mut |_| EncodedHandoff::default());
        level.slice(&SubsetSelectors::new(None, &settings), &settings);
        let health = level.health(SubsetId::ALL);
        assert_eq!(health, PriorityHealth { usable: registered, registered });
        assert_eq!(Loads::new(&[health, health]).percents(), [100, 0]);
        let none = PriorityHealth { usable: 0, registered };
        assert_eq!(Loads::new(&[none, health]).percents(), [0, 100]);
    }
}
