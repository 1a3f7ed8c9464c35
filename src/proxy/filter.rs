//! The HTTP context: one request.

use core::mem;
use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::proxy::core::{Core, Step};
use crate::proxy::host;
use crate::proxy::root::note_serving;
use crate::proxy::waiting::ForwardSlot;
use crate::request::answer::Next;
use crate::router::answer::Attempt;
use crate::router::decision::Forward;

/// One request. It is counted at its endpoint until Envoy deletes this context, however the
/// request ends: there is no other callback to miss.
pub(super) struct Filter {
    id: u32,
    core: Rc<RefCell<Core>>,
    state: State,
}

enum State {
    /// Its headers were not seen yet, or it belongs to no endpoint.
    Idle,
    /// It is paused; where it goes comes by the slot.
    Waiting(ForwardSlot),
    /// It is at an endpoint, which has not answered yet.
    InFlight(Forward),
    /// It is at an endpoint that has answered; what that has done is known from the trailers.
    Answering { forward: Forward, attempt: Attempt, latency: Option<Duration> },
    /// It is at an endpoint that has answered.
    #[expect(dead_code, reason = "held to be dropped with the request")]
    Answered(Forward),
}

impl Filter {
    /// A request whose headers have not come yet.
    pub(super) const fn new(id: u32, core: Rc<RefCell<Core>>) -> Self {
        Self { id, core, state: State::Idle }
    }
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, ended: bool) -> Action {
        note_serving();
        let step = self.core.borrow_mut().on_request(self.id, ended);
        let (state, action) = match step {
            Step::Continue(None) => (State::Idle, Action::Continue),
            Step::Continue(Some(forward)) => (State::InFlight(forward), Action::Continue),
            Step::Stop(None) => (State::Idle, Action::Pause),
            Step::Stop(Some(slot)) => (State::Waiting(slot), Action::Pause),
        };
        self.state = state;
        action
    }

    fn on_http_response_headers(&mut self, _: usize, ended: bool) -> Action {
        self.core.borrow_mut().on_answer_shown();
        let forward = match mem::replace(&mut self.state, State::Idle) {
            State::InFlight(forward) => Some(forward),
            State::Waiting(slot) => {
                let forward = slot.take();
                if forward.is_none() {
                    // Envoy has answered while it waited.
                    self.core.borrow_mut().on_waiter_gone(self.id);
                }
                forward
            }
            // Answered by this filter or another one.
            State::Idle | State::Answering { .. } | State::Answered(_) => None,
        };
        if let Some(mut forward) = forward {
            let next = self.core.borrow_mut().on_answer(&mut forward, ended);
            self.state = match next {
                Next::Nothing => State::Answered(forward),
                Next::Trailers { attempt, latency } => {
                    State::Answering { forward, attempt, latency }
                }
            };
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let State::Answering { forward, attempt, latency } = &self.state {
            self.core.borrow_mut().on_trailers(forward, *attempt, *latency);
        }
        Action::Continue
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        match mem::replace(&mut self.state, State::Idle) {
            State::Waiting(slot) => {
                if slot.take().is_none() {
                    self.core.borrow_mut().on_waiter_gone(self.id);
                }
            }
            State::InFlight(forward) => self.core.borrow_mut().on_unanswered(&forward),
            State::Idle | State::Answering { .. } | State::Answered(_) => {}
        }
    }
}

/// A request that meets no configuration: it is refused, since nothing would remove what a
/// client has put into the handoff's headers.
pub(super) struct Unconfigured;

impl Context for Unconfigured {}

impl HttpContext for Unconfigured {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        host::reply(503, "consul_resolver.unconfigured", &host::encode_headers(&[]), "");
        Action::Pause
    }
}
