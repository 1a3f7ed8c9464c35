//! The embedded agent gives the answers that real Consul gives.
//!
//! Each scenario runs on both. It states what is expected, and writes down every answer in a form
//! without what legitimately differs (dates, ids, absolute indexes); the two transcripts must be
//! the same.

mod blocking;
mod entries;
mod refusals;
mod transcript;

use stack::{Agent, Consul};
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
    for (embedded, real) in embedded.lines().iter().zip(real.lines()) {
        assert_eq!(embedded, real, "left: the embedded agent, right: real Consul");
    }
    assert_eq!(embedded.lines().len(), real.lines().len());
}
