//! The endpoints of a service, as Envoy's EDS sends them.

use core::net::{IpAddr, SocketAddr};

use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::Assignment;
use crate::xds::json::{put_number, put_string};
use crate::xds::resource::{Rendered, ResourceKind};

/// Renders the `ClusterLoadAssignment` of a service.
///
/// Each datacenter is a priority; a datacenter without endpoints is left out, since Envoy's priorities
/// must have no gaps. Unhealthy instances are sent only if there are several datacenters, among which
/// Envoy chooses by their health. Names are not sent: Envoy takes only addresses by EDS.
pub(super) fn cluster_load_assignment(service: &str, assignment: &Assignment) -> Rendered {
    let mut rendered = Rendered::default();
    let out = &mut rendered.text;
    out.push_str("{\"@type\":\"");
    out.push_str(ResourceKind::Endpoints.type_url());
    out.push_str("\",\"cluster_name\":");
    put_string(out, service);
    out.push_str(",\"endpoints\":[");
    let has_others = assignment.levels.len() > 1;
    let mut priority = 0;
    for level in &assignment.levels {
        let unhealthy = level.unhealthy().filter(|_| has_others).unwrap_or_default();
        let healthy = level.endpoints().iter().map(|endpoint| (endpoint, "HEALTHY"));
        let both = healthy.chain(unhealthy.iter().map(|endpoint| (endpoint, "UNHEALTHY")));
        let mut hosts: Vec<EdsHost<'_>> = both.filter_map(EdsHost::new).collect();
        let all = level.endpoints().len() + unhealthy.len();
        rendered.host_names += all - hosts.len();
        rendered.items += hosts.len();
        // Stable, so that within a zone they stay sorted by address.
        hosts.sort_by(|a, b| a.endpoint.zone.cmp(&b.endpoint.zone));
        for zone in hosts.chunk_by(|a, b| a.endpoint.zone == b.endpoint.zone) {
            put_locality(&mut rendered.text, priority, zone);
        }
        priority += u32::from(!hosts.is_empty());
    }
    close(&mut rendered.text);
    rendered.text.push_str("]}");
    rendered
}

/// An endpoint that has an address.
struct EdsHost<'a> {
    address: SocketAddr,
    endpoint: &'a Endpoint,
    health: &'static str,
}

impl<'a> EdsHost<'a> {
    const fn new((endpoint, health): (&'a Endpoint, &'static str)) -> Option<Self> {
        match endpoint.address {
            Address::Ip(address) => Some(Self { address, endpoint, health }),
            Address::Name(..) => None,
        }
    }
}

/// Appends the endpoints of one zone, at least one, and a comma.
fn put_locality(out: &mut String, priority: u32, hosts: &[EdsHost<'_>]) {
    out.push('{');
    if let Some(zone) = hosts.first().and_then(|host| host.endpoint.zone.as_deref()) {
        out.push_str("\"locality\":{\"zone\":");
        put_string(out, zone);
        out.push_str("},");
    }
    if priority > 0 {
        out.push_str("\"priority\":");
        put_number(out, priority);
        out.push(',');
    }
    out.push_str("\"lb_endpoints\":[");
    for host in hosts {
        put_host(out, host);
        out.push(',');
    }
    close(out);
    out.push_str("]},");
}

fn put_host(out: &mut String, EdsHost { address, endpoint, health }: &EdsHost<'_>) {
    out.push_str("{\"endpoint\":{\"address\":{\"socket_address\":{\"address\":\"");
    put_ip(out, address.ip());
    out.push_str("\",\"port_value\":");
    put_number(out, address.port().into());
    out.push_str("}}");
    if let Some(name) = endpoint.details.as_ref().and_then(|it| it.hostname.as_deref()) {
        out.push_str(",\"hostname\":");
        put_string(out, name);
    }
    out.push_str("},\"health_status\":\"");
    out.push_str(health);
    out.push('"');
    put_metadata(out, endpoint);
    if endpoint.weight.get() > 1 {
        out.push_str(",\"load_balancing_weight\":");
        put_number(out, endpoint.weight.get().into());
    }
    out.push('}');
}

/// Appends the metadata by which Envoy's subsets are selected. Each key stands once, since Envoy refuses
/// a duplicate.
fn put_metadata(out: &mut String, endpoint: &Endpoint) {
    const VERSION: &str = "version";
    let version = endpoint.version.as_deref();
    let others = endpoint.details.iter().flat_map(|details| &details.metadata);
    let others = others.filter(|(key, _)| version.is_none() || **key != *VERSION);
    let version = version.map(|version| (VERSION, version));
    let mut all = version.into_iter().chain(others.map(|(k, v)| (&**k, &**v))).peekable();
    if all.peek().is_none() {
        return;
    }
    out.push_str(",\"metadata\":{\"filter_metadata\":{\"envoy.lb\":{");
    for (key, value) in all {
        put_string(out, key);
        out.push(':');
        put_string(out, value);
        out.push(',');
    }
    close(out);
    out.push_str("}}}");
}

fn put_ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            put_number(out, a.into());
            for octet in [b, c, d] {
                out.push('.');
                put_number(out, octet.into());
            }
        }
        IpAddr::V6(ip) => out.push_str(&ip.to_string()),
    }
}

/// Removes the comma after the last item of a list.
fn close(out: &mut String) {
    if out.ends_with(',') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU16;
    use std::rc::Rc;

    use serde_json::{Value, json};

    use crate::model::endpoint::Details;
    use crate::model::snapshot::Snapshot;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn endpoint(address: &str) -> Endpoint {
        Endpoint::new(address.parse::<SocketAddr>().unwrap())
    }

    fn levels(levels: impl IntoIterator<Item = Snapshot>) -> Assignment {
        Assignment { levels: levels.into_iter().map(Rc::new).collect() }
    }

    fn render(assignment: &Assignment) -> Value {
        let rendered = cluster_load_assignment("web", assignment);
        serde_json::from_str(&rendered.text).unwrap_or_else(|_| panic!("{}", rendered.text))
    }

    /// Returns the text of a plain healthy endpoint.
    fn host(ip: &str, port: u16) -> Value {
        json!({
            "endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}},
            "health_status": "HEALTHY",
        })
    }

    #[test]
    fn a_service_without_endpoints_is_an_empty_assignment() {
        for assignment in [levels([]), levels([Snapshot::default(), Snapshot::default()])] {
            let empty = json!({
                "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                "cluster_name": "web",
                "endpoints": [],
            });
            assert_eq!(render(&assignment), empty);
        }
    }

    #[test]
    fn endpoint_carries_weight_health_zone_and_metadata() {
        let details = Details {
            hostname: Some("node \"1\"".into()),
            metadata: [("team", "a\\b"), ("version", "x")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
        };
        let weight = NonZeroU16::new(u16::MAX).unwrap();
        let zone = Some("eu-1a".into());
        let all = Endpoint {
            zone,
            version: Some("1.2".into()),
            details: Some(Rc::new(details)),
            ..endpoint("[2001:db8::1]:443").weighing(weight)
        };
        let wanted = json!([{"locality": {"zone": "eu-1a"}, "lb_endpoints": [{
            "endpoint": {
                "address": {"socket_address": {"address": "2001:db8::1", "port_value": 443}},
                "hostname": "node \"1\"",
            },
            "health_status": "HEALTHY",
            "load_balancing_weight": 65_535,
            "metadata": {"filter_metadata": {"envoy.lb": {"version": "1.2", "team": "a\\b"}}},
        }]}]);
        let assignment = levels([Snapshot::new(vec![all.clone()])]);
        assert_eq!(render(&assignment)["endpoints"], wanted);
        let unversioned = levels([Snapshot::new(vec![Endpoint { version: None, ..all }])]);
        let metadata = &render(&unversioned)["endpoints"][0]["lb_endpoints"][0]["metadata"];
        let wanted = json!({"version": "x", "team": "a\\b"});
        assert_eq!(metadata["filter_metadata"]["envoy.lb"], wanted);
    }

    #[test]
    fn endpoints_are_grouped_by_zone_and_those_without_come_first() {
        let in_zone = |address, zone: Option<&str>| Endpoint {
            zone: zone.map(Into::into),
            ..endpoint(address)
        };
        let assignment = levels([Snapshot::new(vec![
            in_zone("10.0.0.1:80", Some("b")),
            in_zone("10.0.0.2:80", Some("a")),
            in_zone("10.0.0.3:80", Some("b")),
            in_zone("10.0.0.4:80", None),
        ])]);
        let wanted = json!([
            {"lb_endpoints": [host("10.0.0.4", 80)]},
            {"locality": {"zone": "a"}, "lb_endpoints": [host("10.0.0.2", 80)]},
            {"locality": {"zone": "b"},
             "lb_endpoints": [host("10.0.0.1", 80), host("10.0.0.3", 80)]},
        ]);
        assert_eq!(render(&assignment)["endpoints"], wanted);
    }

    #[test]
    fn datacenters_are_priorities_without_a_gap() {
        let of = |address| Snapshot::new(vec![endpoint(address)]);
        let assignment = levels([
            Snapshot::default(),
            of("10.1.0.1:80"),
            Snapshot::default(),
            of("10.2.0.1:80"),
        ]);
        let wanted = json!([
            {"lb_endpoints": [host("10.1.0.1", 80)]},
            {"priority": 1, "lb_endpoints": [host("10.2.0.1", 80)]},
        ]);
        assert_eq!(render(&assignment)["endpoints"], wanted);
    }

    #[test]
    fn critical_endpoints_are_sent_only_when_datacenters_differ() {
        let ill = || Snapshot::new(vec![]).with_unhealthy(vec![endpoint("10.1.0.1:80")]);
        assert_eq!(render(&levels([ill()]))["endpoints"], json!([]));
        let both = levels([ill(), Snapshot::new(vec![endpoint("10.2.0.1:80")])]);
        let mut unhealthy = host("10.1.0.1", 80);
        unhealthy["health_status"] = "UNHEALTHY".into();
        let wanted = json!([
            {"lb_endpoints": [unhealthy]},
            {"priority": 1, "lb_endpoints": [host("10.2.0.1", 80)]},
        ]);
        assert_eq!(render(&both)["endpoints"], wanted);
    }

    #[test]
    fn a_host_name_is_counted_and_not_sent() {
        let name = Endpoint::new(Address::Name("db.internal".into(), 80));
        let assignment = levels([Snapshot::new(vec![name, endpoint("10.0.0.1:80")])]);
        let rendered = cluster_load_assignment("web", &assignment);
        assert_eq!((rendered.items, rendered.host_names), (1, 1));
        let wanted = json!([{"lb_endpoints": [host("10.0.0.1", 80)]}]);
        assert_eq!(render(&assignment)["endpoints"], wanted);
    }
}
