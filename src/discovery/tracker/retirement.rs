//! How a VM parts with a source, and what its successor finds.

use std::rc::Rc;

use crate::discovery::event::{Command, Expect};
use crate::discovery::notice::Notice;
use crate::discovery::scope::Scope;
use crate::discovery::tracker::Tracker;
use crate::discovery::tracker::step::{Look, Write};
use crate::shared::head::{Head, Rank, Term};
use crate::shared::key::Key;
use crate::shared::record::Version;

impl Tracker {
    /// Gives the lease away, if it is ours: this VM's configuration is in use no longer.
    pub fn leave(&mut self, scope: &mut Scope<'_>) {
        if self.is_fetcher() {
            self.load_head(Look::Leave, scope);
        }
    }

    /// Gives the lease away, if it is ours, and empties the places of the records: nobody here
    /// wants the source any more. The head stays, so that no term is ever given twice.
    pub fn retire(&mut self, scope: &mut Scope<'_>) {
        if self.is_fetcher() {
            // Before the head: what stands there while the lease is ours is not a successor's.
            for version in Version::default().places() {
                scope.load(Key::Record(self.key(), version));
            }
            self.load_head(Look::Retire, scope);
        }
    }

    /// Tells once more what is known, for a service that was not here when it came.
    pub fn tell_again(&mut self, scope: &mut Scope<'_>) {
        if let Some(record) = &self.installed {
            let (source, snapshot) = (self.source, Rc::clone(&record.snapshot));
            scope.out.push_back(Command::Install { source, snapshot });
            let age = self.contact.age(scope.now);
            scope.out.extend(age.map(|age| Command::Confirm { source, age }));
        }
    }

    /// Writes the head again with a rank that everyone takes the lease from.
    pub(super) fn give_away(&mut self, head: Option<&Head>, expect: Expect, scope: &mut Scope<'_>) {
        let term = self.lease.term();
        if let Some(head) = head.filter(|head| term == Some(head.term) && head.owner == self.me) {
            let is_last = matches!(self.look, Look::Retire);
            self.write = if is_last { Write::Retire } else { Write::Leave };
            let published = head.published.filter(|_| !is_last);
            self.store_head(head.term, Rank::LEAVING, published, expect, scope);
            self.notice(Notice::Left, scope);
        }
        self.stop_fetching(scope);
    }

    /// Empties the places of the records, unless a successor has written there.
    pub(super) fn free_records(&mut self, scope: &mut Scope<'_>) {
        for (version, cas) in core::mem::take(&mut self.leftovers) {
            scope.store(Key::Record(self.key(), version), Vec::new(), Expect::Unchanged(cas));
        }
    }

    /// Publishes what is installed, where the one who had published it took it away: it had no
    /// more use for it, and others have.
    pub(super) fn publish_again(&mut self, term: Term, scope: &mut Scope<'_>) {
        if !self.is_published
            && let Some(record) = &self.installed
        {
            self.publish(term, Rc::clone(&record.snapshot), scope);
        }
    }
}
