//! One source's queries, one after the other.
//!
//! The rules are Consul's (<https://developer.hashicorp.com/consul/api-docs/features/blocking>):
//! the first query carries no index; an index that went back is dropped and the service
//! read again before anything is applied; an error drops the index; an answer is no proof of
//! a change; and the index moves on only after its answer was applied. A source without a place
//! among the watches is polled: read without an index, by the same rules.
//!
//! Beside a query that blocks there may be an extra one that does not, when an endpoint is
//! suspected to be gone ([`Watch::on_suspicion`]). It never disturbs the one that blocks. Its
//! answer counts only if its index is higher than that of what was applied last: a lower one
//! comes from a server that lags behind, or from a Consul that was restored, which the
//! blocking query finds out by the rules above. And once it was applied, an answer to the
//! blocking query is old news up to that index.
//!
//! What is gone from an answer that is [doubted](crate::discovery::doubt) is held back, and read again
//! at once, consistently. Not used is not the same as not received: the index moves on all the same,
//! and the next query blocks on it, beside the consistent read. So whatever comes next is known as
//! soon as ever. An extra answer that is doubted while nothing is held back is dropped: the query that
//! blocks will say the same, if it is so.

use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::calls::scheduler::{CallKind, Permit};
use crate::calls::wait_queue::CallClass;
use crate::config::ShrinkGuardConfig;
use crate::consul::error::QueryError;
use crate::consul::index::ConsulIndex;
use crate::consul::query::{QueryOrigin, ReadMode};
use crate::consul::response::QueryResponse;
use crate::discovery::doubt::listed;
use crate::discovery::early_refresh::EarlyRefresh;
use crate::discovery::query_backoff::QueryBackoff;
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::resync::Resync;
use crate::discovery::shrink_guard::{Baseline, GuardDecision, Resolution, ShrinkGuard};
use crate::model::snapshot::Snapshot;
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;

pub use self::ask::OutgoingQuery;
use self::ask::QueryInFlight;
use self::patience::Patience;

pub(super) mod ask;
mod extra;
mod patience;
#[cfg(test)]
mod tests;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The time after its timeout at which a callout or an unpublished response is given up.
pub(super) const GIVE_UP: Duration = Duration::from_secs(5);
/// The shortest time between two polls of a source, give or take a tenth.
const POLL: Duration = Duration::from_secs(5);

/// How long a new fetcher asks plainly only: until then a more suitable VM has taken the
/// lease from it, if there is one, and no query of its own stays behind at Consul.
const SETTLING: Duration = Duration::from_millis(100);

/// The queries of one source.
#[derive(Debug)]
pub struct Watch {
    state: State,
    last: QueryId,
    index: Option<ConsulIndex>,
    /// How many instances the last answer listed that was applied.
    listed: u32,
    retry: Backoff,
    pace: QueryBackoff,
    reread: EarlyRefresh,
    resync: Resync,
    guard: ShrinkGuard,
    patience: Patience,
    /// The last response was too old, so the leader is asked next.
    asks_leader: bool,
    held: Duration,
    /// From when on queries may block.
    settled: Time,
    /// From when on the source may be polled again.
    next_poll: Time,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Another VM fetches.
    Stopped,
    /// The next query is due then.
    Idle { due: Time },
    /// A query is out.
    Asking(QueryInFlight),
    /// An answer waits to be published.
    Applying { index: ConsulIndex, listed: u32, since: Time },
}

impl Watch {
    /// Starts stopped. `wait` is how long Consul may hold a query, `resync` how often the source
    /// is read afresh.
    pub fn new(wait: Duration, resync: Duration, guard: ShrinkGuardConfig) -> Self {
        Self {
            state: State::Stopped,
            last: QueryId::default(),
            index: None,
            listed: 0,
            retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY, Jitter::Full),
            pace: QueryBackoff::new(),
            reread: EarlyRefresh::new(),
            resync: Resync::new(resync),
            guard: ShrinkGuard::new(guard),
            patience: Patience::new(),
            asks_leader: false,
            held: wait / 2,
            settled: Time::ZERO,
            next_poll: Time::ZERO,
        }
    }

    /// Restores the number of instances of the published snapshot, which another VM may have read.
    pub const fn restore_listed(&mut self, listed: u32) {
        self.listed = listed;
    }

    /// Begins to watch: reads the service at once, whatever is known of it.
    pub fn start(&mut self, now: Time) {
        self.index = None;
        self.asks_leader = false;
        self.retry.on_success();
        self.pace.forget_resets();
        self.settled = now + SETTLING;
        self.state = State::Idle { due: now };
    }

    /// Stops watching. A query that is out cannot be called back; its answer will be late.
    pub fn stop(&mut self) {
        self.state = State::Stopped;
        self.reread.stop();
        self.guard.clear();
    }

    /// Errors in a row until now.
    pub const fn failures(&self) -> u32 {
        self.retry.failures()
    }

    /// How many instances the last answer listed that was applied.
    pub const fn listed(&self) -> u32 {
        self.listed
    }

    /// Whether an answer is held back.
    pub const fn is_holding(&self) -> bool {
        self.guard.is_holding()
    }

    /// Whether a partial answer says no more than an error.
    pub fn adds_nothing(&self, response: &QueryResponse, current: Option<&Snapshot>) -> bool {
        self.guard.adds_nothing(response, current)
    }

    /// Where a prepared query looks for instances; none where it does not say.
    pub fn origin(&self) -> Option<&QueryOrigin> {
        self.guard.origin()
    }

    /// The query of that number, if it is out: what is expected of its answer.
    pub fn expected(&self, id: QueryId) -> Option<OutgoingQuery> {
        let next = match self.state {
            State::Asking(asking) if asking.ask.id == id => Some(asking),
            _ => None,
        };
        next.or_else(|| self.reread.asking(id)).map(|asking| asking.ask)
    }

    /// What is wanted of Consul now, if anything; it is the gate that says when. `may_watch` tells
    /// whether a query may block. Beside a query that is out there may be an extra one.
    pub fn wants(&self, may_watch: bool, now: Time) -> Option<CallKind> {
        match self.state {
            State::Idle { due } if now >= due => self.wants_next(may_watch, now),
            State::Asking(QueryInFlight { blocks, .. }) if !self.reread.is_out() => {
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
        let is_suspected = !may_watch && self.reread.is_due(now);
        let is_unsure = (!may_watch || now < from) && self.guard.wants(now).is_some();
        let is_open = self.index.is_none() || self.asks_leader || is_unsure;
        if is_open || self.resync.is_due(now) || is_suspected {
            return Some(CallKind::Read(CallClass::Read));
        }
        (now >= from).then_some(want)
    }

    /// The query for what is wanted, which is out from now on; `timeout` tells how long it may
    /// take. One that stays away for much longer is [lost](Self::poll_lost).
    pub fn ask(
        &mut self,
        want: CallKind,
        permit: Permit,
        now: Time,
        timeout: impl FnOnce(&OutgoingQuery) -> Duration,
    ) -> OutgoingQuery {
        self.last = self.last.next();
        let is_extra = matches!(self.state, State::Asking(_));
        let blocks = want == CallKind::Watch && permit == Permit::AsWanted;
        let freshness = match () {
            () if blocks => ReadMode::AsConfigured,
            () if self.is_holding() => ReadMode::Consistent,
            // What is configured may be what has gone wrong.
            () if self.asks_leader || (!is_extra && self.resync.is_due(now)) => ReadMode::Leader,
            () => ReadMode::AsConfigured,
        };
        let ask = OutgoingQuery {
            id: self.last,
            index: self.index.filter(|_| blocks),
            freshness,
            instances: is_extra && self.guard.wants_instances(),
            extra: self.patience.extra(),
        };
        let lost = now + timeout(&ask) + GIVE_UP;
        let asking = QueryInFlight { ask, blocks, floor: self.index, asked: now, lost };
        if is_extra {
            if ask.instances {
                self.guard.on_asked_for_instances();
            }
            self.reread.on_sent(asking);
        } else {
            self.reread.settle();
            self.state = State::Asking(asking);
        }
        ask
    }

    /// A query that is out, when its callout has neither returned nor failed in time.
    pub fn poll_lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::Asking(QueryInFlight { ask, lost, .. }) if now >= lost => Some(ask.id),
            _ => self.reread.lost(now),
        }
    }

    /// Reads the source anew if a response was not published in time; returns whether it was not.
    pub fn abandon_publish(&mut self, now: Time) -> bool {
        let is_frozen =
            matches!(self.state, State::Applying { since, .. } if now.since(since) >= GIVE_UP);
        if is_frozen {
            self.index = None;
            self.state = State::Idle { due: now };
        }
        is_frozen
    }

    /// Takes the answer to a query; `current` is what is published now.
    pub fn on_response(
        &mut self,
        id: QueryId,
        response: Result<QueryResponse, QueryError>,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        if let Some(asking) = self.reread.take(id) {
            return self.on_extra(asking, response, current, now, rng);
        }
        let State::Asking(asking) = self.state else {
            return ResponseOutcome::Late;
        };
        if id != asking.ask.id {
            return ResponseOutcome::Late;
        }
        self.reread.settle();
        self.learn_patience(&asking, &response, now);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                self.index = None;
                let mut wait = self.retry.on_failure(rng);
                if asking.blocks {
                    wait = wait.max(self.pace.on_reset(now.since(asking.asked), rng));
                }
                self.state = State::Idle { due: now + wait };
                return ResponseOutcome::Failed(error);
            }
        };
        self.retry.on_success();
        self.next_poll = now + rng.about(POLL);
        match asking.blocks {
            true => self.pace.forget_resets(),
            false => {
                // Where there is no place to watch, each poll may be answered by what stands still.
                // Answers of a prepared query have no order by which an older one would be known.
                let has_no_order = response.decoded.origin.is_some();
                let is_fresh = asking.ask.freshness != ReadMode::AsConfigured || has_no_order;
                self.resync.on_read(is_fresh, now, rng);
            }
        }
        let went_back = asking.floor.is_some_and(|floor| response.index < floor);
        let is_too_old = response.is_too_old && asking.ask.freshness == ReadMode::AsConfigured;
        self.asks_leader = went_back || is_too_old;
        if went_back || (is_too_old && current.is_some()) {
            self.index = self.index.filter(|_| !went_back);
            // Paced like an answer without a change: an index that always goes back must not
            // make a hot loop.
            let due = self.pace.on_repeat(false, false, now, rng);
            self.state = State::Idle { due };
            return ResponseOutcome::Reread;
        }
        let (index, known) = (response.index, Baseline { listed: self.listed, current });
        match self.guard.judge(response, asking.consistently(), known, now, rng) {
            GuardDecision::Used(response) => self.apply(*response, asking, current, now, rng),
            GuardDecision::Held { doubt, snapshot } => {
                self.index = Some(index);
                self.state = match &snapshot {
                    Some(_) => State::Applying { index, listed: self.listed, since: now },
                    // Servers that contradict each other without an end make no hot loop either.
                    None => State::Idle { due: self.due_after_repeat(&asking, false, now, rng) },
                };
                ResponseOutcome::held(doubt, snapshot)
            }
        }
    }

    /// How a doubt has ended, once.
    pub const fn poll_resolution(&mut self) -> Option<Resolution> {
        self.guard.poll_resolution()
    }

    /// Learns that the changed endpoints are published, and moves the index on.
    pub fn on_applied(&mut self, now: Time) {
        if let State::Applying { index, listed, .. } = self.state {
            self.index = Some(index);
            self.listed = listed;
            self.state = State::Idle { due: self.pace.on_change(now) };
        }
    }

    /// Uses the answer to the query that was out.
    fn apply(
        &mut self,
        response: QueryResponse,
        asking: QueryInFlight,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        let listed = listed(&response.decoded);
        let snapshot = response.decoded.snapshot;
        if current != Some(&snapshot) {
            self.state = State::Applying { index: response.index, listed, since: now };
            return ResponseOutcome::Changed(snapshot);
        }
        (self.index, self.listed) = (Some(response.index), listed);
        let due = self.due_after_repeat(&asking, listed == 0, now, rng);
        self.state = State::Idle { due };
        ResponseOutcome::Unchanged
    }

    /// When to ask again after an answer that changed nothing. A plain read is no sign of a hot loop,
    /// and no sign that there is none; but one that refutes.
    fn due_after_repeat(
        &mut self,
        asking: &QueryInFlight,
        is_nothing: bool,
        now: Time,
        rng: &mut Rng,
    ) -> Time {
        if !asking.blocks && !self.guard.has_refuted() {
            return now;
        }
        let held = now.since(asking.asked) >= self.held;
        self.pace.on_repeat(held, is_nothing, now, rng)
    }

    fn learn_patience(
        &mut self,
        asking: &QueryInFlight,
        response: &Result<QueryResponse, QueryError>,
        now: Time,
    ) {
        let took = now.since(asking.asked);
        match response {
            Err(error) => self.patience.on_error(error, took),
            // That of a query that blocks comes when something changes.
            Ok(_) if !asking.blocks => self.patience.on_response(took),
            Ok(_) => {}
        }
    }
}
