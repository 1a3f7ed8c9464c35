//! The messages between VMs and the list of members.

use super::Manager;
use crate::discovery::tracked_source::TrackedSource;
use crate::host::{Command, Expect, Load, Store};
use crate::shared::key::Cas;
use crate::shared::members::Members;
use crate::shared::message::Message;
use crate::util::time::Time;

impl Manager {
    /// Ignores unreadable messages and messages about unknown queries.
    pub(super) fn on_woken(&mut self, message: &[u8], now: Time) {
        match Message::decode(message) {
            Ok(Message::News(query)) => {
                self.with_query(query, now, TrackedSource::check_for_update)
            }
            Ok(Message::Wanted(query, host)) => {
                self.out.push_back(Command::Requested { query, host });
            }
            Ok(Message::Suspicion(query)) => {
                self.with_query(query, now, TrackedSource::on_refresh_request);
            }
            Err(_) => {}
        }
    }

    pub(super) fn load_members(&mut self, now: Time) {
        if self.membership.poll_refresh(now) {
            self.out.push_back(Command::Load(Load::Members));
        }
    }

    pub(super) fn on_members(&mut self, value: Option<(&[u8], Cas)>, now: Time) {
        // An unreadable list is a list without this VM.
        let members = value.and_then(|(bytes, _)| Members::decode(bytes).ok()).unwrap_or_default();
        self.membership.on_members(&members);
        let outbox = core::mem::take(&mut self.outbox);
        if outbox.is_empty() {
            self.reconcile_members(&members, value.map(|(_, cas)| cas), now);
        }
        for member in self.membership.peers(&members) {
            let messages = outbox.iter().filter(|message| message.is_for(member, &members));
            self.out.extend(messages.map(|message| Command::Wake {
                queue: member.queue,
                message: message.message.encode(),
            }));
        }
    }

    fn reconcile_members(&mut self, members: &Members, cas: Option<Cas>, now: Time) {
        if let Some(better) = self.membership.reconcile(members) {
            let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
            let value = better.encode();
            self.out.push_back(Command::Store { store: Store::Members, value, expect });
        }
        if self.membership.poll_queue_check(self.is_leader(), now) {
            self.out.extend(self.membership.peers(members).map(Command::CheckQueue));
        }
    }
}
