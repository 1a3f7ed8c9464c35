//! A process: its VMs, what they share, and the endpoints that they probe.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use consul_resolver::balance::hints::Hints;
use consul_resolver::config::{Config, Probe};
use consul_resolver::consul::query::Request;
use consul_resolver::consul::response::{CallFailure, Response};
use consul_resolver::discovery::agent::{Agent, TICK};
use consul_resolver::discovery::breaker::Position;
use consul_resolver::discovery::event::{CallId, Event, Expect, ProbeId};
use consul_resolver::discovery::notice::Notice;
use consul_resolver::discovery::subject::Subject;
use consul_resolver::driver::{self, Host};
use consul_resolver::health::verdict::{Answer, Reason};
use consul_resolver::model::service::{ServiceId, SourceId};
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::decision::Decision;
use consul_resolver::shared::head::{Rank, Term};
use consul_resolver::shared::health::Findings;
use consul_resolver::shared::key::{Cas, Key};
use consul_resolver::shared::members::QueueId;
use consul_resolver::time::Time;

const SERVICE: ServiceId = ServiceId::nth(0);

/// What waits for a VM.
enum Mail {
    Tick,
    Woken(Vec<u8>),
    Answered(CallId),
    Examined(ProbeId),
}

pub struct Vm {
    agent: Agent,
    router: Router,
    pub is_alive: bool,
    pub is_frozen: bool,
}

/// All that the VMs have in common.
pub struct World {
    now: Duration,
    shared: HashMap<String, (Vec<u8>, u32)>,
    pub stores: u32,
    inboxes: Vec<VecDeque<Mail>>,
    body: Vec<u8>,
    pub sick: BTreeSet<SocketAddr>,
    /// The answers to probes that are lost, in percent.
    pub lost: u32,
    /// The endpoints that were probed in each tick.
    probed: Vec<Vec<SocketAddr>>,
    /// What was found out last.
    pub findings: Findings,
    pub notices: Vec<String>,
    rng: Rng,
}

/// The world as one VM sees it.
struct View<'a> {
    world: &'a mut World,
    me: usize,
}

impl Host for View<'_> {
    fn now(&mut self) -> Time {
        Time::from_start(self.world.now)
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(self.me as u32)
    }

    fn load(&mut self, key: &Key) -> Option<(Vec<u8>, Cas)> {
        let (bytes, cas) = self.world.shared.get(&key.to_string())?;
        Some((bytes.clone(), Cas(*cas)))
    }

    fn store(&mut self, key: &Key, value: &[u8], expect: Expect) -> bool {
        let name = key.to_string();
        let before = self.world.shared.get(&name).map(|(_, cas)| Cas(*cas));
        let is_as_expected = match expect {
            Expect::Absent => before.is_none(),
            Expect::Unchanged(cas) => before == Some(cas),
        };
        if !is_as_expected {
            return false;
        }
        if let Key::Health(_) = key {
            let findings = Findings::decode(value).expect("findings that read back");
            let last = self.world.findings.term;
            assert!(last <= findings.term, "from {last:?} to {:?}", findings.term);
            self.world.findings = findings;
        }
        self.world.stores += 1;
        let cas = self.world.stores;
        self.world.shared.insert(name, (value.to_vec(), cas));
        true
    }

    fn wake(&mut self, queue: QueueId, message: &[u8]) {
        self.world.inboxes[queue.0 as usize].push_back(Mail::Woken(message.to_vec()));
    }

    fn probe(&mut self, queue: QueueId) -> bool {
        !self.world.inboxes[queue.0 as usize].is_empty()
    }

    fn call(&mut self, call: CallId, request: &Request) -> Result<(), CallFailure> {
        // Nothing ever changes in Consul: a query that blocks is not answered.
        if !request.path.contains("index=") {
            self.world.inboxes[self.me].push_back(Mail::Answered(call));
        }
        Ok(())
    }

    fn examine(&mut self, id: ProbeId, probe: &Probe) -> Result<(), Reason> {
        assert_eq!((probe.cluster.as_str(), probe.check.path.as_str()), ("probes", "/health"));
        let ProbeId::Endpoint { address, .. } = id else { panic!("{id:?}") };
        self.world.probed.last_mut().unwrap().push(address);
        if self.world.rng.below(100) >= self.world.lost {
            self.world.inboxes[self.me].push_back(Mail::Examined(id));
        }
        Ok(())
    }

    fn notice(&mut self, _: SourceId, notice: &Notice) {
        if notice.level().is_some() {
            self.world.notices.push(notice.to_string());
        }
    }

    fn breaker(&mut self, _: Position, _: Option<Position>, _: Option<&str>) {}

    fn set_tick_period(&mut self, _: Duration) {}
}

pub struct Process {
    pub world: World,
    pub vms: Vec<Vm>,
    sick: BTreeSet<SocketAddr>,
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80))
}

impl Process {
    /// So many VMs, with so many endpoints.
    pub fn new(vms: usize, endpoints: u32, check: &str, seed: u64) -> Self {
        let json = format!(
            r#"{{"consul": {{"cluster": "consul", "wait": "10m", "resync": "0s"}},
                "services": [{{"name": "web", "active_health_check":
                    {{"cluster": "probes", "path": "/health"{check}}}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let mut body = String::from("[");
        for n in 0..endpoints {
            let comma = if n > 0 { "," } else { "" };
            let ip = address(n).ip();
            write!(body, r#"{comma}{{"Service": {{"Address": "{ip}", "Port": 80}}}}"#).unwrap();
        }
        body.push(']');
        let mut rng = Rng::new(seed);
        let make = |_| {
            let subjects = config.sources().map(|it| Subject::new(&config, it)).collect();
            let agent = Agent::new(subjects, &config.consul, rng.split());
            let router = Router::new(&config, &mut rng);
            Vm { agent, router, is_alive: true, is_frozen: false }
        };
        let vms: Vec<_> = (0..vms).map(make).collect();
        let world = World {
            now: Duration::from_secs(100),
            shared: HashMap::new(),
            stores: 0,
            inboxes: vms.iter().map(|_| VecDeque::new()).collect(),
            body: body.into_bytes(),
            sick: BTreeSet::new(),
            lost: 0,
            probed: vec![Vec::new()],
            findings: Findings { term: Term(0), unhealthy: Vec::new() },
            notices: Vec::new(),
            rng,
        };
        Self { world, vms, sick: BTreeSet::new() }
    }

    /// One VM makes one step; false where it has nothing to do.
    fn step(&mut self, me: usize) -> bool {
        let Vm { agent, router, is_alive, is_frozen } = &mut self.vms[me];
        if !*is_alive || *is_frozen {
            return false;
        }
        let mut view = View { world: &mut self.world, me };
        if driver::step(agent, router, &mut view) {
            return true;
        }
        let now = view.now();
        let Some(mail) = self.world.inboxes[me].pop_front() else { return false };
        match mail {
            Mail::Tick => {
                let rank = Rank { serving: me > 0, born: me as u64 };
                agent.handle_event(Event::Tick(rank), now);
                router.on_tick(now, |_, _| {});
            }
            Mail::Woken(message) => agent.handle_event(Event::Woken(&message), now),
            Mail::Answered(call) => {
                let answer = Response {
                    status: 200,
                    from_envoy: false,
                    index: Some(b"7"),
                    filtered_by_acls: false,
                    last_contact: None,
                    age: None,
                    body: &self.world.body,
                };
                agent.handle_event(Event::Answered { call, answer: Ok(answer) }, now);
            }
            Mail::Examined(probe) => {
                let ProbeId::Endpoint { address, .. } = probe else { panic!("{probe:?}") };
                let status = if self.world.sick.contains(&address) { 503 } else { 200 };
                let answer = Ok(Answer { status, from_envoy: false, body: b"" });
                agent.handle_event(Event::Examined { probe, answer }, now);
            }
        }
        true
    }

    /// Makes steps in any order until there is nothing to do, and `disturb`s between any two.
    fn settle(&mut self, mut disturb: impl FnMut(&mut Self)) {
        let mut idle = BTreeSet::new();
        while idle.len() < self.vms.len() {
            let me = self.world.rng.below(self.vms.len() as u32) as usize;
            if self.step(me) {
                idle.clear();
                disturb(self);
            } else {
                idle.insert(me);
            }
        }
    }

    pub fn run_disturbed(&mut self, seconds: u64, mut disturb: impl FnMut(&mut Self)) {
        for _ in 0..seconds * 4 {
            self.world.now += TICK;
            self.world.probed.push(Vec::new());
            for (vm, inbox) in self.vms.iter().zip(&mut self.world.inboxes) {
                // A timer that has not run does not run twice.
                if vm.is_alive && !inbox.iter().any(|mail| matches!(mail, Mail::Tick)) {
                    inbox.push_back(Mail::Tick);
                }
            }
            self.settle(&mut disturb);
        }
    }

    pub fn run(&mut self, seconds: u64) {
        self.run_disturbed(seconds, |_| {});
    }

    pub fn fetchers(&self) -> Vec<usize> {
        let alive = self.vms.iter().enumerate().filter(|(_, vm)| vm.is_alive && !vm.is_frozen);
        alive.filter(|(_, vm)| vm.agent.is_fetcher()).map(|(n, _)| n).collect()
    }

    /// Whether a VM picks any of those that are sick.
    fn picks_sick(&mut self, me: usize) -> bool {
        let router = &mut self.vms[me].router;
        let mut pick = || match router.decide(Some(SERVICE), &Hints::default()) {
            Decision::Forward(forward) => forward.ticket().target().address().to_string(),
            Decision::Pass | Decision::Reply(_) | Decision::Wait(_) => panic!("no pick"),
        };
        let picked: BTreeSet<String> = (0..400).map(|_| pick()).collect();
        self.sick.iter().any(|sick| picked.contains(&sick.to_string()))
    }

    pub fn set_sick(&mut self, sick: impl IntoIterator<Item = u32>) {
        self.sick = sick.into_iter().map(address).collect();
        self.world.sick.clone_from(&self.sick);
    }

    /// Every living VM leaves those alone that are sick, and that is what is published.
    pub fn assert_known(&mut self) {
        let sick: Vec<_> = self.sick.iter().copied().collect();
        assert_eq!(self.world.findings.unhealthy, sick);
        for me in (0..self.vms.len()).filter(|me| self.vms[*me].is_alive).collect::<Vec<_>>() {
            assert!(!self.picks_sick(me), "VM {me}");
        }
    }

    /// The most probes in a tick, and how many there were in all, since the last call.
    pub fn take_probes(&mut self) -> (usize, Vec<SocketAddr>) {
        let probed = std::mem::replace(&mut self.world.probed, vec![Vec::new()]);
        (probed.iter().map(Vec::len).max().unwrap_or(0), probed.concat())
    }
}
