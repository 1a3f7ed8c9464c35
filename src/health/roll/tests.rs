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
fn those_that_stay_keep_what_is_known_of_them_and_those_that_go_too_for_a_while() {
    let mut bench = Bench::new(10, 1_000);
    bench.run(6, |endpoint| endpoint != address(3) && endpoint != address(7));
    assert_eq!(bench.unhealthy(), [address(3), address(7)]);
    bench.set(5..15);
    assert_eq!(bench.unhealthy(), [address(7)]);
    bench.asked.clear();
    bench.run(5, |endpoint| endpoint != address(7));
    assert_eq!(bench.asked.len(), 10);
    bench.set(0..15);
    assert_eq!(bench.unhealthy(), [address(3), address(7)], "it was away");
    bench.run(6, |_| true);
    assert_eq!(bench.unhealthy(), []);
    // What was well, or was away for long, is as new as any other.
    bench.run(11, |endpoint| endpoint != address(3));
    bench.set(5..15);
    bench.run(301, |_| true);
    bench.set(0..15);
    assert_eq!(bench.unhealthy(), []);
}

#[test]
fn where_the_rate_is_too_slow_for_all_what_fails_gets_well_or_comes_is_known_soon_all_the_same() {
    let mut bench = Bench::new(10_000, 100);
    bench.run(110, |_| true);
    let sick: BTreeSet<_> = (0..10).map(|n| address(n * 997)).collect();
    let mut failing = HashMap::new();
    for second in 0..120 {
        bench.asked.clear();
        bench.run(1, |endpoint| !sick.contains(&endpoint));
        for endpoint in sick.iter().filter(|it| bench.asked.contains_key(*it)) {
            failing.entry(*endpoint).or_insert(second);
        }
        // The second answer decides, which is to come five seconds after the first one.
        for (endpoint, since) in failing.iter().filter(|(_, since)| *since + 6 < second) {
            assert!(bench.unhealthy().contains(endpoint), "{endpoint} fails since {since}");
        }
    }
    assert_eq!(failing.len(), 10, "each had its turn");
    bench.run(7, |_| true);
    assert_eq!(bench.unhealthy(), [], "one good answer each");
    bench.set(0..10_010);
    bench.asked.clear();
    bench.run(7, |_| true);
    assert!((10_000..10_010).all(|n| bench.asked.contains_key(&address(n))));
    assert!(bench.asked.len() > 600, "the others have their turns, too");
}

#[test]
fn what_a_standstill_has_brought_together_does_not_stay_so() {
    let mut bench = Bench::new(400, 10_000);
    bench.run(10, |_| true);
    bench.now += 60_000;
    bench.run(10, |_| true);
    bench.most_in_a_tick = 0;
    bench.run(50, |_| true);
    // On average 20, and 400 where nothing is done about it.
    assert!(bench.most_in_a_tick <= 60, "{}", bench.most_in_a_tick);
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
    let sent: BTreeSet<_> = bench.send().into_iter().map(|(endpoint, _)| endpoint).collect();
    let waited = (0..30).map(address).filter(|it| lost.iter().all(|(lost, _)| lost != it));
    assert!(waited.into_iter().all(|it| sent.contains(&it)), "{sent:?}");
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
        let reason = if endpoint == address(1) { overflow.clone() } else { Reason::UnknownCluster };
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
