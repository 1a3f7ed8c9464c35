//! The request of a follower for an early refresh.

use core::time::Duration;

use crate::election::membership::{Outgoing, Recipient};
use crate::model::service::QueryKey;
use crate::shared::key::VmId;
use crate::shared::message::Message;
use crate::shared::source_record::{Rank, SourceRecord};
use crate::util::time::Time;

/// The minimum time between two requests. The leader reads Consul less often anyway.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the leader of a source that an endpoint cannot be reached, so Consul may know better.
///
/// A dead endpoint fails every request that it gets. Without a limit the leader's queue would fill
/// with copies of one message.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    me: VmId,
    /// The leader, as far as this VM knows.
    owner: Option<VmId>,
    /// The time from which the leader may be told again.
    next: Time,
}

impl RefreshRequest {
    /// Starts without a known leader.
    pub(super) const fn new(me: VmId) -> Self {
        Self { me, owner: None, next: Time::ZERO }
    }

    /// Takes the leader from the source record. A leader that has released its lease does not
    /// count.
    pub(super) fn on_source_record(&mut self, head: Option<&SourceRecord>) {
        let head = head.filter(|head| head.rank != Rank::RELEASED && head.owner != self.me);
        self.owner = head.map(|head| head.owner);
    }

    /// Returns the message to the leader, if it is known and was not told within the last second.
    pub(super) fn poll_message(&mut self, key: QueryKey, now: Time) -> Option<Outgoing> {
        let owner = self.owner.filter(|_| now >= self.next)?;
        self.next = now + INTERVAL;
        Some(Outgoing { to: Recipient::One(owner), message: Message::Suspicion(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::source_record::Term;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ME: VmId = VmId(1);
    const OTHER: VmId = VmId(2);
    const KEY: QueryKey = QueryKey(7);

    fn head(owner: VmId, rank: Rank) -> SourceRecord {
        SourceRecord { owner, term: Term(1), rank, published: None, age: Duration::ZERO, listed: 0 }
    }

    fn idle(owner: VmId) -> SourceRecord {
        head(owner, Rank { serving: false, born: 5 })
    }

    #[test]
    fn leader_is_told_once_a_second() {
        let mut refresh_request = RefreshRequest::new(ME);
        refresh_request.on_source_record(Some(&idle(OTHER)));
        let message = Outgoing { to: Recipient::One(OTHER), message: Message::Suspicion(KEY) };
        assert_eq!(refresh_request.poll_message(KEY, Time::ZERO), Some(message.clone()));
        assert_eq!(refresh_request.poll_message(KEY, Time::ZERO + INTERVAL / 2), None);
        assert_eq!(refresh_request.poll_message(KEY, Time::ZERO + INTERVAL), Some(message));
    }

    #[test]
    fn no_message_is_sent_when_no_other_leader_is_known() {
        let mut refresh_request = RefreshRequest::new(ME);
        assert_eq!(refresh_request.poll_message(KEY, Time::ZERO), None);
        for head in [None, Some(idle(ME)), Some(head(OTHER, Rank::RELEASED))] {
            refresh_request.on_source_record(Some(&idle(OTHER)));
            refresh_request.on_source_record(head.as_ref());
            assert_eq!(refresh_request.poll_message(KEY, Time::ZERO), None, "{head:?}");
        }
    }
}
