//! The settings of clusters that Envoy may reject.

use std::rc::Rc;

use crate::config::Service;
use crate::util::time::Time;
use crate::xds::trial::backoff;

/// The settings of clusters that Envoy may reject.
///
/// Envoy takes all clusters of a response or none of them, and does not say which is wrong. After a
/// rejection all settings that Envoy has not taken yet are left out, and offered again one by one.
/// Settings that are rejected alone are offered less and less often.
#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Suspect>);

/// The position of settings in [`Suspects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SettingsId(usize);

#[derive(Debug)]
struct Suspect {
    /// The first service whose cluster has the settings.
    service: Rc<Service>,
    is_taken: bool,
    /// The number of rejections in a row in which the settings were alone.
    rejections: u32,
    /// The time at which the settings are offered again; none while they are offered.
    until: Option<Time>,
    /// True if a cluster with the settings was sent.
    is_told: bool,
}

/// The cause of a rejection of clusters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Blame {
    /// The part that all clusters have in common.
    All,
    /// One of several settings, which are offered one by one from now on.
    Unclear,
    /// The settings of this service, so many times in a row.
    One(Rc<Service>, u32),
}

impl Suspects {
    /// Returns the id of the settings of a service's cluster beyond those of all clusters, if there are
    /// any. Equal settings have the same id.
    pub(super) fn settings_of(&mut self, service: &Rc<Service>) -> Option<SettingsId> {
        if service.cluster.is_empty() {
            return None;
        }
        let known = self.0.iter().position(|it| it.service.cluster == service.cluster);
        Some(SettingsId(known.unwrap_or_else(|| {
            self.0.push(Suspect {
                service: service.clone(),
                is_taken: false,
                rejections: 0,
                until: None,
                is_told: false,
            });
            self.0.len() - 1
        })))
    }

    /// Returns true if clusters with these settings are sent to Envoy.
    pub(super) fn is_offered(&self, settings: SettingsId) -> bool {
        self.0.get(settings.0).is_some_and(|it| it.until.is_none())
    }

    /// Takes note that Envoy has taken clusters with these settings, as far as they are offered.
    pub(super) fn on_taken(&mut self, settings: impl Iterator<Item = SettingsId>) {
        self.on_told(settings);
        for it in self.0.iter_mut().filter(|it| it.is_told) {
            (it.is_taken, it.rejections) = (true, 0);
        }
    }

    /// Takes note that Envoy has rejected clusters with these settings, as far as they are offered.
    pub(super) fn on_rejected(
        &mut self,
        settings: impl Iterator<Item = SettingsId>,
        now: Time,
    ) -> Blame {
        self.on_told(settings);
        let mut told = self.0.iter_mut().filter(|it| it.is_told && !it.is_taken);
        let Some(first) = told.next() else { return Blame::All };
        first.until = Some(now);
        let Some(second) = told.next() else {
            first.until = Some(now + backoff(first.rejections));
            first.rejections = first.rejections.saturating_add(1);
            return Blame::One(first.service.clone(), first.rejections);
        };
        second.until = Some(now);
        told.for_each(|it| it.until = Some(now));
        Blame::Unclear
    }

    fn on_told(&mut self, settings: impl Iterator<Item = SettingsId>) {
        self.0.iter_mut().for_each(|it| it.is_told = false);
        for settings in settings {
            if let Some(it) = self.0.get_mut(settings.0) {
                it.is_told = it.until.is_none();
            }
        }
    }

    /// Offers the settings that have been left out for longest. Returns false if it is too soon.
    pub(super) fn offer(&mut self, now: Time) -> bool {
        let due = self.due().filter(|due| *due <= now);
        let next = due.and_then(|_| self.0.iter_mut().find(|it| it.until == due));
        next.map(|it| it.until = None).is_some()
    }

    /// The time at which settings are offered again.
    pub(super) fn due(&self) -> Option<Time> {
        self.0.iter().filter_map(|it| it.until).min()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use serde_json::json;

    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// An Envoy that rejects settings, and which of three it is told.
    struct Envoy {
        suspects: Suspects,
        rejects: &'static [usize],
        now: Time,
        told: Vec<usize>,
    }

    impl Envoy {
        fn new(rejects: &'static [usize]) -> Self {
            let mut suspects = Suspects::default();
            for timeout in ["1s", "2s", "3s", "1s"] {
                let mut service = Service::new(timeout);
                service.cluster.insert("connect_timeout".to_owned(), json!(timeout));
                suspects.settings_of(&Rc::new(service));
            }
            Self { suspects, rejects, now: Time::ZERO, told: Vec::new() }
        }

        /// Is told what is offered; takes it or not. Gives the name and the number of what is to blame.
        fn turn(&mut self) -> Option<(String, u32)> {
            let all = [0, 1, 2].map(SettingsId);
            let told = all.into_iter().filter(|it| self.suspects.is_offered(*it));
            self.told = told.map(|it| it.0).collect();
            if self.told.iter().any(|it| self.rejects.contains(it)) {
                return Some(match self.suspects.on_rejected(all.into_iter(), self.now) {
                    Blame::All => ("all".to_owned(), 0),
                    Blame::Unclear => ("unclear".to_owned(), 0),
                    Blame::One(service, times) => (service.name.clone(), times),
                });
            }
            self.suspects.on_taken(all.into_iter());
            self.suspects.offer(self.now);
            None
        }
    }

    fn blame(name: &str, times: u32) -> Option<(String, u32)> {
        Some((name.to_owned(), times))
    }

    #[test]
    fn settings_are_named_that_are_rejected_among_others() {
        let mut envoy = Envoy::new(&[1]);
        assert_eq!(envoy.turn(), blame("unclear", 0));
        assert_eq!(envoy.turn(), None);
        assert!(envoy.told.is_empty(), "those that may be wrong are left out");
        assert_eq!(envoy.turn(), None);
        assert_eq!(envoy.turn(), blame("2s", 1));
        assert_eq!([envoy.turn(), envoy.turn()], [None, None]);
        assert_eq!(envoy.told, [0, 2]);
        assert_eq!(envoy.suspects.due(), Some(Time::ZERO + Duration::from_secs(1)));
    }

    #[test]
    fn rejected_settings_are_offered_again_less_and_less_often() {
        let mut envoy = Envoy::new(&[1]);
        let mut waits = Vec::new();
        for _ in 0..200 {
            if let Some((_, times)) = envoy.turn().filter(|(name, _)| name != "unclear") {
                assert_eq!(times, 1 + waits.len() as u32);
                let until = envoy.suspects.0[1].until.unwrap();
                waits.push(until.since(envoy.now).as_secs());
            }
            envoy.now = envoy.suspects.due().unwrap_or(envoy.now).max(envoy.now);
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        envoy.rejects = &[];
        assert_eq!([envoy.turn(), envoy.turn(), envoy.turn()], [None, None, None]);
        assert_eq!((&*envoy.told, envoy.suspects.due()), (&[0, 1, 2][..], None));
    }

    #[test]
    fn all_are_to_blame_when_all_settings_were_taken() {
        let mut envoy = Envoy::new(&[]);
        assert_eq!(envoy.turn(), None);
        envoy.rejects = &[0];
        assert_eq!(envoy.turn(), blame("all", 0));
    }
}
