//! The endpoints or services of a source at one moment.

use std::rc::Rc;

use crate::model::endpoint::{Address, Endpoint};
use crate::model::service_names::ServiceNames;

/// The content of a response of Consul: the endpoints of a service, sorted by address, each once; or
/// the services of a catalog.
///
/// Responses with the same meaning have equal snapshots, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    endpoints: Vec<Endpoint>,
    /// The instances whose checks do not pass, sorted by address; their addresses are no endpoints.
    unhealthy: Option<Vec<Endpoint>>,
    services: Option<ServiceNames>,
}

impl Snapshot {
    /// Sorts the endpoints. Of endpoints with the same address the heaviest stays.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints: sorted(endpoints), unhealthy: None, services: None }
    }

    /// Creates the snapshot of a catalog.
    pub const fn of_services(services: ServiceNames) -> Self {
        Self { endpoints: Vec::new(), unhealthy: None, services: Some(services) }
    }

    /// The services of a catalog.
    pub const fn services(&self) -> Option<&ServiceNames> {
        self.services.as_ref()
    }

    /// Returns the snapshot with these unhealthy instances. Instances at the address of an endpoint are
    /// left out.
    pub fn with_unhealthy(mut self, mut unhealthy: Vec<Endpoint>) -> Self {
        unhealthy.retain(|it| !self.has(&it.address));
        self.unhealthy = Some(sorted(unhealthy));
        self
    }

    /// The endpoints, sorted by address.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The instances whose checks do not pass, sorted by address. None for a source that does not use
    /// them, so that an instance that falls ill is no change there.
    pub fn unhealthy(&self) -> Option<&[Endpoint]> {
        self.unhealthy.as_deref()
    }

    /// The number of all addresses, healthy and unhealthy. None where the unhealthy instances are not
    /// known.
    pub fn registered(&self) -> Option<u32> {
        let all = self.unhealthy.as_ref()?.len() + self.endpoints.len();
        Some(u32::try_from(all).unwrap_or(u32::MAX))
    }

    /// Counts the unhealthy instances by version, sorted by version. Instances without a version are
    /// not counted.
    pub fn lacks(&self) -> Vec<(Rc<str>, u32)> {
        let unhealthy = self.unhealthy.iter().flatten();
        let mut lacks: Vec<_> = unhealthy.filter_map(|it| Some((it.version.clone()?, 1))).collect();
        lacks.sort_unstable();
        lacks.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            earlier.1 += u32::from(is_same);
            is_same
        });
        lacks
    }

    /// The number of endpoints or services.
    pub fn len(&self) -> usize {
        self.services.as_ref().map_or(self.endpoints.len(), |services| services.names().len())
    }

    /// Returns true if there is no endpoint and no service.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the snapshot together with the endpoints of `earlier` that are not in `gone`. Of an
    /// address in both, this snapshot is the later news. The addresses in `gone` count as unhealthy, if
    /// the unhealthy instances are known.
    pub fn keeping(&self, earlier: &Self, gone: &Self) -> Self {
        if let Some(services) = &self.services {
            let none = ServiceNames::default();
            let kept = earlier.services.as_ref().unwrap_or(&none);
            return Self::of_services(services.keeping(kept));
        }
        let is_kept = |it: &&Endpoint| !self.has(&it.address) && !gone.has(&it.address);
        let kept = earlier.endpoints.iter().filter(is_kept).cloned();
        let merged = Self::new(self.endpoints.iter().cloned().chain(kept).collect());
        let Some(unhealthy) = &self.unhealthy else {
            return merged;
        };
        let before = earlier.endpoints.iter().chain(earlier.unhealthy.iter().flatten());
        let before = before.filter(|it| place(unhealthy, &it.address).is_err());
        merged.with_unhealthy(unhealthy.iter().chain(before).cloned().collect())
    }

    /// Returns true if an endpoint has this address.
    pub fn has(&self, address: &Address) -> bool {
        place(&self.endpoints, address).is_ok()
    }

    /// Compares the snapshot with an `earlier` one.
    pub fn since(&self, earlier: &Self) -> SnapshotChange {
        if let Some(services) = &self.services {
            let none = ServiceNames::default();
            let (added, removed) = services.since(earlier.services.as_ref().unwrap_or(&none));
            return SnapshotChange { added, removed, ..SnapshotChange::default() };
        }
        let (mut old, mut new) =
            (earlier.endpoints.iter().peekable(), self.endpoints.iter().peekable());
        let others_unhealthy = earlier.unhealthy != self.unhealthy;
        let mut change = SnapshotChange { others_unhealthy, ..SnapshotChange::default() };
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => return change,
                (Some(a), Some(b)) if a.address == b.address => {
                    change.reweighted += usize::from(a.weight != b.weight);
                    let is_relabelled =
                        (&a.zone, &a.version, &a.details) != (&b.zone, &b.version, &b.details);
                    change.relabelled += usize::from(is_relabelled);
                    old.next();
                    new.next();
                }
                (Some(a), Some(b)) if a.address < b.address => {
                    change.removed += 1;
                    old.next();
                }
                (Some(_), None) => {
                    change.removed += 1;
                    old.next();
                }
                (_, Some(_)) => {
                    change.added += 1;
                    new.next();
                }
            }
        }
    }
}

/// The difference of two snapshots of a source, in endpoints or services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotChange {
    /// The number only in the later snapshot.
    pub added: usize,
    /// The number only in the earlier snapshot.
    pub removed: usize,
    /// The number in both, with another weight.
    pub reweighted: usize,
    /// The number in both, with another zone, version or other details.
    pub relabelled: usize,
    /// True if the unhealthy instances differ, or their weights or labels.
    pub others_unhealthy: bool,
}

/// Sorts endpoints by address. Of endpoints with the same address the heaviest stays.
fn sorted(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_unstable_by(|a, b| {
        (&a.address, b.weight, &a.version, &a.zone, &a.details)
            .cmp(&(&b.address, a.weight, &b.version, &b.zone, &b.details))
    });
    endpoints.dedup_by(|later, earlier| later.address == earlier.address);
    endpoints
}

/// The place of an address among endpoints that are sorted.
fn place(endpoints: &[Endpoint], address: &Address) -> Result<usize, usize> {
    endpoints.binary_search_by(|endpoint| endpoint.address.cmp(address))
}

/// The endpoints of a service for Envoy's own cluster: a snapshot for each of its datacenters, in order
/// of preference. The snapshot of a datacenter without a response is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The snapshots; each is a priority of Envoy.
    pub levels: Vec<Rc<Snapshot>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Details;
    use core::net::SocketAddr;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn endpoint(port: u16, weight: u16) -> Endpoint {
        let address = format!("10.0.0.1:{port}").parse::<SocketAddr>().unwrap();
        Endpoint::new(address).weighing(NonZeroU16::new(weight).unwrap())
    }

    #[test]
    fn snapshots_are_equal_when_only_the_order_differs() {
        let one = Snapshot::new(vec![endpoint(2, 1), endpoint(1, 1), endpoint(2, 9)]);
        let two = Snapshot::new(vec![endpoint(2, 9), endpoint(2, 1), endpoint(1, 1)]);
        assert_eq!(one, two);
        assert_eq!(one.endpoints(), [endpoint(1, 1), endpoint(2, 9)]);
    }

    #[test]
    fn change_counts_added_removed_and_reweighted_endpoints() {
        let old = Snapshot::new(vec![endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)]);
        let new =
            Snapshot::new(vec![endpoint(2, 5), endpoint(3, 1), endpoint(4, 1), endpoint(5, 1)]);
        let came =
            SnapshotChange { added: 2, removed: 1, reweighted: 1, ..SnapshotChange::default() };
        assert_eq!(new.since(&old), came);
        let all = SnapshotChange { added: 3, ..SnapshotChange::default() };
        assert_eq!(old.since(&Snapshot::default()), all);
        assert_eq!(old.since(&old), SnapshotChange::default());
    }

    #[test]
    fn services_of_a_catalog_are_counted_like_endpoints() {
        let catalog = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            Snapshot::of_services(ServiceNames::new(names))
        };
        let (old, new) = (catalog(&["a", "b"]), catalog(&["b", "c", "d"]));
        assert_eq!((new.len(), new.is_empty(), catalog(&[]).is_empty()), (3, false, true));
        let change = SnapshotChange { added: 2, removed: 1, ..SnapshotChange::default() };
        assert_eq!(new.since(&old), change);
        let all = SnapshotChange { added: 3, ..SnapshotChange::default() };
        assert_eq!(new.since(&Snapshot::default()), all);
        assert!(new.endpoints().is_empty() && new.services() == new.clone().services());
    }

    #[test]
    fn earlier_endpoints_are_kept_when_no_later_news_exist() {
        let old = Snapshot::new(vec![endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)]);
        let new = Snapshot::new(vec![endpoint(2, 5), endpoint(4, 1)]);
        let kept = new.keeping(&old, &Snapshot::new(vec![endpoint(2, 1), endpoint(3, 1)]));
        assert_eq!(kept.endpoints(), [endpoint(1, 1), endpoint(2, 5), endpoint(4, 1)]);
        let catalog = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            Snapshot::of_services(ServiceNames::new(names))
        };
        let both = catalog(&["b", "C"]).keeping(&catalog(&["a", "c"]), &Snapshot::default());
        assert_eq!(both, catalog(&["a", "b", "C"]));
    }

    #[test]
    fn gone_endpoints_become_unhealthy_and_kept_ones_stay() {
        let none = Snapshot::default();
        let of = |healthy: &[u16], unhealthy: &[(u16, u16)]| {
            let healthy = healthy.iter().map(|port| endpoint(*port, 1)).collect();
            let unhealthy = unhealthy.iter().map(|(port, weight)| endpoint(*port, *weight));
            Snapshot::new(healthy).with_unhealthy(unhealthy.collect())
        };
        let old = of(&[1, 2, 3], &[(4, 1), (5, 1), (6, 9)]);
        let kept = of(&[4], &[(3, 1), (6, 2)]).keeping(&old, &of(&[2, 3], &[]));
        assert_eq!(kept, of(&[1, 4], &[(2, 1), (3, 1), (5, 1), (6, 2)]));
        let untold = Snapshot::new(vec![endpoint(7, 1)]);
        assert_eq!(of(&[], &[]).keeping(&untold, &none), of(&[7], &[]));
        assert_eq!(untold.keeping(&of(&[], &[(1, 1)]), &none), untold, "nobody wants to know");
    }

    #[test]
    fn change_counts_other_zones_versions_and_details() {
        let labelled = |zone: Option<&str>, version: Option<&str>, node: Option<&str>| {
            let (zone, version) = (zone.map(Into::into), version.map(Into::into));
            let hostname = node.map(Into::into);
            let details = Some(Rc::new(Details { hostname, ..Details::default() }));
            Snapshot::new(vec![Endpoint { zone, version, details, ..endpoint(1, 1) }])
        };
        let old = labelled(Some("a"), Some("1.0"), Some("n"));
        let relabelled = SnapshotChange { relabelled: 1, ..SnapshotChange::default() };
        for new in [
            labelled(Some("b"), Some("1.0"), Some("n")),
            labelled(Some("a"), None, Some("n")),
            labelled(Some("a"), Some("1.0"), None),
            Snapshot::new(vec![Endpoint { details: None, ..old.endpoints()[0].clone() }]),
        ] {
            assert_eq!(new.since(&old), relabelled);
        }
    }

    #[test]
    fn change_includes_unhealthy_instances_when_they_are_known() {
        let with = |unhealthy: &[Endpoint]| {
            Snapshot::new(vec![endpoint(1, 1)]).with_unhealthy(unhealthy.to_vec())
        };
        let others = SnapshotChange { others_unhealthy: true, ..SnapshotChange::default() };
        let one = with(&[endpoint(2, 1)]);
        assert_eq!(one.since(&Snapshot::new(vec![endpoint(1, 1)])), others);
        for other in [with(&[]), with(&[endpoint(2, 2)]), with(&[endpoint(3, 1)])] {
            assert_eq!(other.since(&one), others);
        }
        assert_eq!(one.since(&one), SnapshotChange::default());
    }

    #[test]
    fn unhealthy_instances_are_sorted_and_no_endpoints() {
        let snapshot = Snapshot::new(vec![endpoint(2, 1)]);
        assert_eq!((snapshot.unhealthy(), snapshot.registered()), (None, None));
        let told = snapshot.with_unhealthy(vec![
            endpoint(3, 1),
            endpoint(2, 9),
            endpoint(1, 1),
            endpoint(3, 5),
        ]);
        assert_eq!(told.unhealthy(), Some(&[endpoint(1, 1), endpoint(3, 5)][..]));
        assert_eq!((told.len(), told.registered()), (1, Some(3)));
    }

    #[test]
    fn unhealthy_instances_are_counted_by_version() {
        let of = |port, version: Option<&str>| {
            let version = version.map(Into::into);
            Endpoint { version, ..endpoint(port, 1) }
        };
        let unhealthy = vec![
            of(1, Some("2.0")),
            of(2, None),
            of(3, Some("1.0")),
            of(4, Some("2.0")),
            of(5, Some("3.0")),
        ];
        let snapshot = Snapshot::new(vec![of(5, Some("3.0"))]).with_unhealthy(unhealthy);
        assert_eq!(snapshot.lacks(), [("1.0".into(), 1), ("2.0".into(), 2)]);
        assert!(Snapshot::default().lacks().is_empty());
    }
}
