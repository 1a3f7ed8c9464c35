//! Instances that vanish from Consul's responses without a word: when that is believed.

use std::ops::Range;

use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};
use consul_resolver::telemetry::{Doubt, Resolution};

use super::listing::{instance, passing};
use crate::testkit::reply::Reply;
use crate::testkit::script::{Script, Sent, config, instances, record, write_record};

fn ports(range: Range<u16>) -> Vec<u16> {
    range.collect()
}

/// A VM whose query blocks on index 7, since second 1, with ten endpoints published.
fn with_ten(service: &str) -> (Script, Sent) {
    Script::of("", service).blocking(7, &ports(1..11))
}

/// A VM that has doubted that response at second 1; the query that blocks from then on, and the read
/// beside it that is to confirm the response.
fn doubted(left: Range<u16>) -> (Script, Sent, Sent) {
    let (mut script, blocking) = with_ten("");
    script.respond(&blocking, 8, &ports(left));
    assert_eq!(doubts(&script), 1);
    let blocking = script.request().expect("a query that blocks");
    let read = script.request().expect("a read");
    assert_eq!((blocking.index(), blocking.is_consistent()), (Some(8), false));
    assert_eq!((read.index(), read.is_consistent()), (None, true));
    (script, blocking, read)
}

/// A response from which ACLs have filtered instances.
fn filtered(index: u64, left: Range<u16>) -> Reply {
    Reply::ok(index, instances(&ports(left))).with("x-consul-results-filtered-by-acls", "true")
}

fn endpoints(script: &Script) -> usize {
    script.vm.ports().len()
}

fn doubts(script: &Script) -> usize {
    script.vm.host.registry.doubts.len()
}

/// Returns the ends of the doubts.
fn resolutions(script: &Script) -> &[Resolution] {
    &script.vm.host.registry.resolutions
}

/// Answers each plain read like this until the endpoints change; the number of reads, and the time.
fn believed(script: &mut Script, reply: impl Fn(&Sent) -> Reply) -> (usize, u64) {
    let (before, mut reads) = (endpoints(script), 0);
    loop {
        while let Some(sent) = script.request() {
            if sent.index().is_none() {
                reads += 1;
                script.respond_with(&sent, Ok(&reply(&sent)));
            }
        }
        if endpoints(script) != before {
            return (reads, script.vm.now());
        }
        script.run_to(script.vm.now() + 250);
        assert!(script.vm.now() < 700_000, "it is never believed");
    }
}

#[test]
fn empty_response_is_kept_away_and_read_again_consistently() {
    let (mut script, _, read) = doubted(1..1);
    assert_eq!(script.vm.host.registry.doubts, [Doubt::Nothing { before: 10 }]);
    script.respond(&read, 8, &[]);
    assert_eq!((endpoints(&script), resolutions(&script)), (10, &[][..]));
}

#[test]
fn source_is_read_consistently_when_it_has_no_watch() {
    let mut script = Script::polled("");
    let first = script.request().unwrap();
    script.respond(&first, 7, &ports(1..11));
    script.run_to(6_000);
    let poll = script.request().expect("a poll");
    script.respond(&poll, 8, &[]);
    let read = script.request().expect("a read at once");
    assert_eq!((read.index(), read.is_consistent()), (None, true));
    script.respond(&read, 8, &[]);
    assert_eq!(endpoints(&script), 10);
    script.run_to(10_000);
    assert!(script.request().is_none(), "not again at once");
    script.run_to(12_000);
    let read = script.request().expect("the next read");
    script.respond(&read, 9, &ports(1..12));
    assert_eq!((endpoints(&script), resolutions(&script)), (11, &[Resolution::Refuted][..]));
}

#[test]
fn doubted_response_is_refuted_when_a_read_lists_more() {
    let (mut script, blocking, read) = doubted(1..1);
    script.respond(&read, 8, &ports(1..11));
    assert_eq!((endpoints(&script), resolutions(&script)), (10, &[Resolution::Refuted][..]));
    script.run_to(1_100);
    assert!(script.request().is_none(), "the query that blocks is out");
    script.respond(&blocking, 9, &ports(1..12));
    assert_eq!((endpoints(&script), doubts(&script)), (11, 1), "it is watched as before");
}

#[test]
fn queries_are_few_when_servers_contradict_each_other() {
    let (mut script, blocking) = with_ten("");
    let (mut asked, mut out) = (1, vec![(1_020, blocking)]);
    for now in (1_010..61_000).step_by(10) {
        script.run_to(now);
        for (_, sent) in out.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            let listed = if sent.is_consistent() { 1..11 } else { 1..1 };
            script.respond(&sent, 7, &ports(listed));
        }
        while let Some(sent) = script.request() {
            asked += 1;
            out.push((now + 20, sent));
        }
    }
    assert!((30..=200).contains(&asked), "{asked} queries in a minute");
}

#[test]
fn shrunk_response_is_believed_when_a_consistent_read_agrees() {
    let (mut script, blocking, read) = doubted(1..3);
    script.respond(&read, 8, &ports(1..3));
    assert_eq!((endpoints(&script), resolutions(&script)), (2, &[Resolution::Confirmed][..]));
    script.respond(&blocking, 9, &ports(1..2));
    assert_eq!((endpoints(&script), doubts(&script)), (1, 1), "fewer by one is no matter");
}

#[test]
fn shrunk_response_is_held_when_the_blocking_query_agrees() {
    let (mut script, blocking, read) = doubted(1..3);
    script.run_to(1_010);
    script.respond(&blocking, 9, &ports(1..4));
    assert_eq!(endpoints(&script), 10);
    script.run_to(1_020);
    script.respond(&read, 9, &ports(1..4));
    assert_eq!(endpoints(&script), 3);
}

#[test]
fn additions_are_used_at_once_when_removals_are_held() {
    let (mut script, blocking, read) = doubted(1..1);
    script.run_to(1_050);
    script.respond(&blocking, 9, &ports(10..13));
    assert_eq!((endpoints(&script), resolutions(&script)), (12, &[][..]));
    script.run_to(1_060);
    script.respond(&read, 8, &[]);
    assert_eq!(endpoints(&script), 12, "an older one, which was under way, takes nothing back");
    script.run_to(1_300);
    let blocking = script.request().expect("a query that blocks");
    assert_eq!(blocking.index(), Some(9));
    let again = std::iter::from_fn(|| script.request()).last().expect("a read");
    assert!(again.is_consistent());
    script.respond(&again, 9, &ports(10..13));
    assert_eq!((endpoints(&script), resolutions(&script)), (3, &[Resolution::Confirmed][..]));
}

#[test]
fn lower_index_is_believed_when_it_is_read_twice() {
    let (mut script, _, read) = doubted(1..3);
    script.respond(&read, 3, &ports(1..3));
    assert_eq!(endpoints(&script), 10);
    script.run_to(1_300);
    let read = script.request().expect("another read");
    script.respond(&read, 3, &ports(1..3));
    assert_eq!(endpoints(&script), 2, "Consul was restored");
}

// Promise: R-107
#[test]
fn empty_response_is_believed_when_its_time_is_over() {
    let (mut script, _, read) = doubted(1..1);
    script.respond(&read, 8, &[]);
    let (reads, when) = believed(&mut script, |_| Reply::ok(8, "[]"));
    assert_eq!((endpoints(&script), when), (0, 31_000));
    assert!((5..=9).contains(&reads), "{reads} more reads in 30 s");
    assert_eq!(resolutions(&script), [Resolution::Expired]);
}

#[test]
fn read_ends_no_doubt_when_it_was_sent_before_the_time_was_over() {
    let (mut script, blocking) = with_ten(r#", "shrink_guard": {"hold": "5s"}"#);
    script.respond(&blocking, 8, &[]);
    let read = std::iter::from_fn(|| script.request()).last().unwrap();
    script.run_to(7_000);
    script.respond(&read, 8, &[]);
    assert_eq!(endpoints(&script), 10, "it may be as old");
    let read = script.request().expect("a read at once");
    script.respond(&read, 8, &[]);
    assert_eq!((endpoints(&script), resolutions(&script)), (0, &[Resolution::Expired][..]));
}

// Promise: R-107
#[test]
fn empty_response_is_not_believed_when_consul_is_silent() {
    let (mut script, _, read) = doubted(1..1);
    script.fail(&read);
    let mut asked = 1;
    for now in (1_250..600_000).step_by(250) {
        script.run_to(now);
        while let Some(sent) = script.request() {
            if sent.index().is_none() {
                asked += 1;
                script.fail(&sent);
            }
        }
        assert_eq!(endpoints(&script), 10, "after {now} ms");
    }
    assert!((20..=80).contains(&asked), "{asked} reads in ten minutes");
    believed(&mut script, |_| Reply::ok(8, "[]"));
    assert_eq!(endpoints(&script), 0, "its time was over, and now it has been said again");
    assert_eq!(resolutions(&script), [Resolution::Expired]);
}

#[test]
fn whole_response_is_used_when_another_one_is_held() {
    let (mut script, blocking, read) = doubted(1..1);
    script.fail(&read);
    script.fail(&blocking);
    script.run_to(2_000);
    let retry = script.request().expect("a retry");
    assert!(retry.is_consistent());
    script.respond(&retry, 9, &ports(2..12));
    assert_eq!((endpoints(&script), resolutions(&script)), (10, &[Resolution::Refuted][..]));
}

// Promise: R-107
#[test]
fn partial_response_is_held_until_a_whole_one_comes() {
    let (mut script, blocking) = with_ten("");
    script.respond_with(&blocking, Ok(&filtered(8, 1..10)));
    assert_eq!(script.vm.host.registry.doubts, [Doubt::Filtered { removed: 1 }]);
    let (blocking, read) = (script.request().unwrap(), script.request().unwrap());
    script.respond_with(&read, Ok(&filtered(8, 1..10)));
    assert_eq!(endpoints(&script), 10);
    script.run_to(5_499);
    assert!(script.request().is_none());
    script.respond(&blocking, 8, &ports(1..10));
    assert_eq!((endpoints(&script), resolutions(&script).len()), (9, 1));
}

#[test]
fn new_leader_doubts_by_what_was_listed_before() {
    let mut script = Script::started(&config("", "", ""), |vm| {
        let version = SnapshotVersion { term: Term(1), generation: 1 };
        let key = vm.manager.sources()[0].key();
        let snapshot = SnapshotRecord { version, snapshot: Snapshot::default().into() };
        vm.host.write(SharedKey::Snapshot(key, version), snapshot.encode());
        let rank = Rank { serving: true, born: 0 };
        let head = record(VmId(2), Term(1), rank);
        write_record(vm, &SourceRecord { published: Some(version), listed: 4, ..head });
    });
    let first = script.request().expect("this VM has taken over");
    script.respond(&first, 8, &[]);
    assert_eq!(script.vm.host.registry.doubts, [Doubt::Nothing { before: 4 }]);
    assert!(script.request().unwrap().is_consistent(), "before any query may block");
}

#[test]
fn early_read_changes_nothing_when_it_would_be_doubted() {
    let (mut script, blocking) = with_ten("");
    script.run_to(2_000);
    script.fail_endpoint();
    let early = script.request().expect("an early read");
    script.respond(&early, 8, &[]);
    assert_eq!((endpoints(&script), doubts(&script)), (10, 0));
    script.respond(&blocking, 8, &[]);
    assert_eq!((endpoints(&script), doubts(&script)), (10, 1), "the query that blocks agrees");
}

#[test]
fn empty_response_is_believed_when_the_hold_is_zero() {
    let (mut script, blocking) = with_ten(r#", "shrink_guard": {"hold": "0s"}"#);
    script.respond(&blocking, 8, &[]);
    assert_eq!(endpoints(&script), 0);
}

#[test]
fn held_response_is_forgotten_when_another_vm_leads() {
    let (mut script, _, read) = doubted(1..1);
    script.lose_lease();
    script.respond(&read, 8, &ports(1..11));
    script.run_to(6_000);
    let first = script.request().expect("this VM leads again");
    assert!(!first.is_consistent(), "{}", first.path);
    assert_eq!(resolutions(&script), []);
}

/// The read of the instances of a prepared query's service.
const INSTANCES: &str = "/v1/health/service/web?consistent";

/// A response of a prepared query that finds instances of a service.
fn found(service: &str, range: Range<u16>) -> Reply {
    let nodes = range.map(passing).collect::<Vec<_>>().join(",");
    Reply::ok(1, format!(r#"{{"Service": "{service}", "Datacenter": "", "Nodes": [{nodes}]}}"#))
}

/// The instances of the service, which are critical.
fn critical(range: Range<u16>) -> Reply {
    let listed = range.map(|port| instance("10.0.0.1", port, "critical"));
    Reply::ok(30, format!("[{}]", listed.collect::<Vec<_>>().join(",")))
}

/// A prepared query of ten instances that finds none any more at second 6: the read that confirms
/// it, and the read of the service's instances, if there is one.
fn doubted_query(service: &str) -> (Script, Sent, Option<Sent>) {
    let mut script = Script::of("", r#", "query": "web""#);
    let first = script.request().unwrap();
    script.respond_with(&first, Ok(&found(service, 1..11)));
    script.run_to(6_000);
    let poll = script.request().expect("a poll");
    script.respond_with(&poll, Ok(&found(service, 1..1)));
    assert_eq!((endpoints(&script), doubts(&script)), (10, 1));
    let read = script.request().expect("a read");
    assert!(read.path.starts_with("/v1/query/web/") && read.is_consistent());
    let instances = script.request();
    assert!(instances.as_ref().is_none_or(|sent| sent.path == INSTANCES), "{instances:?}");
    (script, read, instances)
}

#[test]
fn critical_instances_have_not_vanished_from_a_query() {
    let (mut script, read, instances) = doubted_query("web");
    script.respond_with(&instances.unwrap(), Ok(&critical(1..11)));
    assert_eq!((endpoints(&script), resolutions(&script)), (0, &[Resolution::Confirmed][..]));
    script.respond_with(&read, Ok(&found("web", 1..1)));
    script.run_to(12_000);
    let poll = script.request().expect("a poll");
    script.respond_with(&poll, Ok(&found("web", 1..1)));
    assert_eq!((endpoints(&script), doubts(&script)), (0, 1), "nor do they later");
}

#[test]
fn instance_is_held_when_the_others_of_a_query_are_critical() {
    let (mut script, read, instances) = doubted_query("web");
    script.respond_with(&instances.unwrap(), Ok(&critical(1..10)));
    assert_eq!((endpoints(&script), resolutions(&script)), (1, &[][..]));
    script.respond_with(&read, Ok(&found("web", 1..1)));
    script.run_to(6_250);
    let reply = |sent: &Sent| match sent.path == INSTANCES {
        true => critical(1..10),
        false => found("web", 1..1),
    };
    assert_eq!(believed(&mut script, reply).1, 36_000);
}

#[test]
fn query_is_held_for_five_seconds_when_nobody_explains_it() {
    let (mut script, read, instances) = doubted_query("");
    assert!(instances.is_none(), "{instances:?}");
    script.respond_with(&read, Ok(&found("", 1..1)));
    assert_eq!(believed(&mut script, |_| found("", 1..1)).1, 11_000);

    let (mut script, read, instances) = doubted_query("web");
    script.fail(&instances.unwrap());
    script.respond_with(&read, Ok(&found("web", 1..1)));
    let reply = |sent: &Sent| match sent.path == INSTANCES {
        true => Reply::new(500, "no leader"),
        false => found("web", 1..1),
    };
    let when = believed(&mut script, reply).1;
    assert_eq!((when, endpoints(&script)), (11_000, 0));
}
