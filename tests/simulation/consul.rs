//! A Consul agent: a few services in some datacenters, their catalog, blocking queries, and all that may be wrong
//! with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use consul_resolver::calls::caller::CallId;
use consul_resolver::host::ProbeId;
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::http::{CallFailure, HttpRequest, Refusal};
use consul_resolver::util::rng::Rng;

use crate::probes::Echo;
use crate::registry::Registry;
use crate::replies::{Ask, Reply, broken, failed};
use crate::sources::{
    CATALOG, ILL, MADE_UP, SOURCES, USUAL, address, endpoints, ill, is_critical, is_listed,
    is_unusable, position,
};
use crate::troubles::Trouble;
use crate::vm::ContextId;
use crate::weather::{Failure, Lie, Weather};

const SECOND: u64 = 1_000_000;
/// The time to live of a response of the polled registry, in seconds.
const TTL: u64 = 3;
/// How long it is remembered which endpoints there were.
const REMEMBERED: u64 = 60 * SECOND;

/// The number of a query that the agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldId(u64);

/// What comes of a query, or of a change.
pub enum Outcome {
    /// An answer arrives then.
    Reply(u64, Reply),
    /// The query is held until then at most.
    Held(u64, HeldId),
    /// This comes back for a probe then.
    Probed(u64, ContextId, ProbeId, Echo),
}

/// What there is of a source.
struct State {
    /// The ports of its instances; of the catalog, the places of the listed in [`SOURCES`].
    ports: BTreeSet<u16>,
    index: u64,
    /// What it was before the last change.
    before: (BTreeSet<u16>, u64),
    /// When a good answer has arrived last.
    confirmed: u64,
    /// The endpoints that there were within the last minute, each until then.
    past: VecDeque<(Vec<u16>, u64)>,
    /// What was answered as a whole and in truth, or as a lie that nobody could tell from it.
    answered: BTreeSet<Vec<u16>>,
    /// When all of it was hidden from the token for the first time.
    hidden: Option<u64>,
    /// How many queries without an index there were.
    plain: usize,
    /// How many queries there were, and when the last one came.
    asked: (usize, u64),
    /// The last query, and when a good answer to it comes, if one does.
    last_asked: Option<(ContextId, CallId)>,
    heard: Option<u64>,
    /// How often an answer has said something else than the one before it.
    turns: usize,
    last: Vec<u16>,
}

/// The agent.
pub struct Consul {
    states: Vec<State>,
    index: u64,
    held: Vec<(HeldId, Ask)>,
    /// By which number a context has asked for a source last: it may have forgotten it since, and
    /// followed it anew.
    numbers: HashMap<(ContextId, usize), Option<SourceId>>,
    count: u64,
    /// What is wrong with it.
    pub weather: Weather,
    /// What is wrong with some sources alone; none: it is over.
    pub troubles: BTreeMap<usize, Option<Trouble>>,
    /// What is registered by the filter.
    pub registry: Registry,
}

impl Consul {
    /// An agent that knows no instance of so many sources.
    pub fn new(sources: usize) -> Self {
        let state = |_| State {
            ports: BTreeSet::new(),
            index: 1_000,
            before: (BTreeSet::new(), 1_000),
            confirmed: 0,
            past: VecDeque::new(),
            answered: BTreeSet::new(),
            hidden: None,
            plain: 0,
            asked: (0, 0),
            last_asked: None,
            heard: None,
            turns: 0,
            last: Vec::new(),
        };
        Self {
            states: (0..sources).map(state).collect(),
            index: 1_000,
            held: Vec::new(),
            numbers: HashMap::new(),
            count: 0,
            weather: Weather::default(),
            troubles: BTreeMap::new(),
            registry: Registry::default(),
        }
    }

    /// Registers an instance, or deregisters it if it is there.
    pub fn toggle(&mut self, source: usize, port: u16, now: u64, rng: &mut Rng) -> Vec<Outcome> {
        let mut ports = self.states[source].ports.clone();
        if !(ports.remove(&port) || ports.remove(&ill(port))) {
            ports.insert(port);
        }
        self.replace(source, ports, now, rng)
    }

    /// All instances of a source go at once, and these come.
    pub fn replace(
        &mut self,
        source: usize,
        ports: BTreeSet<u16>,
        now: u64,
        rng: &mut Rng,
    ) -> Vec<Outcome> {
        self.set(source, ports, now);
        self.wake(now, rng)
    }

    /// Moves the index of a source on, though nothing has changed.
    pub fn touch(&mut self, source: usize, now: u64, rng: &mut Rng) -> Vec<Outcome> {
        self.index += 1;
        self.states[source].index = self.index;
        self.wake(now, rng)
    }

    /// Replaces the instances of a source, and with them what the catalog lists.
    fn set(&mut self, source: usize, ports: BTreeSet<u16>, now: u64) {
        self.index += 1;
        self.put(source, ports, now);
        let is_there = |source: &usize| is_listed(*source) && !self.ports(*source).is_empty();
        let listed = (0..USUAL).filter(is_there).map(|source| source as u16).collect();
        if self.ports(CATALOG) != &listed {
            self.put(CATALOG, listed, now);
        }
    }

    fn put(&mut self, source: usize, ports: BTreeSet<u16>, now: u64) {
        let state = &mut self.states[source];
        state.past.retain(|(_, until)| until + REMEMBERED > now);
        state.past.push_back((endpoints(source, &state.ports), now));
        state.before = (std::mem::replace(&mut state.ports, ports), state.index);
        state.index = self.index;
    }

    /// Starts again with a lower index: connections break, or, where only its state was restored,
    /// every query is answered at once.
    pub fn go_back(&mut self, breaks: bool, now: u64, rng: &mut Rng) -> Vec<Outcome> {
        self.index = self.index.saturating_sub(u64::from(rng.below(900))).max(1);
        for state in &mut self.states {
            state.index = state.index.min(self.index);
            state.before.1 = state.before.1.min(self.index);
        }
        let held = std::mem::take(&mut self.held);
        let end = |(_, ask)| match breaks {
            true => Outcome::Reply(now + 100, broken(&ask)),
            false => self.reply(ask, now, rng),
        };
        held.into_iter().map(end).collect()
    }

    /// Every query that it holds breaks off.
    pub fn hang_up(&mut self, now: u64) -> Vec<Outcome> {
        let held = std::mem::take(&mut self.held).into_iter();
        held.map(|(_, ask)| Outcome::Reply(now + 100, broken(&ask))).collect()
    }

    /// Something begins to be wrong with a source, or ends; its queries that are held break off.
    pub fn trouble(&mut self, source: usize, trouble: Option<Trouble>, now: u64) -> Vec<Outcome> {
        self.troubles.insert(source, trouble);
        let held = self.held.extract_if(.., |(_, ask)| ask.source == source);
        held.map(|(_, ask)| Outcome::Reply(now + 100, broken(&ask))).collect()
    }

    /// What is wrong with a source alone.
    fn trouble_of(&self, source: usize) -> Option<Trouble> {
        self.troubles.get(&source).copied().flatten()
    }

    /// Takes a query.
    pub fn ask(
        &mut self,
        from: ContextId,
        call: CallId,
        request: &HttpRequest,
        now: u64,
        rng: &mut Rng,
    ) -> Result<(usize, Option<Outcome>), CallFailure> {
        let (route, parameters) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let parameter = |name: &str| parameters.split('&').find_map(|p| p.strip_prefix(name));
        let index = parameter("index=").map(|index| index.parse().expect("a number"));
        let name = route.strip_prefix("/v1/health/service/");
        let polled = route.strip_prefix("/polled/");
        let executed = route.strip_prefix("/v1/query/").and_then(|it| it.strip_suffix("/execute"));
        let source = match (name.or(executed).or(polled), parameter("dc=")) {
            (None, _) => (route == "/v1/catalog/services").then_some(CATALOG),
            (Some(name), Some(datacenter)) => position(&format!("{name}@{datacenter}")),
            (Some(name), None) => position(name),
        };
        let source = source.expect("a known source");
        let timeout = now + u64::try_from(request.timeout.as_micros()).expect("a short time");
        let is_executed = executed.is_some();
        let is_polled = polled.is_some();
        let ask = Ask { from, call, source, is_executed, is_polled, index, timeout };
        self.numbers.insert((from, source), number(call));
        let state = &mut self.states[source];
        state.plain += usize::from(index.is_none());
        state.asked = (state.asked.0 + 1, now);
        (state.last_asked, state.heard) = (Some((from, call)), None);
        if rng.below(100) < self.weather.refused {
            return Err(CallFailure::Refused(Refusal::NoCapacity));
        }
        if rng.below(100) < self.weather.vanished {
            return Ok((source, None));
        }
        let is_held = index.is_some_and(|index| self.index_of(source) <= index);
        let is_cut_off = self.weather.failing.is_some() || self.trouble_of(source).is_some();
        if !is_held || is_cut_off {
            return Ok((source, Some(self.reply(ask, now, rng))));
        }
        let wait = parameter("wait=").map(duration).expect("a query that blocks has a wait");
        let jitter = u64::from(rng.below(u32::try_from(wait / 16 + 1).expect("a short time")));
        self.count += 1;
        let id = HeldId(self.count);
        self.held.push((id, ask));
        Ok((source, Some(Outcome::Held(now + wait + jitter, id))))
    }

    /// Answers a query that was held for long enough, if it still is.
    pub fn end(&mut self, id: HeldId, now: u64, rng: &mut Rng) -> Option<Outcome> {
        let at = self.held.iter().position(|(held, _)| *held == id)?;
        let (_, ask) = self.held.swap_remove(at);
        Some(self.reply(ask, now, rng))
    }

    /// Forgets the queries of contexts that are no more: Envoy cancels their callouts.
    pub fn forget(&mut self, is_gone: impl Fn(ContextId) -> bool) {
        self.held.retain(|(_, ask)| !is_gone(ask.from));
    }

    /// Whose queries block on a source, but for those of one who has forgotten it since and followed
    /// it anew: nobody can call them back.
    pub fn blocking(&self, source: usize) -> Vec<ContextId> {
        let is_current = |ask: &&Ask| {
            ask.source == source && self.numbers[&(ask.from, source)] == number(ask.call)
        };
        self.held.iter().map(|(_, ask)| ask).filter(is_current).map(|ask| ask.from).collect()
    }

    /// A good answer for a source arrives.
    pub fn confirm(&mut self, source: usize, now: u64) {
        self.states[source].confirmed = now;
    }

    /// When a good answer for a source has arrived last.
    pub fn confirmed(&self, source: usize) -> u64 {
        self.states[source].confirmed
    }

    /// How many queries for a source there were, and when the last one came.
    pub fn asked(&self, source: usize) -> (usize, u64) {
        self.states[source].asked
    }

    /// When a good answer to the last query for a source has come, if it has.
    pub fn heard(&self, source: usize, now: u64) -> Option<u64> {
        self.states[source].heard.filter(|heard| *heard <= now)
    }

    /// Whether a query waits on an index that Consul is yet to reach, as after its index went back
    /// while an answer was on its way: nothing wakes it but the end of its wait.
    pub fn is_waited_on_in_vain(&self, source: usize) -> bool {
        let index = Some(self.index_of(source));
        self.held.iter().any(|(_, ask)| ask.source == source && ask.index > index)
    }

    /// How often an answer for a source has said something else than the one before it.
    pub fn turns(&self, source: usize) -> usize {
        self.states[source].turns
    }

    /// How many queries for a source there were that did not block.
    pub fn plain(&self, source: usize) -> usize {
        self.states[source].plain
    }

    /// Whether a source has no other endpoint than this one.
    pub fn is_last(&self, source: usize, port: u16) -> bool {
        let endpoints = endpoints(source, self.ports(source));
        endpoints.iter().all(|it| *it == port) && !endpoints.is_empty()
    }

    /// How many sources there are.
    pub const fn len(&self) -> usize {
        self.states.len()
    }

    /// Since when a source has not had exactly these endpoints; none: it has them, or never had
    /// within the last minute.
    pub fn outdated(&self, source: usize, ports: &[u16]) -> Option<u64> {
        let State { past, .. } = &self.states[source];
        let is_current = endpoints(source, self.ports(source)) == ports;
        let last = past.iter().rev().find(|(old, _)| old == ports);
        last.filter(|_| !is_current).map(|(_, until)| *until)
    }

    /// The ports of a source's instances, or the places of those that the catalog lists.
    pub fn ports(&self, source: usize) -> &BTreeSet<u16> {
        &self.states[source].ports
    }

    /// Whether exactly these endpoints were ever answered. That there is none is believed, too, where
    /// all was hidden for so long, on the fastest clock, as such an answer is held back.
    pub fn has_answered(&self, source: usize, ports: &[u16], now: u64) -> bool {
        let State { answered, hidden, .. } = &self.states[source];
        let is_hidden = hidden.is_some_and(|since| since + 24 * SECOND <= now);
        answered.contains(ports) || (ports.is_empty() && is_hidden)
    }

    /// Whether this is so of any endpoints that were ever answered.
    pub fn any_answer(&self, source: usize, is_so: impl Fn(&[u16]) -> bool) -> bool {
        self.states[source].answered.iter().any(|ports| is_so(ports))
    }

    /// The index of an answer. That of a service without instances is the catalog's, so that any
    /// change wakes a query for it (hashicorp/consul#4810).
    fn index_of(&self, source: usize) -> u64 {
        let state = &self.states[source];
        let is_catalogs = source == CATALOG || state.ports.is_empty();
        if is_catalogs { self.index } else { state.index }
    }

    /// Answers the queries that have something to learn.
    pub fn wake(&mut self, now: u64, rng: &mut Rng) -> Vec<Outcome> {
        if self.weather.deaf {
            return Vec::new();
        }
        let indices: Vec<u64> = (0..self.len()).map(|source| self.index_of(source)).collect();
        let is_woken = |(_, ask): &mut (HeldId, Ask)| Some(indices[ask.source]) > ask.index;
        let woken: Vec<_> = self.held.extract_if(.., is_woken).collect();
        woken.into_iter().map(|(_, ask)| self.reply(ask, now, rng)).collect()
    }

    /// The answer to a query, and when it arrives: after a moment, after a stall, or, where Envoy
    /// has given up by then, not at all.
    fn reply(&mut self, to: Ask, now: u64, rng: &mut Rng) -> Outcome {
        let weather = &self.weather;
        let mut at = now.max(weather.stalled_until) + 200 + u64::from(rng.below(5_000));
        if weather.slow {
            at += u64::from(rng.below(20)) * SECOND / 2;
        }
        if rng.below(100) < weather.late {
            let late = to.timeout + u64::from(rng.below(120)) * SECOND;
            return Outcome::Reply(late, self.content(to, rng));
        }
        if at > to.timeout {
            return Outcome::Reply(to.timeout, failed(&to, 504, b""));
        }
        if let Some(trouble) = self.trouble_of(to.source) {
            match trouble {
                Trouble::Hidden => {
                    self.states[to.source].hidden.get_or_insert(now);
                }
                // What a client names, and Consul does not know, has no endpoints.
                Trouble::Unknown if MADE_UP.contains(&to.source) => {
                    self.states[to.source].answered.insert(Vec::new());
                }
                _ => {}
            }
            let (at, reply) = trouble.reply(&to, at);
            return Outcome::Reply(at, reply);
        }
        let fails = !weather.failing_blocking || to.index.is_some();
        let failure = weather.failing.filter(|_| fails && rng.below(100) < weather.failing_share);
        let reply = match failure {
            None => {
                let state = &mut self.states[to.source];
                if state.last_asked == Some((to.from, to.call)) {
                    state.heard = Some(at);
                }
                self.content(to, rng)
            }
            Some(Failure::Breaks) => broken(&to),
            Some(Failure::Status(status)) => failed(&to, status, b"No cluster leader"),
            Some(Failure::NoIndex) => Reply { index: None, ttl: None, ..self.content(to, rng) },
            Some(Failure::Truncated) => {
                let mut reply = self.content(to, rng);
                reply.body.pop();
                reply
            }
            // The polled registry has no tokens.
            Some(Failure::Filtered) if to.is_polled => failed(&to, 403, b""),
            Some(Failure::Filtered) => {
                self.states[to.source].hidden.get_or_insert(now);
                let reply = self.content(to.clone(), rng);
                let body = list(&to, "");
                Reply { filtered: true, body, ..reply }
            }
        };
        Outcome::Reply(at, reply)
    }

    /// A good answer: the truth, an earlier truth, or a lie.
    fn content(&mut self, to: Ask, rng: &mut Rng) -> Reply {
        let index = self.index_of(to.source);
        let state = &mut self.states[to.source];
        let lags = to.index.is_none() && rng.below(100) < self.weather.lagging;
        let (mut ports, index) =
            if lags { state.before.clone() } else { (state.ports.clone(), index) };
        match self.weather.lying {
            None => {}
            Some(Lie::Empty) => ports.clear(),
            Some(Lie::Half) => ports.retain(|port| port % 2 == 0),
        }
        let instance = |port: &u16| {
            let address = address(to.source);
            let status = if is_critical(to.source, *port) { "critical" } else { "passing" };
            let (own, port) = match is_unusable(to.source, *port) {
                true if port.is_multiple_of(2) => ("", 0),
                true => ("api.test", *port),
                false => ("", *port % ILL),
            };
            format!(
                r#"{{"Node":{{"Address":"{address}"}},"Service":{{"Address":"{own}","Port":{port}}},
                    "Checks":[{{"Status":"{status}"}}]}}"#
            )
        };
        let listed = |source: &u16| format!(r#""{}":[]"#, SOURCES[usize::from(*source)]);
        let is_told = |port: &&u16| !to.is_executed || !is_critical(to.source, **port);
        let told = ports.iter().filter(is_told);
        let entries: Vec<_> = match to.source {
            CATALOG => told.map(listed).collect(),
            source if to.is_polled => {
                let ports = endpoints(source, &ports).into_iter();
                ports.map(|port| format!(r#""{}:{port}""#, address(source))).collect()
            }
            _ => told.map(instance).collect(),
        };
        let body = list(&to, &entries.join(","));
        let ports: Vec<u16> = ports.into_iter().collect();
        if state.last != ports {
            state.turns += 1;
            state.last = ports;
        }
        state.answered.insert(endpoints(to.source, &state.last));
        let (index, ttl) = if to.is_polled { (None, Some(TTL)) } else { (Some(index), None) };
        Reply { status: Some(200), index, ttl, body, ..broken(&to) }
    }
}

/// The body of an answer with these entries.
fn list(to: &Ask, entries: &str) -> Vec<u8> {
    let body = match to.source {
        CATALOG => format!("{{{entries}}}"),
        source if to.is_executed => {
            format!(r#"{{"Service":"{}","Nodes":[{entries}]}}"#, SOURCES[source])
        }
        _ => format!("[{entries}]"),
    };
    body.into_bytes()
}

/// By which number a context follows the source that it asks for.
const fn number(call: CallId) -> Option<SourceId> {
    match call {
        CallId::Query { source, .. } => Some(source),
        CallId::Agent { .. } => None,
    }
}

/// Microseconds of a duration as Consul reads it.
fn duration(text: &str) -> u64 {
    match text.strip_suffix("ms") {
        Some(number) => number.parse::<u64>().expect("milliseconds") * 1_000,
        None => text.strip_suffix('s').and_then(|n| n.parse().ok()).map_or_else(
            || panic!("{text} has no unit that is known here"),
            |seconds: u64| seconds * SECOND,
        ),
    }
}
