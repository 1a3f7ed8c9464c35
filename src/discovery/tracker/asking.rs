//! What a fetcher asks of Consul, and what it does with the answers.

use core::time::Duration;

use super::Tracker;
use crate::consul::dropped::Dropped;
use crate::consul::query::Query;
use crate::consul::response::{CallFailure, Response};
use crate::discovery::caller::CallId;
use crate::discovery::event::Command;
use crate::discovery::gate::Pass;
use crate::discovery::notice::Notice;
use crate::discovery::outcome::Outcome;
use crate::discovery::publication::Publication;
use crate::discovery::scope::Scope;
use crate::discovery::watch::{GIVE_UP, QueryId};

impl Tracker {
    /// Takes what Consul answered.
    pub fn on_answer(
        &mut self,
        id: QueryId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Scope<'_>,
    ) {
        if !self.is_fetcher() {
            return;
        }
        let current = self.installed.as_ref().map(|installed| &installed.snapshot);
        let answer = self.query.read(answer).map(|answer| self.query.limit(answer, current));
        let answer = match answer {
            Err(error) if !self.is_proven() => Query::unknown_is_empty(error),
            answer => answer,
        };
        let dropped = answer.as_ref().ok().map(|answer| answer.decoded.dropped);
        let failures = self.watch.failures();
        let answer = answer.and_then(|answer| match self.watch.is_useless(&answer, current) {
            true => self.query.unfiltered(answer),
            false => Ok(answer),
        });
        let outcome = self.watch.on_answer(id, answer, current, scope.now, scope.rng);
        if let Some(called) = outcome.of_call() {
            let call = CallId::Query { source: self.source, query: id };
            scope.gate.on_outcome(call, &self.datacenter, called, scope.now, scope.rng);
            self.notice(Notice::Called(called), scope);
        }
        self.follow(outcome, dropped, failures, scope);
        self.ask_if_due(scope);
    }

    /// Asks Consul, if that is wanted and the gate lets it through. The fetcher's tick leads here
    /// too, so whatever waits for its time is looked after.
    pub(super) fn ask_if_due(&mut self, scope: &mut Scope<'_>) {
        if !self.is_fetcher() {
            return;
        }
        self.probe_if_due(scope);
        if let Some(lost) = self.watch.poll_lost(scope.now) {
            return self.on_answer(lost, Err(CallFailure::Lost), scope);
        }
        if self.watch.give_up_applying(scope.now) {
            self.publication = Publication::default();
        }
        let current = self.installed.as_ref().map(|installed| &installed.snapshot);
        if let Some(outcome) = self.watch.poll_expired(current, scope.now, scope.rng) {
            self.on_expired(outcome, scope);
        }
        let may_watch =
            self.query.blocks() && self.is_proven() && scope.gate.has_place(self.source);
        let Some(want) = self.watch.wants(may_watch, scope.now) else { return };
        let Some(pass) = scope.gate.admit(self.source, &self.datacenter, want, scope.now) else {
            return;
        };
        let query = &self.query;
        let ask = self
            .watch
            .ask(want, pass, scope.now, |ask| query.request(ask.index, ask.freshness).timeout);
        let call = CallId::Query { source: self.source, query: ask.id };
        let request = query.request(ask.index, ask.freshness);
        if pass == Pass::Probe {
            scope.gate.on_probe(call, &self.datacenter, scope.now + request.timeout + GIVE_UP);
        }
        scope.out.push_back(Command::Call { call, request });
    }

    /// Asks if it is due: this source's turn has come at the gate, or its head is not looked at in
    /// this tick.
    pub fn on_turn(&mut self, scope: &mut Scope<'_>) {
        self.ask_if_due(scope);
        self.publish_findings(scope);
    }

    /// Publishes what was held back until now. That is no news of Consul: nothing was asked.
    fn on_expired(&mut self, outcome: Outcome, scope: &mut Scope<'_>) {
        if let Some(resolution) = self.watch.poll_resolution() {
            self.notice(Notice::Resolved(resolution), scope);
        }
        if let (Outcome::Changed(snapshot), Some(term)) = (outcome, self.lease.term()) {
            self.publish(term, snapshot, scope);
        }
    }

    /// Whether it may take a place among the watches. A name that a client has made up takes none
    /// from a service that there is.
    fn is_proven(&self) -> bool {
        let has_endpoints = || self.installed.as_ref().is_some_and(|it| !it.snapshot.is_empty());
        !self.on_trial || has_endpoints()
    }

    /// Looks for a first snapshot, for a request that waits, and lets the fetcher know that one
    /// does where none was ever seen to be published: it may have many sources to read.
    pub fn on_missed(&mut self, scope: &mut Scope<'_>) {
        self.peek(scope);
        self.hurry(scope);
        let is_unheard_of = self.told_age_of.is_none() && !self.is_fetcher();
        if is_unheard_of && let Some(letter) = self.suspicion.poll_letter(self.key(), scope.now) {
            scope.send(letter);
        }
    }

    /// Where this source waits for its first read, it is the next: a request waits for it.
    pub(super) fn hurry(&mut self, scope: &mut Scope<'_>) {
        if self.is_fetcher() && self.installed.is_none() {
            scope.gate.hurry(self.source);
        }
    }

    fn follow(
        &mut self,
        outcome: Outcome,
        dropped: Option<Dropped>,
        failures: u32,
        scope: &mut Scope<'_>,
    ) {
        if let Some(resolution) = self.watch.poll_resolution() {
            self.notice(Notice::Resolved(resolution), scope);
        }
        let Some(term) = self.lease.term() else { return };
        match outcome {
            Outcome::Late
            | Outcome::Older
            | Outcome::Reread
            | Outcome::Held
            | Outcome::Wasted(_) => {}
            Outcome::Failed(error) => {
                scope.gate.vacate(self.source);
                if let Some(notice) = self.contact.on_error(error) {
                    self.notice(notice, scope);
                }
            }
            Outcome::Doubted(doubt) => self.notice(Notice::Doubted(doubt), scope),
            Outcome::Unchanged => {
                self.on_good_answer(dropped, failures, scope);
                self.publish_again(term, scope);
            }
            Outcome::Changed(snapshot) => {
                self.on_good_answer(dropped, failures, scope);
                self.publish(term, snapshot, scope);
            }
        }
    }

    fn on_good_answer(&mut self, dropped: Option<Dropped>, failures: u32, scope: &mut Scope<'_>) {
        let told = self.contact.on_answer(dropped.unwrap_or_default(), failures, scope.now);
        told.for_each(|notice| self.notice(notice, scope));
        scope.out.push_back(Command::Confirm { source: self.source, age: Duration::ZERO });
    }
}
