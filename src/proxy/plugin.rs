//! The state that a root context and its requests share.

mod waiting_room;

use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use crate::config::{Config, Handoff, Xds};
use crate::driver;
use crate::health_check::verdict::ProbeReason;
use crate::host::{Event, Host};
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::callout::{Callout, CalloutResponse};
use crate::proxy::envoy_host::EnvoyHost;
use crate::proxy::host::{self, CalloutId};
use crate::proxy::stream::{self, EnvoyStream};
use crate::proxy::subscriptions::SubscriptionListener;
use crate::proxy::timer::Timer;
use crate::proxy::waiting::{Waiting, is_ahead};
use crate::registry::http::CallFailure;
use crate::registry::source_spec::SourceSpec;
use crate::request::handler::RequestHandler;
use crate::request::response::{self, Feedback, Remaining};
use crate::request::warmup::Warmup;
use crate::router::Router;
use crate::router::disposition::Disposition;
use crate::router::forward::{Attempt, Forward};
use crate::router::on_demand_names::Lookup;
use crate::router::reply::Reply;
use crate::shared::members::QueueId;
use crate::shared::source_record::Rank;
use crate::telemetry::TelemetryEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::vm::Vm;

/// The interval between two checks of deadlines while requests wait.
const WAITING_TICK: Duration = Duration::from_millis(20);

/// The number of requests in a row that must end without a response before a warning is logged. A
/// client may leave before its response comes, but not so many in a row.
const MANY: u32 = 100;

/// One configuration at work in one VM, shared by the root context and its requests.
pub(super) type SharedPlugin = Rc<RefCell<Plugin>>;

/// One configuration at work in one VM.
pub(super) struct Plugin {
    vm: Vm,
    router: Router,
    host: EnvoyHost,
    handler: RequestHandler,
    warmup_timeout: Duration,
    waiting: Waiting,
    missing: MissingResponses,
    timer: Timer,
    /// The subscriptions of Envoy, if its own clusters are fed.
    subscriptions: Option<Box<SubscriptionListener>>,
    /// The warm-up of Envoy's clusters, if picks are among their hosts.
    warmup: Option<Warmup>,
}

impl Plugin {
    /// Starts with nothing resolved. Touches nothing that VMs share, because the canary runs this,
    /// too.
    pub(super) fn new(config: &Config) -> Self {
        let mut rng = Rng::new(host::random());
        let sources = config.sources().map(|source| SourceSpec::new(config, source)).collect();
        let vm = Vm::new(sources, &config.consul, rng.split()).with_registrations(config);
        let host = EnvoyHost::new(config, vm.tick_period());
        let timeout = config.warmup_timeout;
        let warmup = |xds: &Xds| Warmup::new(&xds.address, timeout);
        let is_by_session = config.handoff == Handoff::StatefulSession;
        Self {
            router: Router::new(config, &mut rng),
            handler: RequestHandler { route_metadata: config.route_metadata },
            warmup_timeout: config.warmup_timeout,
            waiting: Waiting::new(config.dns_names.as_ref().map_or(0, |names| names.max_waiting)),
            missing: MissingResponses::default(),
            timer: Timer::start(vm.tick_period(), host.start.time()),
            subscriptions: config
                .xds
                .as_ref()
                .map(|xds| Box::new(SubscriptionListener::new(config, xds))),
            warmup: config.xds.as_ref().filter(|_| is_by_session).map(warmup),
            vm,
            host,
        }
    }

    /// Starts the time of the router. The first tick may come after the first request.
    pub(super) fn start(&mut self) {
        let now = self.host.now();
        self.advance_time(now);
    }

    /// Handles the timer of the context `root`.
    pub(super) fn on_tick(&mut self, root: u32, rank: Rank) {
        #[cfg(feature = "trap")]
        crate::proxy::trap::on_tick(self.vm.is_leader());
        self.flush();
        let now = self.host.now();
        self.timer.on_tick(now);
        self.run(Event::Tick(rank));
        self.advance_time(now);
        self.release(root);
    }

    /// Releases everything for which other VMs would wait, because this configuration is being
    /// replaced.
    pub(super) fn on_end(&mut self) {
        self.flush();
        self.run(Event::Leaving);
        host::stop_ticking();
    }

    /// Handles a queue that has messages. A VM is also woken for the queue of its predecessor with
    /// the same ids. Those messages stay there, because they show that their reader is dead.
    pub(super) fn on_queue(&mut self, root: u32, queue: QueueId) {
        if self.vm.queue() != Some(queue) {
            return;
        }
        while let Some(message) = host::dequeue(queue) {
            self.run(Event::Woken(&message));
        }
        self.release(root);
    }

    /// Handles the end of a callout.
    pub(super) fn on_callout(
        &mut self,
        root: u32,
        callout: CalloutId,
        headers: usize,
        body_size: usize,
    ) {
        let Some(callout) = self.host.take_callout(callout) else { return };
        let answer = CalloutResponse::read(callout, headers, body_size);
        match callout {
            Callout::Call { id: call, .. } => {
                let answer = answer.map(|answer| self.host.redact(answer));
                let answer = answer.as_ref().map(CalloutResponse::response);
                let answer = answer.ok_or(CallFailure::NoAnswer);
                self.run(Event::Answered { call, response: answer });
                self.release(root);
            }
            Callout::Probe { id: probe, .. } => {
                let answer =
                    answer.as_ref().map(CalloutResponse::examined).ok_or(ProbeReason::NoAnswer);
                self.run(Event::Probed { probe, response: answer });
            }
        }
    }

    /// Takes the headers of a request with a body that may be a subscription of Envoy's. Returns true if
    /// so: Envoy is to show its body.
    pub(super) fn on_subscription_headers(&mut self, context: u32) -> bool {
        let start = self.host.start;
        self.subscriptions.as_mut().is_some_and(|it| it.on_headers(context, start))
    }

    /// Decides a request by its headers.
    pub(super) fn on_request(&mut self, has_body: bool) -> Disposition {
        let mut stream = EnvoyStream { has_body, ..self.stream() };
        let mut service = self.handler.find(&self.router, &mut stream);
        if service.is_none() {
            match self.handler.resolve_on_demand(&mut self.router, &mut stream) {
                Lookup::New(found) => {
                    // Others are to hear of it at once, and one of them may know it.
                    driver::settle(&mut self.vm, &mut self.router, &mut self.host);
                    service = Some(found);
                }
                Lookup::Refused(reply) => return Disposition::Reply(reply),
                Lookup::Nothing => {}
            }
        }
        if let Some(service) = service {
            if self.router.is_pending(service) {
                // Another VM may have resolved it already, above all where this one has just
                // been started anew by this very request.
                self.notify_sources(service, Event::NeedSnapshot);
            }
            let Self { warmup, router, host, .. } = self;
            if self.waiting.has_room(false) && is_ahead(warmup, router, host, service) {
                let reply = Rc::new(Reply::not_resolved_yet(""));
                return Disposition::Wait { service, reply };
            }
        }
        self.handle(service, &mut stream)
    }

    /// Decides a request for a service, and counts a request that goes to an endpoint.
    fn handle(&mut self, service: Option<ServiceId>, stream: &mut EnvoyStream) -> Disposition {
        let disposition = self.handler.handle(&mut self.router, service, stream);
        if let Disposition::Forward(forward) = &disposition {
            self.host.metrics.on_forward(forward);
        }
        disposition
    }

    /// Notes that Envoy shows a response of any request. A response that Envoy keeps to itself to
    /// follow a redirect is followed by another one.
    pub(super) fn on_answer_shown(&mut self) {
        self.missing.on_response();
    }

    /// Handles the headers of a response. `ended` says that nothing follows.
    pub(super) fn on_response(&mut self, forward: &Forward, ended: bool) -> Remaining {
        let mut stream = self.stream();
        let (feedback, next) = response::on_headers(&mut self.router, forward, ended, &mut stream);
        self.apply_feedback(forward.service(), feedback);
        next
    }

    /// Handles the trailers of a response.
    pub(super) fn on_trailers(
        &mut self,
        forward: &Forward,
        attempt: Attempt,
        latency: Option<Duration>,
    ) {
        let mut stream = self.stream();
        let feedback =
            response::on_trailers(&mut self.router, forward, attempt, latency, &mut stream);
        self.apply_feedback(forward.service(), feedback);
    }

    /// Handles the end of a request for which this filter has seen no response.
    pub(super) fn on_unanswered(&mut self, forward: &Forward) {
        let mut stream = self.stream();
        response::on_unanswered(&mut self.router, forward, &mut stream);
        let inputs = self.router.required_inputs(forward.service());
        if inputs.is_some_and(|inputs| inputs.responses.is_some()) && self.missing.on_unanswered() {
            log::warn!(
                "peak_ewma learns nothing: Envoy shows no answers; add proxy_on_response_headers \
                 and proxy_on_response_trailers to the plugin's allowed_capabilities"
            );
        }
    }

    /// Forgets a request that ended while it waited.
    pub(super) fn on_waiter_gone(&mut self, context: u32) {
        self.waiting.remove(context);
    }

    /// Handles a part of the body of a subscription.
    pub(super) fn on_subscription_body(&mut self, context: u32, size: usize, ended: bool) {
        let now = self.host.now();
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.on_body(context, size, ended, now);
        }
        self.serve(context);
        self.set_timer();
    }

    /// Forgets a subscription that has ended.
    pub(super) fn on_subscription_gone(&mut self, context: u32) {
        let now = self.host.now();
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.on_gone(context, now);
        }
    }

    /// Sends an event to discovery for each source of a service.
    fn notify_sources(&mut self, service: ServiceId, event: impl Fn(SourceId) -> Event<'static>) {
        for source in self.router.sources(service) {
            self.run(event(source));
        }
    }

    fn run(&mut self, event: Event<'_>) {
        driver::run(&mut self.vm, &mut self.router, &mut self.host, event);
    }

    /// Counts the failures in a feedback. If an endpoint could not be reached, discovery is told.
    fn apply_feedback(&mut self, service: ServiceId, feedback: Feedback) {
        self.host.metrics.on_failures(service, feedback.failures);
        if feedback.suspects {
            self.notify_sources(service, Event::EndpointUnreachable);
        }
    }

    fn stream(&self) -> EnvoyStream {
        EnvoyStream { start: self.host.start, has_body: false }
    }

    /// Responds to the subscriptions that are due. `own` is the context that is at work.
    fn serve(&mut self, own: u32) {
        let Some(subscriptions) = &mut self.subscriptions else { return };
        let now = self.host.now();
        subscriptions.answer(&mut self.router, own, now);
    }

    /// Adds the counted events to Envoy's counters.
    fn flush(&mut self) {
        self.host.metrics.flush();
        self.subscriptions.iter_mut().for_each(|subscriptions| subscriptions.flush());
    }

    /// Advances the time of the router, and emits its events.
    fn advance_time(&mut self, now: Time) {
        let Self { router, host, .. } = self;
        router.on_tick(now, |service, event| {
            host.emit(&TelemetryEvent::Service { service, event });
        });
    }

    /// Sets the timer to the next time at which something is due.
    fn set_timer(&mut self) {
        let period = match self.waiting.is_empty() {
            true => self.host.period(),
            false => self.host.period().min(WAITING_TICK),
        };
        let now = self.host.now();
        let due = self.subscriptions.as_ref().and_then(|subscriptions| subscriptions.due(now));
        // Those that could not go at once go at the next tick, which comes as soon as it can.
        let rest = self.waiting.has_rest().then_some(now);
        self.timer.set(period, due.into_iter().chain(rest).min(), now);
    }

    /// Replies to the request of the effective context.
    pub(super) fn reply(&self, reply: &Reply) {
        self.host.metrics.on_reply(reply.reason);
        stream::send(reply);
    }
}

/// Detects that responses are never shown, though a policy needs them. Envoy does not call the
/// filter for them if the plugin's `capability_restriction_config` leaves those callbacks out.
#[derive(Debug)]
enum MissingResponses {
    /// This many requests have ended, and no response was seen.
    Since(u32),
    /// A response was seen, or the warning was logged.
    Settled,
}

impl Default for MissingResponses {
    fn default() -> Self {
        Self::Since(0)
    }
}

impl MissingResponses {
    /// Notes a response.
    const fn on_response(&mut self) {
        *self = Self::Settled;
    }

    /// Notes a request that has ended without a response. Returns true once, when a warning is due.
    const fn on_unanswered(&mut self) -> bool {
        if let Self::Since(count) = self {
            *count += 1;
            if *count >= MANY {
                *self = Self::Settled;
                return true;
            }
        }
        false
    }
}
