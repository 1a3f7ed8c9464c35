//! What Consul was asked, over time.

use std::ops::Range;
use std::time::Duration;

/// Counts by the tenth of a second.
#[derive(Debug, Clone, Default)]
struct Counts(Vec<u32>);

/// What a run has counted. Times are counted from the begin of the simulation.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Calls of the Envoys.
    calls: Counts,
    /// Reads of the state that each server carries out.
    reads: Vec<Counts>,
    /// When each Envoy had an answer that it waited for, see [`Meter::on_informed`].
    informed: Vec<Duration>,
}

impl Counts {
    const BIN: Duration = Duration::from_millis(100);
    /// Bins of a second.
    const SECOND: usize = 10;

    fn add(&mut self, at: Duration) {
        let bin = Self::bin(at);
        if self.0.len() <= bin {
            self.0.resize(bin + 1, 0);
        }
        self.0[bin] += 1;
    }

    fn within(&self, time: &Range<Duration>) -> &[u32] {
        let end = Self::bin(time.end).min(self.0.len());
        &self.0[Self::bin(time.start).min(end)..end]
    }

    fn sum(&self, time: &Range<Duration>) -> u64 {
        self.within(time).iter().map(|count| u64::from(*count)).sum()
    }

    /// The most in a second that begins with a bin.
    fn highest_second(&self, time: &Range<Duration>) -> u64 {
        let sum = |bins: &[u32]| bins.iter().map(|count| u64::from(*count)).sum();
        let bins = self.within(time);
        bins.windows(Self::SECOND.min(bins.len().max(1))).map(sum).max().unwrap_or(0)
    }

    fn bin(at: Duration) -> usize {
        usize::try_from(at.as_millis() / Self::BIN.as_millis()).expect("the simulation is short")
    }
}

impl Meter {
    /// Nothing yet, of so many servers.
    pub fn new(servers: usize) -> Self {
        let reads = vec![Counts::default(); servers];
        Self { calls: Counts::default(), reads, informed: Vec::new() }
    }

    /// An Envoy's call comes to Consul.
    pub fn on_call(&mut self, at: Duration) {
        self.calls.add(at);
    }

    /// A server reads its state.
    pub fn on_read(&mut self, server: usize, at: Duration) {
        self.reads[server].add(at);
    }

    /// An Envoy has the last change, or, after an outage, its first answer; to be told once.
    pub fn on_informed(&mut self, at: Duration) {
        self.informed.push(at);
    }

    /// Calls a second.
    pub fn calls_per_second(&self, time: Range<Duration>) -> f64 {
        self.calls.sum(&time) as f64 / (time.end - time.start).as_secs_f64()
    }

    /// The most calls in a second.
    pub fn most_calls(&self, time: Range<Duration>) -> u64 {
        self.calls.highest_second(&time)
    }

    /// Reads a second of the busiest server.
    pub fn reads_per_second(&self, time: Range<Duration>) -> f64 {
        let busiest = self.reads.iter().map(|reads| reads.sum(&time)).max().unwrap_or(0);
        busiest as f64 / (time.end - time.start).as_secs_f64()
    }

    /// The most reads in a second of any server.
    pub fn most_reads(&self, time: Range<Duration>) -> u64 {
        self.reads.iter().map(|reads| reads.highest_second(&time)).max().unwrap_or(0)
    }

    /// When this part (0 to 1) of the Envoys was informed; none if it never was.
    pub fn informed(&self, part: f64, envoys: u32) -> Option<Duration> {
        let place = (part * f64::from(envoys)).ceil() as usize;
        self.informed.get(place.max(1) - 1).copied()
    }

    /// The calls of each second in turn, for a picture.
    pub fn calls_by_second(&self, time: Range<Duration>) -> Vec<u64> {
        by_second(&self.calls, &time)
    }

    /// The reads of the busiest server in each second in turn, for a picture.
    pub fn reads_by_second(&self, time: Range<Duration>) -> Vec<u64> {
        let busiest = self.reads.iter().max_by_key(|reads| reads.sum(&time));
        busiest.map(|reads| by_second(reads, &time)).unwrap_or_default()
    }
}

fn by_second(counts: &Counts, time: &Range<Duration>) -> Vec<u64> {
    let seconds = (time.end - time.start).as_secs();
    let second = |n| {
        let begin = time.start + Duration::from_secs(n);
        counts.sum(&(begin..begin + Duration::from_secs(1)))
    };
    (0..seconds).map(second).collect()
}
