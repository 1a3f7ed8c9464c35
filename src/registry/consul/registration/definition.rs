//! The definition of a registration, and its requests.

use core::fmt;
use core::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::{self, CheckKind, CheckTarget, RunByConsul};
pub use crate::model::registration::Id;
use crate::model::service::QueryKey;
use crate::registry::consul::headers::FILTERED_HEADER;
use crate::registry::consul::path::{push_encoded, push_value};
use crate::registry::http::{HttpRequest, Method};

/// The timeout of a call to the agent. The agent answers from its own memory, but its servers take
/// time to accept a registration.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a check, in Consul's words. The least is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckStatus {
    /// The instance gets no traffic.
    Critical,
    /// The instance gets traffic by its weight for warnings, from clients that use such instances.
    Warning,
    /// The instance gets traffic.
    Passing,
}

impl CheckStatus {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Passing];

    /// Returns Consul's word for the state.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Passing => "passing",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The report on a check that this proxy keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The state.
    pub status: CheckStatus,
    /// The reason.
    pub output: String,
}

impl Id {
    /// The maximum length of an output, in bytes: enough for a person to read.
    const MAX_OUTPUT_BYTES: usize = 512;

    /// Returns the request for the agent's service of this id.
    pub fn read(&self) -> HttpRequest {
        self.request(Method::Get, self.path("/v1/agent/service/", &self.id), String::new())
    }

    /// Returns the request for the checks of the agent's service of this id.
    pub fn read_checks(&self) -> HttpRequest {
        let mut path = String::from("/v1/agent/checks");
        push_value(&mut path, "filter", Some(&format!("ServiceID == \"{}\"", self.id)));
        self.push_scope(&mut path);
        self.request(Method::Get, path, String::new())
    }

    /// Returns the request for the agent's identity.
    pub fn identify(&self) -> HttpRequest {
        self.request(Method::Get, String::from("/v1/agent/self"), String::new())
    }

    /// Returns the request that removes the service of this id and its checks.
    pub fn deregister(&self) -> HttpRequest {
        let path = self.path("/v1/agent/service/deregister/", &self.id);
        self.request(Method::Put, path, String::new())
    }

    /// Returns the request that reports the state of a check.
    pub fn report(&self, check: &str, report: &Report) -> HttpRequest {
        let output = beginning(&report.output, Self::MAX_OUTPUT_BYTES);
        let body = json!({ "Status": report.status.word(), "Output": output });
        let path = self.path("/v1/agent/check/update/", check);
        self.request(Method::Put, path, body.to_string())
    }

    fn path(&self, endpoint: &str, segment: &str) -> String {
        let mut path = String::from(endpoint);
        push_encoded(&mut path, segment);
        self.push_scope(&mut path);
        path
    }

    fn push_scope(&self, path: &mut String) {
        push_value(path, "ns", self.namespace.as_deref());
        push_value(path, "partition", self.partition.as_deref());
    }

    fn request(&self, method: Method, path: String, body: String) -> HttpRequest {
        HttpRequest {
            cluster: self.cluster.clone(),
            method,
            path,
            headers: Vec::new(),
            body,
            timeout: TIMEOUT,
            response_headers: &[FILTERED_HEADER],
        }
    }
}

/// The definition of a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The id.
    pub id: Id,
    /// The configured service.
    pub(super) service: config::Registration,
    /// The ids of the checks, in the order of the configuration.
    pub(super) checks: Vec<String>,
    /// The environment variable that contains the token.
    pub(super) token_env: Option<String>,
    authority: String,
}

impl Definition {
    /// Creates the definition of a configured service.
    pub fn new(consul: &config::Consul, service: &config::Registration) -> Self {
        let id = Id {
            cluster: consul.cluster.clone(),
            id: service.id.clone(),
            namespace: service.namespace.clone().or_else(|| consul.namespace.clone()),
            partition: service.partition.clone().or_else(|| consul.partition.clone()),
        };
        let numbers = 1..=service.checks.len();
        // Consul itself names them like this.
        let checks = numbers.map(|number| format!("service:{}:{number}", id.id)).collect();
        let token_env = consul.token_env.clone();
        let authority = consul.authority.clone();
        Self { id, service: service.clone(), checks, token_env, authority }
    }

    /// Returns the configured service.
    pub const fn service(&self) -> &config::Registration {
        &self.service
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Returns the environment variable that contains the token.
    pub fn token_env(&self) -> Option<&str> {
        self.token_env.as_deref()
    }

    /// Returns true if others may change the tags.
    pub const fn has_tag_override(&self) -> bool {
        self.service.enable_tag_override
    }

    /// Returns the ids of the checks, in the order of the configuration.
    pub fn checks(&self) -> &[String] {
        &self.checks
    }

    /// Returns a hash of the whole definition.
    pub fn digest(&self) -> QueryKey {
        let body = self.body(|_| None, None).to_string();
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let (service, token_env) = (&self.service, part(&self.token_env));
        let probes = format!("{:?} {:?}", service.checks, service.drain);
        let rest = [body.as_str(), &probes, &part(&service.datacenter), &token_env];
        let dependencies = service.depends_on.iter().map(String::as_str);
        QueryKey::of(rest.into_iter().chain([self.authority.as_str()]).chain(dependencies))
    }

    /// Returns the request that registers the service with its checks in one call, in place of the
    /// agent's service of this id.
    ///
    /// A check begins with the state that `state` returns, or else critical. `tags` replaces the
    /// tags if others may have changed them. Unless `replaces` is true, the agent keeps checks that
    /// the definition does not have, such as the check of an operator's maintenance.
    pub fn register(
        &self,
        state: impl Fn(usize) -> Option<Report>,
        tags: Option<&[String]>,
        replaces: bool,
    ) -> HttpRequest {
        let mut path = String::from("/v1/agent/service/register");
        push_value(&mut path, "replace-existing-checks", replaces.then_some("true"));
        self.id.push_scope(&mut path);
        self.id.request(Method::Put, path, self.body(state, tags).to_string())
    }

    fn body(&self, state: impl Fn(usize) -> Option<Report>, tags: Option<&[String]>) -> Value {
        let service = &self.service;
        let address = |it: &config::TaggedAddress| {
            (it.name.clone(), json!({ "Address": it.address, "Port": it.port }))
        };
        let tagged: Map<_, _> = service.tagged_addresses.iter().map(address).collect();
        let pair = |(key, value): &(String, String)| (key.clone(), Value::from(value.as_str()));
        let meta: Map<_, _> = service.meta.iter().map(pair).collect();
        let checks = service.checks.iter().zip(&self.checks).enumerate();
        let checks = checks.map(|(n, (check, id))| self.check(check, id, state(n)));
        json!({
            "ID": service.id,
            "Name": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": tags.unwrap_or(&service.tags),
            "Meta": meta,
            "Weights": { "Passing": service.weights.passing, "Warning": service.weights.warning },
            "EnableTagOverride": service.enable_tag_override,
            "TaggedAddresses": tagged,
            "Checks": checks.collect::<Vec<_>>(),
        })
    }

    fn check(&self, check: &config::Check, id: &str, state: Option<Report>) -> Value {
        let mut body = Map::new();
        let mut set = |field: &str, value: Value| body.insert(field.to_owned(), value);
        set("CheckID", id.into());
        if let Some(after) = check.deregister_after {
            set("DeregisterCriticalServiceAfter", seconds(after).into());
        }
        let name = match &check.kind {
            CheckKind::Ttl { ttl, .. } => {
                set("TTL", seconds(*ttl).into());
                "reported by Envoy"
            }
            CheckKind::Run(run) => {
                push_run(run, &mut set);
                match run.target {
                    CheckTarget::Http { .. } => "HTTP",
                    CheckTarget::Tcp(_) => "TCP",
                    CheckTarget::Grpc { .. } => "gRPC",
                }
            }
        };
        let name = check.name.clone().unwrap_or_else(|| format!("{} {name}", self.service.name));
        set("Name", name.into());
        if let Some(report) = state {
            set("Status", report.status.word().into());
        }
        Value::Object(body)
    }
}

fn push_run(run: &RunByConsul, set: &mut impl FnMut(&str, Value) -> Option<Value>) {
    set("Interval", seconds(run.interval).into());
    set("Timeout", seconds(run.timeout).into());
    for (field, count) in [
        ("SuccessBeforePassing", run.success_before_passing),
        ("FailuresBeforeCritical", run.failures_before_critical),
    ] {
        if count > 0 {
            set(field, count.into());
        }
    }
    let skips = match &run.target {
        CheckTarget::Http { url, method, headers, body, tls_skip_verify } => {
            set("HTTP", url.as_str().into());
            set("Method", (*method).into());
            let header = |(name, value): &(String, String)| (name.clone(), json!([value]));
            set("Header", Value::Object(headers.iter().map(header).collect()));
            if let Some(body) = body {
                set("Body", body.as_str().into());
            }
            *tls_skip_verify
        }
        CheckTarget::Tcp(address) => {
            set("TCP", address.as_str().into());
            false
        }
        CheckTarget::Grpc { target, tls, tls_skip_verify } => {
            set("GRPC", target.as_str().into());
            set("GRPCUseTLS", (*tls).into());
            *tls_skip_verify
        }
    };
    if skips {
        set("TLSSkipVerify", true.into());
    }
}

/// Formats a duration as Go reads it.
fn seconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Returns the beginning of a text in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or(text)
}
