//! What clients see while backends are in trouble: this filter's balancing beside Envoy's own.

mod contender;
mod plot;
mod scene;
mod traffic;

use std::path::Path;
use std::time::Duration;

use stack::{Consul, Envoy, Registry, wait_until};

use crate::Failure;
use crate::budget::{Deadline, Rounds};
use crate::config::EnvoyConfig;
use crate::load::Load;

pub use contender::Contender;
pub use plot::plot;
pub use scene::Scene;
pub use traffic::{Outcome, Traffic};

/// What was measured with one kind of traffic, contender by contender, all rounds together.
#[derive(Debug)]
pub struct Race {
    pub traffic: Traffic,
    pub outcomes: Vec<(Contender, Outcome)>,
}

/// All races.
#[derive(Debug)]
pub struct Contest {
    pub rounds: Rounds,
    pub races: Vec<Race>,
}

impl Contest {
    /// Connections of the closed loop: as those of the CPU measurement.
    pub const CONNECTIONS: usize = 16;

    /// Runs all contenders with all kinds of traffic, in each round all of them, forwards and
    /// backwards in turn. Each run has an Envoy of its own, which knows nothing of the backends
    /// yet.
    pub fn run(
        module: &Path,
        rounds: u32,
        per_second: u32,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let consul = Consul::start()?;
        let mut scene = Scene::set(&consul)?;
        let names: Vec<_> = scene.names().collect();
        consul.await_passing("web", &names)?;
        let time = Duration::from_secs(6);
        let kinds = [
            Traffic::Open { per_second, time },
            Traffic::Closed { connections: Self::CONNECTIONS, time },
        ];
        let mut races = kinds.map(|traffic| Race {
            traffic,
            outcomes: Contender::ALL.map(|contender| (contender, Outcome::empty())).into(),
        });
        let rounds = deadline.rounds(rounds, |round| {
            for race in &mut races {
                let outcomes = race.outcomes.iter_mut();
                let order: Vec<_> =
                    if round % 2 == 0 { outcomes.collect() } else { outcomes.rev().collect() };
                for (contender, total) in order {
                    let config = contender.config(module, consul.address());
                    let outcome = once(&config, race.traffic, &mut scene)?;
                    eprintln!("  round {}: {}: {}", round + 1, contender.name(), outcome);
                    total.add(&outcome);
                }
            }
            Ok(())
        })?;
        Ok(Self { rounds, races: races.into() })
    }
}

impl Race {
    /// What came of a contender.
    pub fn of(&self, contender: Contender) -> Option<&Outcome> {
        let found = self.outcomes.iter().find(|(other, _)| *other == contender);
        found.map(|(_, outcome)| outcome)
    }

    /// That of Envoy's own of which this number is the least.
    pub fn best_native(&self, number: impl Fn(&Outcome) -> f64) -> Option<&Outcome> {
        let native = self.outcomes.iter().filter(|(contender, _)| contender.is_native());
        let outcomes = native.map(|(_, outcome)| outcome);
        outcomes.min_by(|one, other| number(one).total_cmp(&number(other)))
    }
}

/// One run of one contender. The troubles begin when it has answered once.
fn once(config: &EnvoyConfig, traffic: Traffic, scene: &mut Scene) -> Result<Outcome, Failure> {
    const READY_WITHIN: Duration = Duration::from_secs(30);
    let envoy = Envoy::start(config.to_yaml())?;
    let address = envoy.listener(EnvoyConfig::LISTENER)?;
    let mut load = Load::open(address, 1)?;
    if !wait_until(READY_WITHIN, || load.probe()) {
        return Err(format!("no request is answered:\n{}", envoy.process().log_tail(30)).into());
    }
    scene.begin();
    let outcome = traffic.run(address, || scene.kill())?;
    scene.end()?;
    Ok(outcome)
}
