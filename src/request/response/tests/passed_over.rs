//! Picks that Envoy does not use.

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
