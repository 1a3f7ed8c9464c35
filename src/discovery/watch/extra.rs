//! The extra query beside the blocking one, and its response.

use super::{State, Watch};
use crate::calls::wait_queue::CallClass;
use crate::discovery::doubt::listed;
use crate::discovery::outgoing_query::QueryInFlight;
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::shrink_guard::{Baseline, GuardDecision};
use crate::model::snapshot::Snapshot;
use crate::registry::error::RegistryError;
use crate::registry::query_response::QueryResponse;
use crate::registry::resume::{Progress, Resume};
use crate::util::rng::Rng;
use crate::util::time::Time;

impl Watch {
    /// Requests an extra query beside the blocking one, or an early poll. Does nothing if the next
    /// response is as good: a plain query is out, or due as soon as the backoff permits.
    pub fn on_suspicion(&mut self, now: Time) {
        let is_quiet = match self.state {
            State::InFlight(QueryInFlight { blocks, .. }) => blocks,
            State::Idle { .. } => self.resume.is_some(),
            State::Applying { .. } => false,
        };
        if is_quiet {
            self.early_refresh.want(now);
        }
    }

    /// Returns the class of the extra query, if one is due.
    pub(super) fn wants_extra(&self, blocks: bool, now: Time) -> Option<CallClass> {
        if self.guard.wants_instances() {
            return Some(CallClass::Read);
        }
        let suspected = || self.early_refresh.is_due(now).then_some(CallClass::Read);
        self.guard.wants(now).or_else(suspected).filter(|_| blocks)
    }

    /// Takes the response to an extra query. The position advances before the response is applied. If
    /// that fails, another VM has the lease, and this watch stops.
    pub(super) fn on_extra(
        &mut self,
        in_flight: QueryInFlight,
        response: Result<QueryResponse, RegistryError>,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        self.timeout.on_ended(in_flight.blocks, &response, now.since(in_flight.asked));
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                match in_flight.ask.instances {
                    true => self.guard.on_no_instances(),
                    false => self.guard.on_failure(now, rng),
                }
                return ResponseOutcome::Wasted(error.kind());
            }
        };
        let known = Baseline { listed: self.listed, current };
        // The snapshot that is being published is not the current one yet.
        if matches!(self.state, State::Applying { .. }) {
            return ResponseOutcome::Older;
        }
        if in_flight.ask.instances {
            let judgement = self.guard.on_instances(response, known);
            return judgement
                .map_or(ResponseOutcome::Older, |it| self.take_up_extra(it, None, current));
        }
        let (resume, floor) = (response.resume, self.floor());
        if self.is_holding() && in_flight.consistently().is_some() {
            if floor.is_some_and(|floor| response.went_back_from(floor)) {
                // Read once more. The position of that response is accepted, unless this one was only
                // overtaken.
                if in_flight.floor.is_some_and(|known| response.went_back_from(known)) {
                    self.forget_floor();
                }
                self.guard.on_failure(now, rng);
                return ResponseOutcome::Older;
            }
            let judgement = self.guard.judge(response, in_flight.consistently(), known, now, rng);
            return self.take_up_extra(judgement, Some(resume), current);
        }
        // Without a floor, a plain query is out or due, and its response is believed.
        let progress = floor.map(|floor| resume.progress_since(floor));
        let Some(progress @ (Progress::Advanced | Progress::Same)) = progress else {
            return ResponseOutcome::Older;
        };
        if response.is_too_old || self.is_holding() || self.guard.doubt(&response, known).is_some()
        {
            return ResponseOutcome::Older;
        }
        // One position means one state, apart from what a wrong response has hidden.
        if progress == Progress::Same {
            return ResponseOutcome::Unchanged;
        }
        self.take_up_extra(GuardDecision::Used(Box::new(response)), Some(resume), current)
    }

    /// Uses an extra response, and the response that was held back.
    fn take_up_extra(
        &mut self,
        judgement: GuardDecision,
        resume: Option<Resume>,
        current: Option<&Snapshot>,
    ) -> ResponseOutcome {
        match (&mut self.state, resume) {
            (_, None) => {}
            (State::InFlight(QueryInFlight { floor, .. }), Some(_)) if floor.is_some() => {
                *floor = resume
            }
            _ => self.resume = resume,
        }
        match judgement {
            GuardDecision::Used(response) => {
                self.listed = listed(&response.decoded);
                let snapshot = response.decoded.snapshot;
                match current == Some(&snapshot) {
                    true => ResponseOutcome::Unchanged,
                    false => ResponseOutcome::Changed(snapshot),
                }
            }
            GuardDecision::Held { doubt, snapshot, .. } => ResponseOutcome::held(doubt, snapshot),
        }
    }

    /// Returns the earliest valid position of a response: the one of the blocking query, or of the last
    /// response.
    fn floor(&self) -> Option<Resume> {
        match self.state {
            State::InFlight(QueryInFlight { blocks: true, floor, .. }) => floor,
            State::Idle { .. } => self.resume,
            State::InFlight(_) | State::Applying { .. } => None,
        }
    }

    fn forget_floor(&mut self) {
        self.resume = None;
        if let State::InFlight(in_flight) = &mut self.state {
            in_flight.floor = None;
        }
    }
}
