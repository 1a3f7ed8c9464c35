//! The query beside the one that blocks, and what becomes of its answer.

use super::ask::QueryInFlight;
use super::{State, Watch};
use crate::calls::wait_queue::CallClass;
use crate::consul::error::QueryError;
use crate::consul::index::ConsulIndex;
use crate::consul::response::QueryResponse;
use crate::discovery::doubt::listed;
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::shrink_guard::{Baseline, GuardDecision};
use crate::model::snapshot::Snapshot;
use crate::util::rng::Rng;
use crate::util::time::Time;

impl Watch {
    /// Wants an extra query beside the one that blocks, or the next poll early. Where the next
    /// answer is as good, it changes nothing: that was asked for by now, or is asked for as soon
    /// as Consul's errors allow.
    pub fn on_suspicion(&mut self, now: Time) {
        let is_quiet = match self.state {
            State::Asking(QueryInFlight { blocks, .. }) => blocks,
            State::Idle { .. } => self.index.is_some(),
            State::Stopped | State::Applying { .. } => false,
        };
        if is_quiet {
            self.reread.want(now);
        }
    }

    /// In which lane the extra query goes, if one is wanted.
    pub(super) fn wants_extra(&self, blocks: bool, now: Time) -> Option<CallClass> {
        if self.guard.wants_instances() {
            return Some(CallClass::Read);
        }
        let suspected = || self.reread.is_due(now).then_some(CallClass::Read);
        self.guard.wants(now).or_else(suspected).filter(|_| blocks)
    }

    /// Takes the answer to an extra query. The index moves on before the answer is applied: should
    /// that fail, another VM has the lease, and this watch stops.
    pub(super) fn on_extra(
        &mut self,
        asking: QueryInFlight,
        response: Result<QueryResponse, QueryError>,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> ResponseOutcome {
        self.learn_patience(&asking, &response, now);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                match asking.ask.instances {
                    true => self.guard.on_no_instances(),
                    false => self.guard.on_failure(now, rng),
                }
                return ResponseOutcome::Wasted(error.kind());
            }
        };
        let known = Baseline { listed: self.listed, current };
        // What is being published now is not known yet.
        if matches!(self.state, State::Stopped | State::Applying { .. }) {
            return ResponseOutcome::Older;
        }
        if asking.ask.instances {
            let judgement = self.guard.on_instances(response, known);
            return judgement
                .map_or(ResponseOutcome::Older, |it| self.take_up_extra(it, None, current));
        }
        let (index, floor) = (response.index, self.floor());
        if self.is_holding() && asking.consistently().is_some() {
            if floor.is_some_and(|floor| index < floor) {
                // Once more; and whatever index it has then, unless it was only overtaken.
                if asking.floor.is_some_and(|known| index < known) {
                    self.forget_floor();
                }
                self.guard.on_failure(now, rng);
                return ResponseOutcome::Older;
            }
            let judgement = self.guard.judge(response, asking.consistently(), known, now, rng);
            return self.take_up_extra(judgement, Some(index), current);
        }
        // Where there is none, a plain query is out or due, and that one is believed.
        let Some(floor) = floor.filter(|floor| index >= *floor) else {
            return ResponseOutcome::Older;
        };
        if response.is_too_old || self.is_holding() || self.guard.doubt(&response, known).is_some()
        {
            return ResponseOutcome::Older;
        }
        // At one index there is one state, but for what a lie has hidden.
        if index == floor {
            return ResponseOutcome::Unchanged;
        }
        self.take_up_extra(GuardDecision::Used(Box::new(response)), Some(index), current)
    }

    /// Uses what is to be used of an extra answer, and of what was held back.
    fn take_up_extra(
        &mut self,
        judgement: GuardDecision,
        index: Option<ConsulIndex>,
        current: Option<&Snapshot>,
    ) -> ResponseOutcome {
        match (&mut self.state, index) {
            (_, None) => {}
            (State::Asking(QueryInFlight { floor, .. }), Some(_)) if floor.is_some() => {
                *floor = index
            }
            _ => self.index = index,
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

    /// The index that an answer may not be older than: that of the query which blocks, or of the last
    /// answer.
    fn floor(&self) -> Option<ConsulIndex> {
        match self.state {
            State::Asking(QueryInFlight { blocks: true, floor, .. }) => floor,
            State::Idle { .. } => self.index,
            State::Stopped | State::Asking(_) | State::Applying { .. } => None,
        }
    }

    fn forget_floor(&mut self) {
        self.index = None;
        if let State::Asking(asking) = &mut self.state {
            asking.floor = None;
        }
    }
}
