//! A query that does not block, beside the one that does: when it is sent, and when its response
//! counts.

use crate::testkit::script::{Script, Sent};

/// A VM whose query blocks on index 10, since second 1, with port 1 published.
fn blocking() -> (Script, Sent) {
    Script::new().blocking(10, &[1])
}

/// Lets an endpoint fail at that time; the query because of it.
fn refresh(script: &mut Script, milliseconds: u64) -> Sent {
    script.run_to(milliseconds);
    assert!(script.request().is_none(), "before an endpoint fails");
    script.fail_endpoint();
    let extra = script.request().expect("an extra query");
    assert_eq!(extra.index(), None);
    extra
}

#[test]
fn one_extra_query_is_sent_when_endpoints_fail() {
    let (mut script, _) = blocking();
    refresh(&mut script, 2_000);
    script.fail_endpoint();
    script.run_to(12_000);
    assert!(script.request().is_none(), "one at a time");
}

#[test]
fn no_extra_query_is_sent_when_no_query_blocks() {
    let (mut script, blocking) = blocking();
    script.run_to(2_000);
    script.fail(&blocking);
    script.fail_endpoint();
    assert!(script.request().is_none(), "the backoff is kept");
    script.run_to(3_000);
    let plain = script.request().expect("the retry");
    script.fail_endpoint();
    assert_eq!(plain.index(), None);
    assert!(script.request().is_none(), "a plain query is out already");
    script.lose_lease();
    script.fail_endpoint();
    script.run_to(5_500);
    assert!(script.request().is_none(), "another VM fetches");
}

#[test]
fn waiting_refresh_is_settled_when_the_blocking_query_returns() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    script.respond(&extra, 10, &[1]);
    script.run_to(3_000);
    script.fail_endpoint();
    assert!(script.request().is_none(), "the next extra query is due at second 7");
    script.run_to(4_000);
    script.respond(&blocking, 11, &[2]);
    assert_eq!(script.vm.ports(), [2]);
    assert_eq!(script.request().unwrap().index(), Some(11));
    script.run_to(8_000);
    assert!(script.request().is_none());
}

#[test]
fn newer_state_is_used_when_the_blocking_query_stays_out() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    script.respond(&extra, 12, &[2]);
    assert_eq!(script.vm.ports(), [2]);
    script.run_to(3_000);
    assert!(script.request().is_none(), "the query that blocks is still out");
    script.respond(&blocking, 12, &[2]);
    assert_eq!(script.vm.ports(), [2]);
    assert_eq!(script.request().unwrap().index(), Some(12));
}

#[test]
fn newer_state_stays_when_the_blocking_query_is_older() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    script.respond(&extra, 12, &[2]);
    script.respond(&blocking, 11, &[1, 2]);
    assert_eq!(script.vm.ports(), [2]);
    script.run_to(4_000);
    let again = script.request().expect("the service is read again");
    assert_eq!(again.index(), None);
    script.respond(&again, 12, &[2]);
    assert_eq!(script.vm.ports(), [2]);
}

#[test]
fn nothing_changes_when_an_extra_query_returns_no_newer_state() {
    for index in [9, 10] {
        let (mut script, blocking) = blocking();
        let extra = refresh(&mut script, 2_000);
        script.respond(&extra, index, &[7]);
        assert_eq!(script.vm.ports(), [1], "{index}");
        script.run_to(6_000);
        assert!(script.request().is_none(), "the query that blocks is still out");
        script.respond(&blocking, 11, &[1, 2]);
        assert_eq!(script.vm.ports(), [1, 2]);
    }
}

#[test]
fn blocking_query_goes_on_when_extra_ones_fail_or_are_lost() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    script.fail(&extra);
    let lost = refresh(&mut script, 7_000);
    // Ten seconds for the response, and five more until the query counts as lost.
    script.run_to(22_000);
    script.respond(&lost, 12, &[2]);
    assert_eq!(script.vm.ports(), [1], "it is late");
    assert!(script.request().is_none(), "the query that blocks is still out");
    script.respond(&blocking, 11, &[2]);
    assert_eq!(script.vm.ports(), [2]);
    assert_eq!(script.request().unwrap().index(), Some(11));
}

#[test]
fn extra_response_is_used_when_it_comes_between_two_queries() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    let (mut next, mut index) = (Some(blocking), 10);
    // After so many changes at once the next query has to wait.
    while let Some(blocking) = next {
        index += 1;
        script.respond(&blocking, index, &[1, u16::try_from(index).unwrap()]);
        assert!(index < 40, "it never waits");
        next = script.request();
    }
    script.respond(&extra, 50, &[1, 2]);
    assert_eq!(script.vm.ports(), [1, 2]);
    script.run_to(3_000);
    assert_eq!(script.request().unwrap().index(), Some(50));
}

#[test]
fn extra_response_is_left_alone_when_the_service_is_read_anew() {
    let (mut script, blocking) = blocking();
    let extra = refresh(&mut script, 2_000);
    script.run_to(3_000);
    // Consul was restored: the extra query was answered before, the blocking one after.
    script.respond(&blocking, 3, &[4]);
    script.respond(&extra, 12, &[2]);
    assert_eq!(script.vm.ports(), [1]);
    script.run_to(4_000);
    let again = script.request().expect("the service is read again");
    script.respond(&again, 3, &[4]);
    assert_eq!(script.vm.ports(), [4]);
}
