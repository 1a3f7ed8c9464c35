//! What probes tell of a source's endpoints.

use core::net::SocketAddr;
use std::rc::Rc;

use super::{Tracker, expecting};
use crate::discovery::checkup::Todo;
use crate::discovery::event::{Command, ProbeId};
use crate::discovery::letter::{Letter, Recipient};
use crate::discovery::notice::Notice;
use crate::discovery::scope::Scope;
use crate::health::prober::ProbeNumber;
use crate::health::verdict::{Answer, Reason};
use crate::shared::CodecError;
use crate::shared::head::{Head, Rank};
use crate::shared::health::Findings;
use crate::shared::key::{Cas, Key};
use crate::shared::message::Message;

impl Tracker {
    /// Takes what stands in shared data of the endpoints' health.
    pub fn on_findings(&mut self, value: Option<(&[u8], Cas)>, scope: &mut Scope<'_>) {
        let cas = value.map(|(_, cas)| cas);
        let is_follower = self.lease.term().is_none();
        if is_follower && self.checkup.as_ref().is_some_and(|checkup| checkup.has_seen(cas)) {
            return;
        }
        let findings = match value.map(|(bytes, _)| Findings::decode(bytes)) {
            Some(Ok(findings)) => findings,
            None | Some(Err(CodecError::Empty)) => Findings::default(),
            Some(Err(error)) => {
                self.notice(Notice::Unreadable(error), scope);
                Findings::default()
            }
        };
        let Some(checkup) = &mut self.checkup else { return };
        let todo = match (self.lease.term(), &self.installed) {
            (Some(term), Some(record)) => {
                checkup.on_findings(findings, term, &record.snapshot, scope.now, scope.rng)
            }
            (Some(_), None) => Todo::Nothing,
            (None, _) => checkup.on_findings_of_another(findings, cas),
        };
        match todo {
            Todo::Nothing => {}
            Todo::Tell(unhealthy) => {
                scope.out.push_back(Command::Health { source: self.source, unhealthy });
            }
            Todo::Write(bytes) => scope.store(Key::Health(self.key()), bytes, expecting(cas)),
        }
    }

    /// Learns whether what was found out was written.
    pub fn on_findings_stored(&mut self, written: bool, scope: &mut Scope<'_>) {
        let Some(checkup) = &mut self.checkup else { return };
        let Some(change) = checkup.on_written(written) else { return };
        let unhealthy = checkup.told().to_vec();
        scope.out.push_back(Command::Health { source: self.source, unhealthy });
        self.notice(Notice::Health(change), scope);
        let message = Message::News(self.key());
        scope.send(Letter { to: Recipient::Everyone, message });
    }

    /// Takes what came back for a probe.
    pub fn on_examined(
        &mut self,
        address: SocketAddr,
        number: ProbeNumber,
        answer: Result<Answer<'_>, Reason>,
        scope: &mut Scope<'_>,
    ) {
        let Some(checkup) = &mut self.checkup else { return };
        let examined = checkup.on_examined(address, number, answer, scope.now, scope.rng);
        if let Some((outcome, complaint)) = examined {
            self.notice(Notice::Probed(outcome), scope);
            complaint.into_iter().for_each(|it| self.notice(Notice::Unsent(it), scope));
        }
        self.probe_if_due(scope);
    }

    /// Sends the probes that are due, where this VM fetches.
    pub(super) fn probe_if_due(&mut self, scope: &mut Scope<'_>) {
        let Some(checkup) = &mut self.checkup else { return };
        while let Some((address, number)) = checkup.poll_probe(scope.now, scope.rng) {
            let id = ProbeId::Endpoint { source: self.source, address, number };
            scope.out.push_back(Command::Examine { id, probe: Rc::clone(checkup.probe()) });
        }
    }

    /// Shows how the probes get on, where this VM sends them.
    pub(super) fn show_probes(&self, scope: &mut Scope<'_>) {
        if let Some(overdue) = self.checkup.as_ref().and_then(|it| it.overdue(scope.now)) {
            let unhealthy = self.checkup.as_ref().map_or(0, |checkup| checkup.told().len());
            self.notice(Notice::Probing { unhealthy, overdue }, scope);
        }
    }

    /// Looks at what is known of the endpoints' health, where `head` says that somebody vouches
    /// for it.
    pub(super) fn look_at_findings(&self, head: Option<&Head>, scope: &mut Scope<'_>) {
        if self.checkup.is_some() && head.is_some_and(|head| head.rank != Rank::LEAVING) {
            scope.load(Key::Health(self.key()));
        }
    }

    /// Lets the others know what was found out, in a tick in which the head is not looked at.
    pub(super) fn publish_findings(&self, scope: &mut Scope<'_>) {
        if self.checkup.as_ref().is_some_and(|checkup| checkup.has_news()) {
            scope.load(Key::Health(self.key()));
        }
    }
}
