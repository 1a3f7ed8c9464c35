//! The users of a source: services that share it, names of clients, and the last one that goes.

use std::time::Duration;

use consul_resolver::config::{Config, Service};
use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::host::{Command, Event};
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::members::{Member, Members, QueueId};
use consul_resolver::shared::snapshot_record::SnapshotVersion;
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};

use crate::testkit::reply::Reply;
use crate::testkit::script::{SOURCE, Script, config};
use crate::testkit::vm::RANK;

/// A query for a service.
fn spec(name: &str) -> SourceSpec {
    let mut config = config("", "", "");
    config.services = vec![Service::new(name)];
    SourceSpec::new(&config, config.sources().next().unwrap())
}

/// Adds a service at run time.
fn add(script: &mut Script, name: &str) -> SourceId {
    let source = script.vm.manager.add(spec(name), script.vm.time()).unwrap();
    script.vm.handle(Event::Added(source));
    source
}

/// The source record.
fn head(script: &Script, key: SharedKey) -> SourceRecord {
    SourceRecord::decode(&script.vm.host.data[&key].0).unwrap()
}

#[test]
fn only_the_oldest_vm_reads_an_added_service_at_once() {
    for (born, is_oldest) in [(RANK.born + 1, true), (RANK.born - 1, false)] {
        let mut script = Script::started(&config("", "", ""), |vm| {
            let mut members = Members::default();
            members.add(Member { vm: VmId(7), queue: QueueId(70), born });
            vm.host.write(SharedKey::Members, members.encode());
        });
        script.request().expect("the configured service");
        assert_eq!(script.vm.manager.is_oldest(), is_oldest);
        add(&mut script, "api");
        assert_eq!(script.request().is_some(), is_oldest);
    }
}

#[test]
fn source_is_followed_until_the_last_of_its_users_has_gone() {
    let (mut script, _) = Script::new().blocking(7, &[1]);
    let now = script.vm.time();
    assert_eq!(script.vm.manager.add(spec("web"), now), Some(SOURCE));
    let commands: Vec<_> = core::iter::from_fn(|| script.vm.manager.poll_command()).collect();
    let [Command::Install { source, .. }, Command::Confirm { age, .. }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!((*source, *age), (SOURCE, Duration::from_secs(1)));
    assert!(!script.vm.manager.remove(SOURCE, false, now));
    assert!(script.vm.manager.poll_command().is_none());
    assert_eq!(script.vm.manager.sources().len(), 1);
    assert!(script.vm.manager.remove(SOURCE, false, now));
}

#[test]
fn lease_and_slots_are_released_when_the_last_user_has_gone() {
    let (mut script, blocking) = Script::new().blocking(7, &[1]);
    let query = script.vm.manager.sources()[0].key();
    let key = SharedKey::SourceRecord(query);
    let before = head(&script, key);
    let slot = SharedKey::Snapshot(query, before.published.unwrap());
    assert!(!script.vm.host.data[&slot].0.is_empty());
    script.vm.manager.remove(SOURCE, false, script.vm.time());
    script.vm.settle();
    let age = Duration::from_secs(1);
    let released = SourceRecord { rank: Rank::RELEASED, published: None, age, ..before };
    assert_eq!(head(&script, key), released);
    let slots = SnapshotVersion::default().slots().map(|it| SharedKey::Snapshot(query, it));
    let filled = slots.into_iter().filter_map(|slot| script.vm.host.data.get(&slot));
    assert!(filled.into_iter().all(|(bytes, _)| bytes.is_empty()));
    assert!(script.vm.manager.sources().is_empty());

    // A late response finds nobody, not even the source that has the place now.
    assert_ne!(add(&mut script, "api"), SOURCE);
    script.request().expect("the query for the other service");
    script.respond(&blocking, 8, &[2]);
    assert!(script.vm.ports().is_empty() && script.request().is_none());
}

#[test]
fn snapshot_is_published_again_when_the_last_leader_emptied_it() {
    let (mut script, _) = Script::new().blocking(7, &[1]);
    let key = SharedKey::SourceRecord(script.vm.manager.sources()[0].key());
    script.write_record(VmId(7), Term(2), Rank::RELEASED);
    script.run_to(2_000);
    let read = script.request().expect("this VM leads again");
    assert_eq!(head(&script, key).published, None);
    script.respond(&read, 7, &[1]);
    assert!(head(&script, key).published.is_some(), "though nothing has changed");
}

#[test]
fn query_of_an_earlier_term_is_late_when_the_vm_leads_again() {
    let (mut script, earlier) = Script::new().blocking(7, &[1]);
    script.write_record(VmId(7), Term(2), Rank::RELEASED);
    script.run_to(2_000);
    let read = script.request().expect("this VM leads again");
    script.respond(&earlier, 9, &[2]);
    assert_eq!(script.vm.ports(), [1]);
    script.respond(&read, 9, &[3]);
    assert_eq!(script.vm.ports(), [3]);
}

#[test]
fn name_of_a_client_is_polled_when_nothing_is_listed() {
    let mut script = Script::named("");
    let first = script.request().unwrap();
    script.respond(&first, 7, &[]);
    let mut polls = 0;
    for tick in 1..44 {
        script.run_to(tick * 250);
        while let Some(sent) = script.request() {
            assert_eq!(sent.index(), None);
            polls += 1;
            script.respond(&sent, 7, &[]);
        }
    }
    assert!((1..=3).contains(&polls), "{polls} polls in 11 s");
}

#[test]
fn name_blocks_when_a_service_has_the_same_query() {
    let mut script = Script::named("");
    assert_eq!(script.vm.manager.add(spec("web"), script.vm.time()), Some(SOURCE));
    let first = script.request().unwrap();
    script.respond(&first, 7, &[]);
    script.run_to(250);
    assert_eq!(script.request().unwrap().index(), Some(7));
}

#[test]
fn query_is_empty_when_consul_does_not_know_the_name() {
    let query = r#", "query": "web""#;
    for (mut script, is_named) in [(Script::named(query), true), (Script::of("", query), false)] {
        let first = script.request().unwrap();
        script.respond_with(&first, Ok(&Reply::new(404, "Query not found").at(7)));
        let is_published = script.vm.manager.sources()[0].installed().is_some();
        assert_eq!((is_published, script.vm.host.registry.failures > 0), (is_named, !is_named));
    }
}

#[test]
fn services_share_a_source_when_their_queries_are_the_same() {
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
    let keys: Vec<_> = all.iter().map(|(_, _, spec)| spec.query.key()).collect();
    let mut script = Script::started(&config, |_| {});
    let now = script.vm.time();
    let manager = &mut script.vm.manager;
    let followed: Vec<_> = manager.sources().into_iter().map(TrackedSource::key).collect();
    assert_eq!(followed, [keys[0], keys[2]]);
    // A service that is added and has the same query goes, and the source stays.
    let spec = SourceSpec::new(&config, config.sources().next().unwrap());
    assert_eq!(manager.add(spec, now), Some(ids[0]));
    assert!(!manager.remove(ids[0], false, now));
}
