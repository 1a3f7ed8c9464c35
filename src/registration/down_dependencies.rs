//! The dependencies of a registration that have been down for a while.

use core::time::Duration;

use crate::registration::checks::STANDSTILL;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The services that are down among those without which a registration only warns.
///
/// By default a warning check removes the instance from traffic, so short outages are ignored:
/// otherwise a short outage of one service would become an outage of all services that depend on
/// it. The delay is random for each proxy, so that they do not all write to Consul at once.
#[derive(Debug, Default)]
pub struct DownDependencies {
    down: Vec<String>,
    /// The time from which the registration warns.
    warns: Option<Time>,
    /// The time of the last update.
    seen: Time,
}

impl DownDependencies {
    /// Takes the services that are down now. The registration warns of an outage that lasts for
    /// about `hold`. Time in which this VM stood still does not count.
    pub fn on_down(&mut self, down: Vec<String>, hold: Duration, now: Time, rng: &mut Rng) {
        let seen = core::mem::replace(&mut self.seen, now);
        if now.since(seen) >= STANDSTILL {
            self.warns = self.warns.filter(|warns| *warns <= seen);
        }
        self.down = down;
        if self.down.is_empty() {
            self.warns = None;
        } else if self.warns.is_none() {
            self.warns = Some(now + hold.mul_f64(0.5 + rng.unit()));
        }
    }

    /// Returns the services to warn of.
    pub fn lasting(&self, now: Time) -> &[String] {
        match self.warns.is_some_and(|warns| now >= warns) {
            true => &self.down,
            false => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const HOLD: Duration = Duration::from_secs(4);

    #[test]
    fn outage_is_reported_only_when_it_lasts() {
        let at = |seconds| Time::from_start(Duration::from_secs(seconds));
        let mut rng = Rng::new(1);
        let mut down = DownDependencies::default();
        down.on_down(vec!["db".to_owned()], HOLD, at(0), &mut rng);
        assert!(down.lasting(at(1)).is_empty());
        down.on_down(Vec::new(), HOLD, at(1), &mut rng);
        assert!(down.lasting(at(20)).is_empty());
        down.on_down(vec!["db".to_owned()], HOLD, at(20), &mut rng);
        down.on_down(vec!["cache".to_owned()], HOLD, at(21), &mut rng);
        assert!(down.lasting(at(21)).is_empty());
        assert_eq!(down.lasting(at(26)), ["cache"]);
        down.on_down(Vec::new(), HOLD, at(27), &mut rng);
        assert!(down.lasting(at(27)).is_empty(), "at once");
    }

    #[test]
    fn outage_has_not_lasted_when_the_vm_stood_still() {
        let at = |seconds| Time::from_start(Duration::from_secs(seconds));
        let mut rng = Rng::new(1);
        let mut down = DownDependencies::default();
        let mut warns_at = |now| {
            down.on_down(vec!["db".to_owned()], HOLD, at(now), &mut rng);
            !down.lasting(at(now)).is_empty()
        };
        warns_at(1);
        assert!(!warns_at(20), "a stop");
        (21..26).for_each(|now| {
            warns_at(now);
        });
        assert!(warns_at(26) && warns_at(60), "it has lasted before the second stop");
    }
}
