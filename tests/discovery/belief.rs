//! What Consul says, and when it is believed: one VM, a Consul whose answers are set, time in steps.

use std::time::Duration;

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};

use super::listing::{Bench, World, instance, passing};

#[test]
fn next_instance_is_used_at_once_when_the_only_one_has_gone() {
    for takes in [2, 400] {
        let mut bench = Bench::listing("", "", &[passing(1)]);
        bench.world().takes = takes;
        bench.list(&[]);
        bench.vm.run(50);
        bench.list(&[passing(2)]);
        bench.await_ports(&[2], 2 * takes + 100);
    }
}

#[test]
fn next_instance_is_used_at_once_when_the_last_went_long_ago() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.list(&[]);
    for _ in 0..50 {
        // Any service's change wakes a query for one that has no instances.
        bench.vm.run(400);
        bench.list(&[]);
    }
    assert_eq!(bench.vm.ports(), [1], "it is held back");
    bench.list(&[passing(2)]);
    bench.await_ports(&[2], 1_100);
}

// Promise: R-108
#[test]
fn what_is_new_is_used_at_once_when_others_vanish() {
    let all: Vec<String> = (1..=10).map(passing).collect();
    let mut bench = Bench::listing("", "", &all);
    // The consistent read that confirms it never comes back.
    bench.list(&[passing(11)]);
    bench.world().lie = Some(vec![passing(11), instance("10.0.0.1", 3, "critical")]);
    bench.world().instances.clone_from(&all);
    bench.vm.run(3);
    let expected: Vec<u16> = (1..=11).filter(|port| *port != 3).collect();
    assert_eq!(bench.vm.ports(), expected, "what it lists is used, and what it does not is kept");
    bench.await_ports(&(1..=10).collect::<Vec<_>>(), 1_000);
}

// Promise: R-108
#[test]
fn address_is_used_at_once_when_a_host_name_is_mended() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.list(&[instance("web.internal", 80, "passing")]);
    bench.vm.run(20_000);
    assert_eq!(bench.vm.ports(), [1]);
    bench.list(&[passing(2)]);
    bench.await_ports(&[2], 100);
}

#[test]
fn unusable_instances_are_believed_when_hold_is_over() {
    for entry in [instance("web.internal", 80, "passing"), instance("10.0.0.1", 0, "passing")] {
        let mut bench = Bench::listing("", "", &[passing(1)]);
        bench.list(&[entry]);
        bench.vm.run(29_000);
        assert_eq!(bench.vm.ports(), [1]);
        bench.await_ports(&[], 2_000);
    }
}

#[test]
fn service_is_used_soon_when_it_was_ill_and_its_check_chattered() {
    let ill = [instance("10.0.0.1", 1, "critical")];
    let mut bench = Bench::listing("", "", &ill);
    for _ in 0..80 {
        bench.list(&ill);
        bench.vm.run(500);
    }
    bench.list(&[passing(1)]);
    let waited = bench.await_ports(&[1], 60_000);
    assert!(waited <= 1_100, "{waited} ms");
}

#[test]
fn critical_instance_of_a_prepared_query_is_not_held() {
    let mut bench = Bench::listing("", r#", "query": "q""#, &[passing(1)]);
    bench.list(&[instance("10.0.0.1", 1, "critical")]);
    // A poll comes every five seconds.
    bench.await_ports(&[], 6_000);
    bench.list(&[passing(1)]);
    bench.await_ports(&[1], 6_000);
    bench.list(&[]);
    bench.vm.run(20_000);
    assert_eq!(bench.vm.ports(), [1], "it has vanished");
}

#[test]
fn name_has_no_endpoint_when_its_prepared_query_was_deleted() {
    for (is_named, expected) in [(true, vec![]), (false, vec![1])] {
        let world = World { is_named, instances: vec![passing(1)], ..World::new() };
        let mut bench = Bench::new("", r#", "query": "q""#, world);
        bench.await_ports(&[1], 1_000);
        bench.world().is_unknown = true;
        bench.vm.run(25_000);
        assert_eq!(bench.vm.ports(), [1], "it is held");
        bench.vm.run(30_000);
        assert_eq!(bench.vm.ports(), expected);
    }
}

// Promise: R-110
#[test]
fn leader_is_asked_at_a_resync_when_the_cache_stands_still() {
    let consul = r#", "consistency": "cached", "resync": "60s", "wait": "10s""#;
    let mut bench = Bench::listing(consul, "", &[passing(1), passing(2)]);
    let world = bench.world();
    world.cached = Some((world.index, world.instances.clone()));
    bench.list(&[passing(2)]);
    bench.await_ports(&[2], 70_000);
    for _ in 0..1_000 {
        bench.vm.run(100);
        assert_eq!(
            bench.vm.ports(),
            [2],
            "what the cache says is older: {:?}",
            bench.world().asked
        );
    }
}

// Promise: R-111
#[test]
fn answers_are_waited_for_when_they_take_longer_than_a_timeout() {
    for takes in [12_000, 45_000] {
        let mut bench = Bench::new("", "", World { takes, ..World::new() });
        bench.world().instances = vec![passing(1)];
        bench.await_ports(&[1], 400_000);
        bench.vm.run(120_000);
        bench.list(&[passing(2)]);
        bench.await_ports(&[2], 2 * takes + 1_000);
    }
}

// Promise: R-112
#[test]
fn held_answer_is_not_believed_when_the_process_was_stopped() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.list(&[]);
    bench.vm.run(2_000);
    // Long over, and Consul has said so consistently; by now it says otherwise.
    bench.world().index += 1;
    bench.world().instances = vec![passing(1)];
    bench.vm.stop(3_600_000);
    assert_eq!(bench.vm.ports(), [1]);
    for _ in 0..10_000 {
        bench.vm.run(1);
        assert_eq!(bench.vm.ports(), [1], "the read that refutes it comes first");
    }
}

/// A VM where another one has published an endpoint, and gives no sign of life.
fn left(fields: &str, world: World) -> Bench {
    let mut bench = Bench::new("", fields, world);
    let key = bench.key;
    let version = SnapshotVersion { term: Term(3), generation: 4 };
    let head = SourceRecord {
        owner: VmId(99),
        term: Term(3),
        rank: Rank { serving: false, born: 0 },
        published: Some(version),
        age: Duration::from_secs(1),
        listed: 1,
    };
    let endpoint = |port| {
        let address = std::net::SocketAddr::from(([10, 0, 0, 1], port));
        consul_resolver::model::endpoint::Endpoint::new(address)
    };
    let record = SnapshotRecord { version, snapshot: Snapshot::new(vec![endpoint(1)]).into() };
    bench.vm.host.write(SharedKey::SourceRecord(key), head.encode());
    bench.vm.host.write(SharedKey::Snapshot(key, version), record.encode());
    bench
}

// Promise: R-112
#[test]
fn endpoints_are_not_used_when_their_owner_died_long_ago() {
    for (on_stale, is_used) in [("fail", false), ("serve", true)] {
        let fields = format!(r#", "max_age": "90s", "on_stale": "{on_stale}""#);
        let mut bench = left(&fields, World { fails: true, ..World::new() });
        for _ in 0..1_000 {
            bench.vm.run(100);
            let is_forwarded = matches!(bench.decide(), Disposition::Forward(_));
            assert_eq!(is_forwarded, is_used, "{on_stale} at {}", bench.vm.now());
        }
        bench.world().fails = false;
        bench.world().instances = vec![passing(2)];
        bench.await_ports(&[2], 60_000);
        assert!(matches!(bench.decide(), Disposition::Forward(_)));
    }
}

#[test]
fn endpoints_are_used_when_their_owner_gives_a_sign_of_life() {
    let fields = r#", "max_age": "90s", "on_stale": "fail""#;
    let mut bench = left(fields, World::new());
    bench.vm.run(500);
    assert!(matches!(bench.decide(), Disposition::Wait { .. }));
    let head = SharedKey::SourceRecord(bench.key);
    let (same, _) = bench.vm.host.data[&head].clone();
    bench.vm.host.write(head, same);
    bench.vm.run(300);
    assert!(matches!(bench.decide(), Disposition::Forward(_)));
    assert_eq!(bench.vm.host.claims, 0);
}

// Promise: R-112
#[test]
fn lease_is_left_to_its_owner_when_the_process_was_stopped() {
    let mut bench = left("", World::new());
    bench.vm.run(500);
    bench.vm.stop(3_600_000);
    bench.vm.run(500);
    assert_eq!(bench.vm.host.claims, 0, "it has stood still, too");
    bench.vm.run(4_000);
    assert_eq!(bench.vm.host.claims, 1, "it is dead");
}

#[test]
fn breaker_hears_of_its_probe_when_an_answer_is_held_meanwhile() {
    let mut bench = Bench::listing("", r#", "shrink_guard": {"hold": "20s"}"#, &[passing(1)]);
    bench.list(&[]);
    bench.vm.run(6_000);
    // The breaker opens, and the probe takes until the hold is over.
    bench.world().fails = true;
    bench.list(&[]);
    while bench.vm.host.breaker != Some(BreakerState::Open) {
        bench.vm.run(10);
        assert!(bench.vm.now() < 60_000, "it never opens");
    }
    bench.world().fails = false;
    bench.world().takes = 9_000;
    while bench.vm.host.breaker != Some(BreakerState::HalfOpen) {
        bench.vm.run(10);
        assert!(bench.vm.now() < 120_000, "there is no probe");
    }
    bench.vm.run(9_100);
    assert_eq!(
        bench.vm.host.breaker,
        Some(BreakerState::Closed),
        "{:?}",
        bench.vm.host.registry.asked
    );
}
