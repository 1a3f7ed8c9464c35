//! How long a registration takes until requests show it.

use std::thread;
use std::time::{Duration, Instant};

use super::Scale;
use super::case::Case;
use super::population::Population;
use crate::Failure;
use crate::sample::Sample;
use crate::worker::Worker;

/// Times registrations, one after the other, in milliseconds.
pub fn measure(
    case: Case,
    population: &Population,
    workers: &mut [Worker],
) -> Result<Sample, Failure> {
    let mut times = Vec::new();
    for change in 0..Scale::ARRIVALS {
        let service = case.changed(change);
        thread::sleep(pause_before(change));
        times.push(observe(&service, population, workers)?.as_secs_f64() * 1e3);
        thread::sleep(pause_before(change));
        population.dismiss(&service)?;
    }
    Ok(Sample::new(times))
}

/// Long enough for the query to wait at Consul again, and never at the same phase of the filter's
/// timer.
fn pause_before(change: u32) -> Duration {
    Duration::from_millis(400 + u64::from(change) * 37 % 250)
}

/// Has all workers asked for a service while an instance comes to it.
fn observe(
    service: &str,
    population: &Population,
    workers: &mut [Worker],
) -> Result<Duration, Failure> {
    let host = Case::host(service);
    thread::scope(|scope| {
        let polls: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let host = &host;
                scope.spawn(move || until_the_guest_answers(worker, host))
            })
            .collect();
        let begin = Instant::now();
        population.announce(service)?;
        let mut last = begin;
        for poll in polls {
            last = last.max(poll.join().expect("it does not panic")?);
        }
        Ok(last - begin)
    })
}

/// Sends requests, with a short pause between them; gives when the guest has answered one.
fn until_the_guest_answers(worker: &mut Worker, host: &str) -> Result<Instant, String> {
    const PAUSE: Duration = Duration::from_micros(250);
    const PATIENCE: Duration = Duration::from_secs(60);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if worker.get_from(host).map_err(|error| error.to_string())? == Population::GUEST {
            return Ok(Instant::now());
        }
        thread::sleep(PAUSE);
    }
    Err(format!("{host}: no request went to the new instance within {PATIENCE:?}"))
}
