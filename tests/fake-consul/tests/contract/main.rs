//! The embedded agent gives the answers that real Consul gives.
//!
//! Each scenario runs on both. It states what is expected, and writes down every answer in a form
//! without what legitimately differs (dates, ids, absolute indexes); the two transcripts must be
//! the same.

mod blocking;
mod checks;
mod datacenters;
mod entries;
mod refusals;
mod registration;
mod reports;
mod selection;
mod transcript;

use fake_consul::Agent;
use stack::{Consul, Registry};
use transcript::Transcript;

/// Runs a scenario on the embedded agent and on real Consul, where that can be had.
fn on_both(test: &str, scenario: impl Fn(&mut Transcript<'_>)) {
    let agent = Agent::start().expect("the embedded agent");
    let mut embedded = Transcript::new(&agent);
    scenario(&mut embedded);
    let Some(consul) = Consul::start_or_skip(test) else {
        return;
    };
    let mut real = Transcript::new(&consul);
    scenario(&mut real);
    compare(&embedded, &real);
}

/// Runs a scenario on a federation of two embedded agents and of two real Consuls, in `dc1` and
/// `dc2`; what is written down is what each one of `dc1` answers.
fn on_both_federations(test: &str, scenario: impl Fn(&mut Transcript<'_>, &dyn Registry)) {
    let agents = ["dc1", "dc2"].map(|dc| Agent::start_in(dc, &[("zone", dc)]).expect("an agent"));
    agents[0].federate(&agents[1]);
    let mut embedded = Transcript::new(&agents[0]);
    scenario(&mut embedded, &agents[1]);
    let Some(consuls) = Consul::federation_or_skip(test, ["dc1", "dc2"]) else {
        return;
    };
    let mut real = Transcript::new(&consuls[0]);
    scenario(&mut real, &consuls[1]);
    compare(&embedded, &real);
}

fn compare(embedded: &Transcript<'_>, real: &Transcript<'_>) {
    for (embedded, real) in embedded.lines().iter().zip(real.lines()) {
        assert_eq!(embedded, real, "left: the embedded agent, right: real Consul");
    }
    assert_eq!(embedded.lines().len(), real.lines().len());
}
