//! A reconciler, its agents and the time. Responses go in; calls and events come out.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::calls::caller::AgentCallId;
use crate::config::{Config, NodeInfo};
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::host::ProbeTarget;
use crate::registration::agent_call::AgentCall;
use crate::registration::desired_state::DesiredState;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registration::reconciler::Reconciler;
use crate::registry::consul::registration::Definition;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse, Method};
use crate::shared::source_record::Term;
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// A fake agent, which may do less than its responses say.
#[derive(Default)]
pub(super) struct FakeAgent {
    pub(super) service: Option<Value>,
    pub(super) checks: BTreeMap<String, Value>,
    /// All calls, as method and path without parameters.
    pub(super) calls: Vec<String>,
    /// The reported states.
    pub(super) reports: Vec<String>,
    /// True if the agent drops the checks of a registration.
    pub(super) drops_checks: bool,
    /// The response to all calls, if not the right one.
    pub(super) refuses: Option<(u16, &'static str)>,
    /// The datacenter in responses.
    pub(super) datacenter: Option<&'static str>,
    /// The node in responses. The token may not read the identity if there is none.
    pub(super) node: Option<&'static str>,
    /// True if the agent knows no check that is reported on.
    pub(super) knows_no_check: bool,
    /// True if the agent fails all registrations.
    pub(super) takes_no_registration: bool,
}

impl FakeAgent {
    fn respond(&mut self, request: &HttpRequest) -> (u16, String) {
        let path = request.path.split('?').next().unwrap();
        self.calls.push(format!("{} {path}", request.method.word()));
        if let Some((status, text)) = self.refuses {
            return (status, text.to_owned());
        }
        match (request.method, path) {
            (Method::Put, "/v1/agent/service/register") if self.takes_no_registration => {
                (500, "No cluster leader".to_owned())
            }
            (Method::Put, "/v1/agent/service/register") => {
                let mut body: Value = serde_json::from_str(&request.body).unwrap();
                let checks = body["Checks"].take();
                body["Service"] = body["Name"].take();
                if let Some(datacenter) = self.datacenter {
                    body["Datacenter"] = datacenter.into();
                }
                self.service = Some(body);
                let before = core::mem::take(&mut self.checks);
                let by_id =
                    |check: &Value| (check["CheckID"].as_str().unwrap().to_owned(), check.clone());
                self.checks = checks.as_array().unwrap().iter().map(by_id).collect();
                for (id, check) in &mut self.checks {
                    // A check that stays keeps its state, whatever the registration says.
                    let initial = check["Status"].as_str().unwrap_or("critical").to_owned();
                    let before = before.get(id).and_then(|it| it["Status"].as_str());
                    check["Status"] = before.unwrap_or(&initial).into();
                }
                if !request.path.contains("replace-existing-checks") {
                    before.into_iter().for_each(|(id, check)| {
                        self.checks.entry(id).or_insert(check);
                    });
                }
                if self.drops_checks {
                    self.checks.clear();
                }
                (200, String::new())
            }
            (Method::Get, "/v1/agent/service/edge-1") => match &self.service {
                Some(service) => (200, service.to_string()),
                None => (404, "unknown service ID: edge-1".to_owned()),
            },
            (Method::Get, "/v1/agent/self") => match self.node {
                Some(node) => {
                    let datacenter = self.datacenter.unwrap_or("dc1");
                    let config = json!({"NodeName": node, "Datacenter": datacenter});
                    (200, json!({ "Config": config }).to_string())
                }
                None => (403, "Permission denied".to_owned()),
            },
            (Method::Get, "/v1/agent/checks") => (200, json!(self.checks).to_string()),
            // Consul 1.8 responds the same if it does not have the service.
            (Method::Put, "/v1/agent/service/deregister/edge-1") => {
                self.service = None;
                self.checks.clear();
                (200, String::new())
            }
            (Method::Put, path) => {
                let id = path.strip_prefix("/v1/agent/check/update/").unwrap().replace("%3A", ":");
                let update: Value = serde_json::from_str(&request.body).unwrap();
                match self.checks.get_mut(&id).filter(|_| !self.knows_no_check) {
                    Some(check) => {
                        check["Status"] = update["Status"].clone();
                        self.reports.extend(update["Status"].as_str().map(str::to_owned));
                        check["Output"] = update["Output"].clone();
                        (200, String::new())
                    }
                    None => (500, format!("CheckID {id:?} does not have associated TTL")),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Returns the status of the TTL check.
    pub(super) fn status(&self) -> Option<&str> {
        self.checks.get("service:edge-1:1")?["Status"].as_str()
    }

    /// Returns the number of registrations among the calls.
    pub(super) fn registrations(&self) -> usize {
        self.calls.iter().filter(|call| call.ends_with("/register")).count()
    }
}

/// A call that was started.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: AgentCallId,
    pub(super) call: AgentCall,
    pub(super) request: HttpRequest,
}

/// A response on its way. Envoy reports a timeout if there is no content.
struct Pending {
    at: Duration,
    id: AgentCallId,
    content: Option<(u16, String)>,
}

/// A reconciler, its agents and the time.
pub(super) struct Script {
    pub(super) reconciler: Reconciler,
    pub(super) agent: FakeAgent,
    /// Agents that take turns with `agent`.
    pub(super) others: VecDeque<FakeAgent>,
    /// The time that each response takes.
    pub(super) latency: Duration,
    pending: Vec<Pending>,
    pub(super) now: Duration,
    rng: Rng,
    pub(super) events: Vec<RegistrationEvent>,
    /// The status of the service in responses to probes.
    pub(super) health: u16,
    /// The status of Envoy's administration interface in responses to probes.
    pub(super) ready: u16,
    /// True if probes of the administration interface get no response.
    pub(super) is_admin_silent: bool,
    /// The reason why Envoy does not send probes of the service, if it does not.
    pub(super) unsent: Option<ProbeReason>,
    /// The reason why Envoy does not send probes of the administration interface, if it does not.
    pub(super) unsent_drain: Option<ProbeReason>,
    /// True if the next report gets no response.
    pub(super) loses_next: bool,
}

/// Returns the definition of the only registration of a configuration.
fn definition(register: &str) -> Definition {
    let json = format!(r#"{{"consul": {{"cluster": "consul"}}, "register": [{register}]}}"#);
    let config = Config::parse(json.as_bytes()).unwrap();
    let config = config.with_node_defaults(&NodeInfo::default()).unwrap();
    Definition::new(&config.consul, &config.registrations[0])
}

impl Script {
    /// Starts the first term of a registration.
    pub(super) fn new(register: &str) -> Self {
        Self::of(&DesiredState::present(definition(register)), false)
    }

    /// Starts a later term of a registration, which another VM hands over with its agent.
    pub(super) fn taking_over(register: &str, before: Self) -> Self {
        let desired = DesiredState::present(definition(register));
        let agent = FakeAgent { calls: Vec::new(), ..before.agent };
        Self { agent, ..Self::of(&desired, true) }
    }

    fn of(desired: &DesiredState, is_handed_over: bool) -> Self {
        let term = Term(u64::from(is_handed_over) + 1);
        Self {
            reconciler: Reconciler::new(desired, term, is_handed_over, Time::ZERO),
            agent: FakeAgent::default(),
            others: VecDeque::new(),
            latency: Duration::ZERO,
            pending: Vec::new(),
            now: Duration::ZERO,
            rng: Rng::new(1),
            events: Vec::new(),
            health: 200,
            ready: 200,
            is_admin_silent: false,
            unsent: None,
            unsent_drain: None,
            loses_next: false,
        }
    }

    pub(super) fn time(&self) -> Time {
        Time::from_start(self.now)
    }

    /// Lets time pass: probes and calls that are due get their responses.
    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.probe();
            self.deliver();
            self.give_up_lost();
            while let Some(sent) = self.start() {
                let is_report = |call| matches!(call, AgentCall::Report { .. });
                let next = self.reconciler.next_call(self.time());
                let is_alike = next.is_some_and(|next| is_report(next) == is_report(sent.call));
                assert!(!is_alike, "one report and one other call at a time");
                if is_report(sent.call) && core::mem::take(&mut self.loses_next) {
                    break;
                }
                let content = self.agent.respond(&sent.request);
                if let Some(next) = self.others.pop_front() {
                    self.others.push_back(core::mem::replace(&mut self.agent, next));
                }
                let timeout = sent.request.timeout;
                let content = Some(content).filter(|_| self.latency < timeout);
                let at = self.now + self.latency.min(timeout);
                self.pending.push(Pending { at, id: sent.id, content });
                self.deliver();
            }
            self.tick();
        }
    }

    /// Lets time pass, in which only probes get responses, and no call is started.
    pub(super) fn hold_calls(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.probe();
            self.tick();
        }
    }

    /// Lets a tick pass.
    pub(super) fn tick(&mut self) {
        self.now += Duration::from_millis(250);
    }

    /// Starts the call that is due.
    pub(super) fn start(&mut self) -> Option<Sent> {
        let now = self.time();
        let call = self.reconciler.next_call(now)?;
        let (id, request) = self.reconciler.start(call, now);
        Some(Sent { id, call, request })
    }

    /// Takes the response to a call. Returns true if the call was out.
    pub(super) fn respond(&mut self, id: AgentCallId, status: u16, body: &str) -> bool {
        self.end(id, Ok(response(status, false, body))).is_some()
    }

    /// Ends a call. Returns its outcome, if it was out.
    fn end(
        &mut self,
        id: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
    ) -> Option<Result<(), ErrorKind>> {
        let now = self.time();
        let Self { reconciler, rng, events, .. } = self;
        reconciler.on_response(id, response, now, rng, events)
    }

    /// Ends the call that counts as lost, if any. Returns its id and its outcome.
    pub(super) fn give_up_lost(&mut self) -> Option<(AgentCallId, Result<(), ErrorKind>)> {
        let now = self.time();
        let lost = self.reconciler.poll_lost(now)?;
        let outcome = self.end(lost, Err(CallFailure::Lost));
        Some((lost, outcome.expect("a lost call is out until then")))
    }

    /// Sends the probe that is due.
    pub(super) fn start_probe(&mut self) -> Option<OutgoingProbe> {
        let now = self.time();
        self.reconciler.poll_probe(now, &mut self.rng)
    }

    /// Takes the result of a probe.
    pub(super) fn respond_to_probe(
        &mut self,
        probe: &OutgoingProbe,
        response: Result<ProbeResponse<'_>, ProbeReason>,
    ) {
        let now = self.time();
        let probed = ProbeResult { target: probe.target, number: probe.number, response };
        self.reconciler.on_probed(&probed, now, &mut self.rng, &mut self.events);
    }

    /// Sends the probes that are due, and responds to them.
    fn probe(&mut self) {
        while let Some(probe) = self.start_probe() {
            let (status, unsent) = match probe.target {
                ProbeTarget::Drain if self.is_admin_silent => continue,
                ProbeTarget::Drain => (self.ready, self.unsent_drain.clone()),
                ProbeTarget::Check(_) => (self.health, self.unsent.clone()),
            };
            let response = match unsent {
                Some(reason) => Err(reason),
                None => Ok(ProbeResponse { status, from_envoy: false, body: b"" }),
            };
            self.respond_to_probe(&probe, response);
        }
    }

    /// Delivers the responses that are due.
    fn deliver(&mut self) {
        let due: Vec<_> = self.pending.extract_if(.., |it| it.at <= self.now).collect();
        for Pending { id, content, .. } in due {
            let is_out = match content {
                Some((status, body)) => self.respond(id, status, &body),
                None => self.end(id, Ok(response(504, true, "timeout"))).is_some(),
            };
            assert!(is_out, "the call is out");
        }
    }

    /// Takes the calls of the agent.
    pub(super) fn calls(&mut self) -> Vec<String> {
        core::mem::take(&mut self.agent.calls)
    }

    /// Returns the texts of all events.
    pub(super) fn texts(&self) -> Vec<String> {
        self.events.iter().map(ToString::to_string).collect()
    }
}

/// Returns a response of an agent or of Envoy.
pub(super) fn response(status: u16, from_envoy: bool, body: &str) -> HttpResponse<'_> {
    HttpResponse { status, from_envoy, headers: &[], body: body.as_bytes() }
}
