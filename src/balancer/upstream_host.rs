//! An endpoint with the statistics of one worker.

use core::cell::{Cell, RefCell};
use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;
use std::rc::Rc;

use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::util::ewma::{FailureShare, PeakEwma};
use crate::util::time::Time;

/// An endpoint as one worker sees it: its address, its load, and its responses.
///
/// The pool and the tickets of its requests share a host by `Rc`, so a request that began before the
/// endpoint was removed still ends well. The pool keeps a host as long as its address stays in the
/// snapshots; the weight may change.
///
/// The fields lie in memory in this order: a choice among many hosts reads the first ones, and so
/// costs one access to memory for each host.
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

/// The requests in flight to several hosts, each of which adds its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight(Rc<Cell<u32>>);

impl InFlight {
    /// The number of requests.
    pub(super) fn count(&self) -> u32 {
        self.0.get()
    }
}

/// The totals to which a host adds its requests in flight.
#[derive(Debug, Default)]
enum CountedIn {
    #[default]
    Nothing,
    /// The usual case of a bounded load, so it costs no further access to memory.
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
    /// Creates an idle host.
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

    /// The address.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The weight in the snapshot, relative to other hosts.
    pub const fn weight(&self) -> NonZeroU16 {
        self.weight.get()
    }

    /// The present share of the traffic relative to other hosts of the pool: the weight, reduced during
    /// a slow start.
    pub const fn share(&self) -> NonZeroU32 {
        self.share.get()
    }

    /// The requests in flight from this worker.
    pub const fn active(&self) -> u32 {
        self.active.get()
    }

    /// The bytes that tell Envoy's router to go to the host.
    pub const fn handoff(&self) -> &EncodedHandoff {
        &self.handoff
    }

    /// The moving average of the latency; none before the first response.
    pub const fn latency(&self) -> Option<PeakEwma> {
        self.latency.get()
    }

    /// The share of failures of the latest responses.
    pub const fn failures(&self) -> FailureShare {
        self.failures.get()
    }

    /// The beginning of the slow start; none if there is none.
    pub(super) const fn warming_since(&self) -> Option<Time> {
        self.warming_since.get()
    }

    /// Returns true if Envoy has recently sent a request for this host to another host.
    pub(crate) fn is_doubted(&self, now: Time) -> bool {
        const RECENTLY: Duration = Duration::from_secs(10);
        self.passed_over_at.get().is_some_and(|at| now.since(at) < RECENTLY)
    }

    /// Takes into account that Envoy has sent a request for this host to another host.
    pub(crate) fn doubt(&self, now: Time) {
        self.passed_over_at.set(Some(now));
    }

    /// Sets the weight of a newer snapshot.
    pub(super) fn set_weight(&self, weight: NonZeroU16) {
        self.weight.set(weight);
    }

    /// Sets the present share.
    pub(super) fn set_share(&self, share: NonZeroU32) {
        self.share.set(share);
    }

    /// Begins or ends a slow start.
    pub(super) fn set_warming(&self, since: Option<Time>) {
        self.warming_since.set(since);
    }

    /// Takes a successful response into account. The first latency becomes the average.
    pub(super) fn observe(&self, latency: Option<Duration>, now: Time, decay: Duration) {
        if let Some(latency) = latency {
            let mut moving = self.latency.get().unwrap_or_else(|| PeakEwma::new(latency, now));
            moving.observe(latency, now, decay);
            self.latency.set(Some(moving));
        }
        self.count(false, now, decay);
    }

    /// Takes a failure into account. Without an earlier response the `mean` latency of all hosts
    /// becomes the average, and decays like any latency, so that the host is tried again.
    pub(super) fn observe_failure(&self, mean: Option<Duration>, now: Time, decay: Duration) {
        let mean = mean.map(|mean| PeakEwma::new(mean, now));
        self.latency.set(self.latency.get().or(mean));
        self.count(true, now, decay);
    }

    /// Takes into account that no response has come for `time`. A time above the average counts as a
    /// latency, any other time says nothing. Before the first response the average is `mean`.
    pub(super) fn observe_silence(
        &self,
        time: Duration,
        mean: Duration,
        now: Time,
        decay: Duration,
    ) {
        let average = self.latency.get().map(|latency| latency.value(now, decay));
        if time.as_secs_f64() > average.unwrap_or(mean.as_secs_f64()) {
            self.latency.set(Some(PeakEwma::new(time, now)));
        }
    }

    fn count(&self, has_failed: bool, now: Time, decay: Duration) {
        let mut failures = self.failures.get();
        failures.observe(has_failed, now, decay);
        self.failures.set(failures);
    }

    /// Adds the requests to `total` from now on, the present ones included.
    pub(super) fn add_to_total(&self, InFlight(total): &InFlight) {
        total.set(total.get().saturating_add(self.active()));
        self.counted_in.borrow_mut().add(InFlight(Rc::clone(total)));
    }

    /// Stops adding the requests to totals.
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
