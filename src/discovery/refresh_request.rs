//! What a VM that does not fetch does about an endpoint that it cannot reach.

use core::time::Duration;

use crate::election::outgoing::{Outgoing, Recipient};
use crate::model::service::QueryKey;
use crate::shared::key::VmId;
use crate::shared::message::Message;
use crate::shared::source_record::{Rank, SourceRecord};
use crate::util::time::Time;

/// How often the fetcher is told at most: it asks Consul less often than that anyway.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells the fetcher of one source that Consul is likely to know better by now.
///
/// A dead endpoint fails every request that it is given, so without a limit the fetcher's
/// queue would fill with what one message says.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    me: VmId,
    /// Who fetches, as far as this VM has seen.
    owner: Option<VmId>,
    /// When the fetcher may be told again.
    next: Time,
}

impl RefreshRequest {
    /// Starts with no fetcher known.
    pub(super) const fn new(me: VmId) -> Self {
        Self { me, owner: None, next: Time::ZERO }
    }

    /// Learns from the head who fetches; one who is leaving does so no longer.
    pub(super) fn on_head(&mut self, head: Option<&SourceRecord>) {
        let head = head.filter(|head| head.rank != Rank::RELEASED && head.owner != self.me);
        self.owner = head.map(|head| head.owner);
    }

    /// The letter to the fetcher, if one is known and was not told within the last second.
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
    fn the_fetcher_is_told_once_a_second() {
        let mut suspicion = RefreshRequest::new(ME);
        suspicion.on_head(Some(&idle(OTHER)));
        let message = Outgoing { to: Recipient::One(OTHER), message: Message::Suspicion(KEY) };
        assert_eq!(suspicion.poll_message(KEY, Time::ZERO), Some(message.clone()));
        assert_eq!(suspicion.poll_message(KEY, Time::ZERO + INTERVAL / 2), None);
        assert_eq!(suspicion.poll_message(KEY, Time::ZERO + INTERVAL), Some(message));
    }

    #[test]
    fn nobody_is_told_where_nobody_else_is_known_to_fetch() {
        let mut suspicion = RefreshRequest::new(ME);
        assert_eq!(suspicion.poll_message(KEY, Time::ZERO), None);
        for head in [None, Some(idle(ME)), Some(head(OTHER, Rank::RELEASED))] {
            suspicion.on_head(Some(&idle(OTHER)));
            suspicion.on_head(head.as_ref());
            assert_eq!(suspicion.poll_message(KEY, Time::ZERO), None, "{head:?}");
        }
    }
}
