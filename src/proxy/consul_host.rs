//! Discovery's [`Host`], on Envoy's host calls.

use core::time::Duration;

use hashbrown::HashMap;

use crate::balance::outlier::transition::Transition;
use crate::balance::pool::PoolEvent;
use crate::config::{Config, Source};
use crate::consul::query::Request;
use crate::consul::response::{
    AGE_HEADER, CallFailure, FILTERED_HEADER, INDEX_HEADER, LAST_CONTACT_HEADER, Refusal, Response,
    UPSTREAM_HEADER,
};
use crate::consul::token::Token;
use crate::discovery::breaker::Position;
use crate::discovery::event::{CallId, Expect};
use crate::discovery::notice::Notice;
use crate::driver::Host;
use crate::model::arena::Beside;
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::clock::Start;
use crate::proxy::host::{self, CalloutId, CalloutRefused, Headers};
use crate::proxy::metrics::Metrics;
use crate::router::change::Addition;
use crate::router::event::RouteEvent;
use crate::shared::key::{Cas, Key};
use crate::shared::members::QueueId;
use crate::time::Time;

/// How many messages of one queue are looked at when it is probed.
const PROBED: usize = 1_024;

/// How much of an error's body is looked at: more than is ever quoted.
const QUOTED: usize = 4_096;

/// What a root context can do.
#[derive(Debug)]
pub(super) struct ConsulHost {
    pub(super) start: Start,
    cluster: String,
    authority: String,
    token: Option<Token>,
    /// The environment variable that was to hold the token and does not.
    missing_token: Option<String>,
    /// What log lines call each service.
    services: Beside<ServiceId, String>,
    /// What log lines call each source.
    sources: Beside<SourceId, String>,
    calls: HashMap<CalloutId, CallId>,
    /// The timer's period that discovery wants.
    period: Duration,
    pub(super) metrics: Metrics,
}

/// Reads the token from the environment that Envoy passed to the VM.
fn token(variable: &str) -> Option<Token> {
    std::env::var(variable).ok().and_then(|value| Token::parse(&value))
}

impl ConsulHost {
    /// Defines the metrics, and reads the token.
    pub(super) fn new(config: &Config, period: Duration) -> Self {
        let token_env = config.consul.token_env.as_deref();
        let token = token_env.and_then(token);
        let missing_token = token_env.filter(|_| token.is_none()).map(str::to_owned);
        Self {
            start: Start::now(),
            cluster: config.consul.cluster.clone(),
            authority: config.consul.authority.clone(),
            token,
            missing_token,
            services: service_ids().zip(config.services.iter().map(|s| s.name.clone())).collect(),
            sources: source_ids().zip(config.sources().map(name)).collect(),
            calls: HashMap::new(),
            period,
            metrics: Metrics::define(config),
        }
    }

    /// The timer's period that discovery wants.
    pub(super) const fn period(&self) -> Duration {
        self.period
    }

    /// Tells the operator what has happened to endpoints.
    pub(super) fn on_route_event(&self, service: ServiceId, event: &RouteEvent) {
        self.metrics.on_route_event(service, event);
        let Some(name) = self.services.get(service) else {
            return;
        };
        match event {
            RouteEvent::Pool(PoolEvent::Endpoint(address, Transition::Ejected(cause))) => {
                log::warn!("service {name}: this worker has ejected {address}: {}", cause.name());
            }
            RouteEvent::Pool(PoolEvent::Endpoint(address, Transition::Returned)) => {
                log::info!("service {name}: {address} has answered, and takes its share again");
            }
            RouteEvent::Pool(PoolEvent::Panic(true)) => log::warn!(
                "service {name}: too few endpoints are left; this worker uses the ejected ones too"
            ),
            RouteEvent::Pool(PoolEvent::TooManyVersions { found }) => log::warn!(
                "service {name}: {found} versions are more than a header can name; those that few \
                 instances have go by the fallback"
            ),
            RouteEvent::Pool(PoolEvent::Panic(false)) => {
                log::info!("service {name}: enough endpoints are left without the ejected ones");
            }
            RouteEvent::Stale(true) => log::warn!(
                "service {name}: consul has not confirmed the endpoints for max_age; check consul \
                 and the way to it"
            ),
            RouteEvent::Stale(false) => {
                log::info!("service {name}: consul has confirmed the endpoints again");
            }
            RouteEvent::FellBack => log::warn!(
                "service {name}: consul has not answered for it within warmup_timeout; this \
                 worker uses its fallback until then"
            ),
            RouteEvent::DependenciesDown(names) if names.is_empty() => {
                log::info!("service {name}: all that it depends on has endpoints again");
            }
            RouteEvent::DependenciesDown(names) => log::warn!(
                "service {name}: degraded, since of those that it depends on these are down: {}",
                names.join(", ")
            ),
            RouteEvent::DatacentersAvoided(names) if names.is_empty() => {
                log::info!("service {name}: its datacenters are preferred in their order again");
            }
            RouteEvent::DatacentersAvoided(names) => log::warn!(
                "service {name}: one that it depends on has no endpoint in {}; this worker prefers \
                 other datacenters",
                names.join(", ")
            ),
        }
    }

    /// Hides the token in an answer that is going to be quoted.
    pub(super) fn redact(&self, answer: CalloutAnswer) -> CalloutAnswer {
        match &self.token {
            Some(token) => answer.without(token),
            None => answer,
        }
    }

    /// The call that a callout belongs to; only once.
    pub(super) fn take_call(&mut self, callout: CalloutId) -> Option<CallId> {
        self.calls.remove(&callout)
    }
}

/// The ids of the configured services.
fn service_ids() -> impl Iterator<Item = ServiceId> {
    (0..=u16::MAX).map(ServiceId::nth)
}

/// The ids of the configured sources.
fn source_ids() -> impl Iterator<Item = SourceId> {
    (0..=u16::MAX).map(SourceId::nth)
}

/// The service's name, with the datacenter where it has several.
fn name(source: Source<'_>) -> String {
    let name = &source.service.name;
    match source.datacenter.filter(|_| source.service.datacenters.len() > 1) {
        Some(datacenter) => format!("service {name} in {datacenter}"),
        None => format!("service {name}"),
    }
}

impl Host for ConsulHost {
    fn now(&mut self) -> Time {
        self.start.time()
    }

    fn register_queue(&mut self, name: &str) -> QueueId {
        host::register_queue(name)
    }

    fn load(&mut self, key: &Key) -> Option<(Vec<u8>, Cas)> {
        host::load(&key.to_string())
    }

    fn store(&mut self, key: &Key, value: &[u8], expect: Expect) -> bool {
        host::store(&key.to_string(), value, expect)
    }

    fn wake(&mut self, queue: QueueId, message: &[u8]) {
        host::enqueue(queue, message);
    }

    fn probe(&mut self, queue: QueueId) -> bool {
        let mut messages = Vec::new();
        for _ in 0..PROBED {
            match host::dequeue(queue) {
                Some(message) if messages.contains(&message) => {}
                Some(message) => messages.push(message),
                None => break,
            }
        }
        for message in &messages {
            host::enqueue(queue, message);
        }
        !messages.is_empty()
    }

    fn call(&mut self, call: CallId, request: &Request) -> Result<(), CallFailure> {
        let mut headers = vec![
            (":method", "GET"),
            (":path", request.path.as_str()),
            (":authority", self.authority.as_str()),
            ("accept", "application/json"),
            ("user-agent", concat!("consul-resolver/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend(request.headers.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(token) = &self.token {
            headers.push(("x-consul-token", token.header_value()));
        }
        let callout =
            host::get(&self.cluster, headers, request.timeout).map_err(
                |refused| match refused {
                    CalloutRefused::NoCluster => CallFailure::Refused(Refusal::UnknownCluster),
                    CalloutRefused::NoCapacity => CallFailure::Refused(Refusal::NoCapacity),
                },
            )?;
        self.calls.insert(callout, call);
        Ok(())
    }

    fn notice(&mut self, source: SourceId, notice: &Notice) {
        self.metrics.on_notice(source, notice);
        if matches!(notice, Notice::Elected(_))
            && let Some(variable) = self.missing_token.take()
        {
            log::warn!(
                "no ACL token: the environment variable {variable} is not set, or holds none; \
                 asking Consul without. To use one, set it where Envoy starts and name it in \
                 the vm_config's environment_variables.host_env_keys"
            );
        }
        if let (Some(level), Some(name)) = (notice.level(), self.sources.get(source)) {
            log::log!(level, "{name}: {notice}");
        }
    }

    /// Logs that it opens, and that it closes; not each probe between.
    fn breaker(&mut self, position: Position, before: Option<Position>, datacenter: Option<&str>) {
        self.metrics.on_breaker(position, before);
        match (before, position) {
            (Some(Position::Closed), Position::Open) => {
                let whose = datacenter.unwrap_or("the agent's own");
                log::warn!("datacenter {whose}: {position}");
            }
            (Some(Position::HalfOpen | Position::Open), Position::Closed) => {
                log::info!("{position}");
            }
            _ => {}
        }
    }

    fn on_added(&mut self, added: &Addition, sources: &[SourceId]) {
        log::debug!("service {}: found", added.name);
        self.services.insert(added.service, added.name.clone());
        self.metrics.on_added(added, sources);
        for (source, place) in sources.iter().zip(&added.places) {
            // One that another service uses too keeps its name.
            if self.sources.get(*source).is_none() {
                self.sources.insert(*source, format!("service {}{place}", added.name));
            }
        }
    }

    fn on_removed(&mut self, service: ServiceId, sources: &[SourceId]) {
        if let Some(name) = self.services.remove(service) {
            log::debug!("service {name}: gone");
        }
        self.metrics.on_removed(service, sources);
        for source in sources {
            self.sources.remove(*source);
        }
    }

    fn on_catalog(&mut self, source: SourceId) {
        self.sources.insert(source, "catalog".to_owned());
        self.metrics.on_catalog(source);
    }

    /// Only notes it: [`Core`](crate::proxy::core::Core) sets the timer, which waiting
    /// requests want faster.
    fn set_tick_period(&mut self, period: Duration) {
        self.period = period;
    }
}

/// What a callout has brought, owned, so that nothing is borrowed from the host.
#[derive(Debug)]
pub(super) struct CalloutAnswer {
    status: u16,
    from_envoy: bool,
    index: Option<Vec<u8>>,
    filtered_by_acls: bool,
    last_contact: Option<Vec<u8>>,
    age: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl CalloutAnswer {
    /// Reads the answer; without headers there is none. Legal in the callout's callback.
    pub(super) fn read(headers: usize, body_size: usize) -> Option<Self> {
        if headers == 0 {
            return None;
        }
        let header = |name| host::header(Headers::CalloutAnswer, name);
        let status =
            header(":status").and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        Some(Self {
            status: status.unwrap_or(0),
            from_envoy: header(UPSTREAM_HEADER).is_none(),
            index: header(INDEX_HEADER),
            filtered_by_acls: header(FILTERED_HEADER)
                .is_some_and(|value| value.eq_ignore_ascii_case(b"true")),
            last_contact: header(LAST_CONTACT_HEADER),
            age: header(AGE_HEADER),
            body: host::callout_body(body_size),
        })
    }

    /// The answer without the token, if it is an error: of that the text is quoted, from its
    /// beginning. Of an answer that can be read nothing is, but an index that cannot.
    fn without(self, token: &Token) -> Self {
        let index = self.index.map(|index| token.redact(&index));
        let body = match self.status {
            200 => self.body,
            _ => token.redact(self.body.get(..QUOTED).unwrap_or(&self.body)),
        };
        Self { index, body, ..self }
    }

    /// The answer as discovery reads it.
    pub(super) fn response(&self) -> Response<'_> {
        Response {
            status: self.status,
            from_envoy: self.from_envoy,
            index: self.index.as_deref(),
            filtered_by_acls: self.filtered_by_acls,
            last_contact: self.last_contact.as_deref(),
            age: self.age.as_deref(),
            body: &self.body,
        }
    }
}
