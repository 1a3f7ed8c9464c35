//! Names of Consul's DNS.
//!
//! The grammar is that of
//! <https://developer.hashicorp.com/consul/docs/discover/service/static> and
//! <https://developer.hashicorp.com/consul/docs/reference/dns>. If a keyword occurs more than once,
//! the last one counts, as in Consul's `agent/dns.go`.

use core::str;

use crate::config::{PreparedQuery, Service};

/// A name of Consul's DNS that requests can go to: a service or a prepared query. Names of nodes,
/// virtual addresses and gateways are not parsed.
///
/// ```text
/// [<tag>.]<service>.service[<place>].<domain>    _<service>._<tag or tcp>.service[<place>].<domain>
/// <query>.query[<place>].<domain>                _<query>._tcp.query[<place>].<domain>
/// <place>: .<datacenter>, or any of .<namespace>.ns .<partition>.ap .<datacenter>.dc .<peer>.peer
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName<'a> {
    subject: Subject<'a>,
    place: Place<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject<'a> {
    /// The instances of a service, with this tag if there is one. The tag may contain dots.
    Service { name: &'a str, tag: Option<&'a str> },
    /// The instances that the prepared query of this name finds. The name may contain dots.
    Query(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Place<'a> {
    datacenter: Option<&'a str>,
    namespace: Option<&'a str>,
    partition: Option<&'a str>,
    peer: Option<&'a str>,
}

/// The maximum length of a label (RFC 1035), in bytes.
const MAX_LABEL_BYTES: usize = 63;

impl<'a> DnsName<'a> {
    /// Parses a host in lower case without a final dot. Returns `None` if the host is no such name
    /// within the domain. Takes any bytes.
    pub fn parse(host: &'a [u8], domain: &str) -> Option<Self> {
        let host = str::from_utf8(host).ok()?;
        let name = host.strip_suffix(domain)?.strip_suffix('.')?;
        if !name.split('.').all(is_label) {
            return None;
        }
        let keyword = |keyword: &str| position(name, keyword).map(|at| (at, keyword.len()));
        let (service, query) = (keyword("service"), keyword("query"));
        let is_query = query > service;
        let (at, length) = service.max(query)?;
        let before = name.get(..at)?.strip_suffix('.')?;
        let after = name.get(at + length..)?;
        let place = Place::parse(after.strip_prefix('.').unwrap_or(after))?;
        let subject = if is_query { query_of(before) } else { service_of(before) };
        // A peer offers its exported services, whatever the place.
        let is_possible = place.peer.is_none() || (place.datacenter.is_none() && !is_query);
        is_possible.then_some(Self { subject, place })
    }

    /// Returns the service of the name, and its datacenter if the name contains one. The other
    /// settings are those of `like`. Returns `None` for a prepared query if `like` selects
    /// instances, because Consul takes no further conditions for a prepared query.
    pub fn service(&self, like: &Service) -> Option<(Service, Option<String>)> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let Place { datacenter, namespace, partition, peer } = self.place;
        let mut service = like.clone();
        match self.subject {
            Subject::Service { name, tag } => {
                service.name = name.to_owned();
                service.tags.extend(own(tag));
                service.namespace = own(namespace);
                service.partition = own(partition);
                service.peer = own(peer);
            }
            Subject::Query(name) => {
                let is_limited = !like.tags.is_empty()
                    || like.filter.is_some()
                    || !like.node_meta.is_empty()
                    || like.merge_central_config;
                if is_limited || namespace.is_some() || partition.is_some() {
                    return None;
                }
                service.name = name.to_owned();
                service.query =
                    Some(PreparedQuery { name: name.to_owned(), near: None, limit: None });
            }
        }
        Some((service, own(datacenter)))
    }
}

impl<'a> Place<'a> {
    /// Parses the labels after the keyword.
    fn parse(text: &'a str) -> Option<Self> {
        let mut place = Self::default();
        if text.is_empty() {
            return Some(place);
        }
        let Some((first, mut rest)) = text.split_once('.') else {
            place.datacenter = Some(text);
            return Some(place);
        };
        let mut value = first;
        loop {
            let (keyword, more) = rest.split_once('.').unwrap_or((rest, ""));
            let slot = match keyword {
                "dc" => &mut place.datacenter,
                "ns" => &mut place.namespace,
                "ap" => &mut place.partition,
                "peer" => &mut place.peer,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
            if more.is_empty() {
                return Some(place);
            }
            (value, rest) = more.split_once('.')?;
        }
    }
}

/// Parses `[<tag>.]<service>` or `_<service>._<tag>`, where `tcp` is no tag (RFC 2782).
fn service_of(text: &str) -> Subject<'_> {
    let (before, last) = match text.rsplit_once('.') {
        Some((before, last)) => (Some(before), last),
        None => (None, text),
    };
    let by_protocol = before.and_then(|before| in_rfc_2782(before, last));
    match by_protocol {
        Some((name, "tcp")) => Subject::Service { name, tag: None },
        Some((name, tag)) => Subject::Service { name, tag: Some(tag) },
        None => Subject::Service { name: last, tag: before },
    }
}

fn query_of(text: &str) -> Subject<'_> {
    let pair = text.split_once('.').and_then(|(first, last)| in_rfc_2782(first, last));
    Subject::Query(pair.map_or(text, |(name, _)| name))
}

fn in_rfc_2782<'a>(first: &'a str, last: &'a str) -> Option<(&'a str, &'a str)> {
    let part = |text: &'a str| text.strip_prefix('_').filter(|rest| !rest.is_empty());
    part(first).zip(part(last)).filter(|_| !first.contains('.') && !last.contains('.'))
}

/// Returns the position of the last such label.
fn position(name: &str, keyword: &str) -> Option<usize> {
    let mut end = name.len();
    name.rsplit('.').find_map(|label| {
        let start = end - label.len();
        end = start.saturating_sub(1);
        (label == keyword).then_some(start)
    })
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Returns `service`, `tag service` or `query:name`, followed by the place.
    fn read(host: &str) -> Option<String> {
        let DnsName { subject, place } = DnsName::parse(host.as_bytes(), "consul")?;
        let mut text = match subject {
            Subject::Service { name, tag: Some(tag) } => format!("{tag} {name}"),
            Subject::Service { name, tag: None } => name.to_owned(),
            Subject::Query(name) => format!("query:{name}"),
        };
        let Place { datacenter, namespace, partition, peer } = place;
        for (what, value) in
            [("dc", datacenter), ("ns", namespace), ("ap", partition), ("peer", peer)]
        {
            if let Some(value) = value {
                text.push_str(&format!(" {what}={value}"));
            }
        }
        Some(text)
    }

    #[test]
    fn services_and_queries_are_read_with_tag_and_place() {
        for (host, expected) in [
            ("web.service.consul", "web"),
            ("v2.web.service.consul", "v2 web"),
            ("a.b.web.service.consul", "a.b web"),
            ("web.service.dc2.consul", "web dc=dc2"),
            ("v2.web.service.dc2.consul", "v2 web dc=dc2"),
            ("web.service.dc2.dc.consul", "web dc=dc2"),
            ("web.service.east.peer.consul", "web peer=east"),
            ("web.service.n.ns.p.ap.d.dc.consul", "web dc=d ns=n ap=p"),
            ("web.service.n.ns.p.ap.e.peer.consul", "web ns=n ap=p peer=e"),
            ("_web._tcp.service.consul", "web"),
            ("_web._v2.service.dc2.consul", "v2 web dc=dc2"),
            ("_web.api.service.consul", "_web api"),
            ("geo.query.consul", "query:geo"),
            ("geo.europe.query.dc2.consul", "query:geo.europe dc=dc2"),
            ("_geo._tcp.query.consul", "query:geo"),
            ("service.service.consul", "service"),
            ("query.service.consul", "query"),
            ("web.query.service.consul", "web query"),
            ("web.service.query.consul", "query:web.service"),
        ] {
            assert_eq!(read(host).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn everything_else_is_no_name() {
        let long = format!("{}.service.consul", "a".repeat(64));
        for host in [
            "",
            "consul",
            ".consul",
            "service.consul",
            ".service.consul",
            "query.consul",
            "web.consul",
            "web.node.consul",
            "web.service",
            "web.service.other",
            "web.serviceconsul",
            "a..service.consul",
            "a b.service.consul",
            "a%2f.service.consul",
            "a/b.service.consul",
            "web.service..consul",
            "web.service.dc1.dc2.consul",
            "web.service.a.dc.b.dc.consul",
            "web.service.a.dc.b.consul",
            "web.service.a.dc.b.peer.consul",
            "é.service.consul",
            "geo.query.a.peer.consul",
            "web.connect.consul",
            "web.virtual.consul",
            long.as_str(),
        ] {
            assert_eq!(read(host), None, "{host}");
        }
        assert_eq!(DnsName::parse(b"web\xff.service.consul", "consul"), None);
        assert!(DnsName::parse(b"web.service.consul.example", "consul.example").is_some());
    }

    #[test]
    fn service_of_a_name_has_the_configured_settings() {
        let like = Service { tags: vec!["public".into()], ..Service::new("") };
        let of = |host: &'static str, like: &Service| {
            DnsName::parse(host.as_bytes(), "consul").unwrap().service(like)
        };
        let (service, datacenter) = of("v2.web.service.n.ns.d.dc.consul", &like).unwrap();
        let expected = Service {
            name: "web".into(),
            tags: vec!["public".into(), "v2".into()],
            namespace: Some("n".into()),
            ..like.clone()
        };
        assert_eq!((service, datacenter.as_deref()), (expected, Some("d")));
        assert_eq!(of("geo.query.consul", &like), None, "the tag would not hold");
        let (service, _) = of("geo.query.consul", &Service::new("")).unwrap();
        assert_eq!(service.query.map(|query| query.name).as_deref(), Some("geo"));
    }
}
