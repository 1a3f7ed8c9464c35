//! The queries of a leader, and the handling of their responses.

use core::time::Duration;

use super::TrackedSource;
use crate::calls::caller::{CallId, Caller, QueryId};
use crate::calls::scheduler::{CallKind, Permit};
use crate::discovery::publication::Publication;
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::watch::{GRACE, OutgoingQuery};
use crate::host::{Command, Context};
use crate::model::snapshot::Snapshot;
use crate::registry::error::RegistryError;
use crate::registry::query::{Query, Style};
use crate::registry::rejected_instances::RejectedInstances;
use crate::registry::request::HttpRequest;
use crate::registry::response::{CallFailure, HttpResponse};
use crate::shared::source_record::Term;
use crate::telemetry::SourceEvent;

impl TrackedSource {
    /// Sets whether only clients have named the source. A waiting call is queued again.
    pub fn set_unverified(&mut self, on_trial: bool, context: &mut Context<'_>) {
        let before = self.caller();
        self.on_trial = on_trial;
        context.calls.rename(before, self.caller(), context.now);
    }

    /// Returns the caller. Sources that only clients have named are scheduled apart.
    pub(super) const fn caller(&self) -> Caller {
        match self.on_trial {
            true => Caller::Name(self.source),
            false => Caller::Source(self.source),
        }
    }

    /// Takes a response of Consul.
    pub fn on_response(
        &mut self,
        id: QueryId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        if !self.is_leader() {
            return;
        }
        let expected = self.watch.expected(id);
        let current = self.installed.as_ref().map(|installed| &*installed.snapshot);
        let response = match expected {
            Some(OutgoingQuery { instances: true, .. }) => self.query.read_instances(response),
            _ => self.query.read(response).map(|response| self.query.limit(response, current)),
        };
        let response = match response {
            Err(error) if self.on_trial => Query::unknown_is_empty(error),
            response => response,
        };
        let blocked = self.watch.blocking_since(id).map(|since| context.awake.since(since));
        let response = response.map_err(|error| match blocked {
            Some(after) => error.while_blocking(after),
            None => error,
        });
        let is_whole = !expected.is_some_and(|ask| ask.instances);
        let dropped = response.as_ref().ok().filter(|_| is_whole).map(|it| it.decoded.dropped);
        let failures = self.watch.failures();
        let response =
            response.and_then(|response| match self.watch.adds_nothing(&response, current) {
                true => self.query.reject_partial(response),
                false => Ok(response),
            });
        // A call that was out has ended, whatever the watch makes of it.
        let called = response.as_ref().map(|_| ()).map_err(RegistryError::kind);
        let outcome = self.watch.on_response(id, response, current, context.awake, context.rng);
        if expected.is_some() {
            let call = CallId::Query { source: self.source, query: id };
            let Context { calls, now, rng, .. } = context;
            calls.on_outcome(self.caller(), call, &self.datacenter, called, *now, rng);
            self.emit(SourceEvent::Called(called), context);
        }
        self.follow(outcome, dropped, failures, context);
        self.ask_if_due(context);
    }

    /// Queries Consul if a query is due and the scheduler admits it. The leader's tick leads here,
    /// too, so overdue queries are handled.
    pub(super) fn ask_if_due(&mut self, context: &mut Context<'_>) {
        if !self.is_leader() {
            return;
        }
        if let Some(lost) = self.watch.poll_lost(context.awake) {
            return self.on_response(lost, Err(CallFailure::Lost), context);
        }
        if self.watch.abandon_publish(context.awake) {
            self.publication = Publication::default();
        }
        let may_watch = self.query.style() == Style::Blocks
            && self.has_resolved()
            && context.calls.has_slot(self.caller());
        // A second query may be out beside the blocking one.
        while let Some(want) = self.watch.wants(may_watch, context.awake) {
            let caller = self.caller();
            let Some(permit) = context.calls.admit(caller, &self.datacenter, want, context.now)
            else {
                return;
            };
            self.ask(want, permit, context);
        }
    }

    fn ask(&mut self, want: CallKind, permit: Permit, context: &mut Context<'_>) {
        let (query, origin) = (&self.query, self.watch.origin().cloned());
        let request = |ask: &OutgoingQuery| {
            let request = match origin.as_ref().filter(|_| ask.instances) {
                Some(origin) => query.instances(origin),
                None => query.request(ask.resume, ask.freshness),
            };
            HttpRequest { timeout: request.timeout.saturating_add(ask.extra), ..request }
        };
        let ask = self.watch.ask(want, permit, context.awake, |ask| request(ask).timeout);
        let call = CallId::Query { source: self.source, query: ask.id };
        let request = request(&ask);
        if permit == Permit::Probe {
            let lost = context.now + request.timeout + GRACE;
            context.calls.on_probe(self.caller(), call, &self.datacenter, lost, context.now);
        }
        context.out.push_back(Command::Call { call, request });
    }

    /// Queries Consul if a query is due: the scheduler has called this source, or its record is not
    /// loaded in this tick.
    pub fn on_ready(&mut self, context: &mut Context<'_>) {
        self.ask_if_due(context);
    }

    /// Returns true if the source may take a watch slot. A name that a client has invented takes
    /// none from an existing service.
    fn has_resolved(&self) -> bool {
        !self.on_trial || self.watch.listed() > 0
    }

    /// Looks for a first snapshot, for a request that waits. If none was ever seen, tells the
    /// leader, which may have many sources to read.
    pub fn on_snapshot_needed(&mut self, context: &mut Context<'_>) {
        self.check_for_update(context);
        self.prioritize(context);
        let is_unheard_of = self.installed.is_none() && !self.is_leader();
        if is_unheard_of
            && let Some(message) = self.refresh_request.poll_message(self.key(), context.now)
        {
            context.send(message);
        }
    }

    /// Moves the first read of this source to the front, because a request waits for it.
    pub(super) fn prioritize(&mut self, context: &mut Context<'_>) {
        if self.is_leader() && self.installed.is_none() {
            context.calls.prioritize(self.caller());
        }
    }

    fn follow(
        &mut self,
        outcome: ResponseOutcome,
        dropped: Option<RejectedInstances>,
        failures: u32,
        context: &mut Context<'_>,
    ) {
        if let Some(resolution) = self.watch.poll_resolution() {
            self.emit(SourceEvent::Resolved(resolution), context);
        }
        let Some(term) = self.lease.term() else { return };
        match outcome {
            ResponseOutcome::Late
            | ResponseOutcome::Older
            | ResponseOutcome::Reread
            | ResponseOutcome::Held(None)
            | ResponseOutcome::Wasted(_) => {}
            ResponseOutcome::Held(Some(snapshot)) => self.publish_in_part(term, snapshot, context),
            ResponseOutcome::Failed(error) => {
                context.calls.release_slot(self.caller());
                match self.contact.on_error(error) {
                    Some(SourceEvent::Failing(error)) if self.on_trial => {
                        self.emit(SourceEvent::Unresolved(error), context);
                    }
                    Some(event) => self.emit(event, context),
                    None => {}
                }
            }
            ResponseOutcome::Doubted(doubt, snapshot) => {
                self.emit(SourceEvent::Doubted(doubt), context);
                if let Some(snapshot) = snapshot {
                    self.publish_in_part(term, snapshot, context);
                }
            }
            ResponseOutcome::Unchanged => {
                self.on_good_response(dropped, failures, context);
                self.republish(term, context);
            }
            ResponseOutcome::Changed(snapshot) => {
                self.on_good_response(dropped, failures, context);
                self.publish(term, snapshot.into(), context);
            }
        }
    }

    /// Publishes the endpoints of a doubted response combined with those that are kept.
    fn publish_in_part(&mut self, term: Term, snapshot: Snapshot, context: &mut Context<'_>) {
        let current = self.installed.as_ref().map(|installed| &*installed.snapshot);
        let snapshot = self.query.within_limit(snapshot, current);
        self.publish(term, snapshot.into(), context);
    }

    fn on_good_response(
        &mut self,
        dropped: Option<RejectedInstances>,
        failures: u32,
        context: &mut Context<'_>,
    ) {
        if self.is_published && self.contact.age(context.now).is_none() {
            // Followers do not know yet how old the snapshot is.
            self.lease.renew_soon();
        }
        let reported = self.contact.on_response(dropped.unwrap_or_default(), failures, context.now);
        reported.for_each(|event| self.emit(event, context));
        context.out.push_back(Command::Confirm { source: self.source, age: Duration::ZERO });
    }
}
