//! The HTTP context: one request.

use core::cell::{Cell, RefMut};
use core::time::Duration;

use crate::proxy::host;
use crate::proxy::plugin::{Plugin, SharedPlugin};
use crate::proxy::root::note_serving;
use crate::proxy::waiting::ForwardSlot;
use crate::request::response::Remaining;
use crate::router::disposition::Disposition;
use crate::router::forward::{Attempt, Forward};

/// One request. It counts at its endpoint until Envoy deletes this context, which happens however
/// the request ends.
pub(super) struct Filter {
    id: u32,
    /// `None` if the root context has no configuration.
    plugin: Option<SharedPlugin>,
    state: Cell<State>,
    /// True if the request is a subscription of Envoy's.
    subscribes: Cell<bool>,
}

/// The instruction to Envoy after the headers of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadersStatus {
    /// Let the request go on.
    Continue = 0,
    /// Hold the headers, and show the body.
    StopIteration = 1,
    /// Hold the headers and the body. The client keeps what the buffers do not take. Also used for
    /// requests that are replied to.
    StopAllIterationAndWatermark = 4,
}

/// The instruction to Envoy after a part of a request's body.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyStatus {
    /// Let the request go on.
    Continue = 0,
    /// Drop the part, which was read here.
    StopIterationNoBuffer = 3,
}

#[derive(Default)]
enum State {
    /// The headers were not seen yet, or the request has no endpoint.
    #[default]
    Idle,
    /// The request is paused. Its forward comes by the slot.
    Waiting(ForwardSlot),
    /// The request is at an endpoint that has not responded yet.
    InFlight(Forward),
    /// The request is at an endpoint that has responded. The trailers tell the outcome.
    Answering { forward: Forward, attempt: Attempt, latency: Option<Duration> },
    /// The request is at an endpoint that has responded.
    #[expect(dead_code, reason = "held to be dropped with the request")]
    Answered(Forward),
}

impl Filter {
    /// Creates the context of a request whose headers have not come yet.
    pub(super) const fn new(id: u32, plugin: Option<SharedPlugin>) -> Self {
        Self { id, plugin, state: Cell::new(State::Idle), subscribes: Cell::new(false) }
    }

    /// Handles the headers of the request. `ended` says that nothing follows.
    pub(super) fn on_headers(&self, ended: bool) -> HeadersStatus {
        note_serving();
        let Some(mut plugin) = self.plugin() else {
            // It is refused, since nothing would remove what a client has put into the handoff's
            // headers. Envoy does not route through a configuration that was refused.
            host::reply(503, "consul_resolver.unconfigured", &[], b"");
            return HeadersStatus::StopAllIterationAndWatermark;
        };
        #[cfg(feature = "trap")]
        crate::proxy::trap::on_request();
        let has_body = !ended;
        if has_body && plugin.on_subscription_headers(self.id) {
            self.subscribes.set(true);
            return HeadersStatus::StopIteration;
        }
        let state = match plugin.on_request(has_body) {
            Disposition::Pass => return HeadersStatus::Continue,
            Disposition::Forward(forward) => {
                self.state.set(State::InFlight(forward));
                return HeadersStatus::Continue;
            }
            Disposition::Reply(reply) => {
                plugin.reply(&reply);
                State::Idle
            }
            Disposition::Wait { service, reply } => {
                plugin.wait(self.id, service, has_body, reply).map_or(State::Idle, State::Waiting)
            }
        };
        self.state.set(state);
        HeadersStatus::StopAllIterationAndWatermark
    }

    /// Handles a part of the request's body. `ended` says that it was the last.
    pub(super) fn on_body(&self, size: usize, ended: bool) -> BodyStatus {
        if !self.subscribes.get() {
            return BodyStatus::Continue;
        }
        if let Some(mut plugin) = self.plugin() {
            plugin.on_subscription_body(self.id, size, ended);
        }
        BodyStatus::StopIterationNoBuffer
    }

    /// Handles the headers of the response. `ended` says that nothing follows.
    pub(super) fn on_response(&self, ended: bool) {
        if self.subscribes.get() {
            return;
        }
        let Some(mut plugin) = self.plugin() else { return };
        plugin.on_answer_shown();
        let forward = match self.state.take() {
            State::InFlight(forward) => Some(forward),
            State::Waiting(slot) => {
                let forward = slot.take();
                if forward.is_none() {
                    // Envoy has answered while it waited.
                    plugin.on_waiter_gone(self.id);
                }
                forward
            }
            // Answered by this filter or another one.
            State::Idle | State::Answering { .. } | State::Answered(_) => None,
        };
        if let Some(forward) = forward {
            let next = plugin.on_response(&forward, ended);
            self.state.set(match next {
                Remaining::Nothing => State::Answered(forward),
                Remaining::Trailers { attempt, latency } => {
                    State::Answering { forward, attempt, latency }
                }
            });
        }
    }

    /// Handles the trailers of the response.
    pub(super) fn on_answer_trailers(&self) {
        let state = self.state.take();
        if let (State::Answering { forward, attempt, latency }, Some(mut plugin)) =
            (&state, self.plugin())
        {
            plugin.on_trailers(forward, *attempt, *latency);
        }
        self.state.set(state);
    }

    /// Handles the end of the request, whatever its cause.
    pub(super) fn on_delete(&self) {
        let state = self.state.take();
        let Some(mut plugin) = self.plugin() else { return };
        if self.subscribes.get() {
            plugin.on_subscription_gone(self.id);
        }
        match state {
            State::Waiting(slot) => {
                if slot.take().is_none() {
                    plugin.on_waiter_gone(self.id);
                }
            }
            State::InFlight(forward) => plugin.on_unanswered(&forward),
            State::Idle | State::Answering { .. } | State::Answered(_) => {}
        }
    }

    /// Borrows the plugin, which all requests share. Envoy makes no call during another call. If it
    /// did, the inner call would be ignored.
    fn plugin(&self) -> Option<RefMut<'_, Plugin>> {
        self.plugin.as_ref()?.try_borrow_mut().ok()
    }
}
