//! What a registration has been lacking for a while.

use core::time::Duration;

use crate::registration::reconciler::STILL;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// Which services are down, of those without which a registration only warns.
///
/// It warns of what lasts: by default nobody sends requests to an instance that warns, so a moment
/// in which one service is down would be one for all that depend on it. And it does so at a moment of
/// its own, or all proxies would write to Consul at once.
#[derive(Debug, Default)]
pub struct DownDependencies {
    down: Vec<String>,
    /// From when on it warns.
    warns: Option<Time>,
    /// When it last learned.
    seen: Time,
}

impl DownDependencies {
    /// Learns which are down now; it warns of what lasts for about `hold`. While this VM stood still
    /// nobody has looked, and nothing has lasted.
    pub fn on_down(&mut self, down: Vec<String>, hold: Duration, now: Time, rng: &mut Rng) {
        let seen = core::mem::replace(&mut self.seen, now);
        if now.since(seen) >= STILL {
            self.warns = self.warns.filter(|warns| *warns <= seen);
        }
        self.down = down;
        if self.down.is_empty() {
            self.warns = None;
        } else if self.warns.is_none() {
            self.warns = Some(now + hold.mul_f64(0.5 + rng.unit()));
        }
    }

    /// Those that it warns of.
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
    fn what_is_down_for_a_moment_is_passed_over_and_what_lasts_is_not() {
        let at = |seconds| Time::from_start(Duration::from_secs(seconds));
        let mut rng = Rng::new(1);
        let mut lack = DownDependencies::default();
        lack.on_down(vec!["db".to_owned()], HOLD, at(0), &mut rng);
        assert!(lack.lasting(at(1)).is_empty());
        lack.on_down(Vec::new(), HOLD, at(1), &mut rng);
        assert!(lack.lasting(at(20)).is_empty());
        lack.on_down(vec!["db".to_owned()], HOLD, at(20), &mut rng);
        lack.on_down(vec!["cache".to_owned()], HOLD, at(21), &mut rng);
        assert!(lack.lasting(at(21)).is_empty());
        assert_eq!(lack.lasting(at(26)), ["cache"]);
        lack.on_down(Vec::new(), HOLD, at(27), &mut rng);
        assert!(lack.lasting(at(27)).is_empty(), "at once");
    }

    #[test]
    fn nothing_has_lasted_while_nobody_looked() {
        let at = |seconds| Time::from_start(Duration::from_secs(seconds));
        let mut rng = Rng::new(1);
        let mut lack = DownDependencies::default();
        let mut learn = |now| {
            lack.on_down(vec!["db".to_owned()], HOLD, at(now), &mut rng);
            !lack.lasting(at(now)).is_empty()
        };
        learn(1);
        assert!(!learn(20), "a stop");
        (21..26).for_each(|now| {
            learn(now);
        });
        assert!(learn(26) && learn(60), "it has lasted before the second stop");
    }
}
