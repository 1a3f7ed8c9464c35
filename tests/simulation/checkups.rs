//! What must hold of the probes of endpoints, and of what is made of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use consul_resolver::config::ActiveHealthCheck;
use consul_resolver::health::prober::ProbeNumber;
use consul_resolver::shared::head::{Head, Rank, Term};
use consul_resolver::shared::health::Findings;

use crate::backends::place_at;
use crate::probes::{Echo, GIVEN_UP};
use crate::vm::{Context, ContextId};

const SECOND: u64 = 1_000_000;

/// The probes of endpoints, and what was made of them.
#[derive(Default)]
pub struct Checkups {
    /// The head of each source, as each context has seen it.
    seen: HashMap<(ContextId, usize), Seen>,
    /// What each context has sent to whom.
    patients: HashMap<ContextId, BTreeMap<SocketAddr, Patient>>,
    /// When a context has sent its last probes for a source in a term, at the earliest, on its own
    /// clock.
    paces: HashMap<(ContextId, usize), (Term, VecDeque<u64>)>,
    /// What was found out last.
    published: HashMap<usize, Findings>,
    /// The endpoints of a source, as each context has them.
    ports: HashMap<(ContextId, usize), Vec<u16>>,
    /// Those that went while they were known not to be healthy. If they come back soon, they are as
    /// they were; no world lasts for longer than that.
    away: HashSet<SocketAddr>,
    /// Who has sent how many probes for a source, since [`Checkups::begin_to_count`].
    senders: HashMap<usize, BTreeMap<ContextId, u64>>,
}

/// The head of a source, as a context has seen it last at a tick, or has written it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    head: Head,
    /// What the context was doing then, by the moment at which it had begun with that on its own
    /// clock; and what it had seen before.
    task: u64,
    before: Head,
}

/// An endpoint, as a context has found it.
#[derive(Debug, Clone, Copy)]
struct Patient {
    term: Term,
    number: ProbeNumber,
    /// When the last probe was sent, at the earliest, on the context's own clock.
    sent: u64,
    is_heard: bool,
    /// Whether it has been among the endpoints ever since.
    is_here: bool,
    /// How many good answers in a row there must yet be before nothing can be held against it.
    owes: u32,
    healthy_threshold: u32,
}

impl Patient {
    const fn is_out(&self, clock: u64) -> bool {
        !self.is_heard && clock < self.sent + GIVEN_UP
    }
}

impl Checkups {
    /// Forgets what was in shared data: so has Envoy.
    pub fn begin_anew(&mut self) {
        self.published.clear();
        self.away.clear();
    }

    /// A context has read the head of a source at a tick, or written it.
    pub fn on_seen(&mut self, context: &Context, source: usize, head: Head) {
        let task = context.began;
        let first = Seen { head, task, before: head };
        let seen = self.seen.entry((context.id, source)).or_insert(first);
        let before = if seen.task == task { seen.before } else { seen.head };
        *seen = Seen { head, task, before };
    }

    /// The term in which a context has the lease of a source, as far as it knew when it began with
    /// what it does, or knows now.
    fn term(&self, context: &Context, source: usize) -> Option<Term> {
        let seen = self.seen.get(&(context.id, source))?;
        let before = (seen.task == context.began).then_some(seen.before);
        let is_own = |head: &Head| head.owner == context.agent.id() && head.rank != Rank::LEAVING;
        [seen.head].into_iter().chain(before).find(is_own).map(|head| head.term)
    }

    /// A context has other endpoints: what is out to those that have gone is not waited for.
    pub fn on_installed(&mut self, context: ContextId, source: usize, ports: &[u16]) {
        self.ports.insert((context, source), ports.to_vec());
        for (address, patient) in self.patients.entry(context).or_default() {
            if place_at(*address) == source && !ports.contains(&address.port()) {
                patient.is_here = false;
            }
        }
    }

    /// A context sends a probe, after it was decided that it should: it may have stood still since.
    ///
    /// It has the lease, as far as it knows; and in one term of it there are no more probes out than
    /// `max_concurrent`, but for those to endpoints that have gone since; nor are there more of them,
    /// in any span of its own clock, than a quarter of `max_per_second` and one, and so many in every
    /// second of the span. So all VMs together keep to that, but for a change of hands: a new owner
    /// begins with a quarter of a second's worth of its own, while probes of the one before are out for
    /// their timeout; and that one sends more until it looks at the head, which it does at each tick.
    pub fn on_sent(
        &mut self,
        context: &Context,
        (address, number): (SocketAddr, ProbeNumber),
        check: &ActiveHealthCheck,
        clock: u64,
    ) {
        let (id, source) = (context.id, place_at(address));
        let Some(term) = self.term(context, source) else {
            panic!("{id:?} probes {address}, and knows that it has not the lease")
        };
        let healthy_threshold = check.probe.check.healthy_threshold;
        let patients = self.patients.entry(id).or_default();
        let owes = match patients.get(&address) {
            // Unless it was waited for in an earlier term, it was given up.
            Some(before) if before.is_heard => before.owes,
            Some(_) => healthy_threshold,
            None => 0,
        };
        let sent = Patient {
            term,
            number,
            sent: context.began,
            is_heard: false,
            is_here: true,
            owes,
            healthy_threshold,
        };
        patients.insert(address, sent);
        let is_one = |address: &SocketAddr| place_at(*address) == source;
        let out = patients.iter().filter(|(address, patient)| {
            is_one(address) && patient.is_here && patient.term == term && patient.is_out(clock)
        });
        let (out, most) = (out.count(), check.max_concurrent as usize);
        assert!(out <= most, "{id:?} has {out} probes out, of {most}");

        let (of, pace) = self.paces.entry((id, source)).or_default();
        if *of != term {
            pace.clear();
        }
        *of = term;
        pace.push_back(context.began);
        let rate = u64::from(check.max_per_second);
        for (first, count) in pace.iter().zip((1..=pace.len() as u64).rev()) {
            let span = clock - first;
            let most = rate / 4 + 1 + span * rate / SECOND;
            assert!(count <= most, "{id:?} sends {count} probes in {span} µs, of {most}");
        }
        pace.retain(|sent| clock < sent + 4 * SECOND);

        *self.senders.entry(source).or_default().entry(id).or_default() += 1;
    }

    /// A context hears what came back for a probe.
    pub fn on_heard(
        &mut self,
        context: ContextId,
        (address, number): (SocketAddr, ProbeNumber),
        echo: Echo,
        clock: u64,
    ) {
        let patients = self.patients.get_mut(&context);
        let patient = patients.and_then(|patients| patients.get_mut(&address));
        let Some(patient) = patient.filter(|it| it.number == number && !it.is_heard) else {
            return;
        };
        let is_good = echo == Echo::Status(200) && patient.is_out(clock);
        patient.is_heard = true;
        // An answer of one that has gone says nothing of it, should it come back.
        if !patient.is_here {
            return;
        }
        patient.owes = match is_good {
            true => patient.owes.saturating_sub(1),
            false => patient.healthy_threshold,
        };
    }

    /// A context publishes which endpoints are not healthy, in a term that never goes back. Of those
    /// that were healthy before, each has failed to answer a probe of this VM since it has last
    /// answered as often as makes it healthy; or it went while it was not healthy, and is back.
    pub fn on_findings(
        &mut self,
        context: ContextId,
        source: usize,
        findings: &Findings,
        clock: u64,
    ) {
        let before = self.published.insert(source, findings.clone()).unwrap_or_default();
        let (last, term) = (before.term, findings.term);
        assert!(last <= term, "what is found out went back from {last:?} to {term:?}");
        let ports = self.ports.get(&(context, source)).map_or(&[][..], Vec::as_slice);
        for address in before.unhealthy.iter().filter(|it| !findings.unhealthy.contains(it)) {
            match ports.contains(&address.port()) {
                true => self.away.remove(address),
                false => self.away.insert(*address),
            };
        }
        let patients = self.patients.get(&context);
        for address in findings.unhealthy.iter().filter(|it| !before.unhealthy.contains(it)) {
            let patient = patients.and_then(|patients| patients.get(address));
            let has_failed = patient.is_some_and(|patient| {
                patient.owes > 0 || (!patient.is_heard && !patient.is_out(clock))
            });
            let is_back = self.away.remove(address);
            assert!(
                has_failed || is_back,
                "{context:?} takes out {address}, which answers: {patient:?}"
            );
        }
    }

    /// Begins to count who sends how many probes.
    pub fn begin_to_count(&mut self) {
        self.senders.clear();
    }

    /// Who has sent how many probes for a source since then.
    pub fn senders(&self, source: usize) -> BTreeMap<ContextId, u64> {
        self.senders.get(&source).cloned().unwrap_or_default()
    }
}
