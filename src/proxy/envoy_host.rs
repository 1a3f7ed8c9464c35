//! Discovery's [`Host`], on Envoy's host calls.

use core::time::Duration;

use hashbrown::{HashMap, HashSet};
use log::Level;

use crate::calls::breaker::BreakerState;
use crate::calls::caller::CallId;
use crate::config::{Config, Probe, Source};
use crate::driver::Host;
use crate::health_check::verdict::ProbeReason;
use crate::host::{Expect, ProbeId};
use crate::model::registration::RegistrationId;
use crate::model::service::{ServiceId, SourceId};
use crate::model::slot_map::SecondaryMap;
use crate::proxy::callout::{Callout, CalloutResponse, USER_AGENT};
use crate::proxy::clock::Start;
use crate::proxy::host::{self, CalloutId, CalloutRefused};
use crate::proxy::metrics::Metrics;
use crate::registry::request::HttpRequest;
use crate::registry::response::{CallFailure, Refusal};
use crate::registry::source_spec::SourceSpec;
use crate::registry::token::Token;
use crate::router::service_change::{Addition, Origin};
use crate::shared::key::{Cas, SharedKey};
use crate::shared::members::QueueId;
use crate::telemetry::RegistrationEvent;
use crate::telemetry::RouteEvent;
use crate::telemetry::SourceEvent;
use crate::util::time::Time;

/// How many messages of one queue are looked at when it is probed.
const PROBED: usize = 1_024;

/// What a root context can do.
#[derive(Debug)]
pub(super) struct EnvoyHost {
    pub(super) start: Start,
    authority: String,
    token: Option<Token>,
    /// The environment variable that was to hold the token and does not.
    missing_token: Option<String>,
    /// What log lines call each service.
    services: SecondaryMap<ServiceId, String>,
    /// What log lines call each source.
    sources: SecondaryMap<SourceId, String>,
    /// The sources that only clients have named, and that have not shown yet to be there.
    named: HashSet<SourceId>,
    /// What log lines call each registration.
    registrations: SecondaryMap<RegistrationId, String>,
    callouts: HashMap<CalloutId, Callout>,
    /// The timer's period that discovery wants.
    period: Duration,
    pub(super) metrics: Metrics,
}

/// Reads the token from the environment that Envoy passed to the VM.
fn token(variable: &str) -> Option<Token> {
    std::env::var(variable).ok().and_then(|value| Token::parse(&value))
}

impl EnvoyHost {
    /// Defines the metrics, and reads the token.
    pub(super) fn new(config: &Config, period: Duration) -> Self {
        let token_env = config.consul.token_env.as_deref();
        let token = token_env.and_then(token);
        let missing_token = token_env.filter(|_| token.is_none()).map(str::to_owned);
        Self {
            start: Start::now(),
            authority: config.consul.authority.clone(),
            token,
            missing_token,
            services: service_ids().zip(config.services.iter().map(|s| s.name.clone())).collect(),
            sources: source_names(config),
            named: HashSet::new(),
            registrations: registration_names(config),
            callouts: HashMap::new(),
            period,
            metrics: Metrics::define(config),
        }
    }

    /// The timer's period that discovery wants.
    pub(super) const fn period(&self) -> Duration {
        self.period
    }

    /// The name of a service.
    pub(super) fn service_name(&self, service: ServiceId) -> Option<&str> {
        self.services.get(service).map(String::as_str)
    }

    /// Tells the operator what has happened to a service.
    pub(super) fn on_route_event(&self, service: ServiceId, event: &RouteEvent) {
        self.metrics.on_route_event(service, event);
        let Some(name) = self.services.get(service) else {
            return;
        };
        match event {
            RouteEvent::TooManyVersions { found } => log::warn!(
                "service {name}: {found} versions are more than a header can name; those that few \
                 instances have go by the fallback"
            ),
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
        }
    }

    /// Tells once that there is no token where there was to be one.
    fn warn_of_missing_token(&mut self) {
        if let Some(variable) = self.missing_token.take() {
            log::warn!(
                "no ACL token: the environment variable {variable} is not set, or holds none; \
                 asking Consul without. To use one, set it where Envoy starts and name it in \
                 the vm_config's environment_variables.host_env_keys"
            );
        }
    }

    /// Hides the token in an answer that is going to be quoted.
    pub(super) fn redact(&self, answer: CalloutResponse) -> CalloutResponse {
        match &self.token {
            Some(token) => answer.without(token),
            None => answer,
        }
    }

    /// What a callout is for; only once.
    pub(super) fn take_callout(&mut self, callout: CalloutId) -> Option<Callout> {
        self.callouts.remove(&callout)
    }
}

/// What log lines call the configured registrations.
fn registration_names(config: &Config) -> SecondaryMap<RegistrationId, String> {
    let names = config.registrations.iter().map(|it| format!("registration {}", it.id));
    (0..=u16::MAX).map(RegistrationId::nth).zip(names).collect()
}

/// The ids of the configured services.
fn service_ids() -> impl Iterator<Item = ServiceId> {
    (0..=u16::MAX).map(ServiceId::nth)
}

/// What log lines call the configured sources: by all services that have one.
fn source_names(config: &Config) -> SecondaryMap<SourceId, String> {
    let mut names: SecondaryMap<SourceId, String> = SecondaryMap::new();
    for (id, source, _) in SourceSpec::all(config) {
        match names.get_mut(id) {
            Some(names) => {
                names.push_str(", ");
                names.push_str(&name(source));
            }
            None => names.insert(id, name(source)),
        }
    }
    names
}

/// The service's name, with the datacenter where it has several.
fn name(source: Source<'_>) -> String {
    let name = &source.service.name;
    match source.datacenter.filter(|_| source.service.datacenters.len() > 1) {
        Some(datacenter) => format!("service {name} in {datacenter}"),
        None => format!("service {name}"),
    }
}

impl Host for EnvoyHost {
    fn now(&mut self) -> Time {
        self.start.time()
    }

    fn register_queue(&mut self, name: &str) -> QueueId {
        host::register_queue(name)
    }

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        host::load(&key.to_string())
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], expect: Expect) -> bool {
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

    fn call(&mut self, call: CallId, request: &HttpRequest) -> Result<(), CallFailure> {
        let mut headers = vec![
            (":method", request.method.word()),
            (":path", request.path.as_str()),
            (":authority", self.authority.as_str()),
            ("accept", "application/json"),
            USER_AGENT,
        ];
        headers.extend(request.headers.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some(token) = &self.token {
            headers.push(token.header());
        }
        let sent = host::request(&request.cluster, &headers, &request.body, request.timeout);
        let callout = sent.map_err(|refused| match refused {
            CalloutRefused::NoCluster => CallFailure::Refused(Refusal::UnknownCluster),
            CalloutRefused::NoCapacity => CallFailure::Refused(Refusal::NoCapacity),
        })?;
        self.callouts
            .insert(callout, Callout::Call { id: call, headers: request.response_headers });
        Ok(())
    }

    fn examine(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason> {
        let check = &probe.check;
        let authority = check.host.as_deref().unwrap_or(&probe.cluster);
        let mut headers = vec![
            (":method", check.method),
            (":path", check.path.as_str()),
            (":authority", authority),
        ];
        if !check.headers.iter().any(|(name, _)| name == USER_AGENT.0) {
            headers.push(USER_AGENT);
        }
        headers.extend(check.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let sent = host::request(&probe.cluster, &headers, "", check.timeout);
        let callout = sent.map_err(|refused| match refused {
            CalloutRefused::NoCluster => ProbeReason::UnknownCluster,
            CalloutRefused::NoCapacity => ProbeReason::NoCapacity,
        })?;
        let body_decides = check.expected_body.is_some();
        self.callouts.insert(callout, Callout::Probe { id, body_decides });
        Ok(())
    }

    fn registration(&mut self, registration: RegistrationId, notice: &RegistrationEvent) {
        if let RegistrationEvent::Called(called) = notice {
            self.metrics.on_called(*called);
        }
        self.metrics.registrations.on_notice(registration, notice);
        if matches!(notice, RegistrationEvent::Keeping) {
            self.warn_of_missing_token();
        }
        if let (Some(level), Some(name)) = (notice.level(), self.registrations.get(registration)) {
            log::log!(level, "{name}: {notice}");
        }
    }

    fn on_orphan(&mut self, registration: RegistrationId, id: &str) {
        self.registrations.insert(registration, format!("registration {id}"));
    }

    fn notice(&mut self, source: SourceId, notice: &SourceEvent) {
        if let SourceEvent::Published { endpoints: 1.., .. }
        | SourceEvent::Age { endpoints: 1.., .. } = notice
        {
            self.named.remove(&source);
        }
        let is_named = self.named.contains(&source);
        self.metrics.on_notice(source, notice, is_named);
        if matches!(notice, SourceEvent::Elected(_)) {
            self.warn_of_missing_token();
        }
        if let (Some(level), Some(name)) = (notice.level(), self.sources.get(source)) {
            // What a client has made up is no news, and no fault of anybody's.
            let level = if is_named { Level::Debug } else { level };
            log::log!(level, "{name}: {notice}");
        }
    }

    /// Logs that it opens, and that it closes; not each probe between.
    fn breaker(
        &mut self,
        position: BreakerState,
        before: Option<BreakerState>,
        datacenter: Option<&str>,
    ) {
        self.metrics.on_breaker(position, before);
        match (before, position) {
            (Some(BreakerState::Closed), BreakerState::Open) => {
                let whose = datacenter.unwrap_or("the agent's own");
                log::warn!("datacenter {whose}: {position}");
            }
            (Some(BreakerState::HalfOpen | BreakerState::Open), BreakerState::Closed) => {
                log::info!("{position}");
            }
            _ => {}
        }
    }

    fn on_added(&mut self, added: &Addition, sources: &[SourceId]) {
        log::debug!("service {}: found", added.name);
        self.services.insert(added.service, added.name.clone());
        self.metrics.on_added(added, sources);
        let is_named = added.origin != Origin::Catalog;
        for (source, place) in sources.iter().zip(&added.suffixes) {
            // One that another service uses too keeps its name.
            let is_new = self.sources.get(*source).is_none();
            if is_new {
                self.sources.insert(*source, format!("service {}{place}", added.name));
            }
            match is_named {
                true if is_new => self.named.insert(*source),
                true => false,
                false => self.named.remove(source),
            };
        }
    }

    fn on_removed(&mut self, service: ServiceId, sources: &[SourceId]) {
        if let Some(name) = self.services.remove(service) {
            log::debug!("service {name}: gone");
        }
        self.metrics.on_removed(service);
        for source in sources {
            self.sources.remove(*source);
            self.named.remove(source);
        }
    }

    fn on_catalog(&mut self, source: SourceId) {
        self.sources.insert(source, "catalog".to_owned());
        self.metrics.on_catalog(source);
    }

    /// Only notes the period: [`Plugin`](crate::proxy::plugin::Plugin) sets the timer, which must be
    /// faster while requests wait.
    fn set_tick_period(&mut self, period: Duration) {
        self.period = period;
    }
}
