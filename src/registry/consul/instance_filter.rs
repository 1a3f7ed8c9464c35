//! Selects the instances that become endpoints, and their addresses.

use core::net::SocketAddr;
use core::num::NonZeroU16;
use std::rc::Rc;

use crate::config::{AddressChoice, AddressPolicy, HealthThreshold, VersionKey};
use crate::model::endpoint::{Address, Details, Endpoint};
use crate::registry::consul::health::Health;
use crate::registry::consul::host::InstanceHost;
use crate::registry::consul::string_table::StringTable;
use crate::registry::consul::wire::{WantedFields, WireEntry, WireService};
use crate::registry::rejected_instances::RejectReason;

/// The rules by which instances become endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFilter {
    /// The worst health that takes traffic.
    pub health: HealthThreshold,
    /// The address of an instance to use.
    pub address: AddressChoice,
    /// True if an instance may have a name instead of an IP address.
    pub resolve_names: bool,
    /// The IP addresses that may be endpoints.
    pub policy: AddressPolicy,
    /// The place of the version in an instance. `None` if no version is read.
    pub version: Option<VersionKey>,
    /// The key of metadata that contains the zone, if Consul itself does not know it. `None` if no
    /// zone is read.
    pub zone_key: Option<String>,
    /// True if a snapshot contains the unhealthy instances, too.
    pub tells_unhealthy: bool,
    /// The sorted keys of metadata that Envoy's own clusters are told, besides the name of the
    /// node. `None` if neither is read.
    pub details: Option<Vec<String>>,
}

impl InstanceFilter {
    /// Returns the fields to read of an entry.
    pub(super) fn wanted(&self) -> WantedFields<'_> {
        let (version_key, version_prefix) = match &self.version {
            Some(VersionKey::Meta(key)) => (Some(key.as_str()), None),
            Some(VersionKey::TagPrefix(prefix)) => (None, Some(prefix.as_str())),
            None => (None, None),
        };
        let (zone_key, details) = (self.zone_key.as_deref(), self.details.as_deref());
        WantedFields { address: self.tag(), version_key, version_prefix, zone_key, details }
    }

    /// Makes an endpoint of an entry.
    ///
    /// An entry that is out of service is not examined further. So only entries that would take
    /// traffic count as faulty.
    pub(super) fn endpoint(
        &self,
        entry: &WireEntry<'_, '_>,
        labels: &mut StringTable,
    ) -> Result<Endpoint, RejectReason> {
        let (service, health) = (&entry.service, entry.checks.worst);
        if !service.present {
            return Err(RejectReason::NoService);
        }
        if !health.meets(self.health) {
            return Err(RejectReason::Unhealthy(health));
        }
        let weight = weight(service, health).ok_or(RejectReason::Weightless)?;
        Ok(self.labelled(self.address(entry)?, weight, entry, labels))
    }

    /// Makes the endpoint that an unhealthy entry would be if all its checks passed.
    pub(super) fn endpoint_when_healthy(
        &self,
        entry: &WireEntry<'_, '_>,
        labels: &mut StringTable,
    ) -> Option<Endpoint> {
        let weight = weight(&entry.service, Health::Passing)?;
        Some(self.labelled(self.address(entry).ok()?, weight, entry, labels))
    }

    fn labelled(
        &self,
        address: Address,
        weight: NonZeroU16,
        entry: &WireEntry<'_, '_>,
        labels: &mut StringTable,
    ) -> Endpoint {
        let zone = self.zone_key.is_some().then(|| zone(entry, labels)).flatten();
        let version = self.version(entry, labels);
        let details = self.details.is_some().then(|| Rc::new(details(entry, labels)));
        Endpoint { address, weight, zone, version, details }
    }

    fn version(&self, entry: &WireEntry<'_, '_>, labels: &mut StringTable) -> Option<Rc<str>> {
        match self.version.as_ref()? {
            VersionKey::Meta(_) => labels.of(&entry.service.meta.version),
            VersionKey::TagPrefix(_) => labels.of(entry.service.tags.rest()),
        }
    }

    /// Returns the name of the tagged address to use, if any.
    pub(super) fn tag(&self) -> Option<&str> {
        match &self.address {
            AddressChoice::Service => None,
            AddressChoice::Tagged(name) => Some(name),
        }
    }

    fn address(&self, entry: &WireEntry<'_, '_>) -> Result<Address, RejectReason> {
        let (host, port) = place(entry).ok_or(RejectReason::NoAddress)?;
        let host = match InstanceHost::parse(host) {
            Some(InstanceHost::Name(_)) | None if !self.resolve_names => {
                return Err(RejectReason::Hostname);
            }
            host => host.ok_or(RejectReason::BadName)?,
        };
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let port = port.ok_or(RejectReason::BadPort)?;
        match host {
            InstanceHost::Ip(ip) if self.policy.admits(ip) => Ok(SocketAddr::new(ip, port).into()),
            InstanceHost::Ip(ip) => Err(RejectReason::Denied(ip)),
            InstanceHost::Name(name) => Ok(Address::Name(name, port)),
        }
    }
}

/// Returns the zone. Consul's own knowledge of the instance or else its node (`Locality`, Consul
/// 1.17) comes before the metadata of either.
fn zone(entry: &WireEntry<'_, '_>, labels: &mut StringTable) -> Option<Rc<str>> {
    let (service, node) = (&entry.service, &entry.node);
    [&service.locality.zone, &node.locality.zone, &service.meta.zone, &node.meta.zone]
        .into_iter()
        .find_map(|zone| labels.of(zone))
}

/// Returns the details for Envoy's own clusters. Metadata that is too long is left out.
fn details(entry: &WireEntry<'_, '_>, labels: &mut StringTable) -> Details {
    let mut text = |(key, value): (&str, &str)| Some((labels.of(key)?, labels.of(value)?));
    let metadata = entry.service.meta.details().filter_map(&mut text).collect();
    Details { hostname: labels.of(&entry.node.name), metadata }
}

/// Returns the weight for a health. Returns `None` for weight 0.
///
/// A weight that is absent, negative or no integer counts as 1, Consul's own default: a senseless
/// weight is no order to take the instance out of traffic. A weight above 65535, Consul's maximum,
/// counts as 65535.
fn weight(service: &WireService<'_, '_>, health: Health) -> Option<NonZeroU16> {
    let weight = match health {
        Health::Warning => service.weights.warning,
        _ => service.weights.passing,
    };
    let weight = weight.filter(|weight| *weight >= 0).unwrap_or(1);
    NonZeroU16::new(u16::try_from(weight).unwrap_or(u16::MAX))
}

/// Returns the address, which is never empty, and its port.
///
/// The order is that of Consul's own translation of addresses: the wanted tagged address of the
/// service, with its own port if it has one; the address of the service; the wanted tagged address
/// of the node; the address of the node. If no tagged address is wanted, none was read.
fn place<'e>(entry: &'e WireEntry<'_, '_>) -> Option<(&'e str, Option<i64>)> {
    let (service, tagged) = (&entry.service, &entry.service.tagged.value);
    let tagged_port = tagged.port.filter(|port| *port != 0).or(service.port);
    [
        (&tagged.address, tagged_port),
        (&service.address, service.port),
        (&entry.node.tagged.value, service.port),
        (&entry.node.address, service.port),
    ]
    .into_iter()
    .find(|(host, _)| !host.is_empty())
    .map(|(host, port)| (host.as_ref(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::lenient::LenientSeed;
    use serde::de::DeserializeSeed;
    use serde_json::{Value, json};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SERVICE: AddressChoice = AddressChoice::Service;

    fn judge(
        health: HealthThreshold,
        choice: AddressChoice,
        json: &Value,
    ) -> Result<String, RejectReason> {
        let endpoint = judge_by(&InstanceFilter { health, address: choice, ..plain() }, json)?;
        Ok(format!("{}*{}", endpoint.address, endpoint.weight))
    }

    fn judge_by(selection: &InstanceFilter, json: &Value) -> Result<Endpoint, RejectReason> {
        let text = json.to_string();
        let mut entry = WireEntry::new(selection.wanted());
        LenientSeed(&mut entry)
            .deserialize(&mut serde_json::Deserializer::from_str(&text))
            .unwrap();
        selection.endpoint(&entry, &mut StringTable::default())
    }

    fn plain() -> InstanceFilter {
        InstanceFilter {
            health: HealthThreshold::Passing,
            address: SERVICE,
            resolve_names: false,
            policy: AddressPolicy::default(),
            version: None,
            zone_key: None,
            tells_unhealthy: false,
            details: None,
        }
    }

    fn passing(json: &Value) -> Result<String, RejectReason> {
        judge(HealthThreshold::Passing, SERVICE, json)
    }

    fn at(address: &str, port: &Value) -> Value {
        json!({"Node": {"Address": "10.0.0.1"}, "Service": {"Address": address, "Port": port}})
    }

    #[test]
    fn the_service_address_comes_before_the_node_address() {
        assert_eq!(passing(&at("10.0.0.2", &json!(80))).unwrap(), "10.0.0.2:80*1");
        assert_eq!(passing(&at("", &json!(80))).unwrap(), "10.0.0.1:80*1");
        let null =
            json!({"Node": {"Address": "10.0.0.1"}, "Service": {"Address": null, "Port": 1}});
        assert_eq!(passing(&null).unwrap(), "10.0.0.1:1*1");
        let none = json!({"Node": null, "Service": {"Port": 80}});
        assert_eq!(passing(&none), Err(RejectReason::NoAddress));
        assert_eq!(passing(&json!({"Service": null})), Err(RejectReason::NoService));
    }

    #[test]
    fn a_port_that_is_none_drops_the_entry() {
        for port in [json!(0), json!(null), json!(70_000), json!(-1), json!(80.0), json!("80")] {
            assert_eq!(passing(&at("", &port)), Err(RejectReason::BadPort), "{port}");
        }
        assert_eq!(passing(&at("", &json!(65_535))).unwrap(), "10.0.0.1:65535*1");
    }

    #[test]
    fn a_name_is_dropped_and_the_node_is_not_asked_instead() {
        for name in [
            "web.internal",
            "localhost",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1:80",
            " ",
            "fe80::1%eth0",
            "[10.0.0.1]",
            "[::1",
            "::1]",
            "[]",
            "/run/web.sock",
        ] {
            assert_eq!(passing(&at(name, &json!(80))), Err(RejectReason::Hostname), "{name}");
        }
    }

    #[test]
    fn address_is_denied_by_the_policy_and_a_name_never_is() {
        for ip in ["0.0.0.0", "169.254.169.254", "[fe80::1]", "::ffff:169.254.0.1"] {
            let denied = passing(&at(ip, &json!(80)));
            assert!(matches!(denied, Err(RejectReason::Denied(_))), "{ip}: {denied:?}");
        }
        assert_eq!(passing(&at("169.254.0.1", &json!(0))), Err(RejectReason::BadPort));
        let first = core::net::IpAddr::from([10, 0, 0, 0]);
        let allow = vec![crate::config::Cidr { first, prefix: 8 }];
        let selection = InstanceFilter {
            policy: AddressPolicy { allow, deny: Vec::new() },
            resolve_names: true,
            ..plain()
        };
        let address = |host| judge_by(&selection, &at(host, &json!(80))).map(|e| e.address);
        assert!(address("10.1.2.3").is_ok());
        assert_eq!(address("11.0.0.1"), Err(RejectReason::Denied([11, 0, 0, 1].into())));
        assert_eq!(address("Web.Internal."), Ok(Address::Name("web.internal".into(), 80)));
        assert_eq!(address("web internal"), Err(RejectReason::BadName));
        assert_eq!(address("127.1"), Err(RejectReason::BadName));
    }

    #[test]
    fn a_zone_is_what_consul_knows_or_else_what_the_metadata_says() {
        let selection = InstanceFilter { zone_key: Some("zone".into()), ..plain() };
        let own = json!({"Locality": {"Zone": "s"}, "Meta": {"zone": "sm"}});
        let of_node = json!({"Locality": {"Zone": "n"}, "Meta": {"zone": "nm"}});
        let zone = |selection: &InstanceFilter, forgotten: &[&str]| {
            let mut service = json!({"Address": "10.0.0.1", "Port": 80});
            let mut node = json!({});
            for (to, from) in [(&mut service, &own), (&mut node, &of_node)] {
                to["Locality"] = from["Locality"].clone();
                to["Meta"] = from["Meta"].clone();
            }
            for path in forgotten {
                let side = if path.starts_with('s') { &mut service } else { &mut node };
                *side.pointer_mut(&path[1..]).unwrap() = json!("");
            }
            let entry = json!({"Service": service, "Node": node});
            judge_by(selection, &entry).unwrap().zone.map(|zone| zone.to_string())
        };
        let order = ["s/Locality/Zone", "n/Locality/Zone", "s/Meta/zone", "n/Meta/zone"];
        for (n, expected) in ["s", "n", "sm", "nm"].into_iter().enumerate() {
            assert_eq!(zone(&selection, &order[..n]).as_deref(), Some(expected));
        }
        assert_eq!(zone(&selection, &order), None);
        assert_eq!(zone(&plain(), &[]), None, "nobody wants to know");
    }

    #[test]
    fn a_version_is_a_value_of_metadata_or_the_rest_of_a_tag() {
        let version = |key: Option<VersionKey>, service: Value| {
            let selection = InstanceFilter { version: key, ..plain() };
            let mut entry = json!({"Service": service});
            entry["Service"]["Address"] = json!("10.0.0.1");
            entry["Service"]["Port"] = json!(80);
            judge_by(&selection, &entry).unwrap().version.map(|version| version.to_string())
        };
        let labelled = json!({"Meta": {"version": "1.2.3"}, "Tags": ["a", "v=2", "v=3"]});
        let meta = || Some(VersionKey::default());
        let tag = || Some(VersionKey::TagPrefix("v=".into()));
        assert_eq!(version(meta(), labelled.clone()).as_deref(), Some("1.2.3"));
        assert_eq!(version(tag(), labelled.clone()).as_deref(), Some("2"));
        assert_eq!(version(None, labelled), None);
        for none in [json!({}), json!({"Meta": {"version": ""}, "Tags": ["v="]})] {
            assert_eq!((version(meta(), none.clone()), version(tag(), none)), (None, None));
        }
        let long = json!({"Meta": {"version": "1".repeat(257)}});
        assert_eq!(version(meta(), long), None);
    }

    #[test]
    fn a_weight_is_that_of_the_health_and_1_where_it_makes_no_sense() {
        let weighted = |passing: Value, status: &str| {
            let entry = json!({
                "Node": {"Address": "10.0.0.1"},
                "Service": {"Port": 80, "Weights": {"Passing": passing, "Warning": 2}},
                "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"Status": status}],
            });
            judge(HealthThreshold::Warning, SERVICE, &entry)
        };
        assert_eq!(weighted(json!(7), "passing").unwrap(), "10.0.0.1:80*7");
        assert_eq!(weighted(json!(7), "warning").unwrap(), "10.0.0.1:80*2");
        assert_eq!(weighted(json!(65_536), "passing").unwrap(), "10.0.0.1:80*65535");
        assert_eq!(weighted(json!(0), "passing"), Err(RejectReason::Weightless));
        for odd in [json!(null), json!(-3), json!(1.5), json!("9"), json!([9])] {
            assert_eq!(weighted(odd.clone(), "passing").unwrap(), "10.0.0.1:80*1", "{odd}");
        }
    }

    #[test]
    fn an_unhealthy_entry_is_not_looked_at_further() {
        let sick = json!({
            "Service": {"Address": "name", "Port": 0, "Weights": {"Passing": 0}},
            "Checks": [{"CheckID": "web", "Status": "warning"}],
        });
        assert_eq!(passing(&sick), Err(RejectReason::Unhealthy(Health::Warning)));
    }

    #[test]
    fn tagged_address_of_the_node_is_used_without_a_service_one() {
        let tagged_beside = |address: &str, service: Value, node: Value| {
            let entry = json!({
                "Node": {"Address": "10.0.0.1", "TaggedAddresses": node},
                "Service": {"Address": address, "Port": 80, "TaggedAddresses": service},
            });
            judge(HealthThreshold::Passing, AddressChoice::Tagged("WAN".into()), &entry).unwrap()
        };
        let tagged = |service, node| tagged_beside("10.0.0.2", service, node);
        let node = json!({"lan": "10.0.0.3", "wan": "192.0.2.3"});
        let own = json!({"wan": {"Address": "192.0.2.2", "Port": 8080}});
        assert_eq!(tagged(own, node.clone()), "192.0.2.2:8080*1");
        let lower = json!({"wan": {"address": "192.0.2.2", "port": 8080}});
        assert_eq!(tagged(lower, node.clone()), "192.0.2.2:8080*1");
        for port in [json!(0), json!(null)] {
            let without = json!({"wan": {"Address": "192.0.2.2", "Port": port}});
            assert_eq!(tagged(without, node.clone()), "192.0.2.2:80*1");
        }
        for none in [json!(null), json!({"wan": {"Address": ""}})] {
            assert_eq!(tagged(none.clone(), node.clone()), "10.0.0.2:80*1");
            assert_eq!(tagged_beside("", none, node.clone()), "192.0.2.3:80*1");
        }
        let lan = json!({"lan": "10.0.0.3"});
        assert_eq!(tagged_beside("", json!({}), lan), "10.0.0.1:80*1");
        assert_eq!(tagged(json!({}), json!({"lan": "10.0.0.3"})), "10.0.0.2:80*1");
    }
}
