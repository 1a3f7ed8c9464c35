//! Pools whose endpoints are in trouble, in simulated time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::pool::Pool;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::balancer::ticket::Ticket;
use consul_resolver::config::Config;
use consul_resolver::handoff::encoded_handoff::EncodedHandoff;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

/// How an endpoint answers, and after what time.
type Answer = (RequestOutcome, Duration);

const GOOD: Duration = Duration::from_micros(500);

/// A pool of endpoints 0, 1, 2, …, and the requests that are under way.
struct Scene {
    pool: Pool,
    flying: BTreeMap<(Time, usize), (Ticket, Answer)>,
}

impl Scene {
    fn new(service: &str, endpoints: u8) -> Self {
        let json = format!(
            r#"{{ "consul": {{ "cluster": "consul" }}, "services": [{{ "name": "web", {service} }}] }}"#
        );
        let config = Config::parse(json.as_bytes()).expect("a configuration");
        let mut pool = Pool::new(&config.services[0], None, Rng::new(7));
        let address = |number| SocketAddr::from(([10, 0, 0, number], 80));
        let snapshot = Snapshot::new((0..endpoints).map(|n| Endpoint::new(address(n))).collect());
        pool.install(0, &snapshot, Time::ZERO, &mut |_| EncodedHandoff::default());
        Self { pool, flying: BTreeMap::new() }
    }

    /// Sends 500 requests a second for that long, with a tick every 250 ms; gives how many each
    /// endpoint was sent.
    fn run(
        &mut self,
        time: Duration,
        mut answer: impl FnMut(usize, Time) -> Answer,
    ) -> BTreeMap<usize, usize> {
        const PAUSE: Duration = Duration::from_millis(2);
        const PER_TICK: usize = 125;
        let mut sent = BTreeMap::new();
        let requests = usize::try_from(time.as_millis() / PAUSE.as_millis()).expect("not so many");
        for (number, now) in (0..requests).zip((1..).map(|n| Time::from_start(PAUSE * n))) {
            self.end_until(now);
            if number.is_multiple_of(PER_TICK) {
                self.pool.on_tick(now);
            }
            let hints = PickContext { now, ..PickContext::default() };
            let ticket = self.pool.pick(&hints, &mut []).expect("an endpoint");
            let endpoint = self.endpoint(&ticket);
            let answer = answer(endpoint, now);
            *sent.entry(endpoint).or_default() += 1;
            self.flying
                .insert((Time::from_start(now.since_start() + answer.1), number), (ticket, answer));
        }
        sent
    }

    fn end_until(&mut self, now: Time) {
        while let Some(first) = self.flying.first_entry().filter(|first| first.key().0 <= now) {
            let ((end, _), (ticket, (outcome, _))) = first.remove_entry();
            let target = ticket.host().clone();
            drop(ticket);
            self.pool.on_outcome(&target, outcome, end);
        }
    }

    fn endpoint(&self, ticket: &Ticket) -> usize {
        let place = self.pool.hosts().position(|target| Rc::ptr_eq(ticket.host(), target));
        place.expect("it is in the pool")
    }
}

/// It does what was asked for, after that time.
const fn well(latency: Duration) -> Answer {
    (RequestOutcome::Success(Some(latency)), latency)
}

#[test]
fn an_endpoint_that_fails_at_once_does_not_look_fast() {
    let mut scene = Scene::new(r#""load_balancing": { "policy": "peak_ewma" }"#, 3);
    let sent = scene.run(Duration::from_secs(10), |endpoint, _| match endpoint {
        2 => (RequestOutcome::Failure, Duration::from_micros(10)),
        _ => well(GOOD),
    });
    assert!(sent[&2] < sent[&0] / 10, "{sent:?}");
}

#[test]
fn endpoints_that_all_fail_for_long_are_all_still_asked() {
    let mut scene = Scene::new(r#""load_balancing": { "policy": "peak_ewma" }"#, 3);
    let sent = scene.run(Duration::from_secs(60), |_, _| (RequestOutcome::Failure, GOOD));
    assert!(sent.len() == 3 && sent.values().all(|&requests| requests > 5_000), "{sent:?}");
}

#[test]
fn endpoints_in_trouble_have_few_requests_when_others_are_well() {
    let slow = Duration::from_millis(100);
    let mut scene = Scene::new(r#""load_balancing": { "policy": "peak_ewma" }"#, 5);
    // One is slow, one fails every second request, and one all of them.
    let mut at_third = 0;
    let mut answer = |endpoint, _| match endpoint {
        2 => well(slow),
        3 => {
            at_third += 1;
            if at_third % 2 == 0 { (RequestOutcome::Failure, GOOD) } else { well(GOOD) }
        }
        4 => (RequestOutcome::Failure, Duration::from_micros(10)),
        _ => well(GOOD),
    };
    scene.run(Duration::from_secs(2), &mut answer);
    let sent = scene.run(Duration::from_secs(6), &mut answer);
    let of = |endpoint| sent.get(&endpoint).copied().unwrap_or(0);
    assert!((2..5).all(|endpoint| of(endpoint) < 30), "of 3,000: {sent:?}");
}
