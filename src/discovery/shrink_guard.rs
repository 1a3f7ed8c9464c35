//! Keeps what Consul may say by mistake away from the endpoints, for a while.

use core::time::Duration;

use crate::calls::wait_queue::CallClass;
use crate::config::ShrinkGuardConfig;
use crate::consul::decode::{Decoded, MAX_ENDPOINTS};
use crate::consul::query::QueryOrigin;
use crate::consul::response::QueryResponse;
use crate::discovery::doubt::{self, Doubt, listed};
use crate::model::snapshot::Snapshot;
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// How often a doubted answer is read again while it is held back.
const AGAIN: Duration = Duration::from_secs(5);
/// The first wait after a read that was to confirm it has failed; up to six times [`AGAIN`].
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// How long the answer of a prepared query is held back at most, where nobody can say whether what is
/// gone from it is critical.
const UNEXPLAINED: Duration = Duration::from_secs(5);

/// Judges the answers for one source, and holds one back that is [doubted](Doubt).
///
/// Held back is what is gone: what is new in a doubted answer is used at once, and so is what it says
/// of the instances that it lists. A fresh, consistent read follows at once, beside the query that
/// blocks on the doubted answer's index, whose answers are judged meanwhile like any other. Where the
/// fresh read lists more, it is what is used. Where it says the same and something is left, Consul is
/// believed. Where it says the same and nothing is left, or it is partial, or it fails, it is repeated;
/// the first one that is sent after the time is over for which the answer is held back is believed.
///
/// A prepared query lists no critical instances. So of what is gone from its answer the instances of its
/// service are asked for, too: what is listed there as out of service has not vanished.
#[derive(Debug)]
pub(super) struct ShrinkGuard {
    settings: ShrinkGuardConfig,
    hold: Option<Quarantine>,
    resolution: Option<Resolution>,
    /// Where a prepared query has found the endpoints that are used.
    origin: Option<QueryOrigin>,
}

/// An answer that is held back.
#[derive(Debug)]
struct Quarantine {
    response: QueryResponse,
    since: Time,
    /// From when on a fresh, consistent read is believed that says the same.
    until: Time,
    /// When that read is due.
    again: Time,
    retry: Backoff,
    /// Whether the instances are to be asked for that a prepared query looks for.
    needs_instances: bool,
    /// What is out of service of these.
    excused: Snapshot,
}

/// What answers are judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline<'a> {
    /// How many instances were listed before.
    pub(super) listed: u32,
    /// The endpoints that are published.
    pub(super) current: Option<&'a Snapshot>,
}

/// What is done with an answer.
#[derive(Debug)]
pub(super) enum GuardDecision {
    /// It is used.
    Used(Box<QueryResponse>),
    /// What is gone from it stays until a fresh, consistent read confirms it.
    Held {
        /// Why, where nothing was held back before.
        doubt: Option<Doubt>,
        /// What is used of it, if that is anything new.
        snapshot: Option<Snapshot>,
    },
}

/// How a doubt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// A later answer has listed more, or some that can be reached: the doubted one is not true any
    /// more, or never was.
    Refuted,
    /// A fresh, consistent read has said the same, or a word about what is gone.
    Confirmed,
    /// Nothing has contradicted it while it was held back, and Consul is believed.
    Expired,
}

impl ShrinkGuard {
    /// Starts with nothing held back.
    pub(super) const fn new(settings: ShrinkGuardConfig) -> Self {
        Self { settings, hold: None, resolution: None, origin: None }
    }

    /// Whether an answer is held back.
    pub(super) const fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// In which lane the fresh, consistent read goes, if it is due.
    pub(super) fn wants(&self, now: Time) -> Option<CallClass> {
        let hold = self.hold.as_ref().filter(|hold| now >= hold.again)?;
        Some(if hold.retry.failures() > 0 { CallClass::Retry } else { CallClass::Read })
    }

    /// Whether the instances are to be asked for that a prepared query looks for.
    pub(super) fn wants_instances(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.needs_instances)
    }

    /// Learns that they were asked for.
    pub(super) const fn on_asked_for_instances(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.needs_instances = false;
        }
    }

    /// Where a prepared query looks for instances; none where it does not say.
    pub(super) fn origin(&self) -> Option<&QueryOrigin> {
        let held = || self.hold.as_ref()?.response.decoded.origin.as_ref();
        self.origin.as_ref().or_else(held).filter(|origin| !origin.service.is_empty())
    }

    /// Forgets what is held back.
    pub(super) fn clear(&mut self) {
        self.hold = None;
        self.resolution = None;
        self.origin = None;
    }

    /// Judges an answer. That of a fresh, consistent read says when it was `asked` for.
    pub(super) fn judge(
        &mut self,
        response: QueryResponse,
        asked: Option<Time>,
        known: Baseline<'_>,
        now: Time,
        rng: &mut Rng,
    ) -> GuardDecision {
        let doubt = self.doubt(&response, known);
        let Some(hold) = &mut self.hold else {
            return match doubt {
                None => self.believe(response, None),
                Some(doubt) => self.begin(response, doubt, known, now),
            };
        };
        let is_over = asked.is_some_and(|asked| asked >= hold.until);
        match doubt {
            None => return self.confirm(response),
            Some(Doubt::Shrunk { .. }) if asked.is_some() => return self.confirm(response),
            Some(_) if is_over => return self.believe(response, Some(Resolution::Expired)),
            Some(_) => {}
        }
        let is_news = hold.response.decoded.snapshot != response.decoded.snapshot;
        if asked.is_some() {
            hold.retry.on_success();
            hold.again = (now + rng.about(AGAIN)).min(hold.until.max(now));
        } else if is_news {
            hold.again = now;
        }
        hold.response = response;
        self.look_at_instances();
        GuardDecision::Held { doubt: None, snapshot: self.used(known) }
    }

    /// Takes the instances of the service that a prepared query looks for, of what is held back.
    pub(super) fn on_instances(
        &mut self,
        found: QueryResponse,
        known: Baseline<'_>,
    ) -> Option<GuardDecision> {
        let mut hold = self.hold.take()?;
        if found.filtered_by_acls {
            hold.until = hold.until.min(hold.since + UNEXPLAINED);
        }
        hold.excused = found.decoded.unhealthy;
        if Doubt::of(&hold.response, known.listed, known.current, &hold.excused, self.settings)
            .is_none()
        {
            return Some(self.believe(hold.response, Some(Resolution::Confirmed)));
        }
        self.hold = Some(hold);
        Some(GuardDecision::Held { doubt: None, snapshot: self.used(known) })
    }

    /// Learns that nobody can say whether what is gone is critical.
    pub(super) fn on_no_instances(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.until = hold.until.min(hold.since + UNEXPLAINED);
            hold.again = hold.again.min(hold.until);
        }
    }

    /// Learns that the fresh, consistent read has failed, or could not be judged.
    pub(super) fn on_failure(&mut self, now: Time, rng: &mut Rng) {
        if let Some(hold) = &mut self.hold {
            hold.again = now + hold.retry.on_failure(rng);
        }
    }

    /// Why an answer would be doubted.
    pub(super) fn doubt(&self, response: &QueryResponse, known: Baseline<'_>) -> Option<Doubt> {
        let none = Snapshot::default();
        let excused = self.hold.as_ref().map_or(&none, |hold| &hold.excused);
        Doubt::of(response, known.listed, known.current, excused, self.settings)
    }

    /// Whether a partial answer says no more than an error.
    pub(super) fn adds_nothing(
        &self,
        response: &QueryResponse,
        current: Option<&Snapshot>,
    ) -> bool {
        doubt::adds_nothing(response, current, self.settings)
    }

    /// Whether the last answer has refuted the one before it. Where the servers of a Consul contradict
    /// each other without an end, that must not make a hot loop.
    pub(super) const fn has_refuted(&self) -> bool {
        matches!(self.resolution, Some(Resolution::Refuted))
    }

    /// How a doubt has ended, once.
    pub(super) const fn poll_resolution(&mut self) -> Option<Resolution> {
        self.resolution.take()
    }

    fn begin(
        &mut self,
        response: QueryResponse,
        doubt: Doubt,
        known: Baseline<'_>,
        now: Time,
    ) -> GuardDecision {
        self.hold = Some(Quarantine {
            response,
            since: now,
            until: now + self.settings.hold,
            again: now,
            retry: Backoff::new(FIRST_RETRY, AGAIN * 6, Jitter::Full),
            needs_instances: false,
            excused: Snapshot::default(),
        });
        self.look_at_instances();
        GuardDecision::Held { doubt: Some(doubt), snapshot: self.used(known) }
    }

    fn confirm(&mut self, response: QueryResponse) -> GuardDecision {
        let extent = |decoded: &Decoded| (listed(decoded), !decoded.snapshot.is_empty());
        let held = self.hold.as_ref().map(|hold| extent(&hold.response.decoded));
        let is_more = Some(extent(&response.decoded)) > held;
        let resolution = if is_more { Resolution::Refuted } else { Resolution::Confirmed };
        self.believe(response, Some(resolution))
    }

    fn believe(
        &mut self,
        response: QueryResponse,
        resolution: Option<Resolution>,
    ) -> GuardDecision {
        self.hold = None;
        self.resolution = resolution.or(self.resolution);
        if !response.decoded.snapshot.is_empty() {
            self.origin = response.decoded.origin.clone();
        }
        GuardDecision::Used(Box::new(response))
    }

    /// Wants the instances asked for, where a prepared query is in doubt that says whose they are.
    fn look_at_instances(&mut self) {
        let is_named = self.origin().is_some();
        let Some(hold) = &mut self.hold else { return };
        hold.needs_instances = is_named;
        if !is_named && hold.response.decoded.origin.is_some() {
            self.on_no_instances();
        }
    }

    /// What is used of the answer that is held back: all that it lists, and what is published beside
    /// that; none where that is nothing new, or more than a service may have.
    fn used(&self, known: Baseline<'_>) -> Option<Snapshot> {
        let Quarantine { response, excused, .. } = self.hold.as_ref()?;
        let Decoded { snapshot, unhealthy, .. } = &response.decoded;
        let Some(current) = known.current else {
            return (!snapshot.is_empty()).then(|| snapshot.clone());
        };
        let gone = unhealthy.keeping(excused, &Snapshot::default());
        let used = snapshot.keeping(current, &gone);
        let all = used.registered().map_or(used.len(), |registered| registered as usize);
        (used != *current && all <= MAX_ENDPOINTS).then_some(used)
    }
}
