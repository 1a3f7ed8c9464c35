//! What is asked of Consul for one service.

use core::time::Duration;

use crate::config::{self, Cidr, HealthThreshold, VersionKey};
use crate::consul::index::ConsulIndex;
use crate::consul::path::path;
use crate::consul::selection::Selection;
use crate::model::service::QueryKey;

/// How long a read that does not wait for a change may take.
const PLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a blocking query may take beyond the longest that Consul itself holds it: the
/// network, a busy server, a body of some MiB.
const BLOCKING_MARGIN: Duration = Duration::from_secs(5);

/// One source's question to Consul and the way to read the answer; built once, at
/// configuration.
///
/// It asks for all instances, healthy or not (no `passing=1`): health is judged here, by
/// rules that `passing=1` does not know (warning with its own weight), and only so can be
/// told and counted why an instance takes no traffic. There is one way through the code
/// for each threshold.
#[derive(Debug, Clone)]
pub struct Query {
    service: String,
    cluster: String,
    token_env: Option<String>,
    /// Everything of the path but index and wait.
    path: String,
    wait: Duration,
    selection: Selection,
    key: QueryKey,
}

impl Query {
    /// Builds the question for a service in a datacenter; none is the agent's own.
    pub fn new(
        config: &config::Config,
        service: &config::Service,
        datacenter: Option<&str>,
    ) -> Self {
        let consul = &config.consul;
        let path = path(consul, service, datacenter);
        let selection = Selection {
            health: service.health,
            address: service.address.clone(),
            resolve_names: service.resolve_names,
            policy: config.endpoints.clone(),
            version: service.versions.as_ref().map(|versions| versions.key.clone()),
            zone_key: config.locality.as_ref().map(|locality| locality.key.clone()),
            // What share of them is healthy decides whether the next datacenter helps out.
            counts_registered: service.datacenters.len() > 1,
        };
        let key = key(consul, &path, &selection);
        Self {
            service: service.name.clone(),
            cluster: consul.cluster.clone(),
            token_env: consul.token_env.clone(),
            path,
            wait: consul.wait,
            selection,
            key,
        }
    }

    /// The service's name in Consul.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What identifies the question: all that decides Consul's answer or its reading. The
    /// token counts by its variable's name, since its value must not leave the host, and
    /// neither how long to wait nor who is served by the answer makes a difference.
    pub const fn key(&self) -> QueryKey {
        self.key
    }

    /// The request for the state after `index`, or for the state now.
    ///
    /// With an index Consul holds the answer for up to `wait` and, so that many clients do
    /// not come back at once, up to a sixteenth of it longer. The timeout follows from that
    /// and cannot be configured apart: a shorter one would turn every quiet poll into an
    /// error.
    pub fn request(&self, index: Option<ConsulIndex>) -> Request {
        let Some(index) = index else {
            return Request { path: self.path.clone(), timeout: PLAIN_TIMEOUT };
        };
        // A question mark within a name is encoded, so the first one begins the parameters.
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let wait = Wait(self.wait);
        Request {
            path: format!("{}{separator}index={index}&wait={wait}", self.path),
            timeout: self.wait.saturating_add(self.wait / 16).saturating_add(BLOCKING_MARGIN),
        }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn token_env(&self) -> Option<&str> {
        self.token_env.as_deref()
    }

    pub(super) const fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// A `GET` to send to Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path and parameters; never a token.
    pub path: String,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

/// A duration as Consul reads it. There is always a unit (a bare number is a 400), and
/// never a zero, which would stand for Consul's default of 5 minutes.
struct Wait(Duration);

impl core::fmt::Display for Wait {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0.subsec_nanos() == 0 && !self.0.is_zero() {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis().max(1))
        }
    }
}

/// Hashes all that decides Consul's answer or its reading. Each optional part says whether it
/// is there, so that no two selections run into each other.
fn key(consul: &config::Consul, path: &str, selection: &Selection) -> QueryKey {
    let health = match selection.health {
        HealthThreshold::Passing => "passing",
        HealthThreshold::Warning => "warning",
    };
    // Tagged addresses are told apart in no case.
    let tag = selection.tag().map(str::to_ascii_lowercase);
    let names = if selection.resolve_names { "names" } else { "addresses" };
    let registered = if selection.counts_registered { "registered" } else { "endpoints" };
    let (version, version_text) = match &selection.version {
        Some(VersionKey::Meta(key)) => ("meta", key.as_str()),
        Some(VersionKey::TagPrefix(prefix)) => ("tag", prefix.as_str()),
        None => ("none", ""),
    };
    let (allow, deny) = (ranges(&selection.policy.allow), ranges(&selection.policy.deny));
    QueryKey::of(
        [consul.cluster.as_str(), &consul.authority, path, health, names, registered]
            .into_iter()
            .chain([version, version_text])
            .chain(optional(selection.zone_key.as_deref()))
            .chain([allow.as_str(), deny.as_str()])
            .chain(optional(tag.as_deref()))
            .chain(optional(consul.token_env.as_deref())),
    )
}

/// The parts that say whether there is a text, and which.
fn optional(text: Option<&str>) -> impl Iterator<Item = &str> {
    [if text.is_some() { "some" } else { "none" }, text.unwrap_or_default()].into_iter()
}

/// Writes ranges in one way, whatever their order, since that means nothing.
fn ranges(ranges: &[Cidr]) -> String {
    let texts: Vec<String> =
        ranges.iter().map(|range| format!("{}/{}", range.first, range.prefix)).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        AddressChoice, AddressPolicy, Consistency, HostPattern, LoadBalancing, Locality, Policy,
        Versions,
    };
    use crate::consul::fixtures::{config, consul, service};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn query(consul: config::Consul, service: &config::Service) -> Query {
        let datacenter = consul.datacenter.clone();
        Query::new(&config::Config { consul, ..config() }, service, datacenter.as_deref())
    }

    fn plain(consul: config::Consul, service: &config::Service) -> String {
        query(consul, service).request(None).path
    }

    #[test]
    fn a_first_request_has_no_index_and_does_not_wait() {
        let request = query(consul(), &service("web")).request(None);
        assert_eq!(request.path, "/v1/health/service/web");
        assert_eq!(request.timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_blocking_request_outlasts_the_wait_and_consuls_jitter() {
        let built = query(consul(), &service("web"));
        let request = built.request(Some(ConsulIndex::new(42)));
        assert_eq!(request.path, "/v1/health/service/web?index=42&wait=55s");
        assert_eq!(
            request.timeout,
            Duration::from_millis(55_000 + 3_437 + 5_000) + Duration::from_micros(500)
        );
    }

    #[test]
    fn a_wait_always_has_a_unit_and_is_never_zero() {
        let text = |wait| Wait(wait).to_string();
        assert_eq!(text(Duration::from_secs(600)), "600s");
        assert_eq!(text(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(text(Duration::from_micros(10)), "1ms");
        assert_eq!(text(Duration::ZERO), "1ms");
    }

    #[test]
    fn every_parameter_is_named_and_encoded() {
        let consul = config::Consul {
            datacenter: Some("dc 1".into()),
            namespace: Some("team".into()),
            partition: Some("p".into()),
            consistency: Consistency::Stale,
            ..consul()
        };
        let service = config::Service {
            tags: vec!["v2".into(), "a&b".into(), "v2".into()],
            filter: Some(r#"Service.Meta.env == "prod""#.into()),
            ..service("web/é?")
        };
        let built = query(consul, &service);
        let expected = "/v1/health/service/web%2F%C3%A9%3F?dc=dc%201&ns=team&partition=p\
                        &filter=Service.Meta.env%20%3D%3D%20%22prod%22&tag=a%26b&tag=v2&stale";
        assert_eq!(built.request(None).path, expected);
        let blocking = built.request(Some(ConsulIndex::ONE)).path;
        assert_eq!(blocking, format!("{expected}&index=1&wait=55s"));
        assert_eq!(built.service(), "web/é?");
    }

    #[test]
    fn each_consistency_is_one_parameter() {
        let with = |consistency| plain(config::Consul { consistency, ..consul() }, &service("web"));
        assert_eq!(with(Consistency::Default), "/v1/health/service/web");
        assert_eq!(with(Consistency::Stale), "/v1/health/service/web?stale");
        assert_eq!(with(Consistency::Consistent), "/v1/health/service/web?consistent");
        assert_eq!(with(Consistency::Cached), "/v1/health/service/web?cached");
    }

    fn versioned(key: VersionKey) -> config::Service {
        let versions = Versions {
            key,
            header: None,
            split: Vec::new(),
            hash_on: None,
            fallback: config::Fallback::Any,
        };
        config::Service { versions: Some(versions), ..service("web") }
    }

    fn locality(key: &str) -> Locality {
        Locality { zone: None, key: key.into(), min_cluster_size: 6 }
    }

    fn admitting(allow: Vec<Cidr>, deny: Vec<Cidr>) -> config::Config {
        config::Config { endpoints: AddressPolicy { allow, deny }, ..config() }
    }

    #[test]
    fn all_that_decides_the_answer_or_its_reading_decides_the_key() {
        let mut keys = vec![query(consul(), &service("web")).key()];
        let some = || Some("x".to_owned());
        for consul in [
            config::Consul { cluster: "x".into(), ..consul() },
            config::Consul { authority: "x".into(), ..consul() },
            config::Consul { datacenter: some(), ..consul() },
            config::Consul { namespace: some(), ..consul() },
            config::Consul { partition: some(), ..consul() },
            config::Consul { consistency: Consistency::Stale, ..consul() },
            config::Consul { token_env: some(), ..consul() },
            config::Consul { token_env: Some(String::new()), ..consul() },
        ] {
            keys.push(query(consul, &service("web")).key());
        }
        for service in [
            service("api"),
            config::Service { tags: vec!["x".into()], ..service("web") },
            config::Service { filter: some(), ..service("web") },
            config::Service { health: HealthThreshold::Warning, ..service("web") },
            config::Service { address: AddressChoice::Tagged("x".into()), ..service("web") },
            config::Service { address: AddressChoice::Tagged("y".into()), ..service("web") },
            config::Service { resolve_names: true, ..service("web") },
            config::Service { datacenters: vec!["a".into(), "b".into()], ..service("web") },
            versioned(VersionKey::Meta("x".into())),
            versioned(VersionKey::Meta("y".into())),
            versioned(VersionKey::TagPrefix("x".into())),
        ] {
            keys.push(query(consul(), &service).key());
        }
        let range = |prefix| vec![Cidr { first: [10, 0, 0, 0].into(), prefix }];
        for config in [
            config::Config { locality: Some(locality("x")), ..config() },
            config::Config { locality: Some(locality("y")), ..config() },
            admitting(range(8), Vec::new()),
            admitting(range(9), Vec::new()),
            admitting(Vec::new(), range(8)),
            admitting(range(8), range(8)),
        ] {
            keys.push(Query::new(&config, &service("web"), None).key());
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn nothing_else_decides_the_key() {
        let tags = |tags: [&str; 3]| tags.map(str::to_owned).to_vec();
        let tagged = |name: &str| AddressChoice::Tagged(name.into());
        let one = config::Service {
            tags: tags(["a", "b", "a"]),
            address: tagged("wan"),
            ..service("web")
        };
        let two = config::Service {
            tags: tags(["b", "a", "b"]),
            address: tagged("WAN"),
            hosts: vec![HostPattern::Exact("web.test".into())],
            load_balancing: LoadBalancing { policy: Policy::Random, ..LoadBalancing::default() },
            ..service("web")
        };
        let patient = config::Consul { wait: Duration::from_secs(600), ..consul() };
        assert_eq!(query(consul(), &one).key(), query(patient, &two).key());

        let ten = Cidr { first: [10, 0, 0, 0].into(), prefix: 8 };
        let eleven = Cidr { first: [11, 0, 0, 0].into(), prefix: 8 };
        let key = |deny| Query::new(&admitting(Vec::new(), deny), &service("web"), None).key();
        assert_eq!(key(vec![ten, eleven]), key(vec![eleven, ten, ten]));

        let mut here = config::Config { locality: Some(locality("zone")), ..config() };
        let key = |config: &config::Config| Query::new(config, &service("web"), None).key();
        let before = key(&here);
        here.locality = Some(Locality { zone: Some("a".into()), ..locality("zone") });
        assert_eq!(key(&here), before, "where this proxy is makes no difference to the answer");
    }

    #[test]
    fn each_datacenter_of_a_service_is_asked_for_apart() {
        let web =
            config::Service { datacenters: vec!["dc1".into(), "dc2".into()], ..service("web") };
        let consul = config::Consul { datacenter: Some("dc0".into()), ..consul() };
        let services = vec![service("api"), web];
        let config = config::Config { consul, services, ..config() };
        let queries: Vec<_> = config
            .sources()
            .map(|source| Query::new(&config, source.service, source.datacenter))
            .collect();
        let paths: Vec<_> = queries.iter().map(|query| query.request(None).path).collect();
        let expected = ["api?dc=dc0", "web?dc=dc1", "web?dc=dc2"];
        assert_eq!(paths, expected.map(|end| format!("/v1/health/service/{end}")));
        assert_ne!(queries[1].key(), queries[2].key());
    }
}
