//! The lease of a source in shared data: one VM at a time is the leader.
//!
//! The lease is part of the [`SourceRecord`](crate::shared::source_record::SourceRecord), which
//! changes only by compare-and-set. The leader rewrites the record at intervals. A follower that
//! sees no change for a lease period *on its own clock* takes the lease with the next term.
//! Timestamps of different VMs are never compared. The clock [stands still](crate::util::awake)
//! while its VM does, because a process that stood still could not renew its leases.
//!
//! These are the rules of client-go's leader election, with one addition: the term fences every
//! store of an earlier leader.
//!
//! The main thread's VM never serves requests, so parsing a large response there delays no request.
//! No VM can know that it is the main thread's, and none needs to: the record contains the leader's
//! [`Rank`], and a VM of a lower rank takes the lease at once.

use core::time::Duration;

use crate::shared::key::{Cas, VmId};
use crate::shared::source_record::{Holder, Rank, Term};
use crate::util::time::Time;

/// The time without a renewal after which a follower takes the lease.
pub const PERIOD: Duration = Duration::from_secs(3);
/// The interval at which the leader renews its lease.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// The time for which a standby leaves a free lease to the preferred VM.
pub const STANDBY_DELAY: Duration = Duration::from_millis(500);

/// The part of one VM in the lease of one source.
#[derive(Debug)]
pub struct Lease {
    me: VmId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No record was read yet.
    Unknown,
    /// The lease is free, and this VM leaves it to another VM. `since` is the time of the first
    /// read.
    Standby { since: Option<Time> },
    /// Another VM holds the lease. Its record has not changed since `since`.
    Follower { cas: Cas, since: Time },
    /// The claim of this VM is being written.
    Claiming { term: Term, rank: Rank },
    /// This VM holds the lease.
    Leader { term: Term, rank: Rank, renewed: Option<Time> },
}

/// The action that follows from the record that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// Do nothing: another VM leads.
    Follow,
    /// Do nothing: this VM leads and has renewed the lease recently.
    Lead,
    /// Write the record again with the same term.
    Renew(Term),
    /// Write a record with this new term. This VM leads once the write has succeeded.
    Claim(Term, ClaimReason),
    /// Stop leading: another VM has taken the lease.
    Deposed,
}

/// The reason why a lease may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimReason {
    /// There is no record.
    Absent,
    /// The leader did not renew the lease for a lease period.
    Expired,
    /// The leader is less suitable than this VM.
    GivesWay,
    /// The leader's configuration is older than this VM's.
    Superseded,
}

impl Lease {
    /// Starts as a VM that has read nothing yet.
    pub const fn new(me: VmId) -> Self {
        Self { me, state: State::Unknown }
    }

    /// Starts as a VM that leaves a free lease to others for [`STANDBY_DELAY`].
    ///
    /// All VMs learn of a service that is added at run time within moments, and each claim would be
    /// followed by a read of Consul.
    pub const fn as_standby(me: VmId) -> Self {
        Self { me, state: State::Standby { since: None } }
    }

    /// Returns the term in which this VM leads, if it does.
    pub const fn term(&self) -> Option<Term> {
        match self.state {
            State::Leader { term, .. } => Some(term),
            State::Unknown
            | State::Standby { .. }
            | State::Follower { .. }
            | State::Claiming { .. } => None,
        }
    }

    /// Returns true if the leader is known: this VM, or a VM whose renewal was seen.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Leader { .. } | State::Follower { .. })
    }

    /// Decides by the record as it stands. `holder` is `None` if there is no readable record.
    pub fn on_holder(
        &mut self,
        holder: Option<(Holder, Cas)>,
        rank: Rank,
        now: Time,
    ) -> LeaseAction {
        let is_free = holder.is_none_or(|(holder, _)| holder.rank == Rank::RELEASED);
        if let State::Standby { since } = &mut self.state
            && is_free
            && now.since(*since.get_or_insert(now)) < STANDBY_DELAY
        {
            return LeaseAction::Follow;
        }
        let Some((holder, cas)) = holder else {
            // A record that was emptied took its terms with it. The last known term is our own.
            let term = self.term().unwrap_or_default().next();
            self.state = State::Claiming { term, rank };
            return LeaseAction::Claim(term, ClaimReason::Absent);
        };
        match self.state {
            State::Leader { term, .. } => {
                if !self.is_mine(holder, term) {
                    self.state = State::Follower { cas, since: now };
                    return LeaseAction::Deposed;
                }
                if !self.must_renew(rank, now) {
                    return LeaseAction::Lead;
                }
                self.state = State::Leader { term, rank, renewed: Some(now) };
                LeaseAction::Renew(term)
            }
            State::Follower { cas: seen, since } if seen == cas => {
                if now.since(since) >= PERIOD {
                    self.claim(holder, rank, ClaimReason::Expired)
                } else {
                    self.follow(holder, rank)
                }
            }
            State::Claiming { .. }
            | State::Unknown
            | State::Standby { .. }
            | State::Follower { .. } => {
                self.state = State::Follower { cas, since: now };
                self.follow(holder, rank)
            }
        }
    }

    /// Claims the lease of a holder that is alive.
    pub const fn supersede(&mut self, owner: Holder, rank: Rank) -> LeaseAction {
        self.claim(owner, rank, ClaimReason::Superseded)
    }

    /// Takes the result of the claim. Another VM may have written first.
    pub const fn on_claimed(&mut self, written: bool, now: Time) {
        if let State::Claiming { term, rank } = self.state {
            self.state = if written {
                State::Leader { term, rank, renewed: Some(now) }
            } else {
                State::Unknown
            };
        }
    }

    /// Returns true if this VM leads and must write the record: the renewal is due, or its rank has
    /// changed.
    pub fn must_renew(&self, rank: Rank, now: Time) -> bool {
        matches!(self.state, State::Leader { rank: said, renewed, .. }
            if said != rank || renewed.is_none_or(|renewed| now.since(renewed) >= RENEWAL))
    }

    /// Makes the renewal due at once, because the leader has something new to write.
    pub const fn renew_soon(&mut self) {
        if let State::Leader { renewed, .. } = &mut self.state {
            *renewed = None;
        }
    }

    /// Returns true if `holder` says that this VM leads in `term`.
    pub fn is_mine(&self, holder: Holder, term: Term) -> bool {
        holder.owner == self.me && holder.term == term
    }

    fn follow(&mut self, holder: Holder, rank: Rank) -> LeaseAction {
        if rank < holder.rank {
            self.claim(holder, rank, ClaimReason::GivesWay)
        } else {
            LeaseAction::Follow
        }
    }

    const fn claim(&mut self, holder: Holder, rank: Rank, reason: ClaimReason) -> LeaseAction {
        let term = holder.term.next();
        self.state = State::Claiming { term, rank };
        LeaseAction::Claim(term, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ME: VmId = VmId(1);
    const OTHER: VmId = VmId(2);

    const IDLE: Rank = Rank { serving: false, born: 5 };
    const BUSY: Rank = Rank { serving: true, born: 5 };

    const fn holder(owner: VmId, term: u64, rank: Rank) -> Holder {
        Holder { owner, term: Term(term), rank }
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn leading(term: u64) -> Lease {
        let mut lease = Lease::new(ME);
        lease.state = State::Leader { term: Term(term), rank: IDLE, renewed: Some(at(0)) };
        lease
    }

    #[test]
    fn vm_leads_when_its_claim_of_an_absent_record_is_written() {
        let mut lease = Lease::new(ME);
        assert_eq!(
            lease.on_holder(None, IDLE, at(0)),
            LeaseAction::Claim(Term(1), ClaimReason::Absent)
        );
        assert_eq!(lease.term(), None);
        lease.on_claimed(true, at(0));
        assert_eq!(lease.term(), Some(Term(1)));
    }

    #[test]
    fn vm_follows_when_its_claim_came_second() {
        let mut lease = Lease::new(ME);
        lease.on_holder(None, IDLE, at(0));
        lease.on_claimed(false, at(0));
        let theirs = holder(OTHER, 1, IDLE);
        assert_eq!(lease.on_holder(Some((theirs, Cas(4))), IDLE, at(10)), LeaseAction::Follow);
    }

    #[test]
    fn standby_claims_a_free_lease_only_after_a_while() {
        let left = holder(OTHER, 3, Rank::RELEASED);
        for (free, term) in [(None, Term(1)), (Some((left, Cas(4))), Term(4))] {
            let mut lease = Lease::as_standby(ME);
            assert_eq!(lease.on_holder(free, IDLE, at(1_000)), LeaseAction::Follow);
            assert_eq!(lease.on_holder(free, IDLE, at(1_499)), LeaseAction::Follow);
            assert!(!lease.is_settled());
            let verdict = lease.on_holder(free, IDLE, at(1_500));
            assert!(matches!(verdict, LeaseAction::Claim(its, _) if its == term), "{verdict:?}");
        }
        let mut lease = Lease::as_standby(ME);
        let theirs = holder(OTHER, 1, Rank { born: 1, ..IDLE });
        assert_eq!(lease.on_holder(None, IDLE, at(0)), LeaseAction::Follow);
        assert_eq!(lease.on_holder(Some((theirs, Cas(4))), IDLE, at(10)), LeaseAction::Follow);
        assert!(lease.is_settled());
    }

    #[test]
    fn follower_claims_when_the_record_is_unchanged_for_a_period() {
        let mut lease = Lease::new(ME);
        let theirs = holder(OTHER, 5, IDLE);
        let end = u64::try_from(PERIOD.as_millis()).unwrap();
        assert_eq!(lease.on_holder(Some((theirs, Cas(4))), IDLE, at(0)), LeaseAction::Follow);
        assert_eq!(lease.on_holder(Some((theirs, Cas(4))), IDLE, at(end - 1)), LeaseAction::Follow);
        assert_eq!(lease.on_holder(Some((theirs, Cas(5))), IDLE, at(end)), LeaseAction::Follow);
        assert_eq!(
            lease.on_holder(Some((theirs, Cas(5))), IDLE, at(2 * end - 1)),
            LeaseAction::Follow
        );
        assert_eq!(
            lease.on_holder(Some((theirs, Cas(5))), IDLE, at(2 * end)),
            LeaseAction::Claim(Term(6), ClaimReason::Expired)
        );
    }

    #[test]
    fn leader_renews_at_intervals_and_when_its_rank_changes() {
        let mut lease = leading(3);
        let mine = holder(ME, 3, IDLE);
        let seen = Some((mine, Cas(9)));
        assert_eq!(lease.on_holder(seen, IDLE, at(999)), LeaseAction::Lead);
        assert_eq!(lease.on_holder(seen, IDLE, at(1_000)), LeaseAction::Renew(Term(3)));
        assert_eq!(lease.on_holder(seen, IDLE, at(1_250)), LeaseAction::Lead);
        assert_eq!(lease.on_holder(seen, BUSY, at(1_500)), LeaseAction::Renew(Term(3)));
        lease.renew_soon();
        assert_eq!(lease.on_holder(seen, BUSY, at(1_500)), LeaseAction::Renew(Term(3)));
        assert_eq!(lease.on_holder(seen, BUSY, at(1_500)), LeaseAction::Lead);
    }

    #[test]
    fn leader_is_deposed_when_it_finds_another_term_or_leader() {
        for theirs in [holder(OTHER, 4, IDLE), holder(ME, 4, IDLE), holder(OTHER, 3, IDLE)] {
            let mut lease = leading(3);
            assert_eq!(lease.on_holder(Some((theirs, Cas(1))), IDLE, at(0)), LeaseAction::Deposed);
            assert_eq!(lease.term(), None);
        }
    }

    #[test]
    fn leader_gives_way_only_when_a_vm_is_more_suitable() {
        let theirs = holder(OTHER, 7, BUSY);
        let mut idle = Lease::new(ME);
        assert_eq!(
            idle.on_holder(Some((theirs, Cas(1))), IDLE, at(0)),
            LeaseAction::Claim(Term(8), ClaimReason::GivesWay)
        );
        let older = Rank { serving: false, born: 4 };
        let theirs_idle = holder(OTHER, 7, IDLE);
        let mut first = Lease::new(ME);
        assert_eq!(
            first.on_holder(Some((theirs_idle, Cas(1))), older, at(0)),
            LeaseAction::Claim(Term(8), ClaimReason::GivesWay)
        );
        let mut equal = Lease::new(ME);
        assert_eq!(equal.on_holder(Some((theirs_idle, Cas(1))), IDLE, at(0)), LeaseAction::Follow);
        let mut busy = Lease::new(ME);
        assert_eq!(busy.on_holder(Some((theirs, Cas(1))), BUSY, at(0)), LeaseAction::Follow);
    }
}
