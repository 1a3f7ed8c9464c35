//! Who fetches a service: one VM at a time, by a lease in shared data.
//!
//! The lease is part of the service's [`SourceRecord`](crate::shared::source_record::SourceRecord), which changes only by compare-and-set. Its
//! owner rewrites the head once in a while; a follower that has not seen it change for a
//! lease period *on its own clock* takes it over, with the next term. No timestamp of one
//! VM is ever compared with another's. The clock is one that [stands still](crate::util::time::AwakeClock) while
//! its VM does: where all have stood still, nobody could give a sign of life.
//!
//! The main thread's VM never serves requests, so parsing a large answer there delays
//! nobody. No VM can know that it is the main thread's, and none needs to: the head tells
//! its owner's [`Rank`], and a VM of a lesser one takes the lease from it at once.

use core::time::Duration;

use crate::shared::key::{Cas, VmId};
use crate::shared::source_record::{Holder, Rank, Term};
use crate::util::time::Time;

/// How long a follower waits for a sign of life before it takes over.
pub const PERIOD: Duration = Duration::from_secs(3);
/// How often the owner gives one.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// How long a VM that is not the first choice leaves a lease that nobody has to others.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// One VM's part in the lease of one service.
#[derive(Debug)]
pub struct Lease {
    me: VmId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No head was seen yet.
    Unseen,
    /// Nobody has the lease, and another VM is the one to take it; since the first look.
    Deferring { since: Option<Time> },
    /// Another VM owns the lease; its head has not changed since then.
    Following { cas: Cas, since: Time },
    /// This VM's claim is being written.
    Claiming { term: Term, rank: Rank },
    /// This VM owns the lease.
    Leading { term: Term, rank: Rank, renewed: Option<Time> },
}

/// What to do about the head that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// Nothing: another VM fetches.
    Follow,
    /// Nothing: this VM fetches, and has said so recently.
    Lead,
    /// Write the head again, with the same term.
    Renew(Term),
    /// Write a head with this new term; the lease is ours once that has succeeded.
    Claim(Term, ClaimReason),
    /// Stop fetching: another VM has taken the lease.
    Deposed,
}

/// Why a lease is free to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimReason {
    /// There is no head.
    Absent,
    /// Its owner gave no sign of life for a lease period.
    Expired,
    /// Its owner is less suitable than this VM.
    GivesWay,
    /// Its owner's configuration is older than this VM's.
    Superseded,
}

impl Lease {
    /// Starts as a VM that has seen nothing yet.
    pub const fn new(me: VmId) -> Self {
        Self { me, state: State::Unseen }
    }

    /// Starts as a VM that leaves a lease that nobody has to others for [`PATIENCE`]: where a service is
    /// found while running, all VMs come to know of it within moments, and each claim would be
    /// followed by a read of Consul.
    pub const fn as_standby(me: VmId) -> Self {
        Self { me, state: State::Deferring { since: None } }
    }

    /// The term in which this VM fetches, if it does.
    pub const fn term(&self) -> Option<Term> {
        match self.state {
            State::Leading { term, .. } => Some(term),
            State::Unseen
            | State::Deferring { .. }
            | State::Following { .. }
            | State::Claiming { .. } => None,
        }
    }

    /// Whether somebody is known to fetch: this VM, or one that gave a sign of life.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Leading { .. } | State::Following { .. })
    }

    /// Judges the head as it stands now; `None` when there is none, or none that can be read.
    pub fn on_head(&mut self, head: Option<(Holder, Cas)>, rank: Rank, now: Time) -> LeaseAction {
        let is_free = head.is_none_or(|(head, _)| head.rank == Rank::LEAVING);
        if let State::Deferring { since } = &mut self.state
            && is_free
            && now.since(*since.get_or_insert(now)) < PATIENCE
        {
            return LeaseAction::Follow;
        }
        let Some((head, cas)) = head else {
            // A head that has gone took its terms with it; ours was the last that we know.
            let term = self.term().unwrap_or_default().next();
            self.state = State::Claiming { term, rank };
            return LeaseAction::Claim(term, ClaimReason::Absent);
        };
        match self.state {
            State::Leading { term, .. } => {
                if !self.is_mine(head, term) {
                    self.state = State::Following { cas, since: now };
                    return LeaseAction::Deposed;
                }
                if !self.must_renew(rank, now) {
                    return LeaseAction::Lead;
                }
                self.state = State::Leading { term, rank, renewed: Some(now) };
                LeaseAction::Renew(term)
            }
            State::Following { cas: seen, since } if seen == cas => {
                if now.since(since) >= PERIOD {
                    self.claim(head, rank, ClaimReason::Expired)
                } else {
                    self.follow(head, rank)
                }
            }
            State::Claiming { .. }
            | State::Unseen
            | State::Deferring { .. }
            | State::Following { .. } => {
                self.state = State::Following { cas, since: now };
                self.follow(head, rank)
            }
        }
    }

    /// Takes the lease from its owner, whoever that is.
    pub const fn supersede(&mut self, owner: Holder, rank: Rank) -> LeaseAction {
        self.claim(owner, rank, ClaimReason::Superseded)
    }

    /// Learns whether the claim was written; another VM may have been faster.
    pub const fn on_claimed(&mut self, written: bool, now: Time) {
        if let State::Claiming { term, rank } = self.state {
            self.state = if written {
                State::Leading { term, rank, renewed: Some(now) }
            } else {
                State::Unseen
            };
        }
    }

    /// Whether this VM owns the lease and is to say so again, of itself or of its new rank.
    pub fn must_renew(&self, rank: Rank, now: Time) -> bool {
        matches!(self.state, State::Leading { rank: said, renewed, .. }
            if said != rank || renewed.is_none_or(|renewed| now.since(renewed) >= RENEWAL))
    }

    /// Wants the head written at the next look, where this VM owns the lease: it says something new.
    pub const fn renew_soon(&mut self) {
        if let State::Leading { renewed, .. } = &mut self.state {
            *renewed = None;
        }
    }

    /// Whether `head` says that this VM fetches in `term`.
    pub fn is_mine(&self, head: Holder, term: Term) -> bool {
        head.owner == self.me && head.term == term
    }

    fn follow(&mut self, head: Holder, rank: Rank) -> LeaseAction {
        if rank < head.rank {
            self.claim(head, rank, ClaimReason::GivesWay)
        } else {
            LeaseAction::Follow
        }
    }

    const fn claim(&mut self, head: Holder, rank: Rank, vacancy: ClaimReason) -> LeaseAction {
        let term = head.term.next();
        self.state = State::Claiming { term, rank };
        LeaseAction::Claim(term, vacancy)
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

    const fn head(owner: VmId, term: u64, rank: Rank) -> Holder {
        Holder { owner, term: Term(term), rank }
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn leading(term: u64) -> Lease {
        let mut lease = Lease::new(ME);
        lease.state = State::Leading { term: Term(term), rank: IDLE, renewed: Some(at(0)) };
        lease
    }

    #[test]
    fn the_first_claim_of_an_absent_head_leads_once_it_is_written() {
        let mut lease = Lease::new(ME);
        assert_eq!(
            lease.on_head(None, IDLE, at(0)),
            LeaseAction::Claim(Term(1), ClaimReason::Absent)
        );
        assert_eq!(lease.term(), None);
        lease.on_claimed(true, at(0));
        assert_eq!(lease.term(), Some(Term(1)));
    }

    #[test]
    fn a_claim_that_came_second_follows() {
        let mut lease = Lease::new(ME);
        lease.on_head(None, IDLE, at(0));
        lease.on_claimed(false, at(0));
        let theirs = head(OTHER, 1, IDLE);
        assert_eq!(lease.on_head(Some((theirs, Cas(4))), IDLE, at(10)), LeaseAction::Follow);
    }

    #[test]
    fn one_that_defers_takes_a_free_lease_only_after_a_while_and_follows_whoever_was_faster() {
        let left = head(OTHER, 3, Rank::LEAVING);
        for (free, term) in [(None, Term(1)), (Some((left, Cas(4))), Term(4))] {
            let mut lease = Lease::as_standby(ME);
            assert_eq!(lease.on_head(free, IDLE, at(1_000)), LeaseAction::Follow);
            assert_eq!(lease.on_head(free, IDLE, at(1_499)), LeaseAction::Follow);
            assert!(!lease.is_settled());
            let verdict = lease.on_head(free, IDLE, at(1_500));
            assert!(matches!(verdict, LeaseAction::Claim(its, _) if its == term), "{verdict:?}");
        }
        let mut lease = Lease::as_standby(ME);
        let theirs = head(OTHER, 1, Rank { born: 1, ..IDLE });
        assert_eq!(lease.on_head(None, IDLE, at(0)), LeaseAction::Follow);
        assert_eq!(lease.on_head(Some((theirs, Cas(4))), IDLE, at(10)), LeaseAction::Follow);
        assert!(lease.is_settled());
    }

    #[test]
    fn a_silent_owner_is_replaced_after_a_lease_period_on_the_followers_clock() {
        let mut lease = Lease::new(ME);
        let theirs = head(OTHER, 5, IDLE);
        let end = u64::try_from(PERIOD.as_millis()).unwrap();
        assert_eq!(lease.on_head(Some((theirs, Cas(4))), IDLE, at(0)), LeaseAction::Follow);
        assert_eq!(lease.on_head(Some((theirs, Cas(4))), IDLE, at(end - 1)), LeaseAction::Follow);
        assert_eq!(lease.on_head(Some((theirs, Cas(5))), IDLE, at(end)), LeaseAction::Follow);
        assert_eq!(
            lease.on_head(Some((theirs, Cas(5))), IDLE, at(2 * end - 1)),
            LeaseAction::Follow
        );
        assert_eq!(
            lease.on_head(Some((theirs, Cas(5))), IDLE, at(2 * end)),
            LeaseAction::Claim(Term(6), ClaimReason::Expired)
        );
    }

    #[test]
    fn an_owner_renews_once_in_a_while_and_at_once_when_it_begins_to_serve() {
        let mut lease = leading(3);
        let mine = head(ME, 3, IDLE);
        let seen = Some((mine, Cas(9)));
        assert_eq!(lease.on_head(seen, IDLE, at(999)), LeaseAction::Lead);
        assert_eq!(lease.on_head(seen, IDLE, at(1_000)), LeaseAction::Renew(Term(3)));
        assert_eq!(lease.on_head(seen, IDLE, at(1_250)), LeaseAction::Lead);
        assert_eq!(lease.on_head(seen, BUSY, at(1_500)), LeaseAction::Renew(Term(3)));
        lease.renew_soon();
        assert_eq!(lease.on_head(seen, BUSY, at(1_500)), LeaseAction::Renew(Term(3)));
        assert_eq!(lease.on_head(seen, BUSY, at(1_500)), LeaseAction::Lead);
    }

    #[test]
    fn an_owner_that_finds_another_term_or_name_is_deposed() {
        for theirs in [head(OTHER, 4, IDLE), head(ME, 4, IDLE), head(OTHER, 3, IDLE)] {
            let mut lease = leading(3);
            assert_eq!(lease.on_head(Some((theirs, Cas(1))), IDLE, at(0)), LeaseAction::Deposed);
            assert_eq!(lease.term(), None);
        }
    }

    #[test]
    fn an_owner_gives_way_only_to_a_vm_that_is_more_suitable() {
        let theirs = head(OTHER, 7, BUSY);
        let mut idle = Lease::new(ME);
        assert_eq!(
            idle.on_head(Some((theirs, Cas(1))), IDLE, at(0)),
            LeaseAction::Claim(Term(8), ClaimReason::GivesWay)
        );
        let older = Rank { serving: false, born: 4 };
        let theirs_idle = head(OTHER, 7, IDLE);
        let mut first = Lease::new(ME);
        assert_eq!(
            first.on_head(Some((theirs_idle, Cas(1))), older, at(0)),
            LeaseAction::Claim(Term(8), ClaimReason::GivesWay)
        );
        let mut equal = Lease::new(ME);
        assert_eq!(equal.on_head(Some((theirs_idle, Cas(1))), IDLE, at(0)), LeaseAction::Follow);
        let mut busy = Lease::new(ME);
        assert_eq!(busy.on_head(Some((theirs, Cas(1))), BUSY, at(0)), LeaseAction::Follow);
    }
}
