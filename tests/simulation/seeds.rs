//! Runs a scenario for many seeds, on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs a scenario for so many seeds, or for those that the environment asks for; the seed of the
/// first failure is printed.
pub fn for_seeds(usual: u64, scenario: impl Fn(u64) + Sync) {
    let number = |name| {
        std::env::var(name).ok().map(|value| {
            value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number"))
        })
    };
    let (first, end) = match number("SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("SIM_SEEDS").unwrap_or(usual)),
    };
    let next = AtomicU64::new(first);
    let failure = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
                eprintln!("failed with seed {seed}; to repeat it: SIM_SEED={seed}");
                next.store(end, Ordering::Relaxed);
                failure.lock().expect("no panic while it is held").get_or_insert(panic);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(usize::try_from(end - first).unwrap_or(cores)) {
            scope.spawn(work);
        }
    });
    if let Some(panic) = failure.into_inner().expect("no panic while it is held") {
        resume_unwind(panic);
    }
}
