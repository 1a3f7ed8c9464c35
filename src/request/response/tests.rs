//! Tests of the feedback of responses, and of its host calls.

use core::net::SocketAddr;

use super::*;
use crate::balancer::pick_context::PickContext;
use crate::config::Config;
use crate::model::endpoint::Endpoint;
use crate::model::service::{ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::request::counted::CountedResponse;
use crate::router::disposition::Disposition;
use crate::util::rng::Rng;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod latency;

const ONE: &str = "10.0.0.1:80";
const TWO: &str = "10.0.0.2:80";
const ELSEWHERE: &str = "10.9.9.9:80";
const LATENCY: &str = r#""load_balancing": { "policy": "peak_ewma" }"#;
const GRPC: &str = r#""protocol": "grpc", "load_balancing": { "policy": "peak_ewma" }"#;
const BY_FILTER_STATE: &str = r#"{ "via": "filter_state" }"#;
const BY_HEADERS: &str = r#"{ "via": "headers", "attempts": 2 }"#;
const BY_SESSION: &str =
    r#"{ "via": "stateful_session" }, "xds": { "cluster": "xds", "address": "/xds" }"#;

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
        router.install(SourceId::nth(0), &snapshot.into(), Time::ZERO);
        Self(router)
    }

    fn forward(&mut self) -> Forward {
        match self.0.decide(Some(ServiceId::nth(0)), &PickContext::default()) {
            Disposition::Forward(forward) => forward,
            other => panic!("not forwarded: {other:?}"),
        }
    }

    /// Sends a request, and reads the headers of its answer.
    fn answer(&mut self, ended: bool, answer: &mut CountedResponse) -> (Feedback, Remaining) {
        let forward = self.forward();
        on_headers(&mut self.0, &forward, ended, answer)
    }
}

/// Counts the endpoints of a request that have failed lately.
fn failed(forward: &Forward) -> usize {
    let has_failed = |target: &&std::rc::Rc<crate::balancer::upstream_host::UpstreamHost>| {
        target.failures().value(Time::ZERO, Duration::from_secs(10)) > 0.0
    };
    forward.endpoints().filter(has_failed).count()
}

fn failures(failures: u32, suspects: bool) -> Feedback {
    Feedback { failures, suspects }
}

#[test]
fn an_answer_costs_no_call_where_nothing_learns_from_it() {
    for handoff in [BY_FILTER_STATE, BY_HEADERS] {
        let mut answer = CountedResponse::from(ONE, 503);
        let learned = Bench::new(r#""tags": []"#, handoff, &[ONE]).answer(true, &mut answer);
        assert_eq!((learned, answer.calls), ((Feedback::default(), Remaining::Nothing), 0));
    }
}

#[test]
fn what_is_read_of_an_answer_is_counted() {
    // The clock, the address, and the status; the attempt as well; the flags as well.
    for (handoff, status, calls) in
        [(BY_FILTER_STATE, 200, 3), (BY_HEADERS, 200, 4), (BY_FILTER_STATE, 503, 4)]
    {
        let mut answer = CountedResponse::from(ONE, status);
        Bench::new(LATENCY, handoff, &[ONE]).answer(true, &mut answer);
        assert_eq!(answer.calls, calls, "{handoff} {status}");
    }
}

#[test]
fn a_failure_is_the_endpoints_only_where_the_answer_is() {
    const CIRCUIT_BREAKER: u64 = 1 << 7;
    const CONNECTION_FAILURE: u64 = 1 << 5;
    for (upstream, flags, feedback) in [
        (Some(ONE), 0, failures(1, false)),
        (Some(ONE), ResponseFlags::RETRY_LIMIT, failures(1, false)),
        (Some(ONE), CONNECTION_FAILURE, failures(1, true)),
        (Some(ONE), CIRCUIT_BREAKER, Feedback::default()),
        (Some(ELSEWHERE), 0, Feedback::default()),
        (Some(ELSEWHERE), CONNECTION_FAILURE, Feedback::default()),
        (Some("\u{e9}"), 0, Feedback::default()),
        (None, 0, Feedback::default()),
    ] {
        for status in [503, 404] {
            let mut bench = Bench::new(LATENCY, BY_FILTER_STATE, &[ONE]);
            let forward = bench.forward();
            let answer = CountedResponse { upstream, flags, ..CountedResponse::from(ONE, status) };
            let learned = on_headers(&mut bench.0, &forward, true, &mut { answer }).0;
            assert_eq!(learned, feedback, "{upstream:?} {flags} {status}");
            assert_eq!(
                failed(&forward),
                feedback.failures as usize,
                "{upstream:?} {flags} {status}"
            );
        }
    }
}

#[test]
fn name_that_cannot_be_resolved_is_a_failure_of_its_endpoint() {
    let mut bench = Bench::new(LATENCY, BY_FILTER_STATE, &[ONE]);
    let unresolved = || CountedResponse {
        upstream: None,
        flags: ResponseFlags::UNRESOLVED,
        ..CountedResponse::from(ONE, 503)
    };
    assert_eq!(bench.answer(true, &mut unresolved()).0, Feedback::default());
    let name = Endpoint::new(crate::model::endpoint::Address::Name("web.internal".into(), 80));
    bench.0.install(SourceId::nth(0), &Snapshot::new(vec![name]).into(), Time::ZERO);
    assert_eq!(bench.answer(true, &mut unresolved()).0, failures(1, true));
    assert_eq!(failed(&bench.forward()), 1);
}

#[test]
fn an_answer_to_a_retry_tells_of_the_attempt_before_it() {
    for elsewhere in [false, true] {
        let mut bench = Bench::new(LATENCY, BY_HEADERS, &[ONE, TWO]);
        let forward = bench.forward();
        let upstream = if elsewhere { ELSEWHERE } else { in_order(&forward)[1] };
        let answer = CountedResponse { attempt: 2, ..CountedResponse::from(upstream, 200) };
        let feedback = on_headers(&mut bench.0, &forward, true, &mut { answer }).0;
        assert_eq!(feedback, if elsewhere { Feedback::default() } else { failures(1, true) });
        assert_eq!(failed(&forward), feedback.failures as usize);
    }
    // More attempts than there are endpoints for: the last one is of none.
    let mut bench = Bench::new(LATENCY, BY_HEADERS, &[ONE, TWO]);
    let mut answer = CountedResponse { attempt: 9, ..CountedResponse::from(TWO, 503) };
    assert_eq!(bench.answer(true, &mut answer).0, failures(2, true));
    assert_eq!(failed(&bench.forward()), 2);
}

#[test]
fn pick_has_failed_when_a_retry_of_envoys_is_answered_elsewhere() {
    for (instance, attempt, status, feedback) in [
        (Some(1), 2, 200, failures(1, true)),
        (Some(1), 3, 503, failures(1, true)),
        // Envoy has not taken the pick, or has taken a cookie's.
        (Some(1), 1, 200, Feedback::default()),
        (Some(0), 1, 200, Feedback::default()),
        // Of another cluster.
        (None, 2, 200, failures(0, true)),
    ] {
        let mut bench = Bench::new(LATENCY, BY_SESSION, &[ONE, TWO]);
        let forward = bench.forward();
        let upstream = instance.map_or(ELSEWHERE, |number: usize| in_order(&forward)[number]);
        let mut answer = CountedResponse { attempt, ..CountedResponse::from(upstream, status) };
        let learned = on_headers(&mut bench.0, &forward, true, &mut answer).0;
        let expected = (feedback, feedback.failures as usize);
        assert_eq!((learned, failed(&forward)), expected, "{instance:?} {attempt}");
        // The clock and the address, and the status or the attempt.
        assert_eq!(answer.calls, 3);
    }
}

#[test]
fn a_grpc_call_is_judged_by_its_trailers() {
    for (grpc_status, failures) in [(None, 0), (Some(0), 0), (Some(14), 1)] {
        let mut bench = Bench::new(GRPC, BY_FILTER_STATE, &[ONE]);
        let forward = bench.forward();
        let mut answer = CountedResponse::from(ONE, 200);
        let (_, next) = on_headers(&mut bench.0, &forward, false, &mut answer);
        let Remaining::Trailers { attempt, latency } = next else { panic!("{next:?}") };
        answer.grpc_status = grpc_status;
        let feedback = on_trailers(&mut bench.0, &forward, attempt, latency, &mut answer);
        assert_eq!((feedback.failures, failed(&forward)), (failures, failures as usize));
    }
}

/// The endpoint of the first attempt, and the other one of two.
fn in_order(forward: &Forward) -> [&'static str; 2] {
    match forward.ticket().host().address().to_string() == ONE {
        true => [ONE, TWO],
        false => [TWO, ONE],
    }
}

#[test]
fn trailers_of_a_grpc_retry_count_for_its_own_endpoint() {
    let mut bench = Bench::new(GRPC, BY_HEADERS, &[ONE, TWO]);
    let forward = bench.forward();
    let [_, second] = in_order(&forward);
    let mut answer = CountedResponse { attempt: 2, ..CountedResponse::from(second, 200) };
    let (feedback, next) = on_headers(&mut bench.0, &forward, false, &mut answer);
    assert_eq!(feedback, failures(1, true), "the first");
    let Remaining::Trailers { attempt, latency } = next else { panic!("{next:?}") };
    answer.grpc_status = Some(14);
    let feedback = on_trailers(&mut bench.0, &forward, attempt, latency, &mut answer);
    assert_eq!(feedback, failures(1, false), "the second");
    assert_eq!(failed(&forward), 2, "both");
}

#[test]
fn latency_is_from_the_pick_to_the_headers_of_the_first_attempt() {
    let at = |milliseconds| Time::from_start(Duration::from_millis(milliseconds));
    for (attempt, expected) in [(1, Some(0.007)), (2, None)] {
        let mut bench = Bench::new(LATENCY, BY_HEADERS, &[ONE, TWO]);
        let context = PickContext { now: at(100), ..PickContext::default() };
        let Disposition::Forward(forward) = bench.0.decide(Some(ServiceId::nth(0)), &context)
        else {
            panic!("not forwarded");
        };
        let upstream = in_order(&forward)[attempt as usize - 1];
        let mut answer =
            CountedResponse { attempt, now: at(107), ..CountedResponse::from(upstream, 200) };
        on_headers(&mut bench.0, &forward, true, &mut answer);
        let latency = forward.ticket().host().latency();
        let seconds = latency.map(|l| l.value(at(107), Duration::from_secs(10)));
        assert_eq!(seconds, expected, "attempt {attempt}");
    }
}

#[test]
fn pick_has_failed_when_envoy_passes_it_over_without_a_cookie() {
    for (upstream, has_cookie, is_failure) in [
        (TWO, false, true),
        // The client may be bound to it.
        (TWO, true, false),
        // The route leads to another cluster.
        (ELSEWHERE, false, false),
    ] {
        let mut bench = Bench::new(LATENCY, BY_SESSION, &[ONE, TWO]);
        let mut failures = Vec::new();
        for _ in 0..3 {
            let mut forward = bench.forward();
            while in_order(&forward)[0] == TWO {
                forward = bench.forward();
            }
            if forward.is_doubted() && !has_cookie {
                forward.set_unbound();
            }
            let answer = CountedResponse::from(upstream, 200);
            on_headers(&mut bench.0, &forward, true, &mut { answer });
            failures.push(failed(&forward));
        }
        // That there is no cookie is not known of the first one.
        let expected = if is_failure { [0, 1, 1] } else { [0; 3] };
        assert_eq!(failures, expected, "{upstream} {has_cookie}");
    }
}

#[test]
fn pick_is_doubted_for_ten_seconds_when_envoy_passes_it_over() {
    let mut bench = Bench::new(LATENCY, BY_SESSION, &[ONE, TWO]);
    let forward = bench.forward();
    let mut answer = CountedResponse::from(in_order(&forward)[1], 200);
    on_headers(&mut bench.0, &forward, true, &mut answer);
    let target = forward.ticket().host();
    let at = |seconds| Time::from_start(Duration::from_secs(seconds));
    assert!(target.is_doubted(at(9)) && !target.is_doubted(at(10)));
}
