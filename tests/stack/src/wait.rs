//! Waits for something another process does.

use std::time::{Duration, Instant};

/// Asks every 5 ms until the answer is something, at most `within`.
pub fn eventually<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks every 5 ms until the answer is yes; `false` when it was not within that time.
pub fn wait_until(within: Duration, mut ask: impl FnMut() -> bool) -> bool {
    eventually(within, || ask().then_some(())).is_some()
}
