//! What answers Envoy's subscriptions in a context.

use std::iter::from_fn;

use consul_resolver::config::Config;
use consul_resolver::router::Router;
use consul_resolver::shared::acknowledged::{Acknowledged, Changes};
use consul_resolver::util::time::Time;
use consul_resolver::xds::event::SubscriptionEvent;
use consul_resolver::xds::request::{StreamId, SubscriptionRequest};
use consul_resolver::xds::response::SubscriptionResponse;
use consul_resolver::xds::server::Server;

/// The id of Envoy's node.
pub const NODE: &str = "envoy-1";

/// What answers Envoy's subscriptions in a context.
pub struct Feed {
    server: Server,
    /// Where others look up whom Envoy has acknowledged.
    pub key: String,
    /// When it is called next, because something is due then.
    pub planned: Option<u64>,
    /// What others do not know of that yet.
    pub changes: Changes,
}

impl Feed {
    /// What a configuration has answered, if that is anything.
    pub fn new(config: &Config) -> Option<Self> {
        let xds = config.xds.as_ref()?;
        let server = Server::new(config, xds, NODE);
        let key = Acknowledged::key(&xds.address);
        Some(Self { server, key, planned: None, changes: Changes::default() })
    }

    /// A request comes.
    pub fn on_request(&mut self, stream: u32, request: SubscriptionRequest<'_>, now: Time) {
        self.server.on_request(StreamId(stream), request, now);
    }

    /// A request ends.
    pub fn on_gone(&mut self, stream: u32, now: Time) {
        self.server.on_gone(StreamId(stream), now);
    }

    /// All that is answered now.
    pub fn answer(&mut self, router: &mut Router, now: Time) -> Vec<(u32, SubscriptionResponse)> {
        while let Some(update) = router.poll_update() {
            self.server.on_update(update, now);
        }
        let all = from_fn(|| self.server.poll_response(now));
        let all = all.map(|(StreamId(stream), response)| (stream, response)).collect();
        while let Some(event) = self.server.poll_event() {
            assert!(!event.to_string().is_empty(), "whatever happens can be told");
            match event {
                SubscriptionEvent::Acknowledged { service } => {
                    self.changes.on_acknowledged(&service)
                }
                SubscriptionEvent::Gone { service } => self.changes.on_gone(&service),
                SubscriptionEvent::ClustersTold => self.changes.on_told(self.server.services()),
                _ => {}
            }
        }
        all
    }

    /// In how many microseconds of its clock something is due.
    pub fn due(&self, now: Time) -> Option<u64> {
        self.server.due().map(|due| due.since(now).as_micros() as u64)
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.server.held()
    }
}
