//! The queries of one source, one after the other.
//!
//! The rules are Consul's (<https://developer.hashicorp.com/consul/api-docs/features/blocking>):
//! the first query has no position to resume from; a position that went back is dropped, and the
//! source is read again before anything is applied; an error drops the position; a response does not
//! prove a change; and the position advances only after its response was applied. A source without a
//! watch slot, or of a registry that does not block, is polled by the same rules.
//!
//! An extra query may be out beside a blocking one, if an endpoint is suspected to be gone
//! ([`Watch::on_suspicion`]). It never disturbs the blocking query. Its response counts only if its
//! position is later than the applied one. An earlier position comes from a server that lags behind,
//! or from a restored registry, which the blocking query detects by the rules above. After an extra
//! response was applied, responses to the blocking query up to that position are outdated.
//!
//! Endpoints that are missing from a [doubted](crate::discovery::doubt) response are kept, and
//! Consul is read again at once with an authoritative read. The position advances all the same, and
//! the next query blocks on it beside that read, so later changes are seen without delay. An
//! extra response that would be doubted while nothing is held back is dropped: the blocking query
//! will say the same if it is true.

use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::calls::scheduler::{CallKind, Permit};
use crate::calls::wait_queue::CallClass;
use crate::config::ShrinkGuardConfig;
use crate::discovery::doubt::listed;
use crate::discovery::outgoing_query::QueryInFlight;
use crate::discovery::query_backoff::QueryBackoff;
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::shrink_guard::{Baseline, GuardDecision, ShrinkGuard};
use crate::model::snapshot::Snapshot;
use crate::registry::error::RegistryError;
use crate::registry::http::ReadMode;
use crate::registry::query_response::{QueryOrigin, QueryResponse};
use crate::registry::resume::Resume;
use crate::telemetry::Resolution;
use crate::util::rng::Rng;
use crate::util::time::Time;

use self::adaptive_timeout::AdaptiveTimeout;
use self::refresh::{EarlyRefresh, Resync};

pub use crate::discovery::outgoing_query::OutgoingQuery;

mod adaptive_timeout;
mod extra;
mod refresh;
#[cfg(test)]
mod tests;

/// The time after its timeout at which a callout or an unpublished response is given up.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The time between two polls of a source that could block, give or take a tenth.
const POLL: Duration = Duration::from_secs(5);

/// The time for which a new leader sends only plain queries. A more suitable VM takes the lease
/// within that time, and then no blocking query stays behind at Consul.
const SETTLING: Duration = Duration::from_millis(100);

/// The queries of one source.
#[derive(Debug)]
pub struct Watch {
    state: State,
    last: QueryId,
    resume: Option<Resume>,
    /// The number of instances in the last response that was applied.
    listed: u32,
    backoff: QueryBackoff,
    early_refresh: EarlyRefresh,
    resync: Resync,
    guard: ShrinkGuard,
    timeout: AdaptiveTimeout,
    /// True if the last response was too old, so the next query goes to Consul's leader.
    asks_leader: bool,
    held: Duration,
    /// The time from which queries may block.
    settled: Time,
    /// The time from which the source may be polled again.
    next_poll: Time,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The next query is due at `due`.
    Idle { due: Time },
    /// A query is out.
    InFlight(QueryInFlight),
    /// A response is being published.
    Applying { resume: Resume, listed: u32, since: Time },
}

impl Watch {
    /// Begins with a read at once. `wait` is the longest time for which Consul holds a query, and
    /// `resync` the interval between full reads.
    pub fn new(wait: Duration, resync: Duration, guard: ShrinkGuardConfig, now: Time) -> Self {
        Self {
            state: State::Idle { due: now },
            last: QueryId::default(),
            resume: None,
            listed: 0,
            backoff: QueryBackoff::new(),
            early_refresh: EarlyRefresh::new(),
            resync: Resync::new(resync),
            guard: ShrinkGuard::new(guard),
            timeout: AdaptiveTimeout::new(),
            asks_leader: false,
            held: wait / 2,
            settled: now + SETTLING,
            next_poll: Time::ZERO,
        }
    }

    /// Continues after a query of an earlier term, whose response will be late.
    pub fn after(self, last: QueryId) -> Self {
        Self { last, ..self }
    }

    /// Returns the last query that was sent.
    pub const fn last(&self) -> QueryId {
        self.last
    }

    /// Restores the number of instances of the published snapshot, which another VM may have read.
    pub const fn restore_listed(&mut self, listed: u32) {
        self.listed = listed;
    }

    /// Returns the errors in a row.
    pub const fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Returns the number of instances in the last response that was applied.
    pub const fn listed(&self) -> u32 {
        self.listed
    }

    /// Returns true if a response is held back.
    pub const fn is_holding(&self) -> bool {
        self.guard.is_holding()
    }

    /// Returns true if a filtered response says no more than an error.
    pub fn adds_nothing(&self, response: &QueryResponse, current: Option<&Snapshot>) -> bool {
        self.guard.adds_nothing(response, current)
    }

    /// Returns the service in which a prepared query looks for instances, if Consul names one.
    pub fn origin(&self) -> Option<&QueryOrigin> {
        self.guard.origin()
    }

    /// Returns the query of that id, if it is out.
    pub fn expected(&self, id: QueryId) -> Option<OutgoingQuery> {
        let next = match self.state {
            State::InFlight(in_flight) if in_flight.ask.id == id => Some(in_flight),
            _ => None,
        };
        next.or_else(|| self.early_refresh.in_flight(id)).map(|in_flight| in_flight.ask)
    }

    /// Returns the kind of query that is due, if any; the scheduler decides when it goes out.
    /// `may_watch` is true if the query may block. An extra query may be due while another one is
    /// out.
    pub fn wants(&self, may_watch: bool, now: Time) -> Option<CallKind> {
        match self.state {
            State::Idle { due } if now >= due => self.wants_next(may_watch, now),
            State::InFlight(QueryInFlight { blocks, .. }) if !self.early_refresh.is_out() => {
                self.wants_extra(blocks, now).map(CallKind::Read)
            }
            _ => None,
        }
    }

    fn wants_next(&self, may_watch: bool, now: Time) -> Option<CallKind> {
        if self.failures() > 0 {
            return Some(CallKind::Read(CallClass::Retry));
        }
        let (want, from) = match may_watch {
            true => (CallKind::Watch, self.settled),
            false => (CallKind::Read(CallClass::Poll), self.next_poll),
        };
        let is_suspected = !may_watch && self.early_refresh.is_due(now);
        let is_unsure = (!may_watch || now < from) && self.guard.wants(now).is_some();
        let is_open = self.resume.is_none() || self.asks_leader || is_unsure;
        if is_open || self.resync.is_due(now) || is_suspected {
            return Some(CallKind::Read(CallClass::Read));
        }
        (now >= from).then_some(want)
    }

    /// Returns the query to send, which is out from now on. `timeout` returns its timeout. A query
    /// far beyond its timeout is [lost](Self::poll_lost).
    pub fn ask(
        &mut self,
        want: CallKind,
        permit: Permit,
        now: Time,
        timeout: impl FnOnce(&OutgoingQuery) -> Duration,
    ) -> OutgoingQuery {
        self.last = self.last.next();
        let is_extra = matches!(self.state, State::InFlight(_));
        let blocks = want == CallKind::Watch && permit == Permit::AsWanted;
        let freshness = match () {
            () if blocks => ReadMode::AsConfigured,
            () if self.is_holding() => ReadMode::Authoritative,
            // The configured consistency mode may be the cause of the trouble.
            () if self.asks_leader || (!is_extra && self.resync.is_due(now)) => ReadMode::Fresher,
            () => ReadMode::AsConfigured,
        };
        let ask = OutgoingQuery {
            id: self.last,
            resume: self.resume.filter(|_| blocks),
            freshness,
            instances: is_extra && self.guard.wants_instances(),
            extra: self.timeout.extra(),
        };
        let lost = now + timeout(&ask) + GRACE;
        let in_flight = QueryInFlight { ask, blocks, floor: self.resume, asked: now, lost };
        if is_extra {
            if ask.instances {
                self.guard.on_asked_for_instances();
            }
            self.early_refresh.on_sent(in_flight);
        } else {
            self.early_refresh.settle();
            self.state = State::InFlight(in_flight);
        }
        ask
    }

    /// Returns the time since which a blocking query of that id has been out.
    pub fn blocking_since(&self, id: QueryId) -> Option<Time> {
        match self.state {
            State::InFlight(in_flight) if in_flight.ask.id == id && in_flight.blocks => {
                Some(in_flight.asked)
            }
            _ => None,
        }
    }

    /// Returns a query whose callout has neither returned nor failed in time.
    pub fn poll_lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::InFlight(QueryInFlight { ask, lost, .. }) if now >= lost => Some(ask.id),
            _ => self.early_refresh.lost(now),
        }
    }

    /// Reads the source anew if a response was not published in time; returns whether it was not.
    pub fn abandon_publish(&mut self, now: Time) -> bool {
        let is_frozen =
            matches!(self.state, State::Applying { since, .. } if now.since(since) >= GRACE);
        if is_frozen {
            self.resume = None;
            self.state = State::Idle { due: now };
        }
        is_frozen
    }

    /// Takes the response to a query. `current` is the published snapshot.
    pub fn on_response(
        &mut self,
        id: QueryId,
        response: Result<QueryResponse, RegistryError>,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        if let Some(in_flight) = self.early_refresh.take(id) {
            return self.on_extra(in_flight, response, current, now, rng);
        }
        let State::InFlight(in_flight) = self.state else {
            return ResponseOutcome::Late;
        };
        if id != in_flight.ask.id {
            return ResponseOutcome::Late;
        }
        self.early_refresh.settle();
        self.timeout.on_ended(in_flight.blocks, &response, now.since(in_flight.asked));
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                self.resume = None;
                let blocked = in_flight.blocks.then(|| now.since(in_flight.asked));
                let wait = self.backoff.on_failure(blocked, rng);
                self.state = State::Idle { due: now + wait };
                return ResponseOutcome::Failed(error);
            }
        };
        self.next_poll = now + rng.about(response.next.poll_interval().unwrap_or(POLL));
        self.backoff.on_success(in_flight.blocks);
        if !in_flight.blocks {
            // Without a watch slot each poll may be answered by a server that stands still.
            // Responses without an order never show that they are outdated.
            let is_fresh =
                in_flight.ask.freshness != ReadMode::AsConfigured || !response.is_ordered();
            self.resync.on_read(is_fresh, now, rng);
        }
        let went_back = in_flight.floor.is_some_and(|floor| response.went_back_from(floor));
        let is_too_old = response.is_too_old && in_flight.ask.freshness == ReadMode::AsConfigured;
        self.asks_leader = went_back || is_too_old;
        if went_back || (is_too_old && current.is_some()) {
            self.resume = self.resume.filter(|_| !went_back);
            // Paced like a response without a change, so that a position that always goes back causes
            // no hot loop.
            let due = self.backoff.on_repeat(false, false, now, rng);
            self.state = State::Idle { due };
            return ResponseOutcome::Reread;
        }
        let (resume, known) = (response.resume, Baseline { listed: self.listed, current });
        match self.guard.judge(response, in_flight.consistently(), known, now, rng) {
            GuardDecision::Used(response) => self.apply(*response, in_flight, current, now, rng),
            GuardDecision::Held { doubt, snapshot } => {
                self.resume = Some(resume);
                self.state = match &snapshot {
                    Some(_) => State::Applying { resume, listed: self.listed, since: now },
                    // Servers that keep contradicting each other cause no hot loop either.
                    None => State::Idle { due: self.due_after_repeat(&in_flight, false, now, rng) },
                };
                ResponseOutcome::held(doubt, snapshot)
            }
        }
    }

    /// Returns the end of a doubt, once.
    pub const fn poll_resolution(&mut self) -> Option<Resolution> {
        self.guard.poll_resolution()
    }

    /// Notes that the changed endpoints are published, and advances the position.
    pub fn on_applied(&mut self, now: Time) {
        if let State::Applying { resume, listed, .. } = self.state {
            self.resume = Some(resume);
            self.listed = listed;
            self.state = State::Idle { due: self.backoff.on_change(now) };
        }
    }

    /// Uses the response to the query that was out.
    fn apply(
        &mut self,
        response: QueryResponse,
        in_flight: QueryInFlight,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        let listed = listed(&response.decoded);
        let snapshot = response.decoded.snapshot;
        if current != Some(&snapshot) {
            self.state = State::Applying { resume: response.resume, listed, since: now };
            return ResponseOutcome::Changed(snapshot);
        }
        (self.resume, self.listed) = (Some(response.resume), listed);
        let due = self.due_after_repeat(&in_flight, listed == 0, now, rng);
        self.state = State::Idle { due };
        ResponseOutcome::Unchanged
    }

    /// Returns the time of the next query after a response without a change. A plain read does not
    /// change the pauses, but a response that refutes another does.
    fn due_after_repeat(
        &mut self,
        in_flight: &QueryInFlight,
        is_nothing: bool,
        now: Time,
        rng: &mut Rng,
    ) -> Time {
        if !in_flight.blocks && !self.guard.has_refuted() {
            return now;
        }
        let held = now.since(in_flight.asked) >= self.held;
        self.backoff.on_repeat(held, is_nothing, now, rng)
    }
}
