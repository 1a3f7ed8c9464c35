use super::*;
use crate::calls::caller::AgentCallId;
use crate::calls::circuit::OF_THE_AGENT;
use crate::model::registration::RegistrationId;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn service_takes_a_slot_before_any_name() {
    let mut scheduler = scheduler(2);
    let [a, b] = [0, 1].map(|n| Caller::from(SourceId::nth(n)));
    let [c, d] = [2, 3].map(|n| Caller::Name(SourceId::nth(n)));
    assert!(scheduler.admit(a, &OWN, CallKind::Watch, at(0)).is_some());
    assert!(scheduler.admit(c, &OWN, CallKind::Watch, at(0)).is_some());
    // A call of the service fails, and a name wants a watch slot.
    scheduler.release_slot(a);
    assert!(!scheduler.has_slot(d), "the place is kept");
    assert!(scheduler.admit(a, &OWN, CallKind::Watch, at(1)).is_some());
    // Another service comes, and the name loses its slot.
    assert!(!scheduler.has_slot(b) && !scheduler.has_slot(c));
    assert!(scheduler.admit(c, &OWN, POLL, at(2)).is_some());
    assert!(scheduler.admit(b, &OWN, CallKind::Watch, at(3)).is_some());
    scheduler.forget(b, at(4));
    assert!(scheduler.has_slot(d), "nobody else wants it");
}

#[test]
fn names_wait_apart_and_do_not_count_for_the_breaker() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    let name = Caller::Name(SourceId::nth(7));
    let call = CallId::Query { source: SourceId::nth(7), query: QueryId(1) };
    let nowhere: Datacenter = Some("nowhere".into());
    for datacenter in [&OWN, &nowhere] {
        assert_eq!(scheduler.admit(name, datacenter, READ, at(0)), Some(Permit::AsWanted));
        for _ in 0..100 {
            scheduler.on_outcome(name, call, datacenter, Err(ErrorKind::Timeout), at(0), &mut rng);
        }
    }
    assert_eq!((scheduler.position(), scheduler.circuits.len()), ((BreakerState::Closed, None), 0));
    let names = (0..1_000).map(|n| Caller::Name(SourceId::nth(n)));
    let admitted = |scheduler: &mut CallScheduler, want| {
        names.clone().filter(|name| scheduler.admit(*name, &OWN, want, at(1)).is_some()).count()
    };
    assert_eq!([READ, RETRY, POLL].map(|want| admitted(&mut scheduler, want)), [98, 100, 20]);
    for (source, want) in sources(3).zip([READ, RETRY, POLL]) {
        assert_eq!(scheduler.admit(source, &OWN, want, at(1)), Some(Permit::AsWanted), "{want:?}");
    }
    for source in sources(3).chain(sources(3)) {
        let call = CallId::Query { source, query: QueryId(1) };
        scheduler.on_outcome(source, call, &OWN, Err(ErrorKind::Timeout), at(1), &mut rng);
    }
    assert_eq!(scheduler.position().0, BreakerState::Open);
    assert_eq!(scheduler.admit(SourceId::nth(0), &OWN, RETRY, at(1)), None);
    assert_eq!(scheduler.admit(name, &OWN, READ, at(60_000)), None, "a configured service waits");
    assert_eq!(scheduler.admit(SourceId::nth(0), &OWN, RETRY, at(60_000)), Some(Permit::Probe));
}

#[test]
fn names_probe_when_the_only_service_fails_by_itself() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    let (big, name) = (SourceId::nth(0), Caller::Name(SourceId::nth(7)));
    let call = |query| CallId::Query { source: big, query: QueryId(query) };
    for query in 1..=5 {
        scheduler.on_outcome(big, call(query), &OWN, Err(ErrorKind::NoAnswer), at(0), &mut rng);
    }
    assert_eq!(scheduler.position().0, BreakerState::Open);
    assert_eq!(scheduler.admit(name, &OWN, READ, at(1)), None, "nobody asks while it is open");
    assert_eq!(scheduler.admit(name, &OWN, CallKind::Watch, at(60_000)), Some(Permit::Probe));
    let of_name = CallId::Query { source: SourceId::nth(7), query: QueryId(1) };
    scheduler.on_probe(name, of_name, &OWN, at(75_000), at(60_000));
    scheduler.on_outcome(name, of_name, &OWN, Err(ErrorKind::Timeout), at(70_000), &mut rng);
    assert_eq!(scheduler.position().0, BreakerState::Open);
    assert_eq!(scheduler.admit(name, &OWN, READ, at(130_000)), Some(Permit::Probe));
    scheduler.on_probe(name, of_name, &OWN, at(145_000), at(130_000));
    scheduler.on_outcome(name, of_name, &OWN, Ok(()), at(130_001), &mut rng);
    assert_eq!(scheduler.position().0, BreakerState::Closed);
}

#[test]
fn reports_go_out_when_a_probe_of_the_agent_is_slow() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    let agent = Some(OF_THE_AGENT.into());
    let [one, other] = [0, 1].map(RegistrationId::nth);
    let call = |number| CallId::Agent { registration: one, call: AgentCallId(number) };
    for number in 1..=5 {
        let failed = Err(ErrorKind::Timeout);
        scheduler.on_outcome(one, call(number), &agent, failed, at(0), &mut rng);
    }
    assert_eq!(scheduler.admit(one, &agent, RETRY, at(3_000)), Some(Permit::Probe));
    scheduler.on_probe(one, call(6), &agent, at(68_000), at(3_000));
    assert_eq!(scheduler.admit(other, &agent, READ, at(5_999)), None);
    scheduler.on_tick(at(6_000), &mut rng);
    assert_eq!(scheduler.admit(other, &agent, READ, at(9_000)), Some(Permit::Probe));
    // A slower agent works all the same.
    scheduler.on_outcome(one, call(6), &agent, Ok(()), at(20_000), &mut rng);
    assert_eq!(scheduler.position().0, BreakerState::Closed);
}

#[test]
fn registrations_are_admitted_when_services_fail() {
    let mut scheduler = scheduler(100);
    sources(1_000).for_each(|source| {
        scheduler.admit(source, &OWN, RETRY, at(0));
        scheduler.admit(source, &OWN, READ, at(0));
    });
    let agent: Datacenter = Some("of the agent".into());
    let registration = RegistrationId::nth(0);
    for want in [RETRY, READ] {
        assert_eq!(scheduler.admit(registration, &agent, want, at(0)), Some(Permit::AsWanted));
    }
}
