//! A name of Consul's DNS, which a client sends as its host, and what is asked of Consul for it.

use consul_resolver::config::{Config, Service};
use consul_resolver::registry::consul::dns_name::DnsName;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::ReadMode;

const DOMAIN: &str = "consul";

/// A host that is such a name stands for one question, no part of which is longer than the host,
/// and nothing in it gets out of its place in the path.
pub fn check(input: &[u8]) {
    let host = input.to_ascii_lowercase();
    let Some(name) = DnsName::parse(&host, DOMAIN) else { return };
    assert!(host.ends_with(b".consul"), "{host:?}");
    let like = Service::new("");
    let Some((service, datacenter)) = name.service(&like) else { return };
    let again = DnsName::parse(&host, DOMAIN).and_then(|name| name.service(&like));
    assert_eq!(again, Some((service.clone(), datacenter.clone())), "it means the same each time");

    let texts = [Some(&service.name), datacenter.as_ref(), service.namespace.as_ref()];
    let more = [service.partition.as_ref(), service.peer.as_ref()];
    for text in texts.into_iter().chain(more).flatten().chain(&service.tags) {
        assert!(text.len() <= host.len() && !text.contains('/'), "{text:?} of {host:?}");
    }
    let config = br#"{"consul": {"cluster": "c"}, "dns_names": {"domain": "consul"}}"#;
    let config = Config::parse(config).expect("a configuration");
    let query = ConsulQuery::new(&config, &service, datacenter.as_deref());
    let path = query.request(None, ReadMode::AsConfigured).path;
    assert!(path.starts_with("/v1/") && path.bytes().all(|b| b.is_ascii_graphic()), "{path}");
    assert!(!path.contains('#') && path.matches('?').count() <= 1, "{path}");
    assert!(!path.contains("/../") && !path.contains("/./"), "{path}");
}
