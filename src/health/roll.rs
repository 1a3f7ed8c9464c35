//! Asking many endpoints whether they are healthy, at a bounded rate.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::config::{ActiveHealthCheck, HealthCheck};
use crate::health::prober::{ProbeNumber, Prober, Standing};
use crate::health::verdict::{ProbeOutcome, Reason, Verdict};
use crate::rng::Rng;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// In so many parts of a second those probes may be sent that the rate allows in one: probes go out
/// at ticks, four times a second.
const TICKS: u32 = 4;
/// So many of those that went while they were not healthy are remembered, and for so long: an instance
/// whose checks in Consul come and go is not well again because it was away.
const REMEMBERED: usize = 1_024;
const MEMORY: Duration = Duration::from_secs(300);

/// All endpoints of a source, each asked at its interval, and all together no faster than a rate
/// allows, and no more of them at once than so many.
///
/// Where that is too slow for the interval, whoever has waited longest comes first; but every other
/// probe goes to those of which the next answer matters most, as long as there are any: that have just
/// failed, are not healthy, or have come while others were there. New endpoints are asked for the
/// first time within an interval, at moments that are spread over it, and so are those that a tick
/// too late has brought together: a thousand make no burst, neither then nor later.
#[derive(Debug)]
pub struct Roll {
    check: HealthCheck,
    pace: TokenBucket,
    most: usize,
    members: HashMap<SocketAddr, Member>,
    /// Whom no probe is out to, and when each is to be asked.
    waiting: Waiting,
    /// Whom a probe is out to, and when each is given up. Apart, for these are given up also while
    /// others wait longer than they: they are what those wait for.
    asked: BTreeSet<(Time, SocketAddr)>,
    /// Those that are known not to be healthy.
    unhealthy: BTreeSet<SocketAddr>,
    /// Those that went while they were not healthy, and when.
    gone: HashMap<SocketAddr, Time>,
    /// The highest number that a probe had.
    last: ProbeNumber,
}

#[derive(Debug)]
struct Member {
    prober: Prober,
    /// As it stands among those that wait, or are asked.
    due: Time,
    /// Whether it has come while others were there.
    is_newcomer: bool,
}

/// Those that wait for their probe, in the order in which it is due.
#[derive(Debug, Default)]
struct Waiting {
    urgent: BTreeSet<(Time, SocketAddr)>,
    others: BTreeSet<(Time, SocketAddr)>,
    /// Whether an urgent one was the last to be asked.
    is_others_turn: bool,
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
            waiting: Waiting::default(),
            asked: BTreeSet::new(),
            unhealthy: BTreeSet::new(),
            gone: HashMap::new(),
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
    /// how those are that are new, but for those that were here a while ago.
    pub fn set(
        &mut self,
        endpoints: impl IntoIterator<Item = SocketAddr>,
        standing: impl Fn(&SocketAddr) -> Standing,
        now: Time,
        rng: &mut Rng,
    ) {
        let mut before = core::mem::take(&mut self.members);
        let is_newcomer = !before.is_empty();
        self.waiting = Waiting::default();
        self.asked.clear();
        self.unhealthy.clear();
        for address in endpoints {
            let member = before.remove(&address).unwrap_or_else(|| {
                let due = now + self.check.interval.mul_f64(rng.unit());
                let went = self.gone.remove(&address).filter(|when| now.since(*when) < MEMORY);
                let standing = went.map_or_else(|| standing(&address), |_| Standing::Unhealthy);
                let prober = Prober::new(standing, due).counting_from(self.last);
                Member { prober, due, is_newcomer }
            });
            self.members.insert(address, member);
            self.place(address);
        }
        self.gone.retain(|_, when| now.since(*when) < MEMORY);
        let room = REMEMBERED.saturating_sub(self.gone.len());
        let gone = before.into_iter().filter(|(_, member)| member.is_unhealthy()).take(room);
        self.gone.extend(gone.map(|(address, _)| (address, now)));
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
        let (address, is_urgent) = self.waiting.next(now)?;
        if self.asked.len() >= self.most || !self.pace.take_now(now) {
            return None;
        }
        let number = self.members.get_mut(&address)?.prober.poll_probe(&self.check, now, rng)?;
        self.last = self.last.max(number);
        self.waiting.is_others_turn = is_urgent;
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
        if verdict.outcome() == ProbeOutcome::Unsent {
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

    /// How long the probe is overdue that has waited longest.
    pub fn overdue(&self, now: Time) -> Duration {
        let Waiting { urgent, others, .. } = &self.waiting;
        let first = [urgent, others].into_iter().filter_map(BTreeSet::first).map(|(due, _)| *due);
        first.min().map_or(Duration::ZERO, |due| now.since(due))
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
        let Waiting { urgent, others, .. } = &mut self.waiting;
        for among in [&mut *urgent, &mut *others, &mut self.asked] {
            among.remove(&(member.due, address));
        }
        member.due = member.prober.due();
        let among = match (member.prober.is_asking(), member.is_urgent()) {
            (true, _) => &mut self.asked,
            (false, true) => urgent,
            (false, false) => others,
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

    /// Whether its next answer matters more than another's.
    fn is_urgent(&self) -> bool {
        self.prober.is_suspect() || self.is_newcomer && self.prober.standing() == Standing::Unknown
    }
}

impl Waiting {
    /// Who is to be asked next, and whether it is urgent.
    fn next(&self, now: Time) -> Option<(SocketAddr, bool)> {
        let due = |among: &BTreeSet<(Time, SocketAddr)>| {
            among.first().filter(|(due, _)| *due <= now).map(|(_, address)| *address)
        };
        let urgent = due(&self.urgent).map(|address| (address, true));
        let other = due(&self.others).map(|address| (address, false));
        if self.is_others_turn { other.or(urgent) } else { urgent.or(other) }
    }
}

#[cfg(test)]
mod tests;
