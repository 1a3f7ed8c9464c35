//! CPU time of the Envoy process per request, of all variants in turn.

use std::time::Duration;

use stack::{Envoy, wait_until};

use crate::Failure;
use crate::budget::{Deadline, Rounds};
use crate::load::Load;
use crate::sample::Sample;
use crate::variant::{Places, Variant};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Rounds that count; one more goes before them.
    pub rounds: u32,
    /// Requests of a variant in a round.
    pub requests: u32,
    /// Connections that the requests come on.
    pub connections: u32,
}

/// Rounds between two lines on the terminal.
const SHOWN_EVERY: u32 = 7;

/// The CPU times of every variant, round by round.
#[derive(Debug)]
pub struct CpuTimes {
    pub amount: Amount,
    pub rounds: Rounds,
    rows: Vec<(Variant, Vec<f64>)>,
}

/// One Envoy under test.
struct Lane {
    variant: Variant,
    envoy: Envoy,
    load: Load,
}

impl CpuTimes {
    /// Runs all variants side by side. The rounds go through them forwards and backwards in
    /// turn, so that what drifts meets all of them.
    pub fn measure(
        variants: &[Variant],
        places: &Places<'_>,
        amount: Amount,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let mut lanes = Vec::new();
        for &variant in variants {
            lanes.push(Lane::start(variant, places, amount)?);
        }
        let mut rows: Vec<_> = variants.iter().map(|&v| (v, Vec::new())).collect();
        for lane in &mut lanes {
            lane.round(amount)?; // The warm-up.
        }
        let rounds = deadline.rounds(amount.rounds, |round| {
            let mut order: Vec<_> = (0..lanes.len()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for place in order {
                let time = lanes[place].round(amount)?;
                rows[place].1.push(time);
            }
            let made = round + 1;
            if made % SHOWN_EVERY == 0 || made == amount.rounds {
                show(made, &rows);
            }
            Ok(())
        })?;
        Ok(Self { amount, rounds, rows })
    }

    /// The variants in their order.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        self.rows.iter().map(|(variant, _)| *variant)
    }

    /// Whether it was measured.
    pub fn has(&self, variant: Variant) -> bool {
        self.variants().any(|other| other == variant)
    }

    /// Microseconds per request.
    pub fn of(&self, variant: Variant) -> Sample {
        Sample::new(self.rounds(variant))
    }

    /// By how many times a variant takes as long as another, in each round: what slows a
    /// whole round down is in both.
    ///
    /// None where either was not measured.
    pub fn ratio(&self, variant: Variant, to: Variant) -> Option<Sample> {
        let pairs = self.rounds(variant).zip(self.rounds(to));
        let both = self.has(variant) && self.has(to);
        both.then(|| Sample::new(pairs.map(|(one, other)| one / other)))
    }

    fn rounds(&self, variant: Variant) -> impl Iterator<Item = f64> {
        let of_it = self.rows.iter().filter(move |(other, _)| *other == variant);
        of_it.flat_map(|(_, times)| times.iter().copied())
    }
}

/// Prints the medians so far.
fn show(round: u32, rows: &[(Variant, Vec<f64>)]) {
    let medians = rows.iter().map(|(variant, times)| {
        let median = Sample::new(times.iter().copied()).median();
        format!("{} {median:.1}", variant.letter())
    });
    let medians: Vec<_> = medians.collect();
    eprintln!("  after round {round:>2}: {} µs", medians.join("  "));
}

impl Lane {
    fn start(variant: Variant, places: &Places<'_>, amount: Amount) -> Result<Self, Failure> {
        const READY_WITHIN: Duration = Duration::from_secs(30);
        let envoy = Envoy::start(variant.config(places).to_yaml())?;
        let address = envoy.listener(crate::config::EnvoyConfig::LISTENER)?;
        let mut load = Load::open(address, amount.connections)?;
        // A filter that has no endpoints yet answers 503.
        if !wait_until(READY_WITHIN, || load.probe()) {
            let log = envoy.process().log_tail(30);
            return Err(format!("{variant:?} answers no request:\n{log}").into());
        }
        Ok(Self { variant, envoy, load })
    }

    /// Gives the microseconds per request.
    fn round(&mut self, amount: Amount) -> Result<f64, Failure> {
        let before = self.envoy.cpu_time()?;
        let requests = self.load.run(amount.requests).map_err(|error| {
            let log = self.envoy.process().log_tail(30);
            format!("{:?}: {error}\n{log}", self.variant)
        })?;
        let used = self.envoy.cpu_time()?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / f64::from(requests))
    }
}
