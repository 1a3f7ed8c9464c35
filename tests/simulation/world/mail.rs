//! What a VM of the world is told, and what it does then.

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::calls::caller::CallId;
use consul_resolver::host::Event;
use consul_resolver::model::service::ServiceId;
use consul_resolver::registry::http::{CallFailure, HttpResponse};
use consul_resolver::router::disposition::Disposition;
use consul_resolver::router::on_demand_names::Lookup;

use super::World;
use crate::calendar::Happening;
use crate::registry::IDS;
use crate::shared::Shared;
use crate::sources::HOSTS;
use crate::vm::{ContextId, Mail, Task, time};

/// The longest time between two ticks, in microseconds.
const MOST_TICK: u64 = 250_000;

impl World {
    /// Lets a context begin with something.
    pub(super) fn handle(&mut self, id: ContextId, mail: Mail) {
        let vm = &mut self.vms[id.thread];
        let (clock, rank) = (vm.clock.now(self.now), vm.rank());
        let now = time(clock);
        let Some(context) = vm.contexts.iter_mut().find(|context| context.id == id) else {
            return;
        };
        vm.busy = Some(id);
        (context.task, context.began) = (Task::Other, clock);
        match mail {
            Mail::Tick => {
                context.task = Task::Tick;
                context.agent.handle_event(Event::Tick(rank), now);
            }
            // A context is woken for the queue of its predecessor, too, and leaves that alone.
            Mail::Queue(queue) if context.agent.queue() != Some(queue) => {}
            Mail::Queue(queue) => {
                context.task = Task::Feed;
                if let Some(message) = self.shared.dequeue(queue) {
                    context.agent.handle_event(Event::Woken(&message), now);
                    vm.inbox.push_front((id, Mail::Queue(queue)));
                }
            }
            Mail::Answer(reply) => {
                context.task = Task::Feed;
                if matches!(reply.call, CallId::Query { .. }) && reply.is_good() {
                    self.consul.confirm(reply.source, self.now);
                }
                let headers = reply.headers();
                let answer = match reply.status {
                    None => Err(CallFailure::NoAnswer),
                    Some(status) => Ok(HttpResponse {
                        status,
                        from_envoy: reply.from_envoy,
                        headers: &headers,
                        body: &reply.body,
                    }),
                };
                context
                    .agent
                    .handle_event(Event::Answered { call: reply.call, response: answer }, now);
            }
            Mail::Probed(probe, echo) => {
                self.checks.on_probed(id, probe, echo, clock);
                let answer = Ok(echo.answer());
                context.agent.handle_event(Event::Probed { probe, response: answer }, now);
            }
            Mail::Request(service) => {
                vm.serving = true;
                let count = self.configs[context.config].services.len() as u32;
                if let Some(chosen) = service.checked_rem(count) {
                    self.serve(id, ServiceId::nth(chosen as u16), service);
                }
            }
            Mail::Named(host) => {
                vm.serving = true;
                self.serve_host(id, HOSTS[host].as_bytes());
            }
            Mail::Host(host) => {
                vm.serving = true;
                self.serve_host(id, host.as_bytes());
            }
            Mail::Resumed(service) => self.serve(id, service, 0),
            Mail::Suspicion(source) => {
                context.agent.handle_event(Event::EndpointUnreachable(source), now)
            }
            Mail::Subscription(stream) => {
                context.task = Task::Feed;
                self.on_subscription(id, stream);
            }
            Mail::Gone(stream) => self.on_gone(id, stream),
            Mail::Due => {
                context.task = Task::Feed;
                context.feed.iter_mut().for_each(|feed| feed.planned = None);
            }
            Mail::Leave => {
                context.task = Task::Leave;
                context.agent.handle_event(Event::Leaving, now);
            }
        }
    }

    pub(super) fn end_task(&mut self, id: ContextId) {
        let vm = &mut self.vms[id.thread];
        let clock = vm.clock.now(self.now);
        let Some(context) = vm.context(id) else { return };
        match context.task {
            Task::Other => {}
            Task::Feed => self.feed(id),
            Task::Tick => {
                // What has gone is carried out with the next event, as in Envoy.
                context.router.on_tick(time(clock), |_, _| {});
                let at = self.now + context.period;
                self.calendar.plan(at, Happening::Mail(id, Mail::Tick));
                self.feed(id);
            }
            Task::Leave => {
                vm.contexts.retain(|context| context.id != id);
                self.consul.forget(|from| from == id);
                self.reset_streams(0, |to| to == id);
                self.forget_if_gone();
            }
        }
    }

    /// Envoy forgets shared data and queues with the last context.
    pub(super) fn forget_if_gone(&mut self) {
        let is_gone = self.listeners.is_empty() && !self.keeps_shared_data;
        if is_gone && self.vms.iter().all(|vm| vm.contexts.is_empty()) {
            self.shared = Shared::new(self.consul.len(), IDS.len());
            self.checks.begin_anew();
            self.consul.registry.lose_book();
        }
    }

    /// A request comes for a host: of a service that was found, or of one that is taken in now, if
    /// it is a name.
    fn serve_host(&mut self, id: ContextId, host: &[u8]) {
        let vm = &mut self.vms[id.thread];
        let Some(context) = vm.context(id) else { return };
        match context.router.service_by_host(Some(host)) {
            Some(service) => self.serve(id, service, 0),
            None => {
                if let Lookup::New(service) = context.router.resolve_on_demand(Some(host)) {
                    // Others hear of it before the request goes on.
                    vm.inbox.push_front((id, Mail::Resumed(service)));
                }
            }
        }
    }

    /// A request comes for a service, and an earlier one ends.
    fn serve(&mut self, id: ContextId, service: ServiceId, ends: u32) {
        let vm = &mut self.vms[id.thread];
        let (clock, thawed) = (vm.clock.now(self.now), vm.frozen_until);
        let Some(context) = vm.context(id) else { return };
        if context.flying.len() > 4 {
            drop(context.flying.swap_remove(ends as usize % 4));
        }
        match context.router.decide(Some(service), &PickContext::default()) {
            Disposition::Forward(forward) => {
                self.checks.on_pick(context, &forward);
                let config = &self.configs[context.config];
                // Whoever stood still finds out how old all is at the first tick. Where anybody may
                // stand still in the middle of telling it, there is no bound.
                if self.plan.envoy.is_none() && thawed + 2 * MOST_TICK < self.now {
                    self.checks.on_age(context, config, &forward, &self.consul, self.now);
                }
                context.flying.push(forward);
            }
            Disposition::Wait { .. } => {
                for source in context.router.sources(service) {
                    context.agent.handle_event(Event::NeedSnapshot(source), time(clock));
                }
            }
            Disposition::Reply(_) => {}
            // What follows from another one may have let the catalog drop it.
            Disposition::Pass => assert!(!context.router.has(service), "one for a service"),
        }
    }
}
