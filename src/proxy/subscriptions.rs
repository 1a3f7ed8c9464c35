//! Envoy's subscriptions, which come over a listener of its own.

use core::time::Duration;

use hashbrown::HashMap;

use crate::config::{Config, Xds};
use crate::host::Expect;
use crate::proxy::host::{self, Headers, MetricId, Start};
use crate::router::Router;
use crate::shared::acknowledged::{Acknowledged, Changes};
use crate::util::time::Time;
use crate::xds::event::{Counts, SubscriptionEvent};
use crate::xds::request::{StreamId, SubscriptionRequest};
use crate::xds::server::Server;

/// The maximum number of responses in one call into the VM. Envoy sends each response after the
/// call and calls the VM again meanwhile. The next response is sent within that call, so thousands
/// would exhaust the stack.
const MOST_ANSWERS: usize = 100;

/// The maximum size of all incomplete bodies: enough for a thousand of Envoy's requests of 77 KB.
/// Any client that reaches the listener may begin any number of requests.
const MOST_BYTES: usize = 128 << 20;

/// The delay until the remaining responses are sent.
const NEXT_ANSWERS: Duration = Duration::from_millis(1);

/// The time for which a body may be missing before an error is logged. Envoy sends headers and body
/// together.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Envoy's subscriptions in this VM.
#[derive(Debug)]
pub(super) struct SubscriptionListener {
    /// The address of the listener for subscriptions.
    address: String,
    server: Server,
    /// The key of the acknowledged services in shared data, and the changes that are not written
    /// yet.
    key: String,
    changes: Changes,
    /// The requests whose bodies are incomplete.
    bodies: HashMap<u32, Body>,
    /// The size of all these bodies.
    bytes: usize,
    has_seen_bodies: bool,
    metrics: SubscriptionMetrics,
}

/// The part of a body that has come.
#[derive(Debug)]
struct Body {
    since: Time,
    bytes: Vec<u8>,
}

impl SubscriptionListener {
    /// Starts without subscriptions.
    pub(super) fn new(config: &Config, xds: &Xds) -> Self {
        let node = host::node_id().unwrap_or_default();
        let server = Server::new(config, xds, &String::from_utf8_lossy(&node));
        Self {
            address: xds.address.clone(),
            key: Acknowledged::key(&xds.address),
            changes: Changes::default(),
            server,
            bodies: HashMap::new(),
            bytes: 0,
            has_seen_bodies: false,
            metrics: SubscriptionMetrics::define(),
        }
    }

    /// Takes a request that has come by the listener for subscriptions, and returns true. Legal in
    /// the request's header phase, if a body follows.
    pub(super) fn on_headers(&mut self, context: u32, start: Start) -> bool {
        let is_ours = host::destination_address().is_some_and(|it| it == self.address.as_bytes());
        if is_ours {
            self.bodies.insert(context, Body { since: start.time(), bytes: Vec::new() });
        }
        is_ours
    }

    /// Takes a part of a body. Legal in its phase.
    pub(super) fn on_body(&mut self, context: u32, size: usize, ended: bool, now: Time) {
        self.has_seen_bodies = true;
        let Some(body) = self.bodies.get_mut(&context) else { return };
        // One byte more than may be is enough to see that there are too many.
        let room = (SubscriptionRequest::MAX_BODY_BYTES + 1).saturating_sub(body.bytes.len());
        let part = host::request_body(size.min(room));
        body.bytes.extend(&part);
        self.bytes += part.len();
        let is_too_long = body.bytes.len() > SubscriptionRequest::MAX_BODY_BYTES;
        while self.bytes > MOST_BYTES && self.refuse_oldest() {}
        if !ended && !is_too_long {
            return;
        }
        // One that is too long is refused for that by what has come of it.
        let Some(body) = self.take(context) else { return };
        let header = |name| host::header(Headers::Request, name).unwrap_or_default();
        let [method, path] = [":method", ":path"].map(header);
        let request = SubscriptionRequest { method: &method, path: &path, body: &body.bytes };
        self.server.on_request(StreamId(context), request, now);
        for service in self.server.poll_left_out() {
            if let Some(cluster) = read_cluster(&self.address, &service) {
                self.server.on_earlier(&service, &cluster);
            }
        }
    }

    /// Refuses the request whose body is the oldest, so that no client can keep others from
    /// subscribing. Returns false if no request has any bytes of a body.
    fn refuse_oldest(&mut self) -> bool {
        let some = self.bodies.iter().filter(|(_, body)| !body.bytes.is_empty());
        let oldest = some.min_by_key(|(_, body)| body.since).map(|(oldest, _)| *oldest);
        let Some(oldest) = oldest.filter(|oldest| self.take(*oldest).is_some()) else {
            return false;
        };
        self.server.on_flood(StreamId(oldest));
        true
    }

    /// Forgets a request that has ended.
    pub(super) fn on_gone(&mut self, context: u32, now: Time) {
        if self.take(context).is_none() {
            self.server.on_gone(StreamId(context), now);
        }
    }

    /// Takes out a body.
    fn take(&mut self, context: u32) -> Option<Body> {
        let body = self.bodies.remove(&context)?;
        self.bytes = self.bytes.saturating_sub(body.bytes.len());
        Some(body)
    }

    /// Sends the responses that are due, for the contexts of their requests. `own` is the context
    /// that is at work.
    pub(super) fn answer(&mut self, router: &mut Router, own: u32, now: Time) {
        while let Some(update) = router.poll_update() {
            self.server.on_update(update, now);
        }
        let mut has_answered = false;
        for _ in 0..MOST_ANSWERS {
            let Some((StreamId(context), response)) = self.server.poll_response(now) else { break };
            if host::enter(context) {
                respond(response.status, &response.body);
                has_answered = true;
            }
        }
        if has_answered {
            host::enter(own);
        }
        self.tell(now);
    }

    /// Returns the time of the next response, unless something happens before.
    pub(super) fn due(&self, now: Time) -> Option<Time> {
        // What is due by now was not answered because there was so much of it.
        self.server.due().map(|due| due.max(now + NEXT_ANSWERS))
    }

    /// Logs the events of the server, and writes the acknowledged services for all VMs. A failed
    /// write is repeated later.
    fn tell(&mut self, now: Time) {
        while let Some(event) = self.server.poll_event() {
            match event {
                SubscriptionEvent::Acknowledged { service } => {
                    self.changes.on_acknowledged(&service)
                }
                SubscriptionEvent::Gone { service } => self.changes.on_gone(&service),
                SubscriptionEvent::ClustersTold => self.changes.on_told(self.server.services()),
                SubscriptionEvent::ClusterTaken { service, cluster } => {
                    keep_cluster(&self.address, &service, &cluster);
                }
                event => log::warn!("xds: {event}"),
            }
        }
        if !self.changes.is_empty() && write_acknowledged(&self.key, &self.changes) {
            self.changes = Changes::default();
        }
        let is_missing = |body: &Body| now.since(body.since) >= BODY_PATIENCE;
        if !self.has_seen_bodies && self.bodies.values().any(is_missing) {
            self.has_seen_bodies = true;
            log::error!(
                "xds: a subscription has come without its body; set \
                 allow_on_headers_stop_iteration: true in the plugin's config, and where it has \
                 allowed_capabilities, add proxy_on_request_body"
            );
        }
    }

    /// Adds the counted events to Envoy's counters.
    pub(super) fn flush(&mut self) {
        self.metrics.flush(self.server.counts());
    }
}

/// Replies to the request of the effective context.
fn respond(status: u16, body: &[u8]) {
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    let headers = if status == 200 { JSON } else { &[] };
    host::reply(status, "consul_resolver.subscription", headers, body);
}

/// The metrics of Envoy's subscriptions. All are counters, because those of several VMs add up, and
/// a VM that has trapped leaves no wrong value behind.
#[derive(Debug)]
struct SubscriptionMetrics {
    /// In the order of [`values`].
    counters: [Option<MetricId>; 9],
    /// The counts that are shown already.
    counts: Counts,
}

impl SubscriptionMetrics {
    /// Defines the counters.
    fn define() -> Self {
        let counters = [
            "responses",
            "unchanged",
            "rejected",
            "foreign",
            "malformed",
            "unknown",
            "too_many",
            "ended_early",
            "host_names",
        ];
        let define = |what| host::define_counter(&format!("consul_resolver.xds.{what}"));
        Self { counters: counters.map(define), counts: Counts::default() }
    }

    /// Adds the difference to the last counts.
    fn flush(&mut self, counts: Counts) {
        let (new, old) = (values(counts), values(self.counts));
        for ((metric, new), old) in self.counters.iter().zip(new).zip(old) {
            host::add(*metric, new.saturating_sub(old));
        }
        self.counts = counts;
    }
}

/// Lists the counts in the order of the counters.
const fn values(counts: Counts) -> [u64; 9] {
    let Counts { answers, unchanged, rejected, foreign, malformed, unknown, .. } = counts;
    let Counts { too_many, ended_early, host_names, .. } = counts;
    [answers, unchanged, rejected, foreign, malformed, unknown, too_many, ended_early, host_names]
}

/// Reads the acknowledged services. Returns `None` if Envoy has never acknowledged any, and no
/// service if the value is unreadable.
pub(super) fn read_acknowledged(key: &str) -> Option<Acknowledged> {
    host::load(key).map(|(bytes, _)| Acknowledged::decode(&bytes).unwrap_or_default())
}

/// Writes the changes for all VMs. Returns false if other VMs were faster several times.
fn write_acknowledged(key: &str, changes: &Changes) -> bool {
    const TRIALS: usize = 4;
    (0..TRIALS).any(|_| {
        let value = host::load(key);
        let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
        let bytes = value.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut all = Acknowledged::decode(&bytes).unwrap_or_default();
        !changes.apply(&mut all) || host::store(key, &all.encode(), expect)
    })
}

/// Reads the cluster of a service that Envoy has taken last from the responses of an address.
fn read_cluster(address: &str, service: &str) -> Option<String> {
    let (bytes, _) = host::load(&Acknowledged::cluster_key(address, service))?;
    String::from_utf8(bytes).ok()
}

/// Keeps the cluster of a service that Envoy has taken, for a configuration whose own cluster is
/// rejected. If another VM was faster, its cluster is as good.
fn keep_cluster(address: &str, service: &str, cluster: &str) {
    let key = Acknowledged::cluster_key(address, service);
    let value = host::load(&key);
    let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
    if value.is_none_or(|(bytes, _)| bytes != cluster.as_bytes()) {
        host::store(&key, cluster.as_bytes(), expect);
    }
}
