//! All sources of one VM.

use crate::calls::caller::QueryId;
use crate::config::Consul;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::{Outgoing, Recipient};
use crate::host::{Command, Context, SnapshotLoad, SourceRecordLoad, SourceRecordStore};
use crate::model::service::{QueryKey, SourceId};
use crate::registry::http::{CallFailure, HttpResponse};
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::{Cas, VmId};
use crate::shared::message::Message;
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::Rank;

use self::source_table::{RemainingUsers, SourceTable};

/// The maximum number of sources whose records are read in every tick.
const EVERY_TICK: usize = 64;
/// The number of ticks in which a follower reads each record once, if there are more sources; a
/// leader reads a record when its lease is due. A follower takes a lease after three seconds
/// without a renewal, so one read a second is enough. Messages announce new snapshots, and a lost
/// message delays a snapshot by a second.
const TURNS: usize = 4;

/// All sources of one VM.
#[derive(Debug)]
pub struct Manager {
    rank: Option<Rank>,
    /// The share of the sources whose records are read in the next tick.
    turn: usize,
    sources: SourceTable,
}

impl Manager {
    /// Starts without any knowledge. `specs` are in the order of their sources. Of several with the
    /// same query the first counts and gets all users, as in [`SourceSpec::all`].
    pub fn new(me: VmId, specs: Vec<SourceSpec>, consul: &Consul) -> Self {
        Self { rank: None, turn: 0, sources: SourceTable::new(me, specs, consul) }
    }

    /// Adds a user of a source. Returns `None` if there are too many sources. If the query has a
    /// source already, its snapshot is installed once more.
    pub fn add(
        &mut self,
        spec: SourceSpec,
        is_oldest: bool,
        context: &mut Context<'_>,
    ) -> Option<SourceId> {
        let Some(source) = self.sources.add_user(&spec) else {
            return self.sources.add(spec, !is_oldest);
        };
        let user = self.sources.get_mut(source)?;
        if !spec.on_trial {
            user.set_unverified(false, context);
        }
        user.republish_locally(context);
        Some(source)
    }

    /// Removes a user of a source, and returns true if it was the last one. The source then
    /// releases its lease and empties its keys in shared data. Leads to loads and stores only.
    pub fn remove(&mut self, source: SourceId, is_named: bool, context: &mut Context<'_>) -> bool {
        let left = self.sources.remove_user(source, is_named);
        match left {
            Some(RemainingUsers::OnlyNamed) => {
                self.with_source(source, |it| it.set_unverified(true, context));
            }
            Some(RemainingUsers::None) => self.with_source(source, |it| it.release(context)),
            Some(RemainingUsers::Some) | None => {}
        }
        left == Some(RemainingUsers::None)
    }

    /// Returns true if this VM leads a source.
    pub fn is_leading(&self) -> bool {
        self.sources.values().any(TrackedSource::is_leader)
    }

    /// Returns true if every source is settled.
    pub fn is_settled(&self) -> bool {
        self.sources.values().all(TrackedSource::is_settled)
    }

    /// Returns all sources in their order.
    pub fn sources(&self) -> Vec<&TrackedSource> {
        self.sources.values().collect()
    }

    /// Forgets the sources without users, once all commands are executed.
    pub fn forget_retired(&mut self) {
        self.sources.forget_retired();
    }

    /// Handles a tick: reads the records whose turn has come, and continues all sources.
    pub fn on_tick(&mut self, rank: Rank, context: &mut Context<'_>) {
        self.rank = Some(rank);
        let turns = if self.sources.len() > EVERY_TICK { TURNS } else { 1 };
        self.turn = self.turn.wrapping_add(1) % turns;
        for (n, source) in self.sources.values_mut().enumerate() {
            let is_due = match source.is_leader() {
                true => turns == 1 || source.must_renew(rank, context.awake),
                false => n % turns == self.turn,
            };
            match is_due {
                true => source.on_tick(rank, context),
                false => source.on_ready(context),
            }
        }
    }

    /// Starts the calls of a source whose turn has come.
    pub fn on_ready(&mut self, source: SourceId, context: &mut Context<'_>) {
        self.with_source(source, |source| source.on_ready(context));
    }

    /// Checks whether another VM has published the snapshot that a request needs.
    pub fn on_snapshot_needed(&mut self, source: SourceId, context: &mut Context<'_>) {
        self.with_source(source, |source| source.on_snapshot_needed(context));
    }

    /// Reads a source at once that was added. Any VM but the oldest only checks for a published
    /// snapshot.
    pub fn on_added(&mut self, source: SourceId, is_oldest: bool, context: &mut Context<'_>) {
        let rank = self.rank.filter(|_| is_oldest);
        self.with_source(source, |source| match rank {
            Some(rank) => source.on_tick(rank, context),
            None => source.check_for_update(context),
        });
    }

    /// Checks for the snapshot that a request waits for, and tells the oldest VM.
    pub fn on_requested(
        &mut self,
        source: SourceId,
        host: &str,
        is_oldest: bool,
        context: &mut Context<'_>,
    ) {
        self.with_source(source, |source| {
            source.check_for_update(context);
            // The oldest VM reads the source at its own next tick.
            if !is_oldest {
                let message = Message::Wanted(source.key(), host.into());
                context.send(Outgoing { to: Recipient::Oldest, message });
            }
        });
    }

    /// Notes that a request could not reach an endpoint of a source.
    pub fn on_endpoint_unreachable(&mut self, source: SourceId, context: &mut Context<'_>) {
        self.with_source(source, |source| source.on_endpoint_unreachable(context));
    }

    /// Takes a message of another VM. Ignores messages about unknown queries.
    pub fn on_message(&mut self, message: Message, context: &mut Context<'_>) {
        match message {
            Message::News(query) => {
                self.with_query(query, |source| source.check_for_update(context));
            }
            Message::Wanted(query, host) => {
                context.out.push_back(Command::Requested { query, host });
            }
            Message::Suspicion(query) => {
                self.with_query(query, |source| source.on_refresh_request(context));
            }
        }
    }

    /// Takes the record of a source as it stands.
    pub fn on_source_record(
        &mut self,
        query: QueryKey,
        purpose: SourceRecordLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        self.with_query(query, |source| source.on_source_record(purpose, value, context));
    }

    /// Takes the slot of a snapshot as it stands.
    pub fn on_snapshot(
        &mut self,
        query: QueryKey,
        version: SnapshotVersion,
        purpose: SnapshotLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        self.with_query(query, |source| source.on_snapshot(version, purpose, value, context));
    }

    /// Takes the result of a store of a source record.
    pub fn on_source_record_stored(
        &mut self,
        query: QueryKey,
        purpose: SourceRecordStore,
        written: bool,
        context: &mut Context<'_>,
    ) {
        self.with_query(query, |source| source.on_source_record_stored(purpose, written, context));
    }

    /// Takes the result of a store of a snapshot.
    pub fn on_snapshot_stored(
        &mut self,
        query: QueryKey,
        version: SnapshotVersion,
        written: bool,
        context: &mut Context<'_>,
    ) {
        self.with_query(query, |source| source.on_snapshot_stored(version, written, context));
    }

    /// Takes the response to a query.
    pub fn on_response(
        &mut self,
        source: SourceId,
        query: QueryId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        self.with_source(source, |source| source.on_response(query, response, context));
    }

    /// Releases all leases.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        self.sources.values_mut().for_each(|source| source.leave(context));
    }

    fn with_query(&mut self, query: QueryKey, act: impl FnOnce(&mut TrackedSource)) {
        if let Some(source) = self.sources.of_query(query) {
            self.with_source(source, act);
        }
    }

    fn with_source(&mut self, source: SourceId, act: impl FnOnce(&mut TrackedSource)) {
        if let Some(source) = self.sources.get_mut(source) {
            act(source);
        }
    }
}

mod source_table;
