//! What a pool keeps for each endpoint.

use core::cell::{Cell, RefCell};
use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::rc::Rc;

use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::util::ewma::{FailureShare, PeakEwma};
use crate::util::time::Time;

/// An endpoint as one worker sees it: where it is, how much it has to do, and how it answers.
///
/// Shared by `Rc` between the pool and the tickets of its requests, so it outlives its
/// place in the pool: a request that began before the endpoint was removed still ends
/// well. It lives as long as its address stays in the snapshots; its weight may change.
///
/// In this order in memory: what a choice among many endpoints looks at comes first, so that it
/// costs one look into the memory for each of them.
#[derive(Debug)]
#[repr(C)]
pub struct UpstreamHost {
    active: Cell<u32>,
    share: Cell<NonZeroU32>,
    weight: Cell<NonZeroU16>,
    counted_in: RefCell<CountedIn>,
    latency: Cell<Option<PeakEwma>>,
    failures: Cell<FailureShare>,
    handoff: EncodedHandoff,
    warming_since: Cell<Option<Time>>,
    passed_over_at: Cell<Option<Time>>,
    address: Address,
}

/// The requests in flight to several endpoints, each of which counts its own there.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight(Rc<Cell<u32>>);

impl InFlight {
    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.get()
    }
}

/// Where else the requests in flight to an endpoint are counted.
#[derive(Debug, Default)]
enum CountedIn {
    #[default]
    Nothing,
    /// As nearly always where it is counted at all; so it costs no further look into the memory.
    One(InFlight),
    Several(Vec<InFlight>),
}

impl CountedIn {
    fn add(&mut self, total: InFlight) {
        *self = match core::mem::take(self) {
            Self::Nothing => Self::One(total),
            Self::One(first) => Self::Several(vec![first, total]),
            Self::Several(mut totals) => {
                totals.push(total);
                Self::Several(totals)
            }
        };
    }

    fn totals(&self) -> &[InFlight] {
        match self {
            Self::Nothing => &[],
            Self::One(total) => core::slice::from_ref(total),
            Self::Several(totals) => totals,
        }
    }
}

impl UpstreamHost {
    /// An idle target. `handoff` is what tells Envoy's router to go there.
    pub(super) fn new(endpoint: &Endpoint, handoff: EncodedHandoff) -> Self {
        Self {
            address: endpoint.address.clone(),
            weight: Cell::new(endpoint.weight),
            share: Cell::new(endpoint.weight.into()),
            active: Cell::new(0),
            counted_in: RefCell::default(),
            handoff,
            latency: Cell::new(None),
            failures: Cell::default(),
            warming_since: Cell::new(None),
            passed_over_at: Cell::new(None),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Its share of the traffic relative to the others, as Consul has it.
    pub const fn weight(&self) -> NonZeroU16 {
        self.weight.get()
    }

    /// Its share of the traffic relative to the others at this moment, a slow start included;
    /// comparable within one pool only.
    pub const fn share(&self) -> NonZeroU32 {
        self.share.get()
    }

    /// The requests in flight to it from this worker.
    pub const fn active(&self) -> u32 {
        self.active.get()
    }

    /// The bytes that tell Envoy's router to go there, prepared when it was installed.
    pub const fn handoff(&self) -> &EncodedHandoff {
        &self.handoff
    }

    /// Its moving latency, once it has answered.
    pub const fn latency(&self) -> Option<PeakEwma> {
        self.latency.get()
    }

    /// How many of its latest answers were failures.
    pub const fn failures(&self) -> FailureShare {
        self.failures.get()
    }

    /// Since when it comes to its full share slowly; none: it has it.
    pub(super) const fn warming_since(&self) -> Option<Time> {
        self.warming_since.get()
    }

    /// Whether Envoy has sent a request that it was picked for to another host lately.
    pub(crate) fn is_doubted(&self, now: Time) -> bool {
        const LATELY: Duration = Duration::from_secs(10);
        self.passed_over_at.get().is_some_and(|at| now.since(at) < LATELY)
    }

    /// Takes into account that Envoy has sent a request that it was picked for to another host.
    pub(crate) fn doubt(&self, now: Time) {
        self.passed_over_at.set(Some(now));
    }

    /// Takes over the weight of a newer snapshot.
    pub(super) fn set_weight(&self, weight: NonZeroU16) {
        self.weight.set(weight);
    }

    /// Takes over its share at this moment.
    pub(super) fn set_share(&self, share: NonZeroU32) {
        self.share.set(share);
    }

    /// Begins or ends a slow start.
    pub(super) fn set_warming(&self, since: Option<Time>) {
        self.warming_since.set(since);
    }

    /// Takes an answer that was no failure into account; of its latencies the first one counts as
    /// it is.
    pub(super) fn observe(&self, latency: Option<Duration>, now: Time, decay: Duration) {
        if let Some(latency) = latency {
            let mut moving = self.latency.get().unwrap_or_else(|| PeakEwma::new(latency, now));
            moving.observe(latency, now, decay);
            self.latency.set(Some(moving));
        }
        self.count(false, now, decay);
    }

    /// Takes a failure into account. If it is the first answer, it is as if it had come after the
    /// `usual` time, which is forgotten as any latency is, so that it is tried again.
    pub(super) fn observe_failure(&self, usual: Option<Duration>, now: Time, decay: Duration) {
        let usual = usual.map(|usual| PeakEwma::new(usual, now));
        self.latency.set(self.latency.get().or(usual));
        self.count(true, now, decay);
    }

    /// Takes into account that an answer has not come for so long: that is a latency if it is above
    /// the average, which is the `usual` one before there is any, and else says nothing.
    pub(super) fn observe_silence(
        &self,
        time: Duration,
        usual: Duration,
        now: Time,
        decay: Duration,
    ) {
        let average = self.latency.get().map(|latency| latency.value(now, decay));
        if time.as_secs_f64() > average.unwrap_or(usual.as_secs_f64()) {
            self.latency.set(Some(PeakEwma::new(time, now)));
        }
    }

    fn count(&self, has_failed: bool, now: Time, decay: Duration) {
        let mut failures = self.failures.get();
        failures.observe(has_failed, now, decay);
        self.failures.set(failures);
    }

    /// Counts its requests in `total` too, those in flight included.
    pub(super) fn add_to_total(&self, InFlight(total): &InFlight) {
        total.set(total.get().saturating_add(self.active()));
        self.counted_in.borrow_mut().add(InFlight(Rc::clone(total)));
    }

    /// Counts its requests nowhere but for itself any more.
    pub(super) fn leave_totals(&self) {
        self.counted_in.replace(CountedIn::Nothing);
    }

    /// Counts a request that begins.
    pub(super) fn begin(&self) {
        self.active.set(self.active.get().saturating_add(1));
        for InFlight(total) in self.counted_in.borrow().totals() {
            total.set(total.get().saturating_add(1));
        }
    }

    /// Counts a request that ends.
    pub(super) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        for InFlight(total) in self.counted_in.borrow().totals() {
            total.set(total.get().saturating_sub(1));
        }
    }
}
