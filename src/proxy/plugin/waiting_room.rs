//! The requests that wait. They go on when their service is ready, and get a reply after the
//! timeout.

use std::rc::Rc;

use crate::host::Host;
use crate::model::service::ServiceId;
use crate::proxy::host;
use crate::proxy::plugin::Plugin;
use crate::proxy::stream::EnvoyStream;
use crate::proxy::subscriptions::read_acknowledged;
use crate::proxy::waiting::{ForwardSlot, Waiter, is_ahead};
use crate::router::disposition::Disposition;
use crate::router::reply::Reply;
use crate::telemetry::{ServiceEvent, TelemetryEvent};

impl Plugin {
    /// Lets a request wait, and returns the slot for its forward. Replies and returns `None` if the request
    /// may not wait.
    pub(in crate::proxy) fn wait(
        &mut self,
        context: u32,
        service: ServiceId,
        has_body: bool,
        reply: Rc<Reply>,
    ) -> Option<ForwardSlot> {
        let is_named = self.router.is_on_demand(service);
        if self.warmup_timeout.is_zero() || !self.waiting.has_room(is_named) {
            self.reply(&reply);
            return None;
        }
        let slot = ForwardSlot::default();
        let deadline = self.host.now() + self.warmup_timeout;
        let waiter =
            Waiter { service, is_named, deadline, has_body, reply, slot: Rc::clone(&slot) };
        self.waiting.add(context, waiter);
        self.set_timer();
        Some(slot)
    }

    /// Continues the requests whose service is ready, replies to those whose deadline is over, and
    /// sets the timer.
    pub(super) fn release(&mut self, root: u32) {
        self.serve(root);
        self.tell_of_given_up();
        if !self.waiting.is_empty() {
            let now = self.host.now();
            if self.waiting.is_due(now) {
                // There may be a fallback now.
                self.advance_time(now);
            }
            let Self { router, warmup, host, waiting, .. } = self;
            let due = waiting.take_due(|waiter| {
                let is_awaited = router.is_pending(waiter.service)
                    || is_ahead(warmup, router, host, waiter.service);
                !is_awaited || now >= waiter.deadline
            });
            for (context, waiter) in due {
                if host::enter(context) {
                    self.release_one(waiter);
                }
            }
            host::enter(root);
        }
        self.set_timer();
    }

    /// Emits an event once for each service whose endpoints Envoy has not acknowledged in time.
    fn tell_of_given_up(&mut self) {
        let now = self.host.now();
        let Some(warmup) = &mut self.warmup else { return };
        for service in warmup.on_tick(now, read_acknowledged) {
            if let Some(name) = self.host.service_name(service).map(str::to_owned) {
                let event = ServiceEvent::Unacknowledged { name };
                self.host.emit(&TelemetryEvent::Service { service, event });
            }
        }
    }

    fn release_one(&mut self, waiter: Waiter) {
        if !self.router.has(waiter.service) {
            return self.reply(&waiter.reply);
        }
        let service = Some(waiter.service);
        let mut stream = EnvoyStream { has_body: waiter.has_body, ..self.stream() };
        match self.handle(service, &mut stream) {
            Disposition::Forward(forward) => {
                waiter.slot.set(Some(forward));
                host::resume();
            }
            Disposition::Pass => host::resume(),
            Disposition::Reply(reply) => self.reply(&reply),
            Disposition::Wait { .. } => self.reply(&waiter.reply),
        }
    }
}
