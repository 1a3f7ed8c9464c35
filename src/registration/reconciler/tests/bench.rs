//! A keeper, an agent that may do less than it says, and time.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::calls::caller::AgentCallId;
use crate::config::{Config, NodeInfo};
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::host::ProbeTarget;
use crate::registration::agent_call::AgentCall;
use crate::registration::probe::ProbeResult;
use crate::registration::reconciler::Reconciler;
use crate::registry::consul::registration::Definition;
use crate::registry::request::{HttpRequest, Method};
use crate::registry::response::{CallFailure, HttpResponse};
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// An agent as far as registrations go, which may do less than it says.
#[derive(Default)]
pub(super) struct FakeAgent {
    pub(super) service: Option<Value>,
    pub(super) checks: BTreeMap<String, Value>,
    /// All calls, as method and path without parameters.
    pub(super) calls: Vec<String>,
    /// The states that were reported.
    pub(super) reports: Vec<String>,
    /// Whether it drops the checks of what is registered.
    pub(super) drops_checks: bool,
    /// What it answers to everything, if not as it should.
    pub(super) refuses: Option<(u16, &'static str)>,
    /// The datacenter that it says it is of.
    pub(super) datacenter: Option<&'static str>,
    /// The node that it says it is; none: the token may not know.
    pub(super) node: Option<&'static str>,
    /// Whether it says of every check that it has none.
    pub(super) knows_no_check: bool,
    /// Whether it refuses to register anything.
    pub(super) takes_no_registration: bool,
}

impl FakeAgent {
    fn answer(&mut self, request: &HttpRequest) -> (u16, String) {
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
                let kept =
                    |check: &Value| (check["CheckID"].as_str().unwrap().to_owned(), check.clone());
                self.checks = checks.as_array().unwrap().iter().map(kept).collect();
                for (id, check) in &mut self.checks {
                    // How a check stands that stays is kept, whatever is said.
                    let said = check["Status"].as_str().unwrap_or("critical").to_owned();
                    let before = before.get(id).and_then(|it| it["Status"].as_str());
                    check["Status"] = before.unwrap_or(&said).into();
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

    pub(super) fn status(&self) -> Option<&str> {
        self.checks.get("service:edge-1:1")?["Status"].as_str()
    }
}

/// An answer on its way.
struct Flying {
    at: Duration,
    id: AgentCallId,
    /// What the agent says; none: Envoy says that it took too long.
    answer: Option<(u16, String)>,
}

/// A keeper and its agent, at a moment.
pub(super) struct Bench {
    pub(super) keeper: Reconciler,
    pub(super) agent: FakeAgent,
    /// Others that answer by turns with it.
    pub(super) others: VecDeque<FakeAgent>,
    /// How long each answer takes.
    pub(super) takes: Duration,
    flying: Vec<Flying>,
    pub(super) now: Duration,
    pub(super) rng: Rng,
    pub(super) notices: Vec<RegistrationEvent>,
    /// What the service answers to a probe.
    pub(super) health: u16,
    /// What Envoy answers to the probe whether it drains.
    pub(super) ready: u16,
    /// Whether nobody hears of the probes whether it drains.
    pub(super) is_admin_silent: bool,
    /// Why Envoy does not send the probes of the service, if it does not.
    pub(super) unsent: Option<ProbeReason>,
    /// Likewise those that ask whether it drains.
    pub(super) unsent_drain: Option<ProbeReason>,
    /// Whether nobody hears of the next report.
    pub(super) loses_next: bool,
}

impl Bench {
    pub(super) fn new(register: &str) -> Self {
        let json = format!(r#"{{"consul": {{"cluster": "consul"}}, "register": [{register}]}}"#);
        let config = Config::parse(json.as_bytes()).unwrap();
        let config = config.with_node_defaults(&NodeInfo::default()).unwrap();
        let definition = Definition::new(&config.consul, &config.registrations[0]);
        Self {
            keeper: Reconciler::new(definition, Time::ZERO),
            agent: FakeAgent::default(),
            others: VecDeque::new(),
            takes: Duration::ZERO,
            flying: Vec::new(),
            now: Duration::ZERO,
            rng: Rng::new(1),
            notices: Vec::new(),
            health: 200,
            ready: 200,
            is_admin_silent: false,
            unsent: None,
            unsent_drain: None,
            loses_next: false,
        }
    }

    fn now(&self) -> Time {
        Time::from_start(self.now)
    }

    /// Lets everything happen that happens until then.
    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            let now = self.now();
            while let Some(probing) = self.keeper.poll_probe(now, &mut self.rng) {
                if self.is_admin_silent && probing.target == ProbeTarget::Drain {
                    continue;
                }
                let status = match probing.target {
                    ProbeTarget::Drain => self.ready,
                    ProbeTarget::Check(_) => self.health,
                };
                let unsent = match probing.target {
                    ProbeTarget::Drain => &self.unsent_drain,
                    ProbeTarget::Check(_) => &self.unsent,
                };
                let answer = match unsent {
                    Some(reason) => Err(reason.clone()),
                    None => Ok(ProbeResponse { status, from_envoy: false, body: b"" }),
                };
                let probed = ProbeResult {
                    target: probing.target,
                    number: probing.number,
                    response: answer,
                };
                self.keeper.on_probed(&probed, now, &mut self.rng, &mut self.notices);
            }
            self.deliver(now);
            if let Some(lost) = self.keeper.poll_lost(now) {
                let Self { keeper, rng, notices, .. } = self;
                keeper.on_response(lost, Err(CallFailure::Lost), now, rng, notices);
            }
            while let Some(errand) = self.keeper.next_call(now) {
                let (id, request) = self.keeper.start(errand, now);
                let is_report = |errand: &AgentCall| matches!(errand, AgentCall::Report(_));
                let next = self.keeper.next_call(now);
                let is_alike = next.is_some_and(|next| is_report(&next) == is_report(&errand));
                assert!(!is_alike, "one report and one other call at a time");
                if matches!(errand, AgentCall::Report(_)) && core::mem::take(&mut self.loses_next) {
                    break;
                }
                let answer = self.agent.answer(&request);
                if let Some(next) = self.others.pop_front() {
                    self.others.push_back(core::mem::replace(&mut self.agent, next));
                }
                let answer = Some(answer).filter(|_| self.takes < request.timeout);
                let at = self.now + self.takes.min(request.timeout);
                self.flying.push(Flying { at, id, answer });
                self.deliver(now);
            }
            self.now += Duration::from_millis(250);
        }
    }

    /// Brings the answers that have come by now.
    fn deliver(&mut self, now: Time) {
        let due: Vec<_> = self.flying.extract_if(.., |it| it.at <= self.now).collect();
        for Flying { id, answer, .. } in due {
            let from_envoy = answer.is_none();
            let (status, body) = answer.unwrap_or_else(|| (504, "timeout".to_owned()));
            let response = HttpResponse { status, from_envoy, headers: &[], body: body.as_bytes() };
            let Self { keeper, rng, notices, .. } = self;
            let called = keeper.on_response(id, Ok(response), now, rng, notices);
            assert!(called.is_some(), "it is waited for");
        }
    }

    pub(super) fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.agent.calls)
    }
}
