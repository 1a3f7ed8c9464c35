//! Envoy's administration interface, by which it is known whether Envoy drains, and what must hold of
//! what is said of that.

use std::collections::HashMap;

use consul_resolver::consul::query::Request;
use consul_resolver::health::prober::ProbeNumber;
use consul_resolver::model::registration::RegistrationId;
use serde_json::Value;

use crate::probes::{Echo, Manner};
use crate::vm::ContextId;

/// How long a VM waits for the answer to a probe, in microseconds of its own clock: the probe's
/// timeout of a second, and two seconds more.
pub const GIVEN_UP: u64 = 3_000_000;

/// How it may fail to answer.
pub const SILENCES: [Manner; 4] =
    [Manner::Lost, Manner::Silent, Manner::Unreachable, Manner::Unsent];

/// Envoy's administration interface.
#[derive(Default)]
pub struct Admin {
    /// Whether Envoy drains.
    pub drains: bool,
    /// How it fails to answer, where it does.
    pub silence: Option<Manner>,
}

impl Admin {
    /// How it takes a probe.
    pub fn manner(&self) -> Manner {
        let status = if self.drains { 503 } else { 200 };
        self.silence.unwrap_or(Manner::Answers(status))
    }
}

/// What it has told those who keep registrations, and what they may say by that.
#[derive(Default)]
pub struct Drains {
    told: HashMap<(ContextId, RegistrationId), Told>,
}

/// What it has told one who keeps a registration.
#[derive(Debug, Clone, Copy)]
struct Told {
    word: Word,
    /// The last probe, and when it was sent at the earliest, on the VM's own clock.
    number: ProbeNumber,
    asked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It has not answered yet.
    Nothing,
    Serves,
    Drains,
    /// The answer came so late that it may have been waited for no longer.
    Unsure,
}

impl Drains {
    /// A context asks, or tries to, no earlier than at a moment of its own clock. Whoever begins to keep a registration counts its probes from 1.
    pub fn on_asked(
        &mut self,
        context: ContextId,
        registration: RegistrationId,
        number: ProbeNumber,
        clock: u64,
    ) {
        let begun = Told { word: Word::Nothing, number, asked: clock };
        let told = self.told.entry((context, registration)).or_insert(begun);
        let word = if number == ProbeNumber(1) { Word::Nothing } else { told.word };
        *told = Told { word, number, asked: clock };
    }

    /// A context hears what came back. That nobody has answered says nothing.
    pub fn on_heard(
        &mut self,
        context: ContextId,
        registration: RegistrationId,
        number: ProbeNumber,
        echo: Echo,
        clock: u64,
    ) {
        let Some(told) = self.told.get_mut(&(context, registration)) else { return };
        if told.number != number {
            return;
        }
        told.word = match echo {
            Echo::Status(_) if clock >= told.asked + GIVEN_UP => Word::Unsure,
            Echo::Status(200) => Word::Serves,
            Echo::Status(_) => Word::Drains,
            Echo::Unreachable | Echo::TimedOut => told.word,
        };
    }

    /// A context calls the agent: as long as it was told last that Envoy drains, it says of every
    /// check that it reports on that it is critical; and that Envoy drains it says only where it was
    /// told so.
    pub fn on_errand(&self, context: ContextId, registration: RegistrationId, request: &Request) {
        let Ok(body) = serde_json::from_str::<Value>(&request.body) else { return };
        let word = self.told.get(&(context, registration)).map_or(Word::Nothing, |it| it.word);
        let path = &request.path;
        if body["Output"] == "Envoy drains" {
            let was_told = matches!(word, Word::Drains | Word::Unsure);
            assert!(was_told, "{context:?} was told {word:?}, and says that Envoy drains: {path}");
        }
        if word == Word::Drains {
            let reported = body["Checks"].as_array().into_iter().flatten();
            let reported = reported.filter(|check| !check["TTL"].is_null()).chain([&body]);
            for status in reported.filter_map(|check| check["Status"].as_str()) {
                assert_eq!(status, "critical", "{context:?} was told that Envoy drains: {path}");
            }
        }
    }
}
