//! Which settings of clusters Envoy takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::hash::xxh64;
use crate::time::Time;
use crate::xds::trial::backoff;

/// Settings that some services' clusters have beyond those of all: a hash of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Settings(u64);

impl Settings {
    /// Names the settings of a service's `cluster`; none where it has none.
    pub(super) fn of(cluster: &Map<String, Value>) -> Option<Self> {
        let text = || Value::Object(cluster.clone()).to_string();
        (!cluster.is_empty()).then(|| Self(xxh64(text().as_bytes(), 0)))
    }
}

/// Which settings Envoy takes.
///
/// Envoy takes the clusters of a response or none of them, and does not say which is wrong. So the
/// settings that it has not taken yet are left out where it rejects some, and offered again one by one.
/// Those that are rejected alone are offered again less and less often.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<Settings, Standing>);

#[derive(Debug, Default)]
struct Standing {
    is_taken: bool,
    /// How often in a row they were rejected alone.
    rejections: u32,
    /// When they are offered again; none: they are offered.
    until: Option<Time>,
}

/// Why Envoy has rejected clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// What all clusters have in common.
    All,
    /// One of several settings, which are offered one by one from now on.
    Unclear,
    /// These settings, so many times in a row.
    One(Settings, u32),
}

impl Standings {
    /// Whether clusters with these settings are told to Envoy.
    pub(super) fn is_offered(&self, settings: Settings) -> bool {
        self.0.get(&settings).is_none_or(|it| it.until.is_none())
    }

    /// Takes note that Envoy has taken clusters with these settings.
    pub(super) fn on_taken(&mut self, told: &BTreeSet<Settings>) {
        for settings in told {
            self.0.insert(*settings, Standing { is_taken: true, ..Standing::default() });
        }
    }

    /// Takes note that Envoy has rejected clusters with these settings.
    pub(super) fn on_rejected(&mut self, told: &BTreeSet<Settings>, now: Time) -> Blame {
        let is_new = |it: &&Settings| self.0.get(it).is_none_or(|it| !it.is_taken);
        let suspects: Vec<Settings> = told.iter().filter(is_new).copied().collect();
        for settings in &suspects {
            let standing = self.0.entry(*settings).or_default();
            standing.until = Some(now);
            if suspects.len() == 1 {
                standing.until = Some(now + backoff(standing.rejections));
                standing.rejections = standing.rejections.saturating_add(1);
                return Blame::One(*settings, standing.rejections);
            }
        }
        if suspects.is_empty() { Blame::All } else { Blame::Unclear }
    }

    /// Offers the settings that have been left out for longest; false where it is too soon.
    pub(super) fn offer(&mut self, now: Time) -> bool {
        let next = self.0.values_mut().filter(|it| it.until.is_some_and(|until| until <= now));
        let next = next.min_by_key(|it| it.until);
        next.map(|it| it.until = None).is_some()
    }

    /// When settings are offered again.
    pub(super) fn due(&self) -> Option<Time> {
        self.0.values().filter_map(|it| it.until).min()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// An Envoy that rejects settings, and which of three it is told when.
    struct Envoy {
        standings: Standings,
        rejects: &'static [u64],
        now: Time,
        told: Vec<u64>,
    }

    impl Envoy {
        fn new(rejects: &'static [u64]) -> Self {
            Self { standings: Standings::default(), rejects, now: Time::ZERO, told: Vec::new() }
        }

        /// Is told what is offered; takes it or not.
        fn turn(&mut self) -> Option<Blame> {
            let all = [1, 2, 3].map(Settings);
            let told = all.into_iter().filter(|it| self.standings.is_offered(*it)).collect();
            self.told = BTreeSet::iter(&told).map(|it| it.0).collect();
            if self.told.iter().any(|it| self.rejects.contains(it)) {
                return Some(self.standings.on_rejected(&told, self.now));
            }
            self.standings.on_taken(&told);
            self.standings.offer(self.now);
            None
        }
    }

    #[test]
    fn settings_are_named_that_are_rejected_among_others() {
        let mut envoy = Envoy::new(&[2]);
        assert_eq!(envoy.turn(), Some(Blame::Unclear));
        assert_eq!(envoy.turn(), None);
        assert!(envoy.told.is_empty(), "those that may be wrong are left out");
        assert_eq!(envoy.turn(), None);
        assert_eq!(envoy.turn(), Some(Blame::One(Settings(2), 1)));
        assert_eq!([envoy.turn(), envoy.turn()], [None; 2]);
        assert_eq!(envoy.told, [1, 3]);
        assert_eq!(envoy.standings.due(), Some(Time::ZERO + Duration::from_secs(1)));
    }

    #[test]
    fn rejected_settings_are_offered_again_less_and_less_often() {
        let mut envoy = Envoy::new(&[2]);
        let mut waits = Vec::new();
        for _ in 0..200 {
            if let Some(Blame::One(settings, times)) = envoy.turn() {
                assert_eq!((settings, times), (Settings(2), 1 + waits.len() as u32));
                let until = envoy.standings.0[&settings].until.unwrap();
                waits.push(until.since(envoy.now).as_secs());
            }
            envoy.now = envoy.standings.due().unwrap_or(envoy.now).max(envoy.now);
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        envoy.rejects = &[];
        assert_eq!([envoy.turn(), envoy.turn(), envoy.turn()], [None; 3]);
        assert_eq!((&*envoy.told, envoy.standings.due()), (&[1, 2, 3][..], None));
    }

    #[test]
    fn all_are_to_blame_where_all_settings_were_taken() {
        let mut envoy = Envoy::new(&[]);
        assert_eq!(envoy.turn(), None);
        envoy.rejects = &[1];
        assert_eq!(envoy.turn(), Some(Blame::All));
    }
}
