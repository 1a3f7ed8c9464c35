//! How long an Envoy takes to start.

use std::time::{Duration, Instant};

use stack::{Envoy, wait_until};

use crate::Failure;
use crate::budget::{Deadline, Rounds};
use crate::config::EnvoyConfig;
use crate::load::Load;
use crate::sample::Sample;
use crate::variant::{Places, Variant};

/// Milliseconds from the start of the process, of some variants in turn.
#[derive(Debug)]
pub struct Starts {
    pub rounds: Rounds,
    rows: Vec<(Variant, Vec<Start>)>,
}

/// One start.
#[derive(Debug, Clone, Copy)]
struct Start {
    ready: f64,
    served: f64,
    /// CPU time of the process until then.
    cpu: f64,
}

impl Starts {
    /// What is started; the second is what the others are compared with.
    const VARIANTS: [Variant; 5] =
        [Variant::Native, Variant::Empty, Variant::FilterState, Variant::Fed, Variant::Recommended];

    /// Starts each of them, one after the other, forwards and backwards in turn.
    pub fn measure(places: &Places<'_>, rounds: u32, deadline: Deadline) -> Result<Self, Failure> {
        let mut rows = Self::VARIANTS.map(|variant| (variant, Vec::new()));
        let rounds = deadline.rounds(rounds, |round| {
            let in_turn: Box<dyn Iterator<Item = &mut (Variant, Vec<Start>)>> = if round % 2 == 0 {
                Box::new(rows.iter_mut())
            } else {
                Box::new(rows.iter_mut().rev())
            };
            for (variant, starts) in in_turn {
                starts.push(Start::observe(*variant, places)?);
            }
            Ok(())
        })?;
        Ok(Self { rounds, rows: rows.into() })
    }

    /// Each variant, with the time until Envoy says that it is ready, until a request was answered
    /// with 200, and the CPU time until then.
    pub fn rows(&self) -> impl Iterator<Item = (Variant, [Sample; 3])> {
        self.rows.iter().map(|(variant, starts)| {
            let of = |number: fn(&Start) -> f64| Sample::new(starts.iter().map(number));
            (*variant, [of(|start| start.ready), of(|start| start.served), of(|start| start.cpu)])
        })
    }

    /// The median of the time until Envoy says that it is ready.
    pub fn ready(&self, variant: Variant) -> Option<f64> {
        let mut found = self.rows().filter(|(other, ..)| *other == variant);
        found.next().map(|(_, [ready, ..])| ready.median())
    }
}

impl Start {
    fn observe(variant: Variant, places: &Places<'_>) -> Result<Self, Failure> {
        const WITHIN: Duration = Duration::from_secs(30);
        let yaml = variant.config(places).to_yaml();
        let begin = Instant::now();
        let ms = || begin.elapsed().as_secs_f64() * 1e3;
        let envoy = Envoy::start(yaml)?;
        let ready = ms();
        let address = envoy.listener(EnvoyConfig::LISTENER)?;
        let mut load = Load::open(address, 1)?;
        if !wait_until(WITHIN, || load.probe()) {
            let log = envoy.process().log_tail(30);
            return Err(format!("{variant} answers no request:\n{log}").into());
        }
        let served = ms();
        Ok(Self { ready, served, cpu: envoy.cpu_time()?.as_secs_f64() * 1e3 })
    }
}
