//! What must hold at every moment, whatever goes wrong.

use std::collections::{BTreeMap, HashMap, VecDeque};

use consul_resolver::config::{Config, OnStale};
use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::host::ProbeId;
use consul_resolver::model::endpoint::Address;
use consul_resolver::model::service::QueryKey;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::router::forward::Forward;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use consul_resolver::shared::source_record::{SourceRecord, Term};

use crate::consul::Consul;
use crate::hearing::Hearing;
use crate::members::Looks;
use crate::probes::Echo;
use crate::shared::Shared;
use crate::sources::{self, CATALOG, SOURCES, place_at, position, source_of};
use crate::told::FALLBACK;
use crate::vm::{Context, ContextId, Effects};

const MINUTE: u64 = 60_000_000;
/// How late a VM may know how old what it has is: a head is written every second, and read at a tick.
const TOLD: u64 = 2_000_000;

/// What is known so far, to be held against what comes.
#[derive(Default)]
pub struct Checks {
    /// The owner of each term.
    owners: HashMap<(SharedKey, Term), VmId>,
    /// The last term of each head, and what it has published last.
    terms: HashMap<SharedKey, Term>,
    published: HashMap<SharedKey, SnapshotVersion>,
    /// What was installed under each version of each source.
    contents: BTreeMap<(usize, SnapshotVersion), Vec<u16>>,
    /// Each call for a source within the last minute: when, and how often its answers had said
    /// something new.
    calls: HashMap<usize, VecDeque<(u64, usize)>>,
    /// The most calls for one source within a minute, without two for each of those times.
    most_calls: usize,
    /// Where breakers stood that were not closed, as operators are told.
    pub opened: Vec<String>,
    /// Who has looked into whose queue.
    pub looks: Looks,
    /// What those who keep registrations have heard.
    hearing: Hearing,
}

/// How often Consul is asked for one source within a minute at most, beside two calls for each time
/// that its answers say something new: the next query and one that makes sure. Answers that come at
/// once and say nothing new are paced to one a second, which may be one more where they are doubted;
/// an extra query is made every five seconds; clocks may run at five quarters of the right rate.
/// Whoever fetches after another one has died begins anew.
const MOST_CALLS: usize = (60 + 60 + 12) * 5 / 4 + 35;

impl Checks {
    /// Forgets what was in shared data: so has Envoy.
    pub fn begin_anew(&mut self) {
        self.owners.clear();
        self.terms.clear();
        self.published.clear();
        self.contents.clear();
    }

    /// A head was written: a term has one owner, neither the term nor what is published ever goes
    /// back, and the record that the head points to is there.
    pub fn on_head(&mut self, key: SharedKey, head: &SourceRecord, shared: &Shared) {
        let owner = *self.owners.entry((key, head.term)).or_insert(head.owner);
        assert_eq!(owner, head.owner, "term {:?} of {key} has two owners", head.term);
        let before = self.terms.insert(key, head.term);
        assert!(before <= Some(head.term), "{key} went back from {before:?} to {:?}", head.term);
        let (Some(version), SharedKey::SourceRecord(query)) = (head.published, key) else { return };
        let last = self.published.insert(key, version);
        assert!(last <= Some(version), "{key} went back from {last:?} to {version:?}");
        if last != Some(version) {
            Self::on_record(query, shared);
        }
    }

    /// A head or a record was written: the record that the head points to is there.
    pub fn on_record(query: QueryKey, shared: &Shared) {
        let head = shared.load(&SharedKey::SourceRecord(query).to_string());
        let head = head.and_then(|(bytes, _)| SourceRecord::decode(&bytes).ok());
        let Some(version) = head.and_then(|head| head.published) else { return };
        let stored = shared.load(&SharedKey::Snapshot(query, version).to_string());
        let record = stored.map(|(bytes, _)| SnapshotRecord::decode(&bytes));
        let is_there = matches!(&record, Some(Ok(record)) if record.version == version);
        assert!(is_there, "{query} points to {version:?}, where there is {record:?}");
    }

    /// A context has done something: what it has installed never goes back, is the same wherever
    /// that version is installed, and is what Consul has answered, all of it and nothing else but
    /// what was there before.
    pub fn on_step(&mut self, context: &mut Context, query: QueryKey, consul: &Consul, now: u64) {
        let trackers = context.agent.sources();
        if let Some(tracker) = trackers.into_iter().find(|tracker| tracker.key() == query) {
            let Some(record) = tracker.installed() else { return };
            let source = source_of(tracker);
            // Also where it was forgotten since, and is followed anew.
            let last = context.seen.get(&source).copied();
            if last == Some(record.version) {
                return;
            }
            assert!(last < Some(record.version), "{:?} went back from {last:?}", context.id);
            context.seen.insert(source, record.version);
            let ports = ports(&record.snapshot, source);
            // What is gone from a doubted answer stays beside it for a while.
            let before = self.contents.range(..(source, record.version)).next_back();
            let before = before.filter(|((its, _), _)| *its == source).map(|(_, ports)| ports);
            let is_kept = |of: &[u16]| {
                let is_there = |port| of.contains(port) || before.is_some_and(|b| b.contains(port));
                of.iter().all(|port| ports.contains(port)) && ports.iter().all(is_there)
            };
            assert!(
                consul.has_answered(source, &ports, now) || consul.any_answer(source, is_kept),
                "{:?} has {ports:?} of {}, which Consul never answered, after {before:?}",
                context.id,
                SOURCES[source]
            );
            let known = self.contents.entry((source, record.version)).or_insert(ports.clone());
            assert_eq!(*known, ports, "{:?} of {} twice", record.version, SOURCES[source]);
        }
    }

    /// A context has done something about probes, or what it says of itself.
    pub fn on_probes(&mut self, context: &Context, effects: &Effects, clock: u64) {
        for &ProbeId { registration, target, number } in &effects.probes {
            self.hearing.on_asked(context.id, (registration, target), number, context.began);
        }
        if let Some((registration, request)) = &effects.errand {
            self.hearing.on_errand(context.id, *registration, request, clock);
        }
    }

    /// A context hears what came back for a probe.
    pub fn on_probed(&mut self, context: ContextId, probe: ProbeId, echo: Echo, clock: u64) {
        let ProbeId { registration, target, number } = probe;
        self.hearing.on_heard(context, (registration, target), number, echo, clock);
    }

    /// A request goes to an endpoint: one that the context has installed, and that Consul listed
    /// at some time.
    pub fn on_pick(&self, context: &Context, forward: &Forward) {
        let address = forward.ticket().host().address();
        if address.to_string() == FALLBACK {
            return;
        }
        let listed = context.agent.sources().into_iter().filter_map(TrackedSource::installed);
        let is_listed = listed.flat_map(|record| record.snapshot.endpoints());
        let is_listed = is_listed.into_iter().any(|endpoint| endpoint.address == *address);
        assert!(is_listed, "{:?} sends a request to {address}, which it has not", context.id);
    }

    /// A request goes to an endpoint: one that Consul has confirmed lately, where requests are to fail
    /// otherwise. VMs measure that on their own clocks.
    pub fn on_age(
        &self,
        context: &Context,
        config: &Config,
        forward: &Forward,
        consul: &Consul,
        now: u64,
    ) {
        let address = forward.ticket().host().address();
        let Address::Ip(ip) = address else { panic!("endpoints have addresses") };
        let source = place_at(*ip);
        let service = SOURCES[source].split('@').next();
        let service = config.services.iter().find(|it| Some(it.name.as_str()) == service);
        let limit = service.and_then(|service| service.staleness);
        let limit = limit.filter(|limit| limit.on_stale == OnStale::Fail);
        let Some(limit) = limit.map(|limit| limit.max_age.as_micros() as u64) else { return };
        let age = now - consul.confirmed(source);
        assert!(
            age <= limit * 5 / 4 + TOLD,
            "{:?} sends a request to {address}, of which nobody has heard for {} ms",
            context.id,
            age / 1_000
        );
    }

    /// Consul is asked for a source, for which its answers have said something new so often.
    pub fn on_call(&mut self, source: usize, turns: usize, now: u64) {
        let calls = self.calls.entry(source).or_default();
        calls.push_back((now, turns));
        while calls.front().is_some_and(|(first, _)| first + MINUTE <= now) {
            calls.pop_front();
        }
        let news = turns - calls.front().map_or(0, |(_, turns)| *turns);
        self.most_calls = self.most_calls.max(calls.len().saturating_sub(2 * news));
    }

    /// Checks that Consul was left in peace, whatever went wrong with it.
    pub fn check_calls(&self) {
        let calls = self.most_calls;
        assert!(calls <= MOST_CALLS, "{calls} calls for one source within a minute");
    }
}

/// The ports of a snapshot, all of which must be at the address of their source; of the catalog, the
/// places of the listed.
pub fn ports(snapshot: &Snapshot, source: usize) -> Vec<u16> {
    if let Some(services) = snapshot.services() {
        assert_eq!(source, CATALOG, "the catalog alone lists services");
        let place = |name| position(name).expect("a known one");
        let mut places: Vec<_> = services.names().iter().map(|n| place(&**n) as u16).collect();
        places.sort_unstable();
        return places;
    }
    let port = |endpoint: &consul_resolver::model::endpoint::Endpoint| {
        let address = endpoint.address.to_string();
        let expected = format!("{}:", sources::address(source));
        assert!(address.starts_with(&expected), "{address} of {source}");
        endpoint.address.port()
    };
    snapshot.endpoints().iter().map(port).collect()
}
