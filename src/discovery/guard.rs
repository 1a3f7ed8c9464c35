//! Keeps what Consul may say by mistake away from the endpoints, for a while.

use core::time::Duration;

use crate::config::ShrinkGuard;
use crate::consul::response::Answer;
use crate::discovery::doubt::{self, Doubt, listed};
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::time::Time;

/// How often a doubted answer is read again while it is held back.
const AGAIN: Duration = Duration::from_secs(5);

/// Judges the answers for one source, and holds one back that is [doubted](Doubt).
///
/// A doubted answer is not used; a fresh, consistent read follows at once. Where that lists more,
/// it is what is used. Where it says the same and something is left, Consul is believed. Where it
/// says the same and nothing is left, or it is partial, or it fails, the read is repeated until the
/// time is over for which the first one is held back; then Consul is believed.
#[derive(Debug)]
pub(super) struct Guard {
    settings: ShrinkGuard,
    hold: Option<Hold>,
    resolution: Option<Resolution>,
}

/// An answer that is held back.
#[derive(Debug)]
struct Hold {
    answer: Answer,
    until: Time,
    /// Whether a fresh, consistent read has said the same.
    is_repeated: bool,
}

/// What is done with an answer.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It is used.
    Used(Box<Answer>),
    /// It is doubted, and held back; it is to be read again at once, consistently.
    Doubted(Doubt),
    /// It is held back in place of an earlier one, and to be read again then.
    Held {
        /// When.
        again: Time,
    },
}

/// How a doubt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// A fresh, consistent read has listed more: the doubted answer was not true.
    Refuted,
    /// A fresh, consistent read has said the same.
    Confirmed,
    /// Nothing has contradicted it while it was held back, and Consul is believed.
    Expired,
}

impl Guard {
    /// Starts with nothing held back.
    pub(super) const fn new(settings: ShrinkGuard) -> Self {
        Self { settings, hold: None, resolution: None }
    }

    /// Whether an answer is held back.
    pub(super) const fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// Forgets what is held back.
    pub(super) fn clear(&mut self) {
        self.hold = None;
        self.resolution = None;
    }

    /// Judges an answer beside what is published: so many instances listed, these endpoints.
    pub(super) fn judge(
        &mut self,
        answer: Answer,
        listed_before: u32,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> Judgement {
        let doubt = self.doubt(&answer, listed_before, current);
        match (&mut self.hold, doubt) {
            (None, None) => Judgement::Used(Box::new(answer)),
            (None, Some(doubt)) => {
                let until = now + self.settings.hold;
                self.hold = Some(Hold { answer, until, is_repeated: false });
                Judgement::Doubted(doubt)
            }
            (Some(hold), Some(Doubt::Nothing { .. } | Doubt::Filtered { .. })) => {
                if now >= hold.until {
                    self.hold = None;
                    self.resolution = Some(Resolution::Expired);
                    return Judgement::Used(Box::new(answer));
                }
                hold.answer = answer;
                hold.is_repeated = true;
                Judgement::Held { again: now + rng.about(AGAIN) }
            }
            (Some(hold), None | Some(Doubt::Shrunk { .. })) => {
                let lists_more = listed(&answer.decoded) > listed(&hold.answer.decoded);
                self.hold = None;
                self.resolution =
                    Some(if lists_more { Resolution::Refuted } else { Resolution::Confirmed });
                Judgement::Used(Box::new(answer))
            }
        }
    }

    /// Why an answer would be doubted.
    pub(super) fn doubt(
        &self,
        answer: &Answer,
        listed_before: u32,
        current: Option<&Snapshot>,
    ) -> Option<Doubt> {
        Doubt::of(answer, listed_before, current, self.settings)
    }

    /// Whether a partial answer says no more than an error.
    pub(super) fn is_useless(&self, answer: &Answer, current: Option<&Snapshot>) -> bool {
        doubt::is_useless(answer, current, self.settings)
    }

    /// The answer that was held back long enough, once: it is to be used after all. One that Consul
    /// has given once, and could not be asked about since, waits until it can.
    pub(super) fn poll_expired(&mut self, now: Time) -> Option<Answer> {
        let hold = self.hold.take_if(|hold| hold.is_repeated && now >= hold.until)?;
        self.resolution = Some(Resolution::Expired);
        Some(hold.answer)
    }

    /// Whether the last answer has refuted the one before it. Where the servers of a Consul contradict
    /// each other without an end, that must not make a hot loop.
    pub(super) const fn has_refuted(&self) -> bool {
        matches!(self.resolution, Some(Resolution::Refuted))
    }

    /// How a doubt has ended, once.
    pub(super) const fn poll_resolution(&mut self) -> Option<Resolution> {
        self.resolution.take()
    }
}
