//! The HTTP context: one request.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::balance::ticket::Ticket;
use crate::proxy::core::{Core, Step};
use crate::proxy::host;
use crate::proxy::root::note_serving;
use crate::proxy::waiting::TicketSlot;

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
    /// It is at an endpoint.
    #[expect(dead_code, reason = "held to be dropped with the request")]
    InFlight(Ticket),
    /// It is paused; its ticket comes by the slot.
    Waiting(TicketSlot),
}

impl Filter {
    /// A request whose headers have not come yet.
    pub(super) const fn new(id: u32, core: Rc<RefCell<Core>>) -> Self {
        Self { id, core, state: State::Idle }
    }
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        note_serving();
        let step = self.core.borrow_mut().on_request(self.id);
        let (state, action) = match step {
            Step::Continue(None) => (State::Idle, Action::Continue),
            Step::Continue(Some(ticket)) => (State::InFlight(ticket), Action::Continue),
            Step::Stop(None) => (State::Idle, Action::Pause),
            Step::Stop(Some(slot)) => (State::Waiting(slot), Action::Pause),
        };
        self.state = state;
        action
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let State::Waiting(slot) = &self.state
            && slot.take().is_none()
        {
            self.core.borrow_mut().on_waiter_gone(self.id);
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
