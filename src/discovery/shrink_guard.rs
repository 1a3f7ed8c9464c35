//! Keeps probable errors of Consul away from the endpoints for a while.

use core::time::Duration;

use crate::calls::wait_queue::CallClass;
use crate::config::ShrinkGuardConfig;
use crate::discovery::doubt::{self, doubt_of, listed};
use crate::model::snapshot::Snapshot;
use crate::registry::query_response::{Decoded, MAX_ENDPOINTS, QueryOrigin, QueryResponse};
use crate::telemetry::{Doubt, Resolution};
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The interval between two reads that check a response which is held back.
const AGAIN: Duration = Duration::from_secs(5);
/// The first wait after such a read has failed. The longest is six times [`AGAIN`].
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest time for which the response of a prepared query is held back if it is unknown
/// whether the missing instances are critical.
const UNEXPLAINED: Duration = Duration::from_secs(5);

/// Judges the responses for one source, and holds back a [doubted](Doubt) response.
///
/// Only the missing endpoints are held back. New endpoints of a doubted response are used at once,
/// and so are changes of the instances that it lists. A fresh, consistent read follows at once. The
/// main query blocks on the index of the doubted response meanwhile, and its responses are judged
/// like any other.
///
/// If the fresh read lists more, it is used. If it says the same and some instance is left, Consul
/// is believed. If it says the same and nothing is left, or it is filtered, or it fails, it is
/// repeated. The first one that is sent after the hold time is believed.
///
/// A prepared query lists no critical instances. So the instances of its service are queried, too,
/// and instances that are out of service there have not vanished.
#[derive(Debug)]
pub(super) struct ShrinkGuard {
    settings: ShrinkGuardConfig,
    hold: Option<Quarantine>,
    resolution: Option<Resolution>,
    /// The service in which a prepared query has found the current endpoints.
    origin: Option<QueryOrigin>,
}

/// A response that is held back.
#[derive(Debug)]
struct Quarantine {
    response: QueryResponse,
    since: Time,
    /// The time from which a fresh, consistent read is believed that says the same.
    until: Time,
    /// The time at which that read is due.
    again: Time,
    retry: Backoff,
    /// True if the instances of the prepared query's service must be read.
    needs_instances: bool,
    /// The instances of these that are out of service.
    excused: Snapshot,
}

/// The state with which responses are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline<'a> {
    /// The number of instances that were listed before.
    pub(super) listed: u32,
    /// The endpoints that are published.
    pub(super) current: Option<&'a Snapshot>,
}

/// The decision about a response.
#[derive(Debug)]
pub(super) enum GuardDecision {
    /// The response is used.
    Used(Box<QueryResponse>),
    /// Missing endpoints are kept until a fresh, consistent read confirms that they are gone.
    Held {
        /// The reason, if nothing was held back before.
        doubt: Option<Doubt>,
        /// The snapshot to publish, if it differs.
        snapshot: Option<Snapshot>,
    },
}

impl ShrinkGuard {
    /// Starts with no response held back.
    pub(super) const fn new(settings: ShrinkGuardConfig) -> Self {
        Self { settings, hold: None, resolution: None, origin: None }
    }

    /// Returns true if a response is held back.
    pub(super) const fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// Returns the class of the fresh, consistent read, if it is due.
    pub(super) fn wants(&self, now: Time) -> Option<CallClass> {
        let hold = self.hold.as_ref().filter(|hold| now >= hold.again)?;
        Some(if hold.retry.failures() > 0 { CallClass::Retry } else { CallClass::Read })
    }

    /// Returns true if the instances of the prepared query's service must be read.
    pub(super) fn wants_instances(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.needs_instances)
    }

    /// Notes that they are being read.
    pub(super) const fn on_asked_for_instances(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.needs_instances = false;
        }
    }

    /// Returns the service in which a prepared query looks for instances, if Consul names one.
    pub(super) fn origin(&self) -> Option<&QueryOrigin> {
        let held = || self.hold.as_ref()?.response.decoded.origin.as_ref();
        self.origin.as_ref().or_else(held).filter(|origin| !origin.service.is_empty())
    }

    /// Judges a response. `asked` is the time at which a fresh, consistent read was sent.
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
        self.request_instances();
        GuardDecision::Held { doubt: None, snapshot: self.used(known) }
    }

    /// Takes the instances of the prepared query's service, while its response is held back.
    pub(super) fn on_instances(
        &mut self,
        found: QueryResponse,
        known: Baseline<'_>,
    ) -> Option<GuardDecision> {
        let mut hold = self.hold.take()?;
        if found.is_partial {
            hold.until = hold.until.min(hold.since + UNEXPLAINED);
        }
        hold.excused = found.decoded.unhealthy;
        if doubt_of(&hold.response, known.listed, known.current, &hold.excused, self.settings)
            .is_none()
        {
            return Some(self.believe(hold.response, Some(Resolution::Confirmed)));
        }
        self.hold = Some(hold);
        Some(GuardDecision::Held { doubt: None, snapshot: self.used(known) })
    }

    /// Notes that it is unknown whether the missing instances are critical.
    pub(super) fn on_no_instances(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.until = hold.until.min(hold.since + UNEXPLAINED);
            hold.again = hold.again.min(hold.until);
        }
    }

    /// Notes that the fresh, consistent read has failed or could not be judged.
    pub(super) fn on_failure(&mut self, now: Time, rng: &mut Rng) {
        if let Some(hold) = &mut self.hold {
            hold.again = now + hold.retry.on_failure(rng);
        }
    }

    /// Returns the doubt about a response, if any.
    pub(super) fn doubt(&self, response: &QueryResponse, known: Baseline<'_>) -> Option<Doubt> {
        let none = Snapshot::default();
        let excused = self.hold.as_ref().map_or(&none, |hold| &hold.excused);
        doubt_of(response, known.listed, known.current, excused, self.settings)
    }

    /// Returns true if a filtered response says no more than an error.
    pub(super) fn adds_nothing(
        &self,
        response: &QueryResponse,
        current: Option<&Snapshot>,
    ) -> bool {
        doubt::adds_nothing(response, current, self.settings)
    }

    /// Returns true if the last response has refuted the one before. Servers that keep
    /// contradicting each other must not cause a hot loop.
    pub(super) const fn has_refuted(&self) -> bool {
        matches!(self.resolution, Some(Resolution::Refuted))
    }

    /// Returns the end of a doubt, once.
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
        self.request_instances();
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

    /// Requests a read of the instances, if the service of a doubted prepared query is known.
    fn request_instances(&mut self) {
        let is_named = self.origin().is_some();
        let Some(hold) = &mut self.hold else { return };
        hold.needs_instances = is_named;
        if !is_named && hold.response.decoded.origin.is_some() {
            self.on_no_instances();
        }
    }

    /// Returns the endpoints of the response that is held back, combined with the published ones.
    /// `None` if they do not differ, or exceed the limit of a service.
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
