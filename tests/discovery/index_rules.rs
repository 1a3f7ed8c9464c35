//! The rules of Consul's index: which query blocks, and which response counts.

use consul_resolver::config::Consul;

use crate::testkit::reply::Reply;
use crate::testkit::script::{Script, Sent, instances};

/// A VM whose query blocks on index 7, since second 1, with port 1 published.
fn blocking() -> (Script, Sent) {
    Script::new().blocking(7, &[1])
}

/// A response whose index is missing, which says nothing about the network.
fn without_index() -> Reply {
    Reply::new(200, instances(&[1]))
}

/// A configuration by which a response of a server without a leader is too old.
fn stale() -> Script {
    Script::of(r#", "consistency": "stale", "max_stale": "1s""#, "")
}

/// A response of a server that heard from its leader long ago.
fn too_old(index: u64, ports: &[u16]) -> Reply {
    Reply::ok(index, instances(ports)).with("x-consul-lastcontact", "60000")
}

#[test]
fn query_blocks_on_the_index_that_was_applied() {
    let mut script = Script::new();
    let first = script.request().expect("the first query");
    assert_eq!(first.index(), None);
    script.respond(&first, 7, &[1]);
    assert_eq!(script.vm.ports(), [1]);
    script.run_to(99);
    assert!(script.request().is_none(), "a new leader does not block yet");
    script.run_to(100);
    assert_eq!(script.request().unwrap().index(), Some(7));
    script.run_to(1_000);
    assert!(script.request().is_none(), "one query at a time");
}

// Promise: R-206
#[test]
fn response_is_not_applied_when_its_index_went_back() {
    let (mut script, blocking) = Script::new().blocking(700, &[1]);
    script.respond(&blocking, 12, &[2]);
    assert_eq!(script.vm.ports(), [1]);
    let again = script.request().expect("the service is read again");
    assert_eq!(again.index(), None);
    script.respond(&again, 12, &[2]);
    assert_eq!(script.vm.ports(), [2]);
}

#[test]
fn index_is_dropped_when_a_query_fails() {
    let (mut script, blocking) = blocking();
    script.respond_with(&blocking, Ok(&without_index()));
    assert!(script.request().is_none(), "the backoff is kept");
    script.run_to(1_200);
    let retry = script.request().expect("a retry");
    assert_eq!(retry.index(), None);
    script.respond_with(&retry, Ok(&without_index()));
    script.run_to(1_600);
    let retry = script.request().expect("another retry");
    assert_eq!((retry.index(), script.vm.ports()), (None, vec![1]));
    script.respond(&retry, 8, &[1]);
    assert_eq!(script.request().unwrap().index(), Some(8));
}

// Promise: R-407
#[test]
fn queries_become_rare_when_only_blocking_ones_fail() {
    let mut script = Script::new();
    let mut calls = 0;
    for tick in 0..480 {
        script.run_to(tick * 250);
        while let Some(sent) = script.request() {
            calls += 1;
            match sent.index() {
                Some(_) => script.respond_with(&sent, Ok(&without_index())),
                None => script.respond(&sent, 7, &[1]),
            }
        }
    }
    assert!((20..=60).contains(&calls), "{calls} calls in two minutes");
}

// Promise: R-207
#[test]
fn response_is_late_when_its_query_was_lost() {
    let mut script = Script::new();
    let first = script.request().unwrap();
    // Ten seconds for the response, and five more.
    script.run_to(14_999);
    assert!(script.request().is_none());
    script.run_to(15_000);
    script.respond(&first, 7, &[1]);
    assert!(script.vm.ports().is_empty());
    script.run_to(16_000);
    let next = script.request().expect("a retry");
    script.respond(&first, 7, &[1]);
    assert!(script.vm.ports().is_empty(), "it is no response to the query that is out by then");
    script.respond(&next, 8, &[2]);
    assert_eq!(script.vm.ports(), [2]);
}

#[test]
fn queries_are_few_when_the_index_always_goes_back() {
    let (mut script, mut sent) = Script::new().blocking(1_000, &[1]);
    let mut asked = 1;
    for step in 100..1_100 {
        script.respond(&sent, 1_000 - asked, &[1]);
        let next = (step..1_100).find_map(|step| {
            script.run_to(step * 10);
            script.request()
        });
        let Some(next) = next else { break };
        (sent, asked) = (next, asked + 1);
    }
    assert!((5..50).contains(&asked), "{asked} queries in 10 s");
}

#[test]
fn source_is_polled_by_the_same_rules_without_a_slot() {
    let mut script = Script::polled("");
    let first = script.request().unwrap();
    script.respond(&first, 7, &[1]);
    script.run_to(4_500);
    assert!(script.request().is_none(), "a poll is due after about five seconds");
    script.run_to(5_750);
    let poll = script.request().expect("a poll");
    assert_eq!(poll.index(), None);
    script.respond(&poll, 6, &[2]);
    assert_eq!(script.vm.ports(), [1], "its index went back");
    let again = script.request().expect("the service is read again");
    assert_eq!(again.index(), None);
}

#[test]
fn poll_is_early_when_an_endpoint_fails() {
    let mut script = Script::polled("");
    let first = script.request().unwrap();
    script.respond(&first, 7, &[1]);
    script.run_to(1_000);
    assert!(script.request().is_none());
    script.fail_endpoint();
    let early = script.request().expect("an early poll");
    script.respond(&early, 7, &[1]);
    script.run_to(1_500);
    assert!(script.request().is_none(), "once");
}

// Promise: R-208
#[test]
fn source_is_read_anew_after_the_resync_interval() {
    let (mut script, mut blocking) = blocking();
    let resync = Consul::new("consul").resync.as_millis() as u64;
    let mut read = None;
    while read.is_none() {
        script.run_to(script.vm.now() + 30_000);
        assert!(script.vm.now() < 2 * resync, "it is never read");
        script.respond(&blocking, 7, &[1]);
        let next = script.request().expect("a query");
        match next.index() {
            Some(_) => blocking = next,
            None => read = Some(next),
        }
    }
    let (read, now) = (read.unwrap(), script.vm.now());
    assert!((resync * 9 / 10..=resync * 11 / 10 + 30_000).contains(&now), "after {now} ms");
    assert!(read.is_to_leader(), "{}", read.path);
    script.respond(&read, 7, &[1, 2]);
    assert_eq!(script.vm.ports(), [1, 2], "what differs at the same index is applied");
    assert_eq!(script.request().unwrap().index(), Some(7), "not again at once");
}

#[test]
fn leader_is_read_when_a_response_is_too_old() {
    let (mut script, blocking) = stale().blocking(7, &[1]);
    assert!(!blocking.is_to_leader());
    script.respond_with(&blocking, Ok(&too_old(8, &[2])));
    assert_eq!(script.vm.ports(), [1]);
    let read = script.request().expect("a read at once");
    assert_eq!((read.index(), read.is_to_leader()), (None, true));
    script.respond(&read, 9, &[3]);
    assert_eq!(script.vm.ports(), [3]);
    let next = script.request().expect("a query that blocks");
    assert_eq!((next.index(), next.is_to_leader()), (Some(9), false));
}

#[test]
fn leader_is_read_again_when_it_has_failed() {
    let (mut script, blocking) = stale().blocking(7, &[1]);
    script.respond_with(&blocking, Ok(&too_old(8, &[2])));
    let read = script.request().unwrap();
    script.fail(&read);
    script.run_to(2_000);
    let read = script.request().expect("a retry");
    assert!(read.is_to_leader(), "an error does not make an old response good");
    script.respond_with(&read, Ok(&too_old(8, &[2])));
    assert_eq!(script.vm.ports(), [2], "there is none fresher");
    assert!(!script.request().unwrap().is_to_leader());
}

#[test]
fn response_that_is_too_old_is_used_when_there_is_no_other() {
    let mut script = stale();
    let first = script.request().unwrap();
    script.respond_with(&first, Ok(&too_old(7, &[1])));
    assert_eq!(script.vm.ports(), [1]);
    let read = script.request().expect("a read at once");
    assert_eq!((read.index(), read.is_to_leader()), (None, true));
    script.fail(&read);
    script.run_to(1_000);
    assert!(script.request().unwrap().is_to_leader(), "until it answers");
}

#[test]
fn leader_is_read_once_when_a_resync_of_polls_is_due() {
    let mut script = Script::polled("");
    let (mut reads, mut to_leader) = (0, 0);
    for second in 1..700 {
        script.run_to(second * 1_000);
        while let Some(sent) = script.request() {
            assert_eq!(sent.index(), None);
            (reads, to_leader) = (reads + 1, to_leader + u32::from(sent.is_to_leader()));
            script.respond(&sent, 7, &[1]);
        }
    }
    assert!(reads > 100 && to_leader == 1, "{to_leader} of {reads}");
}
