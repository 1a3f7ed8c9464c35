//! The [`Host`] of a VM, on Envoy's host calls.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::CallId;
use crate::config::{Config, Probe};
use crate::health_check::verdict::ProbeReason;
use crate::host::{Expect, Host, ProbeId};
use crate::model::service::ServiceId;
use crate::proxy::callout::{Callout, CalloutResponse, USER_AGENT};
use crate::proxy::event_log::EventLog;
use crate::proxy::host::{self, CalloutId, CalloutRefused, Start};
use crate::proxy::metrics::Metrics;
use crate::registry::http::{CallFailure, HttpRequest, Refusal};
use crate::registry::token::Token;
use crate::shared::key::{Cas, SharedKey};
use crate::shared::members::QueueId;
use crate::telemetry::{RegistrationEvent, SourceEvent, TelemetryEvent};
use crate::util::time::Time;

/// The maximum number of messages that are looked at in one queue.
const MAX_LOOKED_AT: usize = 1_024;

/// The host of a root context.
#[derive(Debug)]
pub(super) struct EnvoyHost {
    pub(super) start: Start,
    authority: String,
    token: Option<Token>,
    /// The environment variable that should contain the token and does not.
    missing_token: Option<String>,
    callouts: HashMap<CalloutId, Callout>,
    /// The period of ticks that discovery wants.
    period: Duration,
    log: EventLog,
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
            callouts: HashMap::new(),
            period,
            log: EventLog::new(config),
            metrics: Metrics::define(config),
        }
    }

    /// Returns the period of ticks that discovery wants.
    pub(super) const fn period(&self) -> Duration {
        self.period
    }

    /// Returns the name of a service.
    pub(super) fn service_name(&self, service: ServiceId) -> Option<&str> {
        self.log.service_name(service)
    }

    /// Warns once if the environment does not contain the configured token.
    fn warn_of_missing_token(&mut self) {
        if let Some(variable) = self.missing_token.take() {
            log::warn!(
                "no ACL token: the environment variable {variable} is not set, or holds none; \
                 asking Consul without. To use one, set it where Envoy starts and name it in \
                 the vm_config's environment_variables.host_env_keys"
            );
        }
    }

    /// Hides the token in a response that will be quoted.
    pub(super) fn redact(&self, answer: CalloutResponse) -> CalloutResponse {
        match &self.token {
            Some(token) => answer.without(token),
            None => answer,
        }
    }

    /// Takes the purpose of a callout out.
    pub(super) fn take_callout(&mut self, callout: CalloutId) -> Option<Callout> {
        self.callouts.remove(&callout)
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

    fn has_messages(&mut self, queue: QueueId) -> bool {
        let mut messages = Vec::new();
        for _ in 0..MAX_LOOKED_AT {
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

    fn probe(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason> {
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

    fn emit(&mut self, event: &TelemetryEvent) {
        let starts_calls = matches!(
            event,
            TelemetryEvent::Source { event: SourceEvent::Elected(_), .. }
                | TelemetryEvent::Registration { event: RegistrationEvent::Keeping, .. }
        );
        if starts_calls {
            self.warn_of_missing_token();
        }
        self.log.on_event(event);
        self.metrics.on_event(event, |source| self.log.is_unverified(source));
    }

    /// Notes the period. [`Plugin`](crate::proxy::plugin::Plugin) sets the timer, which must tick
    /// faster while requests wait.
    fn set_tick_period(&mut self, period: Duration) {
        self.period = period;
    }
}
