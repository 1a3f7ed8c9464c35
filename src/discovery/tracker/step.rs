//! Why a tracker looks at its head, or writes it.

use crate::discovery::lease::Vacancy;
use crate::shared::head::Rank;

/// Why the head was asked for. One at a time: all that follows from an event is carried out before the next event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// For a request that cannot be routed yet, or because this VM was woken.
    Peek,
    /// For the lease, too.
    Check { rank: Rank },
    /// To go on with the publication of a record.
    Commit,
    /// To give the lease away.
    Leave,
    /// To give it away, and leave nothing behind that takes room.
    Retire,
}

/// Why the head was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
    Claim { vacancy: Vacancy },
    Renewal,
    Commit,
    Leave,
    Retire,
}
