//! The health of one source's endpoints, as this VM sees it and, where it fetches, finds it out.
//!
//! The fetcher of a source probes for all VMs, and publishes which endpoints are not healthy beside
//! the snapshot. It writes at ticks, so however many endpoints change at once there are few writes,
//! and only over what it has seen, of no later term than its own.

use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

use crate::config::{ActiveHealthCheck, Probe};
use crate::discovery::health_change::HealthChange;
use crate::health::prober::{ProbeNumber, Standing};
use crate::health::roll::Roll;
use crate::health::verdict::{Answer, ProbeOutcome, Reason, Verdict};
use crate::model::endpoint::Address;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::shared::head::Term;
use crate::shared::health::Findings;
use crate::shared::key::Cas;
use crate::time::Time;

/// How often it is told at most that probes cannot be sent.
const QUIET: Duration = Duration::from_secs(60);

/// The health of one source's endpoints.
#[derive(Debug)]
pub(super) struct Checkup {
    check: ActiveHealthCheck,
    probe: Rc<Probe>,
    /// Who is asked; none where another VM does that, or this one is about to begin.
    roll: Option<Roll>,
    /// What is being written.
    writing: Option<Findings>,
    /// What the router was told last.
    told: Vec<SocketAddr>,
    /// What has been read last.
    seen: Option<Cas>,
    /// Whether what others have found out is too old to begin with.
    distrusts: bool,
    /// The highest number of a probe that this VM has sent.
    last: ProbeNumber,
    /// When it was told last that probes cannot be sent.
    complained: Option<Time>,
}

/// What is to be done about what stands in shared data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing.
    Nothing,
    /// To let the router know these.
    Tell(Vec<SocketAddr>),
    /// To write this over it.
    Write(Vec<u8>),
}

impl Checkup {
    /// Starts with nothing known.
    pub(super) fn new(check: ActiveHealthCheck) -> Self {
        Self {
            probe: Rc::new(check.probe.clone()),
            check,
            roll: None,
            writing: None,
            told: Vec::new(),
            seen: None,
            distrusts: false,
            last: ProbeNumber(0),
            complained: None,
        }
    }

    /// What is asked of each endpoint.
    pub(super) const fn probe(&self) -> &Rc<Probe> {
        &self.probe
    }

    /// What the router was told last.
    pub(super) fn told(&self) -> &[SocketAddr] {
        &self.told
    }

    /// Is about to begin; what others have found out may be of any age, where that is so.
    pub(super) const fn begin(&mut self, is_stale: bool) {
        self.distrusts = is_stale;
    }

    /// Asks nobody any more.
    pub(super) fn end(&mut self) {
        self.last = self.last();
        (self.roll, self.writing) = (None, None);
    }

    /// Whether this is what was taken last, as a follower: it is looked at in every tick.
    pub(super) fn has_seen(&self, cas: Option<Cas>) -> bool {
        self.seen == cas
    }

    /// Takes what stands in shared data, as a follower.
    pub(super) fn on_findings_of_another(&mut self, findings: Findings, cas: Option<Cas>) -> Todo {
        self.seen = cas;
        self.tell(findings.unhealthy)
    }

    /// Takes what stands in shared data, where this VM fetches in a term, and has these endpoints.
    /// It goes on from what another one has found out, so that a change of hands makes no
    /// difference: an endpoint that was not unhealthy counts as healthy, and not as unknown.
    pub(super) fn on_findings(
        &mut self,
        findings: Findings,
        term: Term,
        snapshot: &Snapshot,
        now: Time,
        rng: &mut Rng,
    ) -> Todo {
        if findings.term > term {
            return Todo::Nothing;
        }
        let roll = self.roll.get_or_insert_with(|| {
            let is_first = findings.term == Term::default() || self.distrusts;
            let standing = |address: &SocketAddr| match findings.unhealthy.binary_search(address) {
                _ if is_first => Standing::Unknown,
                Ok(_) => Standing::Unhealthy,
                Err(_) => Standing::Healthy { warns: false },
            };
            let mut roll = Roll::new(&self.check).counting_from(self.last);
            roll.set(addresses(snapshot), standing, now, rng);
            roll
        });
        if findings.term == term && roll.unhealthy().eq(findings.unhealthy.iter().copied()) {
            return self.tell(findings.unhealthy);
        }
        let findings = Findings { term, unhealthy: roll.unhealthy().collect() };
        let bytes = findings.encode();
        self.writing = Some(findings);
        Todo::Write(bytes)
    }

    /// Learns whether what was found out was written: what is to be told of that. Another VM may
    /// have been faster, and is looked at in the next tick.
    pub(super) fn on_written(&mut self, written: bool) -> Option<HealthChange> {
        let findings = self.writing.take().filter(|_| written)?;
        let roll = self.roll.as_ref()?;
        let change = HealthChange::new(roll, &self.told, &findings.unhealthy);
        self.told = findings.unhealthy;
        Some(change)
    }

    /// Has other endpoints.
    pub(super) fn on_endpoints(&mut self, snapshot: &Snapshot, now: Time, rng: &mut Rng) {
        if let Some(roll) = &mut self.roll {
            roll.set(addresses(snapshot), |_| Standing::Unknown, now, rng);
        }
    }

    /// The next endpoint to be asked now.
    pub(super) fn poll_probe(
        &mut self,
        now: Time,
        rng: &mut Rng,
    ) -> Option<(SocketAddr, ProbeNumber)> {
        self.roll.as_mut()?.poll_probe(now, rng)
    }

    /// Takes what came back for a probe: what it came to, and why it was not sent, where that is to
    /// be told. None where this VM probes no longer.
    pub(super) fn on_examined(
        &mut self,
        address: SocketAddr,
        number: ProbeNumber,
        answer: Result<Answer<'_>, Reason>,
        now: Time,
        rng: &mut Rng,
    ) -> Option<(ProbeOutcome, Option<Reason>)> {
        let roll = self.roll.as_mut()?;
        let verdict = match answer {
            Ok(answer) => Verdict::of(&self.check.probe.check, answer),
            Err(reason) => Verdict::Bad(reason),
        };
        let outcome = verdict.outcome();
        let unsent = Some(verdict.reason()).filter(|_| outcome == ProbeOutcome::Unsent).cloned();
        roll.on_verdict(address, number, verdict, now, rng);
        let is_quiet = self.complained.is_some_and(|when| now.since(when) < QUIET);
        let complaint = unsent.filter(|_| !is_quiet);
        if complaint.is_some() {
            self.complained = Some(now);
        }
        Some((outcome, complaint))
    }

    /// How long the probe is overdue that has waited longest; none where another VM probes.
    pub(super) fn overdue(&self, now: Time) -> Option<Duration> {
        self.roll.as_ref().map(|roll| roll.overdue(now))
    }

    /// Whether something was found out that the others do not know yet.
    pub(super) fn has_news(&self) -> bool {
        let roll = self.roll.as_ref();
        roll.is_some_and(|roll| !roll.unhealthy().eq(self.told.iter().copied()))
    }

    fn tell(&mut self, unhealthy: Vec<SocketAddr>) -> Todo {
        if self.told == unhealthy {
            return Todo::Nothing;
        }
        self.told.clone_from(&unhealthy);
        Todo::Tell(unhealthy)
    }

    fn last(&self) -> ProbeNumber {
        self.roll.as_ref().map_or(self.last, Roll::last)
    }
}

/// The endpoints that have an address; those with names are not probed.
fn addresses(snapshot: &Snapshot) -> impl Iterator<Item = SocketAddr> {
    snapshot.endpoints().iter().filter_map(|endpoint| match endpoint.address {
        Address::Ip(address) => Some(address),
        Address::Name(..) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConsulHealth, HealthCheck};
    use crate::model::endpoint::Endpoint;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn snapshot(count: u8) -> Snapshot {
        Snapshot::new((0..count).map(|n| Endpoint::new(address(n))).collect())
    }

    fn findings(term: u64, unhealthy: &[u8]) -> Findings {
        let unhealthy = unhealthy.iter().map(|n| address(*n)).collect();
        Findings { term: Term(term), unhealthy }
    }

    fn checkup() -> Checkup {
        Checkup::new(ActiveHealthCheck {
            probe: Probe { cluster: "probes".into(), check: HealthCheck::default() },
            max_per_second: 1_000,
            max_concurrent: 1_000,
            consul_health: ConsulHealth::And,
        })
    }

    /// Asks all that are due, and lets those numbered so fail.
    fn ask(checkup: &mut Checkup, now: u64, sick: &[u8], rng: &mut Rng) {
        while let Some((address, number)) = checkup.poll_probe(at(now), rng) {
            let is_sick = sick.iter().any(|n| self::address(*n) == address);
            let status = if is_sick { 503 } else { 200 };
            let answer = Ok(Answer { status, from_envoy: false, body: b"" });
            let outcome = if is_sick { ProbeOutcome::Failure } else { ProbeOutcome::Success };
            let examined = checkup.on_examined(address, number, answer, at(now), rng);
            assert_eq!(examined, Some((outcome, None)));
        }
    }

    /// What is written in term 3, and that it is.
    fn write(checkup: &mut Checkup, before: Findings, rng: &mut Rng) -> Option<HealthChange> {
        match checkup.on_findings(before, Term(3), &snapshot(4), at(0), rng) {
            Todo::Write(_) => checkup.on_written(true),
            Todo::Nothing | Todo::Tell(_) => None,
        }
    }

    #[test]
    fn a_first_fetcher_finds_out_and_writes_what_has_changed() {
        let (mut checkup, mut rng) = (checkup(), Rng::new(1));
        let change = write(&mut checkup, Findings::default(), &mut rng).expect("its first");
        assert_eq!((change.unhealthy, change.endpoints), (0, 4));
        assert_eq!(write(&mut checkup, findings(3, &[]), &mut rng), None);
        ask(&mut checkup, 5_000, &[1], &mut rng);
        assert!(checkup.has_news());
        let change = write(&mut checkup, findings(3, &[]), &mut rng).expect("news");
        let text =
            "1 of 4 endpoints do not pass active_health_check (1 more: 10.0.0.1:80, status 503)";
        assert_eq!(change.to_string(), text);
        assert!(!checkup.has_news());
        assert_eq!(checkup.told(), [address(1)]);
        ask(&mut checkup, 10_000, &[], &mut rng);
        let change = write(&mut checkup, findings(3, &[1]), &mut rng).expect("news");
        let text = "0 of 4 endpoints do not pass active_health_check (1 fewer: 10.0.0.1:80)";
        assert_eq!(change.to_string(), text);
    }

    #[test]
    fn a_new_fetcher_goes_on_from_what_the_last_one_has_found_out() {
        let (mut checkup, mut rng) = (checkup(), Rng::new(1));
        let todo = checkup.on_findings_of_another(findings(2, &[1]), Some(Cas(1)));
        assert_eq!(todo, Todo::Tell(vec![address(1)]));
        let todo = checkup.on_findings_of_another(findings(2, &[1]), Some(Cas(1)));
        assert_eq!(todo, Todo::Nothing);
        let change = write(&mut checkup, findings(2, &[1]), &mut rng).expect("its term");
        assert!(!change.is_news());
        assert_eq!(checkup.told(), [address(1)]);
        ask(&mut checkup, 5_000, &[0, 1], &mut rng);
        assert!(!checkup.has_news(), "one bad answer of two");
        ask(&mut checkup, 10_000, &[0, 1], &mut rng);
        assert!(checkup.has_news());
    }

    #[test]
    fn what_nobody_vouches_for_is_not_gone_on_from() {
        let (mut checkup, mut rng) = (checkup(), Rng::new(1));
        checkup.begin(true);
        let change = write(&mut checkup, findings(2, &[1]), &mut rng).expect("its first");
        assert_eq!(change.unhealthy, 0);
    }

    #[test]
    fn one_that_fetches_no_longer_writes_nothing() {
        let (mut checkup, mut rng) = (checkup(), Rng::new(1));
        write(&mut checkup, Findings::default(), &mut rng);
        ask(&mut checkup, 5_000, &[1], &mut rng);
        let later = findings(4, &[2]);
        let todo = checkup.on_findings(later, Term(3), &snapshot(4), at(5_000), &mut rng);
        assert_eq!(todo, Todo::Nothing);
        // Another one was faster.
        let before = findings(3, &[]);
        let todo = checkup.on_findings(before, Term(3), &snapshot(4), at(5_000), &mut rng);
        assert!(matches!(todo, Todo::Write(_)));
        assert_eq!(checkup.on_written(false), None);
        assert!(checkup.told().is_empty() && checkup.has_news());
        checkup.end();
        assert_eq!(checkup.poll_probe(at(60_000), &mut rng), None);
        assert!(!checkup.has_news());
    }

    #[test]
    fn that_probes_cannot_be_sent_is_told_once_a_minute() {
        let (mut checkup, mut rng) = (checkup(), Rng::new(1));
        write(&mut checkup, Findings::default(), &mut rng);
        let mut told = Vec::new();
        for second in 5..70 {
            while let Some((address, number)) = checkup.poll_probe(at(second * 1_000), &mut rng) {
                let answer = Err(Reason::UnknownCluster);
                let now = at(second * 1_000);
                let examined = checkup.on_examined(address, number, answer, now, &mut rng);
                told.extend(examined.and_then(|(_, complaint)| complaint));
            }
        }
        assert_eq!(told, [Reason::UnknownCluster, Reason::UnknownCluster]);
        assert!(!checkup.has_news());
    }
}
