//! How long a registration takes until requests show it.

use std::thread;
use std::time::{Duration, Instant};

use super::Scale;
use super::case::Case;
use super::population::Population;
use crate::Failure;
use crate::budget::Deadline;
use crate::sample::Sample;
use crate::worker::Worker;

/// Times registrations, each in another service where there are several, in milliseconds.
pub fn measure(
    case: Case,
    population: &Population,
    workers: &mut [Worker],
    deadline: Deadline,
) -> Result<Sample, Failure> {
    let services: Vec<_> = (0..Scale::ARRIVALS).map(|change| case.changed(change)).collect();
    let mut times = Vec::new();
    let at_once: Vec<_> = services.chunks(case.at_once()).collect();
    deadline.rounds(u32::try_from(at_once.len())?, |round| {
        let services = at_once[round as usize];
        thread::sleep(pause_before(round));
        times.extend(observe(services, population, workers)?);
        thread::sleep(pause_before(round));
        for service in services {
            population.dismiss(service)?;
        }
        Ok(())
    })?;
    Ok(Sample::new(times.iter().map(|time| time.as_secs_f64() * 1e3)))
}

/// Long enough for the query to wait at Consul again, and never at the same phase of the filter's
/// timer.
fn pause_before(round: u32) -> Duration {
    Duration::from_millis(400 + u64::from(round) * 37 % 250)
}

/// Has all workers asked for the services while an instance comes to each of them; gives how long
/// that took to come to the last worker, service by service.
fn observe(
    services: &[String],
    population: &Population,
    workers: &mut [Worker],
) -> Result<Vec<Duration>, Failure> {
    let hosts: Vec<_> = services.iter().map(|service| Case::host(service)).collect();
    thread::scope(|scope| {
        let polls: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                let hosts = &hosts;
                scope.spawn(move || until_the_guest_answers(worker, hosts))
            })
            .collect();
        let mut begins = Vec::new();
        for service in services {
            begins.push(Instant::now());
            population.announce(service)?;
        }
        let mut last = begins.clone();
        for poll in polls {
            let seen = poll.join().expect("it does not panic")?;
            last.iter_mut().zip(seen).for_each(|(last, seen)| *last = (*last).max(seen));
        }
        Ok(last.iter().zip(begins).map(|(last, begin)| *last - begin).collect())
    })
}

/// Sends requests for all hosts in turn, with a short pause between them; gives when the guest
/// answered the first one for each.
fn until_the_guest_answers(worker: &mut Worker, hosts: &[String]) -> Result<Vec<Instant>, String> {
    const PAUSE: Duration = Duration::from_micros(250);
    const PATIENCE: Duration = Duration::from_secs(120);
    let start = Instant::now();
    let mut seen = vec![None; hosts.len()];
    while start.elapsed() < PATIENCE {
        for (host, seen) in hosts.iter().zip(&mut seen).filter(|(_, seen)| seen.is_none()) {
            let instance = worker.get_from(host).map_err(|error| error.to_string())?;
            *seen = (instance == Population::GUEST).then(Instant::now);
            thread::sleep(PAUSE);
        }
        if let Some(seen) = seen.iter().copied().collect() {
            return Ok(seen);
        }
    }
    Err(format!("no request went to some new instance of {hosts:?} within {PATIENCE:?}"))
}
