//! The time for which a value of shared data has not changed.

use core::time::Duration;

use crate::shared::key::Cas;
use crate::util::time::Time;

/// The time and the number of reads for which a value of shared data has not changed.
///
/// After a process stood still, much time has passed for all of its VMs. Only the number of reads
/// shows that the other VMs have run as well and could have written.
#[derive(Debug, Default)]
pub struct ObservedSince {
    last: Option<(Option<Cas>, Time)>,
    reads: u32,
}

impl ObservedSince {
    /// Takes a read: the version of the value, if there is one.
    pub fn on_look(&mut self, cas: Option<Cas>, now: Time) {
        match self.last {
            Some((last, _)) if last == cas => self.reads = self.reads.saturating_add(1),
            _ => (self.last, self.reads) = (Some((cas, now)), 0),
        }
    }

    /// Returns true if the value has not changed for `least` and for that number of reads.
    pub fn has_lasted(&self, least: Duration, reads: u32, now: Time) -> bool {
        self.reads >= reads && self.last.is_some_and(|(_, since)| now.since(since) >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn value_has_lasted_when_both_time_and_reads_suffice() {
        let lasted =
            |silence: &ObservedSince, now| silence.has_lasted(Duration::from_secs(5), 3, at(now));
        let mut silence = ObservedSince::default();
        assert!(!lasted(&silence, 100), "nobody has looked");
        silence.on_look(None, at(0));
        silence.on_look(None, at(1_000));
        assert!(!lasted(&silence, 1_000), "time alone");
        (0..2).for_each(|_| silence.on_look(None, at(1_000)));
        assert!(lasted(&silence, 1_000));
        silence.on_look(Some(Cas(1)), at(1_000));
        (0..9).for_each(|_| silence.on_look(Some(Cas(1)), at(1_001)));
        assert!(!lasted(&silence, 1_004), "looks alone");
        assert!(lasted(&silence, 1_005));
    }
}
