//! What is asked of Consul for one service.

use core::fmt::Write as _;
use core::time::Duration;

use crate::config::{self, Consistency, HealthThreshold};
use crate::consul::index::ConsulIndex;
use crate::consul::selection::Selection;
use crate::model::service::QueryKey;

/// How long a read that does not wait for a change may take.
const PLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a blocking query may take beyond the longest that Consul itself holds it: the
/// network, a busy server, a body of some MiB.
const BLOCKING_MARGIN: Duration = Duration::from_secs(5);

/// One service's question to Consul and the way to read the answer; built once, at
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
    /// Builds the question for one service.
    pub fn new(consul: &config::Consul, service: &config::Service) -> Self {
        let path = path(consul, service);
        let health = match service.health {
            HealthThreshold::Passing => "passing",
            HealthThreshold::Warning => "warning",
        };
        let selection = Selection { health: service.health, address: service.address.clone() };
        // Tagged addresses are told apart in no case; each optional part says whether it is there.
        let tag = selection.tag().map(str::to_ascii_lowercase);
        let key = QueryKey::of(
            [consul.cluster.as_str(), &consul.authority, &path, health]
                .into_iter()
                .chain(optional(tag.as_deref()))
                .chain(optional(consul.token_env.as_deref())),
        );
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

/// The parts that say whether there is a text, and which.
fn optional(text: Option<&str>) -> impl Iterator<Item = &str> {
    [if text.is_some() { "some" } else { "none" }, text.unwrap_or_default()].into_iter()
}

/// Writes the path with all parameters but index and wait. Tags are sorted and written
/// once each, since an instance must have all of them and their order means nothing.
fn path(consul: &config::Consul, service: &config::Service) -> String {
    let mut tags: Vec<&str> = service.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    let parameters = [
        ("dc", consul.datacenter.as_deref()),
        ("ns", consul.namespace.as_deref()),
        ("partition", consul.partition.as_deref()),
        ("filter", service.filter.as_deref()),
    ];
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut path = String::from("/v1/health/service/");
    push_encoded(&mut path, &service.name);
    let mut separator = '?';
    for (name, value) in given.chain(tags.into_iter().map(|tag| ("tag", tag))) {
        path.push(separator);
        separator = '&';
        path.push_str(name);
        path.push('=');
        push_encoded(&mut path, value);
    }
    let mode = match consul.consistency {
        Consistency::Default => return path,
        Consistency::Stale => "stale",
        Consistency::Consistent => "consistent",
        Consistency::Cached => "cached",
    };
    path.push(separator);
    path.push_str(mode);
    path
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3.
fn push_encoded(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AddressChoice, HostPattern, Policy};
    use crate::consul::fixtures::{consul, service};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn plain(consul: &config::Consul, service: &config::Service) -> String {
        Query::new(consul, service).request(None).path
    }

    #[test]
    fn a_first_request_has_no_index_and_does_not_wait() {
        let request = Query::new(&consul(), &service("web")).request(None);
        assert_eq!(request.path, "/v1/health/service/web");
        assert_eq!(request.timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_blocking_request_outlasts_the_wait_and_consuls_jitter() {
        let query = Query::new(&consul(), &service("web"));
        let request = query.request(Some(ConsulIndex::new(42)));
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
        let query = Query::new(&consul, &service);
        let expected = "/v1/health/service/web%2F%C3%A9%3F?dc=dc%201&ns=team&partition=p\
                        &filter=Service.Meta.env%20%3D%3D%20%22prod%22&tag=a%26b&tag=v2&stale";
        assert_eq!(query.request(None).path, expected);
        let blocking = query.request(Some(ConsulIndex::ONE)).path;
        assert_eq!(blocking, format!("{expected}&index=1&wait=55s"));
        assert_eq!(query.service(), "web/é?");
    }

    #[test]
    fn each_consistency_is_one_parameter() {
        let with =
            |consistency| plain(&config::Consul { consistency, ..consul() }, &service("web"));
        assert_eq!(with(Consistency::Default), "/v1/health/service/web");
        assert_eq!(with(Consistency::Stale), "/v1/health/service/web?stale");
        assert_eq!(with(Consistency::Consistent), "/v1/health/service/web?consistent");
        assert_eq!(with(Consistency::Cached), "/v1/health/service/web?cached");
    }

    #[test]
    fn all_that_decides_the_answer_or_its_reading_decides_the_key() {
        let mut keys = vec![Query::new(&consul(), &service("web")).key()];
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
            keys.push(Query::new(&consul, &service("web")).key());
        }
        for service in [
            service("api"),
            config::Service { tags: vec!["x".into()], ..service("web") },
            config::Service { filter: some(), ..service("web") },
            config::Service { health: HealthThreshold::Warning, ..service("web") },
            config::Service { address: AddressChoice::Tagged("x".into()), ..service("web") },
            config::Service { address: AddressChoice::Tagged("y".into()), ..service("web") },
        ] {
            keys.push(Query::new(&consul(), &service).key());
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
            policy: Policy::LeastRequest,
            ..service("web")
        };
        let patient = config::Consul { wait: Duration::from_secs(600), ..consul() };
        assert_eq!(Query::new(&consul(), &one).key(), Query::new(&patient, &two).key());
    }
}
