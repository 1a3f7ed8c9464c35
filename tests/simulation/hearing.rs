//! What those who keep registrations hear by their probes, and what must hold of what they say then.

use std::collections::HashMap;

use consul_resolver::health_check::checker::ProbeNumber;
use consul_resolver::host::ProbeTarget;
use consul_resolver::model::registration::RegistrationId;
use consul_resolver::registry::http::HttpRequest;
use serde_json::Value;

use crate::probes::{Echo, GIVEN_UP};
use crate::vm::ContextId;

/// So many bad answers in a row make a service unhealthy that was healthy.
const UNHEALTHY_THRESHOLD: u32 = 2;

/// How long ago a service may have answered well that is said to pass, in microseconds of the VM's own
/// clock: for the longest TTL nothing need be known, and then a probe is given up.
const LATELY: u64 = 20_000_000 + GIVEN_UP;

/// What those who keep registrations have heard.
#[derive(Default)]
pub struct Hearing {
    heard: HashMap<(ContextId, RegistrationId, ProbeTarget), Heard>,
}

/// What one of them has heard from one whom it probes.
#[derive(Debug, Clone, Copy)]
struct Heard {
    word: Word,
    /// The last probe, and when it was sent at the earliest, on the VM's own clock.
    number: ProbeNumber,
    asked: u64,
    /// When a good answer came last, on that clock.
    good: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// There was no answer yet.
    Nothing,
    Good,
    /// So many answers in a row were bad.
    Bad(u32),
    /// The answer came so late that it may have been waited for no longer.
    Unsure,
}

impl Hearing {
    /// A context asks, or tries to, no earlier than at a moment of its own clock. Whoever begins to
    /// keep a registration counts its probes from 1, in the lower half of their numbers.
    pub fn on_asked(
        &mut self,
        context: ContextId,
        (registration, spot): (RegistrationId, ProbeTarget),
        number: ProbeNumber,
        clock: u64,
    ) {
        let begun = Heard { word: Word::Nothing, number, asked: clock, good: None };
        let heard = self.heard.entry((context, registration, spot)).or_insert(begun);
        let (word, good) = match number.0 as u32 {
            1 => (Word::Nothing, None),
            _ => (heard.word, heard.good),
        };
        *heard = Heard { word, number, asked: clock, good };
    }

    /// A context hears what came back. That nobody has answered changes nothing: it makes no check
    /// critical by that alone, or only sooner.
    pub fn on_heard(
        &mut self,
        context: ContextId,
        (registration, spot): (RegistrationId, ProbeTarget),
        number: ProbeNumber,
        echo: Echo,
        clock: u64,
    ) {
        let Some(heard) = self.heard.get_mut(&(context, registration, spot)) else { return };
        if heard.number != number {
            return;
        }
        if echo == Echo::Status(200) {
            heard.good = Some(clock);
        }
        heard.word = match (echo, heard.word) {
            (Echo::Status(_), _) if clock >= heard.asked + GIVEN_UP => Word::Unsure,
            (Echo::Status(200), _) => Word::Good,
            (Echo::Status(_), Word::Bad(times)) => Word::Bad(times + 1),
            (Echo::Status(_), _) => Word::Bad(1),
            (Echo::Unreachable | Echo::TimedOut, word) => word,
        };
    }

    /// A context calls the agent. As long as it was told last that Envoy drains, it says of every
    /// check that it reports on that it is critical; and that Envoy drains it says only where it was
    /// told so. A check for which it was told often enough that the service is not well is critical,
    /// too; and one that passes has answered lately.
    pub fn on_errand(
        &self,
        context: ContextId,
        registration: RegistrationId,
        request: &HttpRequest,
        clock: u64,
    ) {
        let Ok(body) = serde_json::from_str::<Value>(&request.body) else { return };
        let word = |spot| self.word(context, registration, spot);
        let path = &request.path;
        if body["Output"] == "Envoy drains" {
            let was_told = matches!(word(ProbeTarget::Drain), Word::Bad(_) | Word::Unsure);
            assert!(was_told, "{context:?} was never told, and says that Envoy drains: {path}");
        }
        for (position, status) in said(path, &body) {
            let drains = matches!(word(ProbeTarget::Drain), Word::Bad(_));
            assert!(!drains || status == "critical", "{context:?} knows that Envoy drains: {path}");
            let is_unwell =
                matches!(word(ProbeTarget::Check(position)), Word::Bad(UNHEALTHY_THRESHOLD..));
            assert!(
                !is_unwell || status == "critical",
                "{context:?} says {status}, and was told otherwise again and again: {path}"
            );
            let spot = ProbeTarget::Check(position);
            let good = self.heard.get(&(context, registration, spot)).and_then(|it| it.good);
            let age = good.map_or(0, |good| clock.saturating_sub(good));
            assert!(
                status != "passing" || age <= LATELY,
                "{context:?} says passing of what last answered {} ms ago: {path}",
                age / 1_000
            );
        }
    }

    fn word(&self, context: ContextId, registration: RegistrationId, spot: ProbeTarget) -> Word {
        self.heard.get(&(context, registration, spot)).map_or(Word::Nothing, |heard| heard.word)
    }
}

/// What is said of the checks at which positions, in a report or a registration.
fn said<'a>(path: &str, body: &'a Value) -> Vec<(usize, &'a str)> {
    if path.starts_with("/v1/agent/check/update/") {
        let number = path.split('?').next().and_then(|path| path.rsplit("%3A").next());
        let number: usize = number.and_then(|it| it.parse().ok()).expect("the number of a check");
        return vec![(number - 1, body["Status"].as_str().expect("a status"))];
    }
    let checks = body["Checks"].as_array().into_iter().flatten().enumerate();
    checks.filter_map(|(n, check)| Some((n, check["Status"].as_str()?))).collect()
}
