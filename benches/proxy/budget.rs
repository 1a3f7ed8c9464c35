//! How long parts may take: `make bench` ends, also where nobody watches it.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use crate::Failure;

/// Until when another round may end.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

/// How many rounds were made of those that were planned.
#[derive(Debug, Clone)]
pub struct Rounds {
    made: u32,
    planned: u32,
    /// Why there were no more.
    cut: Option<String>,
}

impl Deadline {
    /// One that is so far away.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// The time that is left.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// That of the next one of several parts, which takes this share (0 to 1) of what is left.
    pub fn share(self, share: f64) -> Self {
        Self::after(self.left().mul_f64(share))
    }

    /// Makes the rounds one after the other; at least one, and no other where the time that is left
    /// is shorter than the longest one took. An error in the first one is one; in a later one it
    /// ends the rounds.
    pub fn rounds(
        self,
        planned: u32,
        mut round: impl FnMut(u32) -> Result<(), Failure>,
    ) -> Result<Rounds, Failure> {
        let (mut longest, mut cut, mut made) = (Duration::ZERO, None, 0);
        while made < planned && cut.is_none() {
            if made > 0 && self.left() < longest {
                cut = Some("the time was up".to_owned());
                break;
            }
            let begin = Instant::now();
            match round(made) {
                Err(error) if made == 0 => return Err(error),
                Err(error) => cut = Some(first_line(error.as_ref())),
                Ok(()) => made += 1,
            }
            longest = longest.max(begin.elapsed());
        }
        if let Some(why) = &cut {
            eprintln!("  cut after {made} of {planned} rounds: {why}");
        }
        Ok(Rounds { made, planned, cut })
    }
}

/// As in the report.
impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, planned, cut } = self;
        match cut {
            None => made.fmt(f),
            Some(why) => write!(f, "{made} (**cut**, {planned} were planned: {why})"),
        }
    }
}

/// An error for a table: the rest of it is a log.
pub fn first_line(error: &(dyn Error + Send + Sync)) -> String {
    error.to_string().lines().next().unwrap_or_default().replace('|', "/")
}
