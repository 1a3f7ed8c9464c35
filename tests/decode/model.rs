//! Reads a body as the decoder should, one entry after the other, by the rules as written.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use consul_resolver::config::{
    AddressChoice, AddressPolicy, Cidr, HealthThreshold as Threshold, VersionKey,
};
use consul_resolver::model::endpoint::{Address, Details, Endpoint};
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::registry::consul::instance_filter::InstanceFilter;
use consul_resolver::registry::query_response::Decoded;
use consul_resolver::registry::rejected_instances::RejectedInstances;
use serde_json::Value;

pub fn decode(body: &Value, selection: &InstanceFilter) -> Decoded {
    let mut endpoints = BTreeMap::<Address, Vec<Endpoint>>::new();
    let mut unhealthy = BTreeMap::<Address, Vec<Endpoint>>::new();
    let mut dropped = RejectedInstances::default();
    for entry in body.as_array().unwrap() {
        if let Some(endpoint) = read(entry, selection, &mut dropped) {
            endpoints.entry(endpoint.address.clone()).or_default().push(endpoint);
        } else if is_unhealthy(entry, selection) {
            // As it would be if it had no checks at all.
            let mut healthy = entry.clone();
            healthy["Checks"] = Value::Null;
            if let Some(endpoint) = read(&healthy, selection, &mut RejectedInstances::default()) {
                unhealthy.entry(endpoint.address.clone()).or_default().push(endpoint);
            }
        }
    }
    let best = |of: Vec<Endpoint>| {
        let order = |e: &Endpoint| {
            (Reverse(e.weight), e.version.clone(), e.zone.clone(), e.details.clone())
        };
        of.into_iter().min_by_key(order).unwrap()
    };
    let snapshot = Snapshot::new(endpoints.into_values().map(best).collect());
    let unhealthy = Snapshot::new(unhealthy.into_values().map(best).collect());
    let is_missing =
        |one: &&Endpoint| snapshot.endpoints().iter().all(|it| it.address != one.address);
    let missing: Vec<_> = unhealthy.endpoints().iter().filter(is_missing).collect();
    let registered = u32::try_from(snapshot.len() + missing.len()).unwrap();
    let missing: Vec<_> = missing.into_iter().cloned().collect();
    let snapshot =
        if selection.tells_unhealthy { snapshot.with_unhealthy(missing) } else { snapshot };
    Decoded { snapshot, dropped, registered, unhealthy, origin: None }
}

fn is_unhealthy(entry: &Value, selection: &InstanceFilter) -> bool {
    let health = health(&entry["Checks"]);
    let limits = ["passing", "warning", "critical"];
    let limit = match selection.health {
        Threshold::Passing => 1,
        Threshold::Warning => 2,
        Threshold::Any => 3,
    };
    let is_unknown = health == "unknown" && selection.health == Threshold::Any;
    entry["Service"].is_object() && !limits[..limit].contains(&health) && !is_unknown
}

fn read(
    entry: &Value,
    selection: &InstanceFilter,
    dropped: &mut RejectedInstances,
) -> Option<Endpoint> {
    let (node, service) = (&entry["Node"], &entry["Service"]);
    if !service.is_object() {
        dropped.no_service += 1;
        return None;
    }
    let health = health(&entry["Checks"]);
    if is_unhealthy(entry, selection) {
        *match health {
            "maintenance" => &mut dropped.unhealthy.maintenance,
            "critical" => &mut dropped.unhealthy.critical,
            "warning" => &mut dropped.unhealthy.warning,
            _ => &mut dropped.unhealthy.unknown,
        } += 1;
        return None;
    }
    let weight = &service["Weights"][if health == "warning" { "Warning" } else { "Passing" }];
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
        (Ok(ip), _) => Some(ip.to_canonical()),
        (_, Some(Ok(ip))) if ip.is_ipv6() => Some(ip.to_canonical()),
        _ => None,
    };
    let name = if selection.resolve_names { name(host) } else { None };
    if ip.is_none() && name.is_none() {
        *if selection.resolve_names { &mut dropped.bad_name } else { &mut dropped.hostname } += 1;
        return None;
    }
    let Some(port @ 1..=65_535) = port.as_u64() else {
        dropped.bad_port += 1;
        return None;
    };
    let port = u16::try_from(port).unwrap();
    if let Some(ip) = ip.filter(|ip| !is_admitted(*ip, &selection.policy)) {
        dropped.denied.count += 1;
        dropped.denied.least = dropped.denied.least.into_iter().chain([ip]).min();
        return None;
    }
    let address = match ip {
        Some(ip) => Address::Ip(SocketAddr::new(ip, port)),
        None => Address::Name(name.unwrap().into(), port),
    };
    let zone = selection.zone_key.as_ref().and_then(|key| {
        [&service["Locality"]["Zone"], &node["Locality"]["Zone"]]
            .into_iter()
            .chain([&service["Meta"][key], &node["Meta"][key]])
            .find_map(label)
    });
    let version = match &selection.version {
        None => None,
        Some(VersionKey::Meta(key)) => label(&service["Meta"][key]),
        Some(VersionKey::TagPrefix(prefix)) => {
            let tags = service["Tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let rest = tags.filter_map(|tag| tag.strip_prefix(prefix.as_str())).next();
            rest.and_then(|rest| label(&Value::from(rest)))
        }
    };
    let weight = NonZeroU16::new(weight).unwrap();
    let (zone, version) = (zone.map(Into::into), version.map(Into::into));
    let details = selection.details.as_ref().map(|keys| {
        let entry =
            |key: &String| Some((key.as_str().into(), label(&service["Meta"][key])?.into()));
        let hostname = label(&node["Node"]).map(Into::into);
        Details { hostname, metadata: keys.iter().filter_map(entry).collect() }.into()
    });
    Some(Endpoint { address, weight, zone, version, details })
}

fn label(value: &Value) -> Option<String> {
    value.as_str().filter(|text| (1..=256).contains(&text.len())).map(str::to_owned)
}

fn name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let is_label = |label: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let edges = [label.chars().next(), label.chars().last()];
        label.len() <= 63
            && label.chars().all(allowed)
            && edges.iter().all(|c| c.is_some_and(|c| c != '-'))
    };
    let last = labels.last().unwrap();
    let is_decimal = last.chars().all(|c| c.is_ascii_digit());
    let is_hexadecimal = last.starts_with("0x") && last[2..].chars().all(|c| c.is_ascii_hexdigit());
    let is_name = name.len() <= 253 && host.is_ascii() && labels.iter().all(is_label);
    (is_name && !is_decimal && !is_hexadecimal).then_some(name)
}

fn is_admitted(ip: IpAddr, policy: &AddressPolicy) -> bool {
    let covers = |range: &&Cidr| {
        range.first.is_ipv4() == ip.is_ipv4()
            && bits(range.first)[..usize::from(range.prefix)]
                == bits(ip)[..usize::from(range.prefix)]
    };
    let is_local = |bits: &str| {
        bits.starts_with("1010100111111110") && ip.is_ipv4()
            || bits.starts_with("1111111010") && ip.is_ipv6()
    };
    let allowing: Vec<&Cidr> = policy.allow.iter().filter(covers).collect();
    if ip.is_unspecified() || ip.is_multicast() || policy.deny.iter().any(|range| covers(&range)) {
        return false;
    }
    if is_local(&bits(ip)) {
        return allowing.iter().any(|r| is_local(&bits(r.first)[..usize::from(r.prefix)]));
    }
    policy.allow.is_empty() || !allowing.is_empty()
}

fn bits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:032b}", u32::from(ip)),
        IpAddr::V6(ip) => format!("{:0128b}", u128::from(ip)),
    }
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
