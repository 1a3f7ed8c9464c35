//! Taking away a registration that no configuration has any more.

use core::time::Duration;

use crate::backoff::{Backoff, Jitter};
use crate::consul::error::ErrorKind;
use crate::consul::registration::{Id, RegistrationError};
use crate::consul::request::Request;
use crate::consul::response::{CallFailure, Response};
use crate::registration::errand::{Errand, ErrandId};
use crate::registration::notice::Notice;
use crate::rng::Rng;
use crate::time::Time;

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
const GIVE_UP: Duration = Duration::from_secs(2);

/// Removes what an agent has under an id, however often that fails.
#[derive(Debug)]
pub struct Removal {
    id: Id,
    token_env: Option<String>,
    out: Option<(ErrandId, Time)>,
    last: ErrandId,
    rest: Time,
    backoff: Backoff,
    failing: Option<ErrorKind>,
    is_done: bool,
}

impl Removal {
    /// Starts with all still to be done.
    pub const fn new(id: Id, token_env: Option<String>, term: u64) -> Self {
        Self {
            id,
            token_env,
            out: None,
            last: ErrandId::first_in(term),
            rest: Time::ZERO,
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF, Jitter::Equal),
            failing: None,
            is_done: false,
        }
    }

    /// Whether it is gone.
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the last call has failed.
    pub const fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// What the agent is to be asked now.
    pub fn wants(&self, now: Time) -> Option<Errand> {
        let may_ask = !self.is_done && self.out.is_none() && now >= self.rest;
        may_ask.then_some(Errand::Deregister)
    }

    /// Makes the call.
    pub fn call(&mut self, now: Time) -> (ErrandId, Request) {
        let request = self.id.deregister();
        self.last = ErrandId(self.last.0.wrapping_add(1));
        self.out = Some((self.last, now + request.timeout + GIVE_UP));
        (self.last, request)
    }

    /// A call that nobody heard of again.
    pub fn poll_lost(&self, now: Time) -> Option<ErrandId> {
        self.out.filter(|(_, lost)| now >= *lost).map(|(id, _)| id)
    }

    /// Takes the answer to a call; none where nobody waits for it.
    pub fn on_answer(
        &mut self,
        id: ErrandId,
        answer: Result<Response<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<Notice>,
    ) -> Option<Result<(), ErrorKind>> {
        self.out.take_if(|(out, _)| *out == id)?;
        let result = self.id.read_deregistered(answer, self.token_env.as_deref());
        let called = result.as_ref().map(|_| ()).map_err(RegistrationError::kind);
        match result {
            Ok(_) => {
                self.is_done = true;
                notices.push(Notice::Removed);
            }
            Err(error) => {
                self.rest = now + self.backoff.on_failure(rng);
                if self.failing.replace(error.kind()) != Some(error.kind()) {
                    notices.push(Notice::Failing(error));
                }
            }
        }
        Some(called)
    }
}
