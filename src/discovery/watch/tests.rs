//! Cases that need a publication which does not end, or a permit that differs from the request. All
//! others are cases of `tests/discovery`.

use super::*;
use crate::calls::wait_queue::CallClass;
use crate::model::endpoint::Endpoint;
use crate::registry::consul::index::ConsulIndex;
use crate::registry::query_response::Decoded;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const WAIT: Duration = Duration::from_secs(55);
const RESYNC: Duration = Duration::from_secs(600);

fn response(n: u64, ports: &[u16]) -> Result<QueryResponse, RegistryError> {
    let endpoint = |&port| Endpoint::new(core::net::SocketAddr::from(([10, 0, 0, 1], port)));
    let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
    let registered = u32::try_from(snapshot.len()).unwrap();
    let decoded = Decoded { snapshot, registered, ..Decoded::default() };
    Ok(QueryResponse::new(Resume::Consul(ConsulIndex::new(n)), decoded))
}

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// A watch whose first response, of index 7 with port 1, is being published since the start.
fn publishing() -> (Watch, Rng) {
    let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuardConfig::default(), at(0));
    let mut rng = Rng::new(1);
    let read = watch.wants(true, at(0)).unwrap();
    assert_eq!(read, CallKind::Read(CallClass::Read));
    let query = watch.ask(read, Permit::AsWanted, at(0), |_| WAIT);
    watch.on_response(query.id, response(7, &[1]), None, at(0), &mut rng);
    (watch, rng)
}

// Promise: R-206
#[test]
fn index_advances_only_when_its_response_is_published() {
    let (mut watch, _) = publishing();
    assert_eq!(watch.wants(true, at(60_000)), None, "no query is due while it is published");
    watch.on_applied(at(60_000));
    let query = watch.ask(CallKind::Watch, Permit::AsWanted, at(60_000), |_| WAIT);
    assert_eq!(query.resume, Some(Resume::Consul(ConsulIndex::new(7))));
}

#[test]
fn source_is_read_anew_when_a_response_is_never_published() {
    let (mut watch, _) = publishing();
    assert!(!watch.abandon_publish(at(4_999)));
    assert!(watch.abandon_publish(at(5_000)));
    let read = watch.wants(true, at(5_000)).unwrap();
    assert_eq!(watch.ask(read, Permit::AsWanted, at(5_000), |_| WAIT).resume, None);
}

#[test]
fn query_does_not_block_when_the_breaker_admits_a_probe() {
    let (mut watch, mut rng) = publishing();
    watch.on_applied(at(0));
    let query = watch.ask(CallKind::Watch, Permit::Probe, at(1_000), |_| WAIT);
    assert_eq!(query.resume, None);
    let current = response(7, &[1]).unwrap().decoded.snapshot;
    let older = response(6, &[2]);
    let outcome = watch.on_response(query.id, older, Some(&current), at(1_000), &mut rng);
    assert!(matches!(outcome, ResponseOutcome::Reread), "{outcome:?}");
}
