//! What Consul has said of one source at one moment.

use std::rc::Rc;

use crate::model::endpoint::{Address, Endpoint};
use crate::model::services::Services;

/// What Consul has said of one source at one moment: the endpoints of a service, sorted by
/// address, no address twice; or the services of a catalog.
///
/// Two answers of Consul that mean the same are equal here, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    endpoints: Vec<Endpoint>,
    registered: Option<Registered>,
    services: Option<Services>,
}

/// What the endpoints are a share of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Registered {
    addresses: u32,
    /// In order, no version twice.
    lacking: Vec<(Rc<str>, u32)>,
}

impl Snapshot {
    /// Sorts the endpoints; of those that share an address the heaviest stays.
    pub fn new(mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.sort_unstable_by(|a, b| {
            (&a.address, b.weight, &a.version, &a.zone)
                .cmp(&(&b.address, a.weight, &b.version, &b.zone))
        });
        endpoints.dedup_by(|later, earlier| later.address == earlier.address);
        Self { endpoints, registered: None, services: None }
    }

    /// The services of a catalog.
    pub const fn of_services(services: Services) -> Self {
        Self { endpoints: Vec::new(), registered: None, services: Some(services) }
    }

    /// The services, where it is one of a catalog.
    pub const fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }

    /// The same, of so many addresses that are registered, healthy or not.
    pub fn registering(self, addresses: u32) -> Self {
        Self { registered: Some(Registered { addresses, lacking: Vec::new() }), ..self }
    }

    /// The same, where so many of each of these versions are registered beside the endpoints. It
    /// makes no difference where the registered addresses are not told.
    pub fn lacking(mut self, versions: impl IntoIterator<Item = (Rc<str>, u32)>) -> Self {
        if let Some(registered) = &mut self.registered {
            let mut lacking: Vec<_> = versions.into_iter().filter(|(_, n)| *n > 0).collect();
            lacking.sort_unstable();
            lacking.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    earlier.1 = earlier.1.saturating_add(later.1);
                }
                is_same
            });
            registered.lacking = lacking;
        }
        self
    }

    /// The endpoints, sorted by address.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// How many addresses would take traffic if all of their instances were healthy: what
    /// the endpoints are a share of. Told only where that share decides something, so that
    /// no one else is told of every instance that falls ill.
    pub fn registered(&self) -> Option<u32> {
        self.registered.as_ref().map(|registered| registered.addresses)
    }

    /// How many of the registered addresses are no endpoints, by the version that they have;
    /// sorted by version. Those without a version are not among them.
    pub fn lacks(&self) -> &[(Rc<str>, u32)] {
        self.registered.as_ref().map_or(&[], |registered| &registered.lacking)
    }

    /// How many endpoints there are, or services.
    pub fn len(&self) -> usize {
        self.services.as_ref().map_or(self.endpoints.len(), |services| services.names().len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same, with what is in `earlier` beside it and not `gone`. Where an address is in both, this
    /// is the later word of it.
    pub fn keeping(&self, earlier: &Self, gone: &Self) -> Self {
        if let Some(services) = &self.services {
            let none = Services::default();
            let kept = earlier.services.as_ref().unwrap_or(&none);
            return Self::of_services(services.keeping(kept));
        }
        let is_kept = |it: &&Endpoint| !self.has(&it.address) && !gone.has(&it.address);
        let kept = earlier.endpoints.iter().filter(is_kept).cloned();
        let endpoints = self.endpoints.iter().cloned().chain(kept).collect();
        let merged = Self::new(endpoints);
        let all = u32::try_from(merged.len()).unwrap_or(u32::MAX);
        let registered = self.registered.as_ref().map(|Registered { addresses, lacking }| {
            let before = earlier.registered().unwrap_or(0);
            Registered { addresses: before.max(*addresses).max(all), lacking: lacking.clone() }
        });
        Self { registered, ..merged }
    }

    /// Whether an endpoint has this address.
    pub fn has(&self, address: &Address) -> bool {
        self.endpoints.binary_search_by(|endpoint| endpoint.address.cmp(address)).is_ok()
    }

    /// What has changed since `earlier`.
    pub fn since(&self, earlier: &Self) -> Change {
        if let Some(services) = &self.services {
            let none = Services::default();
            let (added, removed) = services.since(earlier.services.as_ref().unwrap_or(&none));
            return Change { added, removed, ..Change::default() };
        }
        let (mut old, mut new) =
            (earlier.endpoints.iter().peekable(), self.endpoints.iter().peekable());
        let is_recounted = earlier.registered != self.registered;
        let mut change = Change { is_recounted, ..Change::default() };
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => return change,
                (Some(a), Some(b)) if a.address == b.address => {
                    change.reweighted += usize::from(a.weight != b.weight);
                    let is_relabelled = (&a.zone, &a.version) != (&b.zone, &b.version);
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

/// How two snapshots of one source differ, in endpoints or services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// In the later one only.
    pub added: usize,
    /// In the earlier one only.
    pub removed: usize,
    /// In both, with another weight.
    pub reweighted: usize,
    /// In both, with another zone or another version.
    pub relabelled: usize,
    /// Whether another number of addresses is registered, or of some version.
    pub is_recounted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn endpoint(port: u16, weight: u16) -> Endpoint {
        let address = format!("10.0.0.1:{port}").parse::<SocketAddr>().unwrap();
        Endpoint::new(address).weighing(NonZeroU16::new(weight).unwrap())
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        let one = Snapshot::new(vec![endpoint(2, 1), endpoint(1, 1), endpoint(2, 9)]);
        let two = Snapshot::new(vec![endpoint(2, 9), endpoint(2, 1), endpoint(1, 1)]);
        assert_eq!(one, two);
        assert_eq!(one.endpoints(), [endpoint(1, 1), endpoint(2, 9)]);
    }

    #[test]
    fn a_change_counts_what_came_what_went_and_what_weighs_differently() {
        let old = Snapshot::new(vec![endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)]);
        let new =
            Snapshot::new(vec![endpoint(2, 5), endpoint(3, 1), endpoint(4, 1), endpoint(5, 1)]);
        let came = Change { added: 2, removed: 1, reweighted: 1, ..Change::default() };
        assert_eq!(new.since(&old), came);
        let all = Change { added: 3, ..Change::default() };
        assert_eq!(old.since(&Snapshot::default()), all);
        assert_eq!(old.since(&old), Change::default());
    }

    #[test]
    fn the_services_of_a_catalog_are_counted_like_endpoints() {
        let catalog = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            Snapshot::of_services(Services::new(names))
        };
        let (old, new) = (catalog(&["a", "b"]), catalog(&["b", "c", "d"]));
        assert_eq!((new.len(), new.is_empty(), catalog(&[]).is_empty()), (3, false, true));
        let change = Change { added: 2, removed: 1, ..Change::default() };
        assert_eq!(new.since(&old), change);
        let all = Change { added: 3, ..Change::default() };
        assert_eq!(new.since(&Snapshot::default()), all);
        assert!(new.endpoints().is_empty() && new.services() == new.clone().services());
    }

    #[test]
    fn what_is_kept_of_an_earlier_one_is_what_nobody_has_a_later_word_of() {
        let old = Snapshot::new(vec![endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)]);
        let new = Snapshot::new(vec![endpoint(2, 5), endpoint(4, 1)]);
        let kept = new.keeping(&old, &Snapshot::new(vec![endpoint(2, 1), endpoint(3, 1)]));
        assert_eq!(kept.endpoints(), [endpoint(1, 1), endpoint(2, 5), endpoint(4, 1)]);
        let recounted = new.registering(2).keeping(&old.registering(9), &Snapshot::default());
        assert_eq!(recounted.registered(), Some(9));
        let catalog = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            Snapshot::of_services(Services::new(names))
        };
        let both = catalog(&["b", "C"]).keeping(&catalog(&["a", "c"]), &Snapshot::default());
        assert_eq!(both, catalog(&["a", "b", "C"]));
    }

    #[test]
    fn a_zone_a_version_and_the_number_of_the_registered_are_changes_too() {
        let labelled = |zone: Option<&str>, version: Option<&str>| {
            let (zone, version) = (zone.map(Into::into), version.map(Into::into));
            Snapshot::new(vec![Endpoint { zone, version, ..endpoint(1, 1) }])
        };
        let old = labelled(Some("a"), Some("1.0"));
        let relabelled = Change { relabelled: 1, ..Change::default() };
        for new in [labelled(Some("b"), Some("1.0")), labelled(Some("a"), None)] {
            assert_eq!(new.since(&old), relabelled);
        }
        let recounted = Change { is_recounted: true, ..Change::default() };
        assert_eq!(old.clone().registering(2).since(&old), recounted);
        let more = old.clone().registering(3);
        let other = more.clone().lacking([("1.0".into(), 2)]);
        assert_eq!(other.since(&more), recounted);
        assert_eq!(more.since(&old.registering(2)), recounted);
    }

    #[test]
    fn versions_that_lack_endpoints_are_counted_once_and_in_order() {
        let of = |versions: &[(&str, u32)]| {
            let versions: Vec<_> = versions.iter().map(|&(name, n)| (name.into(), n)).collect();
            Snapshot::default().registering(9).lacking(versions)
        };
        let one = of(&[("2.0", 1), ("1.0", 2), ("3.0", 0), ("2.0", 4)]);
        assert_eq!(one, of(&[("1.0", 2), ("2.0", 5)]));
        assert_eq!(one.lacks(), [("1.0".into(), 2), ("2.0".into(), 5)]);
        assert!(Snapshot::default().lacking([("1.0".into(), 1)]).lacks().is_empty());
    }
}
