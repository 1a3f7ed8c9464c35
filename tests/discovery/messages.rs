//! The messages between the VMs of a process about their sources.

use consul_resolver::host::Event;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::members::{Member, Members, QueueId};
use consul_resolver::shared::message::Message;
use consul_resolver::shared::source_record::{Rank, Term};

use crate::testkit::script::{SOURCE, Script, config, record, write_record};

/// The VM that leads.
const OWNER: Member = Member { vm: VmId(7), queue: QueueId(70), born: 0 };
const OTHER: Member = Member { vm: VmId(8), queue: QueueId(80), born: 8 };

/// A VM that follows: `OWNER` leads, and has published nothing.
fn follower() -> Script {
    Script::started(&config("", "", ""), |vm| {
        let mut members = Members::default();
        members.add(OWNER);
        members.add(OTHER);
        vm.host.write(SharedKey::Members, members.encode());
        vm.handle(Event::EndpointUnreachable(SOURCE));
        assert!(vm.host.wakes.is_empty(), "no leader is known");
        let rank = Rank { serving: false, born: OWNER.born };
        write_record(vm, &record(OWNER.vm, Term(1), rank));
    })
}

/// The messages that were sent since.
fn sent(script: &mut Script) -> Vec<(QueueId, Message)> {
    let sent = core::mem::take(&mut script.vm.host.wakes);
    sent.into_iter().map(|(to, bytes)| (to, Message::decode(&bytes).unwrap())).collect()
}

#[test]
fn follower_tells_only_the_leader_when_an_endpoint_fails() {
    let mut script = follower();
    let key = script.vm.manager.sources()[0].key();
    script.vm.handle(Event::EndpointUnreachable(SOURCE));
    assert_eq!(sent(&mut script), [(OWNER.queue, Message::Suspicion(key))]);
    script.vm.handle(Event::EndpointUnreachable(SOURCE));
    assert_eq!(sent(&mut script), [], "once a second");
    script.vm.handle(Event::Woken(&Message::Suspicion(key).encode()));
    assert!(script.request().is_none(), "a follower sends no query");
}

#[test]
fn leader_reads_for_itself_at_its_tick_and_for_others_at_once() {
    let (mut script, _) = Script::new().blocking(7, &[1]);
    script.vm.handle(Event::EndpointUnreachable(SOURCE));
    assert!(script.request().is_none(), "not in a request");
    script.vm.tick();
    let early = script.request().expect("an early read");
    script.fail(&early);
    script.run_to(8_000);
    let key = script.vm.manager.sources()[0].key();
    script.vm.handle(Event::Woken(&Message::Suspicion(key).encode()));
    assert_eq!(script.request().expect("another early read").index(), None);
}

#[test]
fn follower_tells_the_leader_when_a_request_needs_a_snapshot() {
    let mut script = follower();
    let key = script.vm.manager.sources()[0].key();
    let loads = script.vm.host.loads;
    script.vm.handle(Event::NeedSnapshot(SOURCE));
    assert_eq!(sent(&mut script), [(OWNER.queue, Message::Suspicion(key))]);
    assert_eq!(script.vm.host.loads, loads + 2, "the source record and the members");
    script.vm.handle(Event::NeedSnapshot(SOURCE));
    assert_eq!(sent(&mut script), [], "once a second");
    assert_eq!(script.vm.host.loads, loads + 3, "the source record is loaded each time");
}

#[test]
fn queues_are_checked_once_when_many_messages_go_out() {
    let (mut script, mut blocking) = Script::new().blocking(7, &[1]);
    let mut members = Members::default();
    members.add(OTHER);
    script.vm.host.write(SharedKey::Members, members.encode());
    let checks = script.vm.host.queue_checks;
    for index in 8..12 {
        script.respond(&blocking, index, &[1, u16::try_from(index).unwrap()]);
        blocking = script.request().expect("the next query");
    }
    assert_eq!(sent(&mut script).len(), 4, "each change is news");
    script.run_to(5_000);
    assert_eq!(script.vm.host.queue_checks, checks + 1);
}
