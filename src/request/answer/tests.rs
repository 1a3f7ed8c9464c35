//! What answers teach, and what reading them costs.

use core::net::SocketAddr;

use super::*;
use crate::balance::hints::{Hints, Pin};
use crate::balance::outlier::transition::Transition;
use crate::balance::pool::PoolEvent;
use crate::config::Config;
use crate::model::endpoint::Endpoint;
use crate::model::service::{ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::request::counted::CountedAnswer;
use crate::rng::Rng;
use crate::router::decision::Decision;
use crate::router::event::RouteEvent;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod latency;

const ONE: &str = "10.0.0.1:80";
const TWO: &str = "10.0.0.2:80";
const ELSEWHERE: &str = "10.9.9.9:80";
const EJECTS_AT_ONCE: &str = r#""load_balancing": { "panic_threshold": 0 },
    "outlier_detection": { "consecutive_5xx": 1, "max_ejection_percent": 100,
                           "base_ejection_time": "1s" }"#;
const BY_FILTER_STATE: &str = r#"{ "via": "filter_state" }"#;
const BY_HEADERS: &str = r#"{ "via": "headers", "attempts": 2 }"#;

/// A service with endpoints, and its answers.
struct Bench(Router);

impl Bench {
    fn new(service: &str, handoff: &str, endpoints: &[&str]) -> Self {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"}}, "handoff": {handoff},
                "services": [{{"name": "web", {service}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let mut router = Router::new(&config, &mut Rng::new(1));
        let endpoint = |text: &&str| Endpoint::new(text.parse::<SocketAddr>().unwrap());
        let snapshot = Snapshot::new(endpoints.iter().map(endpoint).collect());
        router.install(SourceId::nth(0), &snapshot, Time::ZERO);
        Self(router)
    }

    fn forward(&mut self) -> Forward {
        match self.0.decide(Some(ServiceId::nth(0)), &Hints::default()) {
            Decision::Forward(forward) => forward,
            other => panic!("not forwarded: {other:?}"),
        }
    }

    /// Sends a request, and reads the headers of its answer.
    fn answer(&mut self, ended: bool, answer: &mut CountedAnswer) -> (Lesson, Next) {
        let mut forward = self.forward();
        on_headers(&mut self.0, &mut forward, ended, answer)
    }

    /// What has happened by that second.
    fn events(&mut self, seconds: u64) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        let now = Time::from_start(Duration::from_secs(seconds));
        self.0.on_tick(now, |_, event| events.push(event));
        events.retain(|event| matches!(event, RouteEvent::Pool(PoolEvent::Endpoint(..))));
        events
    }
}

fn failures(failures: u32, suspects: bool) -> Lesson {
    Lesson { failures, suspects }
}

#[test]
fn an_answer_costs_no_call_where_nothing_learns_from_it() {
    for handoff in [BY_FILTER_STATE, BY_HEADERS] {
        let mut answer = CountedAnswer::from(ONE, 503);
        let learned = Bench::new(r#""tags": []"#, handoff, &[ONE]).answer(true, &mut answer);
        assert_eq!((learned, answer.calls), ((Lesson::default(), Next::Nothing), 0));
    }
}

#[test]
fn what_each_feature_reads_of_an_answer_is_counted() {
    let detection = r#""outlier_detection": {}"#;
    let latency = r#""load_balancing": { "policy": "peak_ewma" }"#;
    for (service, handoff, calls) in [
        // The status.
        (detection, BY_FILTER_STATE, 1),
        // The attempt as well.
        (detection, BY_HEADERS, 2),
        // The clock, the address, and the status.
        (latency, BY_FILTER_STATE, 3),
        // The attempt as well.
        (latency, BY_HEADERS, 4),
        // The attempt.
        (r#""retry_budget": {}"#, BY_HEADERS, 1),
        // The status, and the cookie.
        (r#""sticky": {}"#, BY_FILTER_STATE, 2),
    ] {
        let mut answer = CountedAnswer::from(ONE, 200);
        let learned = Bench::new(service, handoff, &[ONE]).answer(true, &mut answer);
        assert_eq!((learned, answer.calls), ((Lesson::default(), Next::Nothing), calls));
    }
}

#[test]
fn a_failure_is_the_endpoints_only_where_the_answer_is() {
    const CIRCUIT_BREAKER: u64 = 1 << 7;
    const CONNECTION_FAILURE: u64 = 1 << 5;
    for (upstream, flags, lesson) in [
        (Some(ONE), 0, failures(1, false)),
        (Some(ONE), ResponseFlags::RETRY_LIMIT, failures(1, false)),
        (Some(ONE), CONNECTION_FAILURE, failures(1, true)),
        (Some(ONE), CIRCUIT_BREAKER, Lesson::default()),
        (Some(ELSEWHERE), 0, Lesson::default()),
        (Some(ELSEWHERE), CONNECTION_FAILURE, Lesson::default()),
        (Some("\u{e9}"), 0, Lesson::default()),
        (None, 0, Lesson::default()),
    ] {
        let mut bench = Bench::new(EJECTS_AT_ONCE, BY_FILTER_STATE, &[ONE]);
        let mut answer = CountedAnswer { upstream, flags, ..CountedAnswer::from(ONE, 503) };
        assert_eq!(bench.answer(true, &mut answer).0, lesson, "{upstream:?} {flags}");
        assert_eq!(bench.events(0).len(), lesson.failures as usize, "{upstream:?} {flags}");
    }
}

#[test]
fn a_name_that_cannot_be_resolved_is_held_against_its_endpoint_and_no_address() {
    let mut bench = Bench::new(EJECTS_AT_ONCE, BY_FILTER_STATE, &[ONE]);
    let unresolved = || CountedAnswer {
        upstream: None,
        flags: ResponseFlags::UNRESOLVED,
        ..CountedAnswer::from(ONE, 503)
    };
    assert_eq!(bench.answer(true, &mut unresolved()).0, Lesson::default());
    let name = Endpoint::new(crate::model::endpoint::Address::Name("web.internal".into(), 80));
    bench.0.install(SourceId::nth(0), &Snapshot::new(vec![name]), Time::ZERO);
    assert_eq!(bench.answer(true, &mut unresolved()).0, failures(1, true));
    assert_eq!(bench.events(0).len(), 1);
}

#[test]
fn an_answer_to_a_retry_tells_of_the_attempt_before_it() {
    for (upstream, lesson) in [(ONE, failures(1, true)), (ELSEWHERE, Lesson::default())] {
        let mut bench = Bench::new(EJECTS_AT_ONCE, BY_HEADERS, &[ONE, TWO]);
        let mut answer = CountedAnswer { attempt: 2, ..CountedAnswer::from(upstream, 200) };
        assert_eq!(bench.answer(true, &mut answer).0, lesson);
        assert_eq!(bench.events(0).len(), lesson.failures as usize);
    }
    // More attempts than there are endpoints for: the last one is of none.
    let mut bench = Bench::new(EJECTS_AT_ONCE, BY_HEADERS, &[ONE, TWO]);
    let mut answer = CountedAnswer { attempt: 9, ..CountedAnswer::from(TWO, 503) };
    assert_eq!(bench.answer(true, &mut answer).0, failures(2, true));
    assert_eq!(bench.events(0).len(), 2);
}

#[test]
fn only_an_answer_of_the_endpoint_ends_its_probe() {
    let mut bench = Bench::new(EJECTS_AT_ONCE, BY_FILTER_STATE, &[ONE]);
    bench.answer(true, &mut CountedAnswer::from(ONE, 503));
    assert_eq!(bench.events(2).len(), 1);
    for upstream in [Some(ELSEWHERE), None] {
        let mut redirect = CountedAnswer { upstream, ..CountedAnswer::from(ONE, 301) };
        bench.answer(true, &mut redirect);
        assert_eq!(bench.events(2), [], "{upstream:?}");
    }
    bench.answer(true, &mut CountedAnswer::from(ONE, 200));
    let events = bench.events(2);
    assert!(
        matches!(events[..], [RouteEvent::Pool(PoolEvent::Endpoint(_, Transition::Returned))]),
        "{events:?}"
    );
}

#[test]
fn a_grpc_call_is_judged_by_its_trailers_but_a_probe_by_their_beginning() {
    let grpc = format!(r#""protocol": "grpc", {EJECTS_AT_ONCE}"#);
    let mut bench = Bench::new(&grpc, BY_FILTER_STATE, &[ONE]);
    let mut forward = bench.forward();
    let mut answer = CountedAnswer::from(ONE, 200);
    let (_, next) = on_headers(&mut bench.0, &mut forward, false, &mut answer);
    let Next::Trailers { attempt, latency } = next else { panic!("{next:?}") };
    let mut trailers = |forward: &Forward, grpc_status, upstream| {
        let mut answer = CountedAnswer { grpc_status, upstream, ..CountedAnswer::from(ONE, 200) };
        on_trailers(&mut bench.0, forward, attempt, latency, &mut answer).failures
    };
    assert_eq!(trailers(&forward, None, Some(ONE)), 0);
    assert_eq!(trailers(&forward, Some(14), Some(ELSEWHERE)), 0);
    assert_eq!(trailers(&forward, Some(14), Some(ONE)), 1);
    drop(forward);
    assert_eq!(bench.events(2).len(), 1, "ejected, and to be probed by now");

    // Its stream goes on.
    let mut stream = bench.forward();
    on_headers(&mut bench.0, &mut stream, false, &mut CountedAnswer::from(ONE, 200));
    let events = bench.events(2);
    assert!(
        matches!(events[..], [RouteEvent::Pool(PoolEvent::Endpoint(_, Transition::Returned))]),
        "{events:?}"
    );
}

#[test]
fn a_client_is_told_where_to_stay_unless_the_endpoint_fails_or_it_knows() {
    let mut bench = Bench::new(r#""sticky": {}"#, BY_FILTER_STATE, &[ONE]);
    let mut failed = CountedAnswer::from(ONE, 503);
    bench.answer(true, &mut failed);
    assert!(failed.cookies.is_empty());
    let mut first = CountedAnswer::from(ONE, 200);
    bench.answer(true, &mut first);
    let pin = bench.forward().new_pin(Attempt::FIRST);
    let cookie = format!("consul_resolver={}; Path=/; Max-Age=3600; HttpOnly", pin.unwrap());
    assert_eq!(first.cookies, [cookie]);

    let hints = Hints { pin, ..Hints::default() };
    let Decision::Forward(mut back) = bench.0.decide(Some(ServiceId::nth(0)), &hints) else {
        panic!("not forwarded");
    };
    let mut again = CountedAnswer::from(ONE, 200);
    on_headers(&mut bench.0, &mut back, true, &mut again);
    assert!(again.cookies.is_empty());
}

/// The endpoint of the first attempt, and the other one of two.
fn in_order(forward: &Forward) -> [&'static str; 2] {
    match forward.ticket().target().address().to_string() == ONE {
        true => [ONE, TWO],
        false => [TWO, ONE],
    }
}

#[test]
fn a_grpc_retry_is_attributed_to_its_own_endpoint_in_the_trailers_too() {
    let grpc = format!(r#""protocol": "grpc", {EJECTS_AT_ONCE}"#);
    let mut bench = Bench::new(&grpc, BY_HEADERS, &[ONE, TWO]);
    let mut forward = bench.forward();
    let [_, second] = in_order(&forward);
    let mut answer = CountedAnswer { attempt: 2, ..CountedAnswer::from(second, 200) };
    let (lesson, next) = on_headers(&mut bench.0, &mut forward, false, &mut answer);
    assert_eq!(lesson, failures(1, true), "the first");
    let Next::Trailers { attempt, latency } = next else { panic!("{next:?}") };
    answer.grpc_status = Some(14);
    let lesson = on_trailers(&mut bench.0, &forward, attempt, latency, &mut answer);
    assert_eq!(lesson, failures(1, false), "the second");
    assert_eq!(bench.events(0).len(), 2, "both are ejected");
}

#[test]
fn latency_is_from_the_pick_to_the_headers_of_the_first_attempt() {
    let at = |milliseconds| Time::from_start(Duration::from_millis(milliseconds));
    let latency = r#""load_balancing": { "policy": "peak_ewma" }"#;
    for (attempt, expected) in [(1, Some(0.007)), (2, None)] {
        let mut bench = Bench::new(latency, BY_HEADERS, &[ONE, TWO]);
        let hints = Hints { now: at(100), ..Hints::default() };
        let Decision::Forward(mut forward) = bench.0.decide(Some(ServiceId::nth(0)), &hints) else {
            panic!("not forwarded");
        };
        let upstream = in_order(&forward)[attempt as usize - 1];
        let mut answer =
            CountedAnswer { attempt, now: at(107), ..CountedAnswer::from(upstream, 200) };
        on_headers(&mut bench.0, &mut forward, true, &mut answer);
        let latency = forward.ticket().target().latency();
        let seconds = latency.map(|l| l.value(at(107), Duration::from_secs(10)));
        assert_eq!(seconds, expected, "attempt {attempt}");
    }
}

#[test]
fn a_client_that_was_served_elsewhere_is_told_to_stay_there() {
    let mut bench = Bench::new(r#""sticky": {}"#, BY_HEADERS, &[ONE, TWO]);
    let mut forward = bench.forward();
    let [first, second] = in_order(&forward);
    let mut answer = CountedAnswer { attempt: 2, ..CountedAnswer::from(second, 200) };
    on_headers(&mut bench.0, &mut forward, true, &mut answer);
    let pin = |address: &str| Pin::of(&address.parse::<SocketAddr>().unwrap().into()).to_string();
    assert!(answer.cookies[0].contains(&pin(second)), "{:?}", answer.cookies);
    assert!(!answer.cookies[0].contains(&pin(first)));
}
