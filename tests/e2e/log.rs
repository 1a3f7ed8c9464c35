//! What Envoy logs from some moment on.

use std::collections::BTreeSet;
use std::time::Duration;

use stack::{Envoy, wait_until};

/// A place in Envoy's log.
#[derive(Debug, Clone, Copy)]
pub struct LogMark(usize);

impl LogMark {
    /// The log's beginning.
    pub const START: Self = Self(0);

    /// The end of the log as it is now.
    pub fn now(envoy: &Envoy) -> Self {
        Self(envoy.log().len())
    }

    /// The lines since then that contain `text`.
    pub fn lines(self, envoy: &Envoy, text: &str) -> Vec<String> {
        let log = envoy.log();
        let since = log.get(self.0..).unwrap_or_default();
        let lines = since.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }

    /// Waits, at most twenty seconds, for a line that contains `text`.
    pub fn await_line(self, envoy: &Envoy, text: &str) {
        let seen = wait_until(Duration::from_secs(20), || !self.lines(envoy, text).is_empty());
        assert!(seen, "{text:?} is not in the log since");
    }
}

/// The thread that has logged a line: the second bracket of Envoy's prefix.
pub fn thread_of(line: &str) -> Option<u32> {
    let second = line.split('[').nth(2)?;
    second.split(']').next()?.parse().ok()
}

/// Fails where not every VM that has told this has told it once. While the lease settles more
/// than one of them may have read the service.
pub fn assert_told_once(envoy: &Envoy, text: &str) {
    let lines = LogMark::START.lines(envoy, text);
    let threads: BTreeSet<_> = lines.iter().map(|line| thread_of(line)).collect();
    assert!(!lines.is_empty() && lines.len() == threads.len(), "{text}: {}", envoy.log());
}
