//! The fake Consul answers as the real one does.
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
use stack::Consul;
use transcript::Transcript;

/// Runs a scenario on the fake Consul and on real Consul, where that can be had.
fn on_both(test: &str, scenario: impl Fn(&mut Transcript<'_>)) {
    let agent = Agent::start().expect("the fake Consul");
    let mut fake = Transcript::new(&agent);
    scenario(&mut fake);
    let Some(consul) = Consul::start_or_skip(test) else {
        return;
    };
    let mut real = Transcript::new(&consul);
    scenario(&mut real);
    compare(&fake, &real);
}

fn compare(fake: &Transcript<'_>, real: &Transcript<'_>) {
    for (fake, real) in fake.lines().iter().zip(real.lines()) {
        assert_eq!(fake, real, "left: the fake Consul, right: real Consul");
    }
    assert_eq!(fake.lines().len(), real.lines().len());
}
