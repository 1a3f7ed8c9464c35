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
use std::rc::Rc;
use std::time::Duration;

use consul_resolver::model::endpoint::{Address, Details, Endpoint};
use consul_resolver::model::service::QueryKey;
use consul_resolver::model::snapshot::{Snapshot, SnapshotChange};
use consul_resolver::shared::acknowledged::Acknowledged;
use consul_resolver::shared::key::VmId;
use consul_resolver::shared::members::{Member, Members, QueueId};
use consul_resolver::shared::message::Message;
use consul_resolver::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn version() -> impl Strategy<Value = SnapshotVersion> {
    any::<(u64, u64)>()
        .prop_map(|(term, generation)| SnapshotVersion { term: Term(term), generation })
}

/// An address by IP, and now and then by name.
fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        4 => any::<(IpAddr, NonZeroU16)>()
            .prop_map(|(ip, port)| Address::Ip(SocketAddr::new(ip, port.get()))),
        1 => ("[a-z]{1,3}\\.[a-z]{1,3}", any::<NonZeroU16>())
            .prop_map(|(name, port)| Address::Name(name.into(), port.get())),
    ]
}

/// One of few texts, or any, or none.
fn label() -> impl Strategy<Value = Option<Rc<str>>> {
    let text = prop_oneof![4 => "[a-c]", 1 => any::<String>()];
    option::of(text.prop_map(|text| text.into()))
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (address(), any::<NonZeroU16>(), label(), label(), details()).prop_map(
        |(address, weight, zone, version, details)| Endpoint {
            address,
            weight,
            zone,
            version,
            details,
        },
    )
}

fn details() -> impl Strategy<Value = Option<Rc<Details>>> {
    let metadata = btree_map("[a-c]".prop_map(Rc::from), "[a-c]".prop_map(Rc::from), 0..3);
    let details = (label(), metadata).prop_map(|(hostname, metadata)| {
        Rc::new(Details { hostname, metadata: metadata.into_iter().collect() })
    });
    option::of(details)
}

fn snapshot(most: usize) -> impl Strategy<Value = Snapshot> {
    let unhealthy = option::of(vec(endpoint(), 0..4));
    (vec(endpoint(), 0..most), unhealthy).prop_map(|(endpoints, unhealthy)| {
        let snapshot = Snapshot::new(endpoints);
        match unhealthy {
            Some(unhealthy) => snapshot.with_unhealthy(unhealthy),
            None => snapshot,
        }
    })
}

fn record() -> impl Strategy<Value = SnapshotRecord> {
    (version(), snapshot(50))
        .prop_map(|(version, snapshot)| SnapshotRecord { version, snapshot: snapshot.into() })
}

fn message() -> impl Strategy<Value = Message> {
    any::<(u8, u128, String)>().prop_map(|(kind, key, host)| match kind % 3 {
        0 => Message::News(QueryKey(key)),
        1 => Message::Suspicion(QueryKey(key)),
        _ => Message::Wanted(QueryKey(key), host.into()),
    })
}

fn head() -> impl Strategy<Value = SourceRecord> {
    let rank = any::<(bool, u64)>().prop_map(|(serving, born)| Rank { serving, born });
    let published = option::of(version());
    let fields = any::<(u64, u64, u64, u32)>();
    (fields, rank, published).prop_map(|((owner, term, age, listed), rank, published)| {
        let age = Duration::from_millis(age);
        SourceRecord { owner: VmId(owner), term: Term(term), rank, published, age, listed }
    })
}

fn members() -> impl Strategy<Value = Members> {
    vec(any::<(u64, u32)>(), 0..20).prop_map(|entries| {
        let mut members = Members::default();
        for (vm, queue) in entries {
            members.add(Member { vm: VmId(vm), queue: QueueId(queue), born: vm });
        }
        members
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        record in record(), head in head(), members in members(), message in message(),
        hashes in vec(any::<u64>(), 0..50),
    ) {
        let mut acknowledged = Acknowledged::default();
        for hash in &hashes {
            acknowledged.add(*hash);
        }
        prop_assert!(hashes.iter().all(|hash| acknowledged.contains(*hash)));
        prop_assert_eq!(Acknowledged::decode(&acknowledged.encode()), Ok(acknowledged));
        prop_assert_eq!(SnapshotRecord::decode(&record.encode()), Ok(record));
        prop_assert_eq!(SourceRecord::decode(&head.encode()), Ok(head));
        prop_assert_eq!(Members::decode(&members.encode()), Ok(members));
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    // Promise: R-912
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (SnapshotRecord::decode(&bytes), SourceRecord::decode(&bytes));
        let _ = (Members::decode(&bytes), Message::decode(&bytes));
        let _ = Acknowledged::decode(&bytes);
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
        if let Ok(read) = SnapshotRecord::decode(&bytes) {
            let endpoints = read.snapshot.endpoints();
            let unhealthy = read.snapshot.unhealthy().unwrap_or_default();
            for list in [endpoints, unhealthy] {
                prop_assert!(list.is_sorted_by(|a, b| a.address < b.address));
            }
            prop_assert!(unhealthy.iter().all(|it| !read.snapshot.has(&it.address)));
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_record_of_addresses_alone_takes_9_or_21_bytes_for_each(
        version in version(), places in vec(any::<(IpAddr, NonZeroU16)>(), 0..50),
    ) {
        let addresses = places.into_iter().map(|(ip, port)| SocketAddr::new(ip, port.get()));
        let snapshot = Snapshot::new(addresses.map(Endpoint::new).collect());
        let is_v4 = |e: &&Endpoint| matches!(e.address, Address::Ip(SocketAddr::V4(_)));
        let v4 = snapshot.endpoints().iter().filter(is_v4).count();
        let expected = 21 + 9 * v4 + 21 * (snapshot.len() - v4);
        prop_assert_eq!(SnapshotRecord { version, snapshot: snapshot.into() }.encode().len(), expected);
    }

    #[test]
    fn a_change_between_snapshots_adds_up(old in snapshot(30), new in snapshot(30)) {
        let change = new.since(&old);
        prop_assert_eq!(old.len() + change.added, new.len() + change.removed);
        prop_assert_eq!(old == new, change == SnapshotChange::default());
    }

    #[test]
    fn every_difference_is_a_change(old in snapshot(5), weight: NonZeroU16, zone in label()) {
        let mut endpoints = old.endpoints().to_vec();
        let Some(first) = endpoints.first_mut() else { return Ok(()) };
        let (is_heavier, is_elsewhere) = (first.weight != weight, first.zone != zone);
        *first = Endpoint { weight, zone, ..first.clone() };
        let change = Snapshot::new(endpoints).since(&old);
        prop_assert_eq!(change.reweighted, usize::from(is_heavier));
        prop_assert_eq!(change.relabelled, usize::from(is_elsewhere));
        prop_assert_eq!(change.others_unhealthy, old.unhealthy().is_some());
    }
}
