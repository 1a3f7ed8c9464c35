//! Asking many endpoints whether they are healthy, at a bounded rate.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::config::{ActiveHealthCheck, HealthCheck};
use crate::health::prober::{ProbeNumber, Prober, Standing};
use crate::health::verdict::{Reason, Verdict};
use crate::rng::Rng;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// In so many parts of a second those probes may be sent that the rate allows in one: probes go out
/// at ticks, four times a second.
const TICKS: u32 = 4;

/// All endpoints of a source, each asked at its interval, and all together no faster than a rate
/// allows, and no more of them at once than so many.
///
/// Where that is too slow for the interval, whoever has waited longest comes first. New endpoints are
/// asked for the first time within an interval, at moments that are spread over it: a thousand that
/// come together make no burst, neither then nor later.
#[derive(Debug)]
pub struct Roll {
    check: HealthCheck,
    pace: TokenBucket,
    most: usize,
    members: HashMap<SocketAddr, Member>,
    /// Whom no probe is out to, and when each is to be asked.
    waiting: BTreeSet<(Time, SocketAddr)>,
    /// Whom a probe is out to, and when each is given up. Apart, for these are given up also while
    /// others wait longer than they: they are what those wait for.
    asked: BTreeSet<(Time, SocketAddr)>,
    /// Those that are known not to be healthy.
    unhealthy: BTreeSet<SocketAddr>,
    /// The highest number that a probe had.
    last: ProbeNumber,
}

#[derive(Debug)]
struct Member {
    prober: Prober,
    /// As it stands among those that wait, or are asked.
    due: Time,
}

impl Roll {
    /// Starts with nobody.
    pub fn new(check: &ActiveHealthCheck) -> Self {
        let rate = check.max_per_second.max(1);
        let pace = TokenBucket::new(rate / TICKS + 1, Duration::from_secs(1) / rate);
        Self {
            check: check.probe.check.clone(),
            pace,
            most: check.max_concurrent.max(1) as usize,
            members: HashMap::new(),
            waiting: BTreeSet::new(),
            asked: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            last: ProbeNumber(0),
        }
    }

    /// The same, whose probes have higher numbers than this one.
    pub const fn counting_from(mut self, number: ProbeNumber) -> Self {
        self.last = number;
        self
    }

    /// The highest number that a probe had.
    pub const fn last(&self) -> ProbeNumber {
        self.last
    }

    /// Has these endpoints from now on. Those that stay keep what is known of them; `standing` tells
    /// how those are that are new.
    pub fn set(
        &mut self,
        endpoints: impl IntoIterator<Item = SocketAddr>,
        standing: impl Fn(&SocketAddr) -> Standing,
        now: Time,
        rng: &mut Rng,
    ) {
        let mut before = core::mem::take(&mut self.members);
        self.waiting.clear();
        self.asked.clear();
        self.unhealthy.clear();
        for address in endpoints {
            let member = before.remove(&address).unwrap_or_else(|| {
                let due = now + self.check.interval.mul_f64(rng.unit());
                let prober = Prober::new(standing(&address), due).counting_from(self.last);
                Member { prober, due }
            });
            self.members.insert(address, member);
            self.place(address);
        }
    }

    /// The next endpoint to be asked now.
    pub fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<(SocketAddr, ProbeNumber)> {
        while let Some(&(_, address)) = self.asked.first().filter(|(lost, _)| *lost <= now) {
            let member = self.members.get_mut(&address)?;
            member.prober.give_up(&self.check, now, rng);
            if member.prober.is_asking() {
                break;
            }
            self.place(address);
        }
        let (_, address) = *self.waiting.first().filter(|(due, _)| *due <= now)?;
        if self.asked.len() >= self.most || !self.pace.take_now(now) {
            return None;
        }
        let number = self.members.get_mut(&address)?.prober.poll_probe(&self.check, now, rng)?;
        self.last = self.last.max(number);
        self.place(address);
        Some((address, number))
    }

    /// Takes the outcome of a probe. One that this Envoy has not sent says nothing.
    pub fn on_verdict(
        &mut self,
        address: SocketAddr,
        number: ProbeNumber,
        verdict: Verdict,
        now: Time,
        rng: &mut Rng,
    ) {
        let Some(member) = self.members.get_mut(&address) else { return };
        if verdict.reason().is_unsent() {
            member.prober.on_unsent(number, &self.check, now, rng);
        } else {
            member.prober.on_verdict(number, verdict, &self.check, now, rng);
        }
        self.place(address);
    }

    /// Those that are known not to be healthy, in the order of their addresses.
    pub fn unhealthy(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.unhealthy.iter().copied()
    }

    /// Why the last probe of an endpoint ended as it did.
    pub fn reason(&self, address: &SocketAddr) -> Option<&Reason> {
        self.members.get(address)?.prober.reason()
    }

    /// Whether it has this endpoint.
    pub fn has(&self, address: &SocketAddr) -> bool {
        self.members.contains_key(address)
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Puts an endpoint among those where it belongs now.
    fn place(&mut self, address: SocketAddr) {
        let Some(member) = self.members.get_mut(&address) else { return };
        self.waiting.remove(&(member.due, address));
        self.asked.remove(&(member.due, address));
        member.due = member.prober.due();
        let among = match member.prober.is_asking() {
            true => &mut self.asked,
            false => &mut self.waiting,
        };
        among.insert((member.due, address));
        if member.is_unhealthy() {
            self.unhealthy.insert(address);
        } else {
            self.unhealthy.remove(&address);
        }
    }
}

impl Member {
    fn is_unhealthy(&self) -> bool {
        self.prober.standing() == Standing::Unhealthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConsulHealth, Probe};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80))
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn verdict(is_good: bool) -> Verdict {
        if is_good { Verdict::Good(Reason::Status(200)) } else { Verdict::Bad(Reason::Status(500)) }
    }

    /// Every 5 s, and two in a row; the defaults.
    fn check(max_per_second: u32, max_concurrent: u32) -> ActiveHealthCheck {
        let probe = Probe { cluster: "probes".into(), check: HealthCheck::default() };
        let consul_health = ConsulHealth::And;
        ActiveHealthCheck { probe, max_per_second, max_concurrent, consul_health }
    }

    /// A roll that ticks, and how often each endpoint was asked.
    struct Bench {
        roll: Roll,
        rng: Rng,
        now: u64,
        asked: HashMap<SocketAddr, u32>,
        most_in_a_tick: usize,
    }

    impl Bench {
        fn new(endpoints: u32, max_per_second: u32) -> Self {
            let mut rng = Rng::new(7);
            let mut roll = Roll::new(&check(max_per_second, 1_000));
            roll.set((0..endpoints).map(address), |_| Standing::Unknown, at(0), &mut rng);
            Self { roll, rng, now: 0, asked: HashMap::new(), most_in_a_tick: 0 }
        }

        fn set(&mut self, endpoints: core::ops::Range<u32>) {
            let endpoints = endpoints.map(address);
            self.roll.set(endpoints, |_| Standing::Unknown, at(self.now), &mut self.rng);
        }

        /// Sends what is due; does not answer.
        fn send(&mut self) -> Vec<(SocketAddr, ProbeNumber)> {
            let (roll, rng, now) = (&mut self.roll, &mut self.rng, at(self.now));
            core::iter::from_fn(|| roll.poll_probe(now, rng)).collect()
        }

        /// Ticks for so many seconds; every probe is answered at once.
        fn run(&mut self, seconds: u64, is_good: impl Fn(SocketAddr) -> bool) {
            for _ in 0..4 * seconds {
                self.now += 250;
                let sent = self.send();
                self.most_in_a_tick = self.most_in_a_tick.max(sent.len());
                for (endpoint, number) in sent {
                    *self.asked.entry(endpoint).or_default() += 1;
                    let verdict = verdict(is_good(endpoint));
                    self.roll.on_verdict(endpoint, number, verdict, at(self.now), &mut self.rng);
                }
            }
        }

        fn unhealthy(&self) -> Vec<SocketAddr> {
            self.roll.unhealthy().collect()
        }
    }

    #[test]
    fn each_is_asked_at_its_interval_and_a_thousand_make_no_burst() {
        let mut bench = Bench::new(1_000, 10_000);
        bench.run(50, |_| true);
        assert_eq!(bench.asked.len(), 1_000);
        assert!(bench.asked.values().all(|times| (9..=10).contains(times)));
        // On average 50; it is chance that spreads them.
        assert!(bench.most_in_a_tick <= 85, "{}", bench.most_in_a_tick);
    }

    #[test]
    fn ten_thousand_are_asked_in_turn_at_the_rate_and_no_faster() {
        let mut bench = Bench::new(10_000, 100);
        bench.run(101, |_| true);
        assert_eq!(bench.asked.len(), 10_000);
        assert!(bench.most_in_a_tick <= 26, "{}", bench.most_in_a_tick);
        let asked: u32 = bench.asked.values().sum();
        assert!((10_000..=10_130).contains(&asked), "{asked}");
        assert!(bench.asked.values().all(|times| *times <= 2));
    }

    #[test]
    fn those_that_fail_are_told_of_until_they_answer_again() {
        let mut bench = Bench::new(100, 1_000);
        bench.run(10, |_| true);
        let sick = [address(3), address(50)];
        bench.run(11, |endpoint| !sick.contains(&endpoint));
        assert_eq!(bench.unhealthy(), sick);
        assert_eq!(bench.roll.reason(&address(3)), Some(&Reason::Status(500)));
        bench.run(6, |endpoint| endpoint != address(50));
        assert_eq!(bench.unhealthy(), [address(50)]);
    }

    #[test]
    fn those_that_stay_keep_what_is_known_of_them_and_those_that_go_are_forgotten() {
        let mut bench = Bench::new(10, 1_000);
        bench.run(6, |endpoint| endpoint != address(3) && endpoint != address(7));
        assert_eq!(bench.unhealthy(), [address(3), address(7)]);
        bench.set(5..15);
        assert_eq!(bench.unhealthy(), [address(7)]);
        bench.asked.clear();
        bench.run(5, |endpoint| endpoint != address(7));
        assert_eq!(bench.asked.len(), 10);
        bench.set(0..15);
        assert_eq!(bench.unhealthy(), [address(7)], "it is as new as any other");
    }

    #[test]
    fn what_another_vm_has_found_out_is_no_first_answer() {
        let mut bench = Bench::new(0, 1_000);
        let (roll, rng) = (&mut bench.roll, &mut bench.rng);
        let standing = |address: &SocketAddr| match *address == self::address(1) {
            true => Standing::Unhealthy,
            false => Standing::Healthy { warns: false },
        };
        roll.set((0..3).map(address), standing, at(0), rng);
        assert_eq!(bench.unhealthy(), [address(1)], "before any probe");
        bench.run(5, |_| false);
        assert_eq!(bench.unhealthy(), [address(1)], "one of two");
        bench.run(5, |_| false);
        assert_eq!(bench.unhealthy().len(), 3);
    }

    #[test]
    fn no_more_are_out_at_once_than_so_many() {
        let mut bench = Bench::new(1_000, 10_000);
        bench.roll.most = 20;
        bench.now = 5_000;
        let sent = bench.send();
        assert_eq!(sent.len(), 20);
        assert_eq!(bench.send().len(), 0);
        for (endpoint, number) in &sent[..5] {
            let now = at(bench.now);
            bench.roll.on_verdict(*endpoint, *number, verdict(true), now, &mut bench.rng);
            // Twice is once.
            bench.roll.on_verdict(*endpoint, *number, verdict(true), now, &mut bench.rng);
        }
        assert_eq!(bench.send().len(), 5);
        // What is out to those that have gone is not waited for.
        bench.set(900..1_000);
        assert!(bench.send().len() >= 15);
    }

    #[test]
    fn lost_probes_count_as_failed_and_make_room() {
        let mut bench = Bench::new(30, 10_000);
        bench.roll.most = 20;
        bench.now = 5_000;
        let lost = bench.send();
        assert_eq!(lost.len(), 20);
        bench.now += 2_999;
        assert_eq!(bench.send().len(), 0);
        bench.now += 1;
        assert_eq!(bench.send().len(), 10, "those that have waited");
        assert_eq!(bench.unhealthy().len(), 20);
        // An answer that comes after all is too late.
        let (endpoint, number) = lost[0];
        bench.roll.on_verdict(endpoint, number, verdict(true), at(bench.now), &mut bench.rng);
        assert_eq!(bench.unhealthy().len(), 20);
    }

    #[test]
    fn a_probe_that_was_not_sent_says_nothing() {
        let mut bench = Bench::new(10, 1_000);
        bench.now = 5_000;
        let overflow = b"upstream connect error or disconnect/reset before headers. \
                         reset reason: overflow";
        let overflow = Reason::Unreachable(503, crate::consul::excerpt::Excerpt::new(overflow));
        for (endpoint, number) in bench.send() {
            let reason =
                if endpoint == address(1) { overflow.clone() } else { Reason::UnknownCluster };
            let now = at(bench.now);
            bench.roll.on_verdict(endpoint, number, Verdict::Bad(reason), now, &mut bench.rng);
        }
        assert_eq!(bench.unhealthy(), []);
        assert_eq!((bench.roll.asked.len(), bench.send().len()), (0, 0));
        bench.run(5, |_| true);
        assert_eq!(bench.asked.len(), 10);
    }

    #[test]
    fn an_answer_for_one_that_has_gone_is_not_its_successors() {
        let mut bench = Bench::new(1, 1_000);
        bench.now = 5_000;
        let (endpoint, number) = bench.send()[0];
        bench.set(0..0);
        bench.set(0..1);
        bench.now = 10_000;
        assert_ne!(bench.send()[0], (endpoint, number));
        bench.roll.on_verdict(endpoint, number, verdict(false), at(bench.now), &mut bench.rng);
        assert_eq!(bench.unhealthy(), []);
    }
}
