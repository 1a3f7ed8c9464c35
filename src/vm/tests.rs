use std::borrow::Cow;

use super::*;
use crate::calls::caller::QueryId;
use crate::config::Service;
use crate::election::lease::ClaimReason;
use crate::host::{SourceRecordLoad, SourceRecordStore};
use crate::model::service::QueryKey;
use crate::registry::response::{CallFailure, HttpResponse};
use crate::shared::key::SharedKey;
use crate::shared::members::Member;
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::{SourceRecord, Term};
use crate::telemetry::SourceEvent;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SOURCE: SourceId = SourceId::nth(0);
const RANK: Rank = Rank { serving: true, born: 5 };
/// Consul knows no instance.
const NOTHING: HttpResponse<'static> = HttpResponse {
    status: 200,
    from_envoy: false,
    headers: &[("x-consul-index", Cow::Borrowed(b"7"))],
    body: b"[]",
};
const OWNER: Member = Member { vm: VmId(7), queue: QueueId(70), born: 1 };

fn agent() -> (Vm, QueryKey) {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    let config = Config::parse(json).unwrap();
    let subject = SourceSpec::new(&config, config.sources().next().unwrap());
    let key = subject.query.key();
    (Vm::new(vec![subject], &config.consul, Rng::new(1)), key)
}

/// Returns the commands that follow from an event.
fn after(agent: &mut Vm, event: Event<'_>, seconds: u64) -> Vec<Command> {
    agent.handle_event(event, Time::from_start(Duration::from_secs(seconds)));
    core::iter::from_fn(|| agent.poll_command()).collect()
}

/// A load of a source record at a tick.
fn check(key: QueryKey) -> Load {
    Load::SourceRecord(key, SourceRecordLoad::Check { rank: RANK })
}

/// A load of a source record between two steps of a publication.
fn commit(key: QueryKey) -> Load {
    Load::SourceRecord(key, SourceRecordLoad::Commit)
}

fn source_record_stored(key: QueryKey, purpose: SourceRecordStore) -> Event<'static> {
    Event::Stored { store: Store::SourceRecord(key, purpose), written: true }
}

const CLAIM: SourceRecordStore = SourceRecordStore::Claim { reason: ClaimReason::Absent };

fn loaded(load: Load, bytes: &[u8]) -> Event<'_> {
    Event::Loaded { load, value: Some((bytes, Cas(1))) }
}

fn calls(commands: &[Command]) -> Vec<CallId> {
    let call = |command: &Command| match command {
        Command::Call { call, .. } => Some(*call),
        _ => None,
    };
    commands.iter().filter_map(call).collect()
}

fn head(owner: VmId, rank: Rank) -> Vec<u8> {
    SourceRecord { owner, term: Term(1), rank, published: None, age: Duration::ZERO, listed: 0 }
        .encode()
}

/// Lets the agent win the lease and publish what Consul answers; its next query blocks.
fn fetch(agent: &mut Vm, key: QueryKey) {
    assert_eq!(publish_nothing(agent, key).len(), 1);
}

/// Lets the agent win the lease and publish what Consul answers; what it asks then.
fn publish_nothing(agent: &mut Vm, key: QueryKey) -> Vec<CallId> {
    after(agent, Event::Tick(RANK), 0);
    after(agent, Event::Loaded { load: check(key), value: None }, 0);
    let asked = calls(&after(agent, source_record_stored(key, CLAIM), 0));
    let looks = after(agent, Event::Answered { call: asked[0], response: Ok(NOTHING) }, 1);
    let load = looked_at(&looks).unwrap();
    let place = load.key();
    after(agent, Event::Loaded { load, value: None }, 1);
    let head = head(agent.id(), RANK);
    let stores = after(agent, loaded(commit(key), &head), 1);
    let (store, expect) = stored(&stores).unwrap();
    assert_eq!((store.key(), expect), (place, Expect::Absent));
    after(agent, Event::Stored { store, written: true }, 1);
    after(agent, loaded(commit(key), &head), 1);
    calls(&after(agent, source_record_stored(key, SourceRecordStore::Commit), 1))
}

/// The record's place that is looked at.
fn looked_at(commands: &[Command]) -> Option<Load> {
    commands.iter().find_map(|command| match command {
        Command::Load(load @ Load::Snapshot(..)) => Some(*load),
        _ => None,
    })
}

/// Returns the key of a stored record and the condition of the store.
fn stored(commands: &[Command]) -> Option<(Store, Expect)> {
    commands.iter().find_map(|command| match command {
        Command::Store { store: store @ Store::Snapshot(..), expect, .. } => {
            Some((*store, *expect))
        }
        _ => None,
    })
}

#[test]
fn a_follower_tells_the_fetcher_alone_and_asks_nothing_itself() {
    let (mut agent, key) = agent();
    let head = head(OWNER.vm, Rank { serving: false, born: 1 });
    after(&mut agent, Event::Tick(RANK), 0);
    assert!(
        after(&mut agent, Event::EndpointUnreachable(SOURCE), 0).is_empty(),
        "no fetcher is known"
    );
    after(&mut agent, loaded(check(key), &head), 0);

    let wanted = after(&mut agent, Event::EndpointUnreachable(SOURCE), 0);
    assert!(matches!(wanted[..], [Command::Load(Load::Members)]), "{wanted:?}");
    let mut members = Members::default();
    members.add(Member { vm: agent.id(), queue: QueueId(10), born: 5 });
    members.add(Member { vm: VmId(8), queue: QueueId(80), born: 8 });
    members.add(OWNER);
    let sent = after(&mut agent, loaded(Load::Members, &members.encode()), 0);
    let [Command::Wake { queue, message }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*queue, OWNER.queue);
    assert_eq!(Message::decode(message), Ok(Message::Suspicion(key)));
    assert!(after(&mut agent, Event::EndpointUnreachable(SOURCE), 0).is_empty(), "once a second");

    let told = Message::Suspicion(key).encode();
    assert!(after(&mut agent, Event::Woken(&told), 0).is_empty(), "it does not fetch");
}

#[test]
fn a_fetcher_asks_for_itself_at_its_tick_and_for_others_at_once() {
    let (mut agent, key) = agent();
    fetch(&mut agent, key);
    assert!(
        after(&mut agent, Event::EndpointUnreachable(SOURCE), 2).is_empty(),
        "not in a request"
    );
    after(&mut agent, Event::Tick(RANK), 2);
    let head = head(agent.id(), RANK);
    after(&mut agent, loaded(check(key), &head), 2);
    let renewed = source_record_stored(key, SourceRecordStore::Renewal);
    let extra = calls(&after(&mut agent, renewed, 2));
    assert_eq!(extra.len(), 1);
    let failed = Event::Answered { call: extra[0], response: Err(CallFailure::NoAnswer) };
    after(&mut agent, failed, 2);

    (3..8).for_each(|second| drop(after(&mut agent, Event::Tick(RANK), second)));
    let told = Message::Suspicion(key).encode();
    assert_eq!(calls(&after(&mut agent, Event::Woken(&told), 8)).len(), 1);
}

/// A query for a service that is not configured.
fn found(name: &str) -> SourceSpec {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    let mut config = Config::parse(json).unwrap();
    config.services = vec![Service::new(name)];
    SourceSpec::new(&config, config.sources().next().unwrap())
}

/// The one with which it is added, and what follows from that.
fn added(agent: &mut Vm, name: &str, seconds: u64) -> (SourceId, Vec<Command>) {
    let now = Time::from_start(Duration::from_secs(seconds));
    let source = agent.add(found(name), now).unwrap();
    (source, after(agent, Event::Added(source), seconds))
}

fn removed(agent: &mut Vm, source: SourceId, seconds: u64) -> Vec<Command> {
    agent.remove(source, false, Time::from_start(Duration::from_secs(seconds)));
    core::iter::from_fn(|| agent.poll_command()).collect()
}

#[test]
fn the_first_born_asks_at_once_for_what_is_found_and_the_others_only_look() {
    let key = found("api").query.key();
    for (others_born, asks) in [(RANK.born + 1, true), (RANK.born - 1, false)] {
        let (mut agent, _) = agent();
        after(&mut agent, Event::Tick(RANK), 0);
        let mut members = Members::default();
        members.add(Member { born: others_born, ..OWNER });
        after(&mut agent, loaded(Load::Members, &members.encode()), 0);
        let (_, commands) = added(&mut agent, "api", 1);
        assert!(matches!(commands[..], [Command::Load(Load::SourceRecord(its, _))] if its == key));
        let claims = after(&mut agent, Event::Loaded { load: check(key), value: None }, 1);
        assert_eq!(!claims.is_empty(), asks, "{claims:?}");
    }
}

#[test]
fn a_query_that_two_use_is_followed_once_and_until_the_second_has_gone() {
    let (mut agent, key) = agent();
    fetch(&mut agent, key);
    let now = Time::from_start(Duration::from_secs(2));
    assert_eq!(agent.add(found("web"), now), Some(SOURCE));
    let told: Vec<_> = core::iter::from_fn(|| agent.poll_command()).collect();
    let [Command::Install { source, .. }, Command::Confirm { age, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*source, *age), (SOURCE, Duration::from_secs(1)));
    assert!(removed(&mut agent, SOURCE, 3).is_empty());
    assert_eq!(agent.sources().len(), 1);
}

#[test]
fn one_who_parts_with_a_source_gives_its_lease_away_and_frees_its_records() {
    let (mut agent, key) = agent();
    fetch(&mut agent, key);
    agent.remove(SOURCE, false, Time::from_start(Duration::from_secs(2)));
    let now = Time::from_start(Duration::from_secs(2));
    let version = SnapshotVersion { term: Term(1), generation: 4 };
    let mut slots = Vec::new();
    for (value, cas) in [(&b"a record"[..], 8), (&[], 9)] {
        let Some(Command::Load(load @ Load::Snapshot(..))) = agent.poll_command() else { panic!() };
        agent.handle_event(Event::Loaded { load, value: Some((value, Cas(cas))) }, now);
        slots.push(load.key().to_string());
    }
    assert_eq!(slots, version.slots().map(|version| SharedKey::Snapshot(key, version).to_string()));
    let loads = agent.poll_command();
    assert!(matches!(loads, Some(Command::Load(Load::SourceRecord(..)))), "{loads:?}");
    let ours = SourceRecord {
        owner: agent.id(),
        term: Term(1),
        rank: RANK,
        published: Some(version),
        age: Duration::ZERO,
        listed: 0,
    };
    let value = Some((&ours.encode()[..], Cas(3)));
    let load = Load::SourceRecord(key, SourceRecordLoad::Retire);
    agent.handle_event(Event::Loaded { load, value }, now);
    let Some(Command::Store { value, expect, .. }) = agent.poll_command() else { panic!() };
    let age = Duration::from_secs(1);
    let left = SourceRecord { rank: Rank::RELEASED, published: None, age, ..ours };
    assert_eq!((SourceRecord::decode(&value), expect), (Ok(left), Expect::Unchanged(Cas(3))));
    agent.handle_event(source_record_stored(key, SourceRecordStore::Retire), now);
    let rest: Vec<_> = core::iter::from_fn(|| agent.poll_command()).collect();
    let stores = rest.iter().filter(|command| matches!(command, Command::Store { .. }));
    let [Command::Store { store: emptied, value, expect }] = stores.collect::<Vec<_>>()[..] else {
        panic!("{rest:?}");
    };
    assert_eq!(
        (emptied.key().to_string(), &value[..]),
        (slots[0].clone(), &[][..]),
        "the other is"
    );
    assert_eq!(*expect, Expect::Unchanged(Cas(8)), "a successor may have been there");
    assert!(agent.sources().is_empty());

    // An answer that is late finds nobody, not even the one that has the place now.
    let (source, _) = added(&mut agent, "api", 3);
    assert_ne!(source, SOURCE);
    let call = CallId::Query { source: SOURCE, query: QueryId(2) };
    let late = Event::Answered { call, response: Err(CallFailure::NoAnswer) };
    assert!(after(&mut agent, late, 3).is_empty());
}

#[test]
fn what_its_last_fetcher_took_away_is_published_again_though_nothing_has_changed() {
    let (mut agent, key) = agent();
    fetch(&mut agent, key);
    // Another VM has taken the lease, and left.
    let left = head(OWNER.vm, Rank::RELEASED);
    after(&mut agent, Event::Tick(RANK), 2);
    after(&mut agent, loaded(check(key), &left), 2);
    after(&mut agent, Event::Tick(RANK), 3);
    after(&mut agent, loaded(check(key), &left), 3);
    let asked = calls(&after(&mut agent, source_record_stored(key, CLAIM), 3));
    let commands = after(&mut agent, Event::Answered { call: asked[0], response: Ok(NOTHING) }, 3);
    assert!(looked_at(&commands).is_some(), "{commands:?}");
}

#[test]
fn a_follower_tells_the_fetcher_that_a_request_waits_where_nothing_is_published() {
    let (mut agent, key) = agent();
    let head = head(OWNER.vm, Rank { serving: false, born: 1 });
    after(&mut agent, Event::Tick(RANK), 0);
    after(&mut agent, loaded(check(key), &head), 0);
    let wanted = after(&mut agent, Event::NeedSnapshot(SOURCE), 0);
    let is_head = |command: &Command| matches!(command, Command::Load(Load::SourceRecord(..)));
    let is_members = |command: &Command| matches!(command, Command::Load(Load::Members));
    assert!(wanted.iter().any(is_head) && wanted.iter().any(is_members), "{wanted:?}");
    let again = after(&mut agent, Event::NeedSnapshot(SOURCE), 0);
    assert!(again.iter().all(is_head), "once a second: {again:?}");
}

#[test]
fn a_name_that_a_client_has_made_up_takes_no_place_among_the_watches() {
    let (config, subject) = {
        let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
        (Config::parse(json).unwrap(), SourceSpec { on_trial: true, ..found("web") })
    };
    let key = subject.query.key();
    let mut agent = Vm::new(vec![subject], &config.consul, Rng::new(1));
    let blocking = publish_nothing(&mut agent, key);
    assert!(blocking.is_empty(), "{blocking:?}");
    let mut polls = 0;
    for second in 2..12 {
        after(&mut agent, Event::Tick(RANK), second);
        let head = head(agent.id(), RANK);
        after(&mut agent, loaded(check(key), &head), second);
        let renewed = source_record_stored(key, SourceRecordStore::Renewal);
        for call in calls(&after(&mut agent, renewed, second)) {
            polls += 1;
            after(&mut agent, Event::Answered { call, response: Ok(NOTHING) }, second);
        }
    }
    assert!((1..=3).contains(&polls), "it is polled, slowly: {polls} times in 10 s");
}

#[test]
fn queues_are_checked_once_when_many_messages_go_out() {
    let (mut agent, key) = agent();
    fetch(&mut agent, key);
    let mut members = Members::default();
    members.add(OWNER);
    let looks = (0..4).flat_map(|_| after(&mut agent, loaded(Load::Members, &members.encode()), 1));
    let looks = looks.filter(|command| matches!(command, Command::CheckQueue(_))).count();
    assert_eq!(looks, 1, "the letters went out by the first of the lists");
}

#[test]
fn a_made_up_query_is_empty_when_consul_does_not_know_it() {
    let unknown = HttpResponse { status: 404, body: b"Query not found", ..NOTHING };
    for on_trial in [true, false] {
        let json = br#"{"consul": {"cluster": "c"}, "services": [{"name": "q", "query": "q"}]}"#;
        let config = Config::parse(json).unwrap();
        let subject = SourceSpec::new(&config, config.sources().next().unwrap());
        let key = subject.query.key();
        let subject = SourceSpec { on_trial, ..subject };
        let mut agent = Vm::new(vec![subject], &config.consul, Rng::new(1));
        after(&mut agent, Event::Tick(RANK), 0);
        after(&mut agent, Event::Loaded { load: check(key), value: None }, 0);
        let won = source_record_stored(key, CLAIM);
        let asked = calls(&after(&mut agent, won, 0));
        let answer = Event::Answered { call: asked[0], response: Ok(unknown) };
        let commands = after(&mut agent, answer, 1);
        let is_failing = |command: &Command| {
            let Command::Emit(TelemetryEvent::Source { event, .. }) = command else {
                return false;
            };
            matches!(event, SourceEvent::Failing(_))
        };
        assert_eq!(looked_at(&commands).is_some(), on_trial, "it is published: {commands:?}");
        assert_eq!(commands.iter().any(is_failing), !on_trial, "{commands:?}");
    }
}

#[test]
fn services_that_ask_the_same_share_a_source() {
    let json = br#"{
        "consul": {"cluster": "c"}, "route_metadata": true,
        "services": [
            {"name": "one", "service": "web"}, {"name": "two", "service": "web"},
            {"name": "three", "service": "web", "tags": ["v2"]}, {"name": "web"}
        ]
    }"#;
    let config = Config::parse(json).unwrap();
    let all = SourceSpec::all(&config);
    let ids: Vec<_> = all.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [0, 0, 1, 0].map(SourceId::nth));
    let keys: Vec<_> = all.iter().map(|(_, _, subject)| subject.query.key()).collect();
    let subjects = all.into_iter().map(|(.., subject)| subject).collect();
    let mut agent = Vm::new(subjects, &config.consul, Rng::new(1));
    let of_trackers: Vec<_> = agent.sources().into_iter().map(TrackedSource::key).collect();
    assert_eq!(of_trackers, [keys[0], keys[2]]);
    // A service that is found and asks the same goes, and the source stays.
    let source = agent.add(SourceSpec::new(&config, config.sources().next().unwrap()), Time::ZERO);
    assert_eq!(source, Some(ids[0]));
    assert!(!agent.remove(ids[0], false, Time::ZERO));
}

#[test]
fn a_name_is_on_trial_no_more_when_a_service_asks_the_same() {
    let config =
        Config::parse(br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#);
    let made_up = SourceSpec { on_trial: true, ..found("web") };
    let key = made_up.query.key();
    let mut agent = Vm::new(vec![made_up], &config.unwrap().consul, Rng::new(1));
    assert_eq!(agent.add(found("web"), Time::ZERO), Some(SOURCE));
    assert_eq!(publish_nothing(&mut agent, key).len(), 1, "it blocks as that of a service");
}
