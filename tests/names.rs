//! What clients and catalogs say may be anything: names of Consul's DNS, and lists of services.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::borrow::Cow;

use consul_resolver::config::{Config, Service};
use consul_resolver::registry::consul::dns_name::DnsName;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::HttpResponse;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn catalog() -> ConsulQuery {
    let json =
        br#"{"consul": {"cluster": "c"}, "discover": {"host": "{service}.a", "tags": ["t"]}}"#;
    let config = Config::parse(json).unwrap();
    ConsulQuery::catalog(&config, config.discover.as_ref().unwrap())
}

fn response(body: &[u8]) -> HttpResponse<'_> {
    HttpResponse {
        status: 200,
        from_envoy: false,
        headers: &[("x-consul-index", Cow::Borrowed(b"7"))],
        body,
    }
}

/// A part of a name that is no keyword and does not look like one of RFC 2782.
const LABEL: &str = "[a-z0-9][a-z0-9-]{0,8}x";

proptest! {
    #[test]
    fn arbitrary_host_is_unknown_outside_the_domain(
        host in vec(any::<u8>(), 0..300), text in "[a-z_.]{0,60}",
    ) {
        for host in [&host[..], text.as_bytes()] {
            if let Some(name) = DnsName::parse(host, "consul") {
                prop_assert!(host.ends_with(b".consul"));
                let (service, _) = name.service(&Service::new("")).unwrap();
                prop_assert!(!service.name.is_empty() && !service.name.contains('/'));
            }
        }
    }

    #[test]
    fn what_is_written_by_the_grammar_is_read_by_it(
        service in LABEL, tag in option::of(LABEL), dc in option::of(LABEL), is_short in any::<bool>(),
    ) {
        let before = tag.as_ref().map_or_else(String::new, |tag| format!("{tag}."));
        let after = match (&dc, is_short) {
            (Some(dc), true) => format!(".{dc}"),
            (Some(dc), false) => format!(".{dc}.dc"),
            (None, _) => String::new(),
        };
        let host = format!("{before}{service}.service{after}.consul");
        let name = DnsName::parse(host.as_bytes(), "consul").expect("a name");
        let (read, datacenter) = name.service(&Service::new("")).expect("a service");
        prop_assert_eq!(read.name, service);
        prop_assert_eq!(read.tags, tag.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(datacenter, dc);
    }

    #[test]
    fn arbitrary_bodies_of_a_catalog_never_panic(
        bytes in vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-ct0]{0,60}",
    ) {
        for body in [&bytes[..], text.as_bytes()] {
            let _ = catalog().read(Ok(response(body)));
        }
    }

    #[test]
    fn a_catalog_lists_exactly_the_services_with_the_tag(
        services in proptest::collection::btree_map("[a-z]{1,6}", any::<bool>(), 0..30),
    ) {
        let entries: Vec<String> = services
            .iter()
            .map(|(name, has_tag)| format!(r#""{name}":{}"#, if *has_tag { r#"["x","t"]"# } else { r#"["x"]"# }))
            .collect();
        let body = format!("{{{}}}", entries.join(","));
        let answer = catalog().read(Ok(response(body.as_bytes()))).unwrap();
        let names: Vec<String> =
            answer.decoded.snapshot.services().unwrap().names().iter().map(|n| n.to_string()).collect();
        let wanted = |(name, has_tag): (&String, &bool)| (*has_tag && name != "consul").then(|| name.clone());
        prop_assert_eq!(names, services.iter().filter_map(wanted).collect::<Vec<_>>());
    }
}
