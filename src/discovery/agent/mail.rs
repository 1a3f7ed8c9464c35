//! What the VMs tell each other, and who they are.

use super::Agent;
use crate::discovery::event::{Command, Expect};
use crate::discovery::tracker::Tracker;
use crate::shared::key::{Cas, Key};
use crate::shared::members::Members;
use crate::shared::message::Message;
use crate::time::Time;

impl Agent {
    /// What cannot be read is not for this VM, as what is about a query that it does not have.
    pub(super) fn on_woken(&mut self, message: &[u8], now: Time) {
        match Message::decode(message) {
            Ok(Message::News(query)) => self.with_query(query, now, Tracker::peek),
            Ok(Message::Wanted(query, host)) => {
                self.out.push_back(Command::Wanted { query, host });
            }
            Ok(Message::Suspicion(query)) => {
                self.with_query(query, now, Tracker::on_told_of_suspicion);
            }
            Err(_) => {}
        }
    }

    pub(super) fn look_at_members(&mut self, now: Time) {
        if self.membership.poll_look(now) {
            self.out.push_back(Command::Load(Key::Members));
        }
    }

    pub(super) fn on_members(&mut self, value: Option<(&[u8], Cas)>, now: Time) {
        // A list that cannot be read is a list without us.
        let members = value.and_then(|(bytes, _)| Members::decode(bytes).ok()).unwrap_or_default();
        self.membership.on_members(&members);
        let post = core::mem::take(&mut self.post);
        if post.is_empty() {
            self.review_members(&members, value.map(|(_, cas)| cas), now);
        }
        for member in self.membership.others(&members) {
            let letters = post.iter().filter(|letter| letter.is_for(member, &members));
            self.out.extend(letters.map(|letter| Command::Wake {
                queue: member.queue,
                message: letter.message.encode(),
            }));
        }
    }

    fn review_members(&mut self, members: &Members, cas: Option<Cas>, now: Time) {
        if let Some(better) = self.membership.review(members) {
            let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
            let value = better.encode();
            self.out.push_back(Command::Store { key: Key::Members, value, expect });
        }
        if self.membership.poll_probe(self.is_fetcher(), now) {
            self.out.extend(self.membership.others(members).map(Command::Probe));
        }
    }
}
