//! What is asked of Consul for one service.

use core::time::Duration;

use crate::config::{self, Consistency, Discover};
use crate::model::service::QueryKey;
use crate::registry::consul::headers::QUERY_HEADERS;
use crate::registry::consul::index::ConsulIndex;
use crate::registry::consul::instance_filter::InstanceFilter;
use crate::registry::consul::key::{catalog_key, key};
use crate::registry::consul::path::{
    Wait, catalog_path, path, push_encoded, push_mode, push_name, push_value,
};
use crate::registry::http::{HttpRequest, Method, PLAIN_TIMEOUT, ReadMode};
use crate::registry::query_response::QueryOrigin;

/// The header with the ages of an answer that is accepted from a cache.
const CACHE_CONTROL: &str = "cache-control";

/// The time of a blocking query beyond the longest for which Consul holds it: for the network, a
/// busy server, and a body of some MiB.
const BLOCKING_MARGIN: Duration = Duration::from_secs(5);

/// The query of one source to Consul, and the reader of its responses. Built once, at
/// configuration.
///
/// The query lists all instances, healthy or not (no `passing=1`). Health is judged here, by rules
/// that `passing=1` does not know (warning with its own weight). So the filter can tell and count
/// why an instance takes no traffic, and all thresholds take one way through the code.
#[derive(Debug, Clone)]
pub struct ConsulQuery {
    subject: QueryTarget,
    cluster: String,
    token_env: Option<String>,
    /// The path without the consistency mode, index and wait.
    path: String,
    consistency: Consistency,
    wait: Duration,
    key: QueryKey,
}

/// The target of a query, with the rules by which the response is read.
#[derive(Debug, Clone)]
pub(super) enum QueryTarget {
    /// The instances of a service.
    Instances(InstanceFilter),
    /// The instances that a prepared query finds.
    Prepared {
        /// The name or id of the prepared query.
        name: String,
        /// True if the query finds instances that take traffic of the mesh.
        connect: bool,
        /// The rules by which instances become endpoints.
        selection: InstanceFilter,
    },
    /// The services of the catalog.
    Catalog(Box<Discover>),
}

impl ConsulQuery {
    /// Builds the query for a service in a datacenter; `None` is the agent's own.
    pub fn new(
        config: &config::Config,
        service: &config::Service,
        datacenter: Option<&str>,
    ) -> Self {
        let consul = &config.consul;
        let path = path(consul, service, datacenter);
        let selection = InstanceFilter {
            health: service.health,
            address: service.address.clone(),
            resolve_names: service.resolve_names,
            policy: config.endpoints.clone(),
            version: service.versions.as_ref().map(|versions| versions.key.clone()),
            zone_key: config.locality.as_ref().map(|locality| locality.key.clone()),
            // What share of them is healthy decides whether the next datacenter helps out.
            tells_unhealthy: service.datacenters.len() > 1,
            details: config.xds.as_ref().map(|_| service.endpoint_metadata.clone()),
        };
        let key = key(consul, &path, &selection);
        Self {
            subject: match &service.query {
                Some(query) => {
                    let (name, connect) = (query.name.clone(), service.connect);
                    QueryTarget::Prepared { name, connect, selection }
                }
                None => QueryTarget::Instances(selection),
            },
            cluster: consul.cluster.clone(),
            token_env: consul.token_env.clone(),
            path,
            consistency: consul.consistency,
            wait: consul.wait,
            key,
        }
    }

    /// Builds the query that lists the services.
    pub fn catalog(config: &config::Config, discover: &Discover) -> Self {
        let consul = &config.consul;
        let path = catalog_path(consul);
        let key = catalog_key(consul, &path, discover);
        Self {
            subject: QueryTarget::Catalog(Box::new(discover.clone())),
            cluster: consul.cluster.clone(),
            token_env: consul.token_env.clone(),
            path,
            consistency: consul.consistency,
            wait: consul.wait,
            key,
        }
    }

    fn get(
        &self,
        path: String,
        headers: Vec<(&'static str, String)>,
        timeout: Duration,
    ) -> HttpRequest {
        HttpRequest {
            cluster: self.cluster.clone(),
            method: Method::Get,
            path,
            headers,
            body: String::new(),
            timeout,
            response_headers: QUERY_HEADERS,
        }
    }

    /// Returns the key: a hash of all that decides Consul's response or its reading. The token counts
    /// by the name of its variable, since its value must not leave the host. The wait and the users of
    /// the response do not count.
    pub const fn key(&self) -> QueryKey {
        self.key
    }

    /// Returns true if Consul can hold the query until something changes. It cannot hold a prepared
    /// query, which is polled.
    pub const fn blocks(&self) -> bool {
        !matches!(self.subject, QueryTarget::Prepared { .. })
    }

    /// Returns the request for the state after `index`, or for the state now.
    ///
    /// With an index Consul holds the query for `wait`, and for up to a sixteenth of it longer, so that
    /// many clients do not come back at once. The timeout follows from that and cannot be configured
    /// apart: a shorter one would turn every quiet query into an error. A query that cannot be held has
    /// no index.
    pub fn request(&self, index: Option<ConsulIndex>, freshness: ReadMode) -> HttpRequest {
        let mut path = self.path.clone();
        match freshness {
            ReadMode::AsConfigured => push_mode(&mut path, self.consistency),
            ReadMode::Fresher if self.consistency != Consistency::Consistent => {
                push_name(&mut path, "leader");
            }
            ReadMode::Fresher | ReadMode::Authoritative => push_name(&mut path, "consistent"),
        }
        let blocks = self.blocks() && freshness != ReadMode::Authoritative;
        let headers = self.cache_control(freshness).map(|ages| (CACHE_CONTROL, ages));
        let headers = headers.into_iter().collect();
        let Some(index) = index.filter(|_| blocks) else {
            return self.get(path, headers, PLAIN_TIMEOUT);
        };
        push_name(&mut path, &format!("index={index}&wait={}", Wait(self.wait)));
        let timeout = self.wait.saturating_add(self.wait / 16).saturating_add(BLOCKING_MARGIN);
        self.get(path, headers, timeout)
    }

    /// Returns the request for the instances of the service that a prepared query looks for. The
    /// response lists critical instances, too, unlike that to the prepared query.
    pub fn instances(&self, of: &QueryOrigin) -> HttpRequest {
        let is_of_mesh = matches!(self.subject, QueryTarget::Prepared { connect: true, .. });
        let mut path = String::from("/v1/health/");
        path.push_str(if is_of_mesh { "connect/" } else { "service/" });
        push_encoded(&mut path, &of.service);
        let datacenter = Some(of.datacenter.as_str()).filter(|name| !name.is_empty());
        push_value(&mut path, "dc", datacenter);
        push_name(&mut path, "consistent");
        self.get(path, Vec::new(), PLAIN_TIMEOUT)
    }

    /// Returns the accepted ages of the agent's cache (RFC 9111 and RFC 5861). Consul follows them for
    /// prepared queries, and keeps its cache of services up to date.
    fn cache_control(&self, freshness: ReadMode) -> Option<String> {
        let (Consistency::Cached(ages), ReadMode::AsConfigured) = (self.consistency, freshness)
        else {
            return None;
        };
        let max_age = format!("max-age={}", ages.max_age?.as_secs());
        Some(match ages.stale_if_error {
            Some(age) => format!("{max_age}, stale-if-error={}", age.as_secs()),
            None => max_age,
        })
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn token_env(&self) -> Option<&str> {
        self.token_env.as_deref()
    }

    pub(super) const fn subject(&self) -> &QueryTarget {
        &self.subject
    }

    pub(super) const fn consistency(&self) -> Consistency {
        self.consistency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheAges, PreparedQuery};
    use crate::registry::consul::fixtures::{self, config, consul, service};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const STALE: Consistency = Consistency::Stale { max_stale: None };
    const CACHED: Consistency =
        Consistency::Cached(CacheAges { max_age: None, stale_if_error: None });

    fn query(consul: config::Consul, service: &config::Service) -> ConsulQuery {
        let datacenter = consul.datacenter.clone();
        ConsulQuery::new(&config::Config { consul, ..config() }, service, datacenter.as_deref())
    }

    fn plain(consul: config::Consul, service: &config::Service) -> String {
        query(consul, service).request(None, ReadMode::AsConfigured).path
    }

    #[test]
    fn a_first_request_has_no_index_and_does_not_wait() {
        let request = query(consul(), &service("web")).request(None, ReadMode::AsConfigured);
        assert_eq!(request.path, "/v1/health/service/web");
        assert_eq!(request.timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_blocking_request_outlasts_the_wait_and_consuls_jitter() {
        let built = query(consul(), &service("web"));
        let request = built.request(Some(ConsulIndex::new(42)), ReadMode::AsConfigured);
        assert_eq!(request.path, "/v1/health/service/web?index=42&wait=55s");
        assert_eq!(
            request.timeout,
            Duration::from_millis(55_000 + 3_437 + 5_000) + Duration::from_micros(500)
        );
    }

    #[test]
    fn every_parameter_is_named_and_encoded() {
        let consul = config::Consul {
            datacenter: Some("dc 1".into()),
            namespace: Some("team".into()),
            partition: Some("p".into()),
            consistency: STALE,
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
        assert_eq!(built.request(None, ReadMode::AsConfigured).path, expected);
        let blocking = built.request(Some(ConsulIndex::ONE), ReadMode::AsConfigured).path;
        assert_eq!(blocking, format!("{expected}&index=1&wait=55s"));
    }

    #[test]
    fn a_service_overrides_where_it_is_looked_for_and_says_which_instances_are_meant() {
        let consul = config::Consul {
            namespace: Some("team".into()),
            partition: Some("p".into()),
            ..consul()
        };
        let service = config::Service {
            namespace: Some("own".into()),
            partition: Some("q".into()),
            peer: Some("east".into()),
            connect: true,
            node_meta: vec![("env".into(), "a b".into()), ("rack".into(), "7".into())],
            merge_central_config: true,
            ..service("web")
        };
        let expected = "/v1/health/connect/web?ns=own&partition=q&peer=east\
                        &node-meta=env%3Aa%20b&node-meta=rack%3A7&merge-central-config";
        assert_eq!(plain(consul, &service), expected);
    }

    #[test]
    fn a_prepared_query_is_executed_and_never_waited_for() {
        let prepared = PreparedQuery { name: "geo/é".into(), near: None, limit: None };
        let geo = config::Service { query: Some(prepared.clone()), ..service("web") };
        let consul = config::Consul {
            datacenter: Some("dc2".into()),
            namespace: Some("team".into()),
            partition: Some("p".into()),
            consistency: STALE,
            ..consul()
        };
        let built = query(consul, &geo);
        assert!(!built.blocks());
        let request = built.request(Some(ConsulIndex::new(7)), ReadMode::AsConfigured);
        assert_eq!(request.path, "/v1/query/geo%2F%C3%A9/execute?dc=dc2&stale");
        assert_eq!(request.timeout, PLAIN_TIMEOUT);

        let nearest = PreparedQuery { near: Some("_agent".into()), limit: Some(3), ..prepared };
        let nearest = config::Service { query: Some(nearest), connect: true, ..geo };
        let expected = "/v1/query/geo%2F%C3%A9/execute?connect=true&near=_agent&limit=3";
        assert_eq!(plain(fixtures::consul(), &nearest), expected);
        assert!(query(fixtures::consul(), &service("web")).blocks());
    }

    #[test]
    fn the_ages_of_a_cache_are_a_header() {
        let headers = |max_age: Option<u64>, stale_if_error: Option<u64>, freshness| {
            let [max_age, stale_if_error] =
                [max_age, stale_if_error].map(|age| age.map(Duration::from_secs));
            let consistency = Consistency::Cached(CacheAges { max_age, stale_if_error });
            let built = query(config::Consul { consistency, ..consul() }, &service("web"));
            let request = built.request(Some(ConsulIndex::new(7)), freshness);
            let lines = request.headers.into_iter().map(|(name, value)| format!("{name}: {value}"));
            lines.collect::<Vec<_>>()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(headers(None, None, ReadMode::AsConfigured), none);
        let one = headers(Some(30), None, ReadMode::AsConfigured);
        assert_eq!(one, ["cache-control: max-age=30"]);
        let both = headers(Some(0), Some(3600), ReadMode::AsConfigured);
        assert_eq!(both, ["cache-control: max-age=0, stale-if-error=3600"]);
        assert_eq!(headers(Some(30), None, ReadMode::Fresher), none);
        assert_eq!(headers(Some(30), None, ReadMode::Authoritative), none);
    }

    #[test]
    fn each_consistency_is_one_parameter() {
        let with = |consistency| plain(config::Consul { consistency, ..consul() }, &service("web"));
        assert_eq!(with(Consistency::Default), "/v1/health/service/web");
        assert_eq!(with(STALE), "/v1/health/service/web?stale");
        assert_eq!(with(Consistency::Consistent), "/v1/health/service/web?consistent");
        assert_eq!(with(CACHED), "/v1/health/service/web?cached");
    }

    #[test]
    fn a_fresher_answer_is_asked_for_whatever_is_configured() {
        let path = |consistency, index, freshness| {
            let built = query(config::Consul { consistency, ..consul() }, &service("web"));
            built.request(index, freshness).path.replace("/v1/health/service/web", "")
        };
        let seven = Some(ConsulIndex::new(7));
        for configured in [Consistency::Default, STALE, CACHED] {
            assert_eq!(path(configured, None, ReadMode::Fresher), "?leader");
            assert_eq!(path(configured, seven, ReadMode::Fresher), "?leader&index=7&wait=55s");
            assert_eq!(path(configured, seven, ReadMode::Authoritative), "?consistent");
        }
        let strict = Consistency::Consistent;
        assert_eq!(path(strict, None, ReadMode::Fresher), "?consistent");
        let expected = "?consistent&index=7&wait=55s";
        assert_eq!(path(strict, seven, ReadMode::AsConfigured), expected);
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
            .map(|source| ConsulQuery::new(&config, source.service, source.datacenter))
            .collect();
        let paths: Vec<_> =
            queries.iter().map(|q| q.request(None, ReadMode::AsConfigured).path).collect();
        let expected = ["api?dc=dc0", "web?dc=dc1", "web?dc=dc2"];
        assert_eq!(paths, expected.map(|end| format!("/v1/health/service/{end}")));
        assert_ne!(queries[1].key(), queries[2].key());
    }
}
