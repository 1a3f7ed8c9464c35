//! A pool with its clock, and the endpoints that it has.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::pool::Pool;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::balancer::ticket::Ticket;
use consul_resolver::balancer::upstream_host::UpstreamHost;
use consul_resolver::config::Config;
use consul_resolver::handoff::encoded_handoff::EncodedHandoff;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

/// The seed of every fleet, unless a test says otherwise.
pub(crate) const SEED: u64 = 99;

/// A pool with its clock.
pub(crate) struct Fleet {
    pub(crate) pool: Pool,
    pub(crate) now: Time,
}

impl Fleet {
    /// An empty pool of a service that is configured so, beside its name.
    pub(crate) fn new(service: &str) -> Self {
        Self::seeded(service, SEED)
    }

    /// The same with a seed.
    pub(crate) fn seeded(service: &str, seed: u64) -> Self {
        Self::configured(service, "{}", seed)
    }

    /// The same of a proxy with this locality.
    pub(crate) fn located(service: &str, locality: &str) -> Self {
        Self::configured(service, locality, SEED)
    }

    fn configured(service: &str, locality: &str, seed: u64) -> Self {
        let comma = if service.is_empty() { "" } else { "," };
        let json = format!(
            r#"{{ "consul": {{ "cluster": "consul" }}, "locality": {locality},
                  "services": [{{ "name": "web"{comma} {service} }}] }}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let locality = config.locality.as_ref();
        Self {
            pool: Pool::new(&config.services[0], locality, Rng::new(seed)),
            now: Time::from_start(Duration::from_secs(1_000)),
        }
    }

    /// The same with these endpoints in its first datacenter.
    pub(crate) fn of(mut self, endpoints: Vec<Endpoint>) -> Self {
        self.install(endpoints);
        self
    }

    /// Replaces the endpoints of the first datacenter.
    pub(crate) fn install(&mut self, endpoints: Vec<Endpoint>) {
        self.install_in(0, Snapshot::new(endpoints));
    }

    /// Replaces those of any.
    pub(crate) fn install_in(&mut self, preference: usize, snapshot: Snapshot) {
        self.pool.install(preference, &snapshot, self.now, &mut |endpoint| {
            EncodedHandoff::of_one(endpoint.address.to_string().into_bytes())
        });
    }

    /// Picks for a request that says nothing.
    pub(crate) fn pick(&mut self) -> Option<Ticket> {
        self.pick_for(&PickContext::default())
    }

    /// Picks for a request.
    pub(crate) fn pick_for(&mut self, hints: &PickContext) -> Option<Ticket> {
        self.pool.pick(&PickContext { now: self.now, ..hints.clone() }, &mut [])
    }

    /// The port that a request goes to which ends at once.
    pub(crate) fn port_for(&mut self, hints: &PickContext) -> Option<u16> {
        self.pick_for(hints).map(|ticket| port(&ticket))
    }

    /// Sends requests that say nothing and end at once; tells how many each of the ports from 1
    /// to `ports` had.
    pub(crate) fn count(&mut self, requests: u32, ports: usize) -> Vec<u32> {
        self.count_for(requests, ports, |_| PickContext::default())
    }

    /// The same of requests that each say something.
    pub(crate) fn count_for(
        &mut self,
        requests: u32,
        ports: usize,
        mut hints: impl FnMut(u32) -> PickContext,
    ) -> Vec<u32> {
        let mut seen = vec![0; ports];
        for n in 0..requests {
            seen[usize::from(self.port_for(&hints(n)).unwrap()) - 1] += 1;
        }
        seen
    }

    /// The first port, and those of the retries, of a request.
    pub(crate) fn attempts_for(&mut self, hints: &PickContext, retries: usize) -> Vec<u16> {
        let mut others = vec![None; retries];
        let hints = PickContext { now: self.now, ..hints.clone() };
        let ticket = self.pool.pick(&hints, &mut others).unwrap();
        let is_gap = |pair: &[Option<Rc<UpstreamHost>>]| pair[0].is_none() && pair[1].is_some();
        assert!(!others.windows(2).any(is_gap));
        let others = others.iter().flatten().map(|target| target.address().port());
        [port(&ticket)].into_iter().chain(others).collect()
    }

    /// Ends a request like that.
    pub(crate) fn end(&mut self, ticket: Ticket, outcome: RequestOutcome) {
        self.pool.on_outcome(ticket.host(), outcome, self.now);
    }

    /// Sends requests until one goes to this port, and ends that like that, and the others not yet.
    pub(crate) fn answer(&mut self, at: u16, outcome: RequestOutcome) {
        let mut busy = Vec::new();
        loop {
            let ticket = self.pick().unwrap();
            if port(&ticket) == at {
                return self.end(ticket, outcome);
            }
            busy.push(ticket);
            assert!(busy.len() < 10_000, "port {at} is never picked");
        }
    }

    /// Lets time pass, in ticks of a quarter of a second.
    pub(crate) fn wait(&mut self, time: Duration) {
        const TICK: Duration = Duration::from_millis(250);
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            self.pool.on_tick(self.now);
        }
    }

    /// Ticks while time stands still.
    pub(crate) fn tick(&mut self) {
        self.pool.on_tick(self.now);
    }

    /// The endpoint at a port.
    pub(crate) fn target(&self, port: u16) -> Rc<UpstreamHost> {
        let mut targets = self.pool.hosts();
        Rc::clone(targets.find(|target| target.address().port() == port).unwrap())
    }
}

/// Where a request goes.
pub(crate) fn port(ticket: &Ticket) -> u16 {
    ticket.host().address().port()
}

/// An endpoint of weight 1.
pub(crate) fn at(port: u16) -> Endpoint {
    Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)))
}

/// So many endpoints that are not healthy, on ports from 101.
pub(crate) fn ill(count: u16) -> Vec<Endpoint> {
    (101..101 + count).map(at).collect()
}

/// Endpoints on ports 1, 2, 3 … with these weights; weight 0 leaves a port out.
pub(crate) fn weighing(weights: &[u16]) -> Vec<Endpoint> {
    let endpoint = |(&weight, port)| Some(at(port).weighing(NonZeroU16::new(weight)?));
    weights.iter().zip(1..).filter_map(endpoint).collect()
}

/// An endpoint of a version.
pub(crate) fn of_version(port: u16, version: &str) -> Endpoint {
    Endpoint { version: Some(version.into()), ..at(port) }
}

/// An endpoint in a zone.
pub(crate) fn in_zone(port: u16, zone: &str) -> Endpoint {
    Endpoint { zone: Some(zone.into()), ..at(port) }
}

/// What the configuration says for a policy.
pub(crate) fn policy(name: &str) -> String {
    let hash_on = match name {
        "ring_hash" | "maglev" => r#", "hash_on": { "path": true }"#,
        _ => "",
    };
    format!(r#""load_balancing": {{ "policy": "{name}"{hash_on} }}"#)
}

/// All policies.
pub(crate) const POLICIES: [&str; 6] =
    ["round_robin", "random", "least_request", "peak_ewma", "ring_hash", "maglev"];

/// A request with this hash.
pub(crate) fn hashed(hash: u64) -> PickContext {
    PickContext { hash: Some(hash), ..PickContext::default() }
}

/// A request with a key of its own: by enough of them every endpoint is reached.
pub(crate) fn any(n: u64) -> PickContext {
    hashed(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
