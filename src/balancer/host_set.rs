//! The hosts of one datacenter.

use core::num::NonZeroU32;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balancer::policy::PoolPolicy;
use crate::balancer::priority::PriorityHealth;
use crate::balancer::slow_start;
use crate::balancer::subset::Subset;
use crate::balancer::subset_selectors::{SubsetId, SubsetSelectors};
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::SlowStart;
use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::Snapshot;
use crate::util::time::Time;

/// The hosts of one datacenter as the latest snapshot has them, in subsets by version.
#[derive(Debug, Default)]
pub(super) struct HostSet {
    /// None until the first snapshot.
    installed: Option<Installed>,
    /// By [`SubsetId`].
    subsets: Vec<Subset>,
    /// The number of instances of each subset that Consul lists and that are not usable, by
    /// [`SubsetId`].
    unusable: Vec<u64>,
}

#[derive(Debug, Default)]
struct Installed {
    /// Sorted by address, as the snapshot is.
    hosts: Vec<LabeledHost>,
    /// The number of instances that Consul lists and that are not usable, of any version or none.
    unusable: u64,
    /// The number of these instances by version.
    unusable_by_version: Vec<(Rc<str>, u32)>,
}

/// A host with the labels that Consul gives it.
#[derive(Debug)]
struct LabeledHost {
    host: Rc<UpstreamHost>,
    zone: Option<Rc<str>>,
    version: Option<Rc<str>>,
}

impl HostSet {
    /// Replaces the hosts by the endpoints of `snapshot`. [`HostSet::divide`] and [`Subset::rebuild`]
    /// must follow.
    ///
    /// A host whose address stays keeps its [`UpstreamHost`], and with it its statistics; its weight is
    /// updated. For each new host `prepare` encodes the handoff. Tickets of removed hosts stay valid.
    pub(super) fn install(
        &mut self,
        snapshot: &Snapshot,
        now: Time,
        prepare: &mut dyn FnMut(&Endpoint) -> EncodedHandoff,
    ) {
        let is_first = self.installed.is_none();
        let before = self.installed.take().unwrap_or_default();
        let mut before = before.hosts.into_iter().peekable();
        let mut host_of = |endpoint: &Endpoint| {
            while before.next_if(|it| *it.host.address() < endpoint.address).is_some() {}
            let kept = before.next_if(|it| *it.host.address() == endpoint.address);
            let host = kept.map(|it| it.host).unwrap_or_else(|| {
                let host = UpstreamHost::new(endpoint, prepare(endpoint));
                host.set_warming(Some(now).filter(|_| !is_first));
                Rc::new(host)
            });
            host.set_weight(endpoint.weight);
            let (zone, version) = (endpoint.zone.clone(), endpoint.version.clone());
            LabeledHost { host, zone, version }
        };
        let hosts: Vec<_> = snapshot.endpoints().iter().map(&mut host_of).collect();
        let registered = snapshot.registered().map_or(0, u64::from);
        let unusable = registered.saturating_sub(hosts.len() as u64);
        let unusable_by_version = snapshot.lacks();
        self.installed = Some(Installed { hosts, unusable, unusable_by_version });
    }

    /// Forgets all snapshots.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Divides the hosts into the present subsets.
    pub(super) fn divide(&mut self, selectors: &SubsetSelectors, policy: &PoolPolicy) {
        let mut inside = vec![Vec::new(); selectors.len()];
        // There are many hosts, and few versions.
        let mut known = HashMap::new();
        // Not `labeled()`, which would borrow all of `self`.
        let hosts = self.installed.as_ref().map_or(&[][..], |installed| &installed.hosts);
        for LabeledHost { host, zone, version } in hosts {
            host.leave_totals();
            let version = version.as_deref();
            let ids = known.entry(version).or_insert_with(|| selectors.holding(version));
            for id in ids {
                if let Some(inside) = inside.get_mut(id.0) {
                    inside.push((Rc::clone(host), zone.clone()));
                }
            }
        }
        self.unusable.clear();
        self.unusable.resize(selectors.len(), 0);
        if let Some(Installed { unusable, unusable_by_version, .. }) = &self.installed {
            for (version, count) in unusable_by_version {
                for id in selectors.holding(Some(version)) {
                    if let Some(of_subset) = self.unusable.get_mut(id.0) {
                        *of_subset += u64::from(*count);
                    }
                }
            }
            if let Some(of_all) = self.unusable.get_mut(SubsetId::ALL.0) {
                *of_all = *unusable;
            }
        }
        let mut tables = self.subsets.iter().filter_map(Subset::table).collect();
        self.subsets.resize_with(selectors.len(), Subset::default);
        for (id, (subset, inside)) in self.subsets.iter_mut().zip(inside).enumerate() {
            subset.set(inside, SubsetId(id) != SubsetId::ALL, policy, &mut tables);
        }
    }

    /// Updates the shares of the hosts to this moment.
    pub(super) fn warm(&self, slow_start: Option<&SlowStart>, now: Time) {
        for host in self.hosts() {
            host.set_share(share(host, slow_start, now));
        }
    }

    /// The hosts of a subset.
    pub(super) fn get(&self, id: SubsetId) -> Option<&Subset> {
        self.subsets.get(id.0)
    }

    /// The hosts of a subset, to pick from.
    pub(super) fn get_mut(&mut self, id: SubsetId) -> Option<&mut Subset> {
        self.subsets.get_mut(id.0)
    }

    /// Returns true if a snapshot was installed.
    pub(super) const fn is_resolved(&self) -> bool {
        self.installed.is_some()
    }

    /// Returns true if a snapshot is installed, and there is no host to pick.
    pub(super) fn is_down(&self) -> bool {
        self.is_resolved() && self.get(SubsetId::ALL).is_none_or(Subset::is_empty)
    }

    /// The hosts, sorted by address.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> + Clone {
        self.labeled().iter().map(|it| &it.host)
    }

    /// Returns true if a host has this address.
    pub(super) fn has(&self, address: &Address) -> bool {
        self.labeled().binary_search_by(|it| it.host.address().cmp(address)).is_ok()
    }

    /// The versions of the hosts.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Rc<str>> {
        self.labeled().iter().filter_map(|it| it.version.as_ref())
    }

    /// The number of hosts.
    pub(super) fn len(&self) -> usize {
        self.labeled().len()
    }

    /// Returns the usable and the registered hosts of a subset. An instance that Consul does not call
    /// healthy counts in the subsets of its own version.
    pub(super) fn health(&self, id: SubsetId) -> PriorityHealth {
        let usable = self.get(id).map_or(0, Subset::len) as u64;
        let unusable = self.unusable.get(id.0).copied().unwrap_or(0);
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        PriorityHealth {
            usable: number(usable),
            registered: number(unusable.saturating_add(usable)),
        }
    }

    /// Returns true if a host has not reached its full share.
    pub(super) fn is_warming(&self) -> bool {
        self.hosts().any(|host| host.warming_since().is_some())
    }

    fn labeled(&self) -> &[LabeledHost] {
        self.installed.as_ref().map_or(&[], |installed| &installed.hosts)
    }
}

/// Returns the weight of a host in thousandths, reduced during its slow start. Ends a slow start that is
/// over.
fn share(host: &UpstreamHost, settings: Option<&SlowStart>, now: Time) -> NonZeroU32 {
    let permille = match (settings, host.warming_since()) {
        (Some(settings), Some(since)) => slow_start::factor(settings, now.since(since)),
        _ => slow_start::WHOLE,
    };
    if permille >= slow_start::WHOLE {
        host.set_warming(None);
    }
    let weight = NonZeroU32::from(host.weight());
    NonZeroU32::new(u32::from(permille)).map_or(weight, |permille| weight.saturating_mul(permille))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::priority::Loads;
    use crate::config::Policy;
    use crate::registry::query_response::MAX_ENDPOINTS;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Fails if two numbers of hosts are multiplied in 32 bits.
    #[test]
    fn first_datacenter_keeps_all_requests_when_hosts_are_many() {
        let address = |n: usize| SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80));
        let endpoints: Vec<_> = (0..MAX_ENDPOINTS).map(|n| Endpoint::new(address(n))).collect();
        let registered = endpoints.len() as u32;
        let snapshot = Snapshot::new(endpoints).with_unhealthy(Vec::new());
        let policy = PoolPolicy::new(&Policy::default());
        let mut host_set = HostSet::default();
        host_set.install(&snapshot, Time::ZERO, &mut |_| EncodedHandoff::default());
        host_set.divide(&SubsetSelectors::new(None, policy.is_hash()), &policy);
        let health = host_set.health(SubsetId::ALL);
        assert_eq!(health, PriorityHealth { usable: registered, registered });
        assert_eq!(Loads::new(&[health, health]).percents(), [100, 0]);
        let none = PriorityHealth { usable: 0, registered };
        assert_eq!(Loads::new(&[none, health]).percents(), [0, 100]);
    }
}
