//! Which instances become endpoints, and under which address.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU16;

use crate::config::{AddressChoice, HealthThreshold};
use crate::consul::dropped::Reason;
use crate::consul::health::Health;
use crate::consul::wire::{Entry, Service};
use crate::model::endpoint::Endpoint;

/// How the entries of an answer are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The worst health that takes traffic.
    pub health: HealthThreshold,
    /// Which of an instance's addresses to use.
    pub address: AddressChoice,
}

impl Selection {
    /// The name of the tagged address that is wanted, if any.
    pub(super) fn tag(&self) -> Option<&str> {
        match &self.address {
            AddressChoice::Service => None,
            AddressChoice::Tagged(name) => Some(name),
        }
    }

    /// Makes an endpoint of an entry that was read with [`Selection::tag`].
    ///
    /// What is out of service is not looked at further, so only entries that would take
    /// traffic are counted as faulty.
    pub(super) fn endpoint(&self, entry: &Entry<'_, '_>) -> Result<Endpoint, Reason> {
        let (service, health) = (&entry.service, entry.checks.worst);
        if !service.present {
            return Err(Reason::NoService);
        }
        if !health.meets(self.health) {
            return Err(Reason::Unhealthy(health));
        }
        let weight = weight(service, health).ok_or(Reason::Weightless)?;
        let (host, port) = place(entry).ok_or(Reason::NoAddress)?;
        let ip = parse_ip(host).ok_or(Reason::Hostname)?;
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let address = SocketAddr::new(ip, port.ok_or(Reason::BadPort)?);
        Ok(Endpoint { address, weight })
    }
}

/// The weight for this health; `None` where it is 0.
///
/// One that is absent, no integer or negative counts as 1, Consul's own default: a weight
/// that makes no sense is no order to take the instance out of traffic. One above 65535,
/// the most that Consul accepts today, counts as that.
fn weight(service: &Service<'_, '_>, health: Health) -> Option<NonZeroU16> {
    let weight = match health {
        Health::Warning => service.weights.warning,
        _ => service.weights.passing,
    };
    let weight = weight.filter(|weight| *weight >= 0).unwrap_or(1);
    NonZeroU16::new(u16::try_from(weight).unwrap_or(u16::MAX))
}

/// The address, never empty, and the port that goes with it.
///
/// In order, as Consul itself translates addresses: the wanted tagged address of the
/// service, with its own port if it has one; the service's address; the wanted tagged
/// address of the node, and the node's, for a service that has no address of its own.
/// Without a wanted one the tagged addresses were not read, and are empty.
fn place<'e>(entry: &'e Entry<'_, '_>) -> Option<(&'e str, Option<i64>)> {
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

/// Parses an IPv4 address, or an IPv6 address with or without brackets; no zone.
///
/// An IPv4 address written as an IPv6 one (`::ffff:10.0.0.1`) becomes what it is: one place
/// has one address, whoever compares it. Unspecified and multicast addresses are passed on.
fn parse_ip(host: &str) -> Option<IpAddr> {
    let ip = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => host.parse::<IpAddr>().ok()?,
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::lenient::Fill;
    use serde::de::DeserializeSeed;
    use serde_json::{Value, json};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SERVICE: AddressChoice = AddressChoice::Service;

    fn judge(
        health: HealthThreshold,
        choice: AddressChoice,
        json: &Value,
    ) -> Result<String, Reason> {
        let selection = Selection { health, address: choice };
        let text = json.to_string();
        let mut entry = Entry::new(selection.tag());
        Fill(&mut entry).deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        let endpoint = selection.endpoint(&entry)?;
        Ok(format!("{}*{}", endpoint.address, endpoint.weight))
    }

    fn passing(json: &Value) -> Result<String, Reason> {
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
        assert_eq!(passing(&none), Err(Reason::NoAddress));
        assert_eq!(passing(&json!({"Service": null})), Err(Reason::NoService));
    }

    #[test]
    fn a_port_that_is_none_drops_the_entry() {
        for port in [json!(0), json!(null), json!(70_000), json!(-1), json!(80.0), json!("80")] {
            assert_eq!(passing(&at("", &port)), Err(Reason::BadPort), "{port}");
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
            assert_eq!(passing(&at(name, &json!(80))), Err(Reason::Hostname), "{name}");
        }
    }

    #[test]
    fn ipv6_is_read_with_and_without_brackets_and_mapped_ipv4_is_ipv4() {
        assert_eq!(passing(&at("2001:db8::1", &json!(80))).unwrap(), "[2001:db8::1]:80*1");
        assert_eq!(passing(&at("[2001:db8::1]", &json!(80))).unwrap(), "[2001:db8::1]:80*1");
        assert_eq!(passing(&at("::ffff:10.0.0.9", &json!(80))).unwrap(), "10.0.0.9:80*1");
        assert_eq!(passing(&at("0.0.0.0", &json!(80))).unwrap(), "0.0.0.0:80*1");
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
        assert_eq!(weighted(json!(0), "passing"), Err(Reason::Weightless));
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
        assert_eq!(passing(&sick), Err(Reason::Unhealthy(Health::Warning)));
    }

    #[test]
    fn a_tagged_address_of_the_node_counts_where_the_service_has_no_address() {
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
