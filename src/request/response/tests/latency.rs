//! Tests of the responses that are samples of latency.

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// A request that is picked 100 ms after the start.
fn sent(bench: &mut Bench, has_body: bool) -> Forward {
    let context = PickContext { now: at(100), has_body, ..PickContext::default() };
    match bench.0.decide(Some(ServiceId::nth(0)), &context) {
        Disposition::Forward(forward) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// Lists the known latencies of the endpoints of a request in milliseconds, in order.
fn latencies(forward: &Forward, now: Time) -> Vec<Option<f64>> {
    let latency = |target: &std::rc::Rc<crate::balancer::upstream_host::UpstreamHost>| {
        let seconds = target.latency()?.value(now, Duration::from_secs(10));
        Some((seconds * 1e6).round() / 1e3)
    };
    forward.endpoints().map(latency).collect()
}

#[test]
fn only_what_was_asked_for_is_a_sample_of_latency() {
    for (service, status, grpc_status, expected) in [
        (LATENCY, 200, None, Some(7.0)),
        (LATENCY, 204, None, Some(7.0)),
        (LATENCY, 304, None, Some(7.0)),
        (LATENCY, 404, None, None),
        (LATENCY, 429, None, None),
        (LATENCY, 500, None, None),
        (LATENCY, 503, None, None),
        (GRPC, 200, Some(0), Some(7.0)),
        // RESOURCE_EXHAUSTED, NOT_FOUND, UNAVAILABLE.
        (GRPC, 200, Some(8), None),
        (GRPC, 200, Some(5), None),
        (GRPC, 200, Some(14), None),
        (GRPC, 429, None, None),
    ] {
        let mut bench = Bench::new(service, BY_FILTER_STATE, &[ONE]);
        let forward = sent(&mut bench, false);
        let answer =
            CountedResponse { grpc_status, now: at(107), ..CountedResponse::from(ONE, status) };
        on_headers(&mut bench.0, &forward, true, &mut { answer });
        assert_eq!(latencies(&forward, at(107)), [expected], "{status} {grpc_status:?}");
        let failures = forward.ticket().host().failures().value(at(107), Duration::from_secs(10));
        assert_eq!(failures > 0.0, expected.is_none(), "{status} {grpc_status:?}");
    }
}

#[test]
fn a_grpc_status_in_trailers_says_whether_latency_counts() {
    for (status, expected) in [(0, Some(7.0)), (8, None), (14, None)] {
        let mut bench = Bench::new(GRPC, BY_FILTER_STATE, &[ONE]);
        let forward = sent(&mut bench, false);
        let mut answer = CountedResponse { now: at(107), ..CountedResponse::from(ONE, 200) };
        let (_, next) = on_headers(&mut bench.0, &forward, false, &mut answer);
        let Remaining::Trailers { attempt, latency } = next else { panic!("{next:?}") };
        answer.grpc_status = Some(status);
        on_trailers(&mut bench.0, &forward, attempt, latency, &mut answer);
        assert_eq!(latencies(&forward, Time::ZERO), [expected], "{status}");
    }
}

#[test]
fn an_answer_of_no_upstream_is_no_sample() {
    for upstream in [None, Some(ELSEWHERE)] {
        for status in [200, 301, 404] {
            let mut bench = Bench::new(LATENCY, BY_FILTER_STATE, &[ONE]);
            let forward = sent(&mut bench, false);
            let answer =
                CountedResponse { upstream, now: at(107), ..CountedResponse::from(ONE, status) };
            on_headers(&mut bench.0, &forward, true, &mut { answer });
            assert_eq!(latencies(&forward, at(107)), [None], "{upstream:?} {status}");
            let failures = forward.ticket().host().failures();
            assert_eq!(failures, Default::default(), "{upstream:?} {status}");
        }
    }
}

#[test]
fn a_body_that_was_to_come_leaves_envoys_own_time() {
    let ms = Duration::from_millis;
    for (service_time, expected) in [
        (Some(ms(3)), Some(3.5)),
        (Some(ms(0)), Some(0.5)),
        (Some(ms(9_999)), Some(7.0)),
        (None, None),
    ] {
        let mut bench = Bench::new(LATENCY, BY_FILTER_STATE, &[ONE]);
        let forward = sent(&mut bench, true);
        let mut answer =
            CountedResponse { service_time, now: at(107), ..CountedResponse::from(ONE, 200) };
        on_headers(&mut bench.0, &forward, true, &mut answer);
        assert_eq!(latencies(&forward, at(107)), [expected], "{service_time:?}");
        // The clock, the address, the status, and that time.
        assert_eq!(answer.calls, 4);
    }
}

#[test]
fn under_hedging_the_answer_is_of_whom_the_address_names() {
    // The first was slow, so a second one was asked, and then the first has answered.
    let mut bench = Bench::new(LATENCY, BY_HEADERS, &[ONE, TWO]);
    let forward = sent(&mut bench, false);
    let [first, second] = in_order(&forward);
    let answer = |upstream, status| CountedResponse {
        attempt: 2,
        now: at(107),
        ..CountedResponse::from(upstream, status)
    };
    let feedback = on_headers(&mut bench.0, &forward, true, &mut answer(first, 200)).0;
    assert_eq!(feedback, Feedback::default(), "nobody has failed");
    assert_eq!(latencies(&forward, at(107)), [Some(7.0), None]);
    // What the second one took is not known; the first has failed.
    let feedback = on_headers(&mut bench.0, &forward, true, &mut answer(second, 200)).0;
    assert_eq!(feedback, failures(1, true));
    assert_eq!(latencies(&forward, at(107)), [Some(7.0), None]);
    let feedback = on_headers(&mut bench.0, &forward, true, &mut answer(first, 500)).0;
    assert_eq!(feedback, failures(1, false), "the first, and not the second one");
}

#[test]
fn silence_until_the_client_leaves_is_a_latency() {
    let unanswered = |has_body, handoff, attempt, upstream: Option<&'static str>| {
        let mut bench = Bench::new(LATENCY, handoff, &[ONE, TWO]);
        let other = sent(&mut bench, false);
        let of_other = in_order(&other)[0];
        let usual = CountedResponse { now: at(101), ..CountedResponse::from(of_other, 200) };
        on_headers(&mut bench.0, &other, true, &mut { usual });
        let forward = loop {
            let forward = sent(&mut bench, has_body);
            if in_order(&forward)[0] != of_other {
                break forward;
            }
        };
        let upstream =
            upstream.map(|name| if name == "first" { in_order(&forward)[0] } else { name });
        let mut stream =
            CountedResponse { attempt, upstream, now: at(350), ..CountedResponse::from(ONE, 0) };
        on_unanswered(&mut bench.0, &forward, &mut stream);
        let first = latencies(&forward, at(350))[0];
        (first, stream.calls)
    };
    // The address, and the clock; the attempt as well.
    assert_eq!(unanswered(false, BY_FILTER_STATE, 1, Some("first")), (Some(250.0), 2));
    assert_eq!(unanswered(false, BY_HEADERS, 1, Some("first")), (Some(250.0), 3));
    assert_eq!(unanswered(false, BY_FILTER_STATE, 1, None), (Some(250.0), 3), "no connection yet");
    assert_eq!(unanswered(false, BY_HEADERS, 1, None), (Some(250.0), 3), "no connection yet");
    // A filter behind this one has kept it.
    assert_eq!(unanswered(false, BY_FILTER_STATE, 0, None), (None, 2));
    assert_eq!(unanswered(false, BY_HEADERS, 0, None), (None, 2));
    // Another cluster; the second attempt; a body that perhaps never came.
    assert_eq!(unanswered(false, BY_FILTER_STATE, 1, Some(ELSEWHERE)), (None, 1));
    assert_eq!(unanswered(false, BY_HEADERS, 2, Some("first")), (None, 1));
    assert_eq!(unanswered(true, BY_FILTER_STATE, 1, Some("first")), (None, 0));
}

#[test]
fn what_ends_without_an_answer_costs_no_call_elsewhere() {
    let mut bench = Bench::new(r#""tags": []"#, BY_HEADERS, &[ONE, TWO]);
    let forward = bench.forward();
    let mut stream = CountedResponse::from(ONE, 0);
    on_unanswered(&mut bench.0, &forward, &mut stream);
    assert_eq!(stream.calls, 0);
}
