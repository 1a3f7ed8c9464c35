//! Reads a body as the decoder should, one entry after the other, by the rules as written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use consul_resolver::config::{AddressChoice, HealthThreshold as Threshold};
use consul_resolver::consul::decode::Decoded;
use consul_resolver::consul::dropped::Dropped;
use consul_resolver::consul::selection::Selection;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use serde_json::Value;

pub fn decode(body: &Value, selection: &Selection) -> Decoded {
    let mut heaviest = BTreeMap::<SocketAddr, u16>::new();
    let mut dropped = Dropped::default();
    for entry in body.as_array().unwrap() {
        if let Some((address, weight)) = read(entry, selection, &mut dropped) {
            let known = heaviest.entry(address).or_default();
            *known = weight.max(*known);
        }
    }
    let endpoint =
        |(address, weight)| Endpoint { address, weight: NonZeroU16::new(weight).unwrap() };
    let snapshot = Snapshot::new(heaviest.into_iter().map(endpoint).collect());
    Decoded { snapshot, dropped }
}

fn read(entry: &Value, selection: &Selection, dropped: &mut Dropped) -> Option<(SocketAddr, u16)> {
    let (node, service) = (&entry["Node"], &entry["Service"]);
    if !service.is_object() {
        dropped.no_service += 1;
        return None;
    }
    let health = health(&entry["Checks"]);
    let warned = health == "warning" && selection.health == Threshold::Warning;
    if health != "passing" && !warned {
        *match health {
            "maintenance" => &mut dropped.unhealthy.maintenance,
            "critical" => &mut dropped.unhealthy.critical,
            "warning" => &mut dropped.unhealthy.warning,
            _ => &mut dropped.unhealthy.unknown,
        } += 1;
        return None;
    }
    let weight = &service["Weights"][if warned { "Warning" } else { "Passing" }];
    let weight = match weight.as_u64() {
        Some(0) => {
            dropped.weightless += 1;
            return None;
        }
        Some(weight) => u16::try_from(weight).unwrap_or(u16::MAX),
        None => 1,
    };
    let (host, port) = place(node, service, &selection.address);
    let Some(host) = host else {
        dropped.no_address += 1;
        return None;
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match (host.parse::<IpAddr>(), bare.map(str::parse::<IpAddr>)) {
        (Ok(ip), _) => ip,
        (_, Some(Ok(ip))) if ip.is_ipv6() => ip,
        _ => {
            dropped.hostname += 1;
            return None;
        }
    };
    let Some(port @ 1..=65_535) = port.as_u64() else {
        dropped.bad_port += 1;
        return None;
    };
    Some((SocketAddr::new(ip.to_canonical(), u16::try_from(port).unwrap()), weight))
}

fn health(checks: &Value) -> &'static str {
    let checks = match checks {
        Value::Null => return "passing",
        Value::Array(checks) => checks,
        _ => return "unknown",
    };
    let mut found = [false; 4];
    let names = ["maintenance", "critical", "unknown", "warning"];
    for check in checks {
        let id = check["CheckID"].as_str().unwrap_or_default();
        let status = check["Status"].as_str().unwrap_or_default();
        if id == "_node_maintenance" || id.starts_with("_service_maintenance:") {
            found[0] = true;
        } else if let Some(known) = names.iter().position(|n| *n == status && *n != names[0]) {
            found[known] = true;
        } else {
            found[2] |= status != "passing";
        }
    }
    names.into_iter().zip(found).find(|(_, found)| *found).map_or("passing", |(name, _)| name)
}

fn place<'v>(
    node: &'v Value,
    service: &'v Value,
    choice: &AddressChoice,
) -> (Option<&'v str>, &'v Value) {
    let text = |value: &'v Value| value.as_str().filter(|text| !text.is_empty());
    let port = &service["Port"];
    if let AddressChoice::Tagged(name) = choice {
        let own = field(&service["TaggedAddresses"], name);
        if let Some(host) = text(field(own, "address")) {
            let tagged = field(own, "port");
            let usable = tagged.as_i64().is_some_and(|port| port != 0) || tagged.is_u64();
            let zero = tagged.as_i64() == Some(0);
            return (Some(host), if usable && !zero { tagged } else { port });
        }
        if text(&service["Address"]).is_none()
            && let Some(host) = text(field(&node["TaggedAddresses"], name))
        {
            return (Some(host), port);
        }
    }
    (text(&service["Address"]).or_else(|| text(&node["Address"])), port)
}

fn field<'v>(object: &'v Value, name: &str) -> &'v Value {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v)
        .next()
        .unwrap_or(&Value::Null)
}
