//! What crosses VMs reads back as written, and arbitrary bytes are an error, never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::shared::head::{Head, Rank, Term};
use consul_resolver::shared::key::VmId;
use consul_resolver::shared::members::{Member, Members, QueueId};
use consul_resolver::shared::record::{Record, Version};
use proptest::collection::vec;
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    any::<(u64, u64)>().prop_map(|(term, generation)| Version { term: Term(term), generation })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    any::<(IpAddr, NonZeroU16, NonZeroU16)>().prop_map(|(ip, port, weight)| Endpoint {
        address: SocketAddr::new(ip, port.get()),
        weight,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (version(), vec(endpoint(), 0..50))
        .prop_map(|(version, endpoints)| Record { version, snapshot: Snapshot::new(endpoints) })
}

fn head() -> impl Strategy<Value = Head> {
    let rank = any::<(bool, u64)>().prop_map(|(serving, born)| Rank { serving, born });
    let published = proptest::option::of(version());
    (any::<(u64, u64, u64)>(), rank, published).prop_map(|((owner, term, age), rank, published)| {
        let age = Duration::from_millis(age);
        Head { owner: VmId(owner), term: Term(term), rank, published, age }
    })
}

fn members() -> impl Strategy<Value = Members> {
    vec(any::<(u64, u32)>(), 0..20).prop_map(|entries| {
        let mut members = Members::default();
        for (vm, queue) in entries {
            members.add(Member { vm: VmId(vm), queue: QueueId(queue) });
        }
        members
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(record in record(), head in head(), members in members()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
        prop_assert_eq!(Members::decode(&members.encode()), Ok(members));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (Record::decode(&bytes), Head::decode(&bytes), Members::decode(&bytes));
    }

    #[test]
    fn what_is_read_from_changed_bytes_is_still_in_order(
        record in record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = Record::decode(&bytes) {
            let endpoints = read.snapshot.endpoints();
            prop_assert!(endpoints.is_sorted_by(|a, b| a.address < b.address));
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_change_between_snapshots_adds_up(
        old in vec(endpoint(), 0..30),
        new in vec(endpoint(), 0..30),
    ) {
        let (old, new) = (Snapshot::new(old), Snapshot::new(new));
        let change = new.since(&old);
        prop_assert_eq!(old.len() + change.added, new.len() + change.removed);
        prop_assert_eq!(old == new, change == Default::default());
    }
}
