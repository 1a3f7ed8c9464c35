//! What a pool keeps for each endpoint.

use core::cell::Cell;
use core::net::SocketAddr;
use core::num::NonZeroU16;

use crate::model::endpoint::Endpoint;

/// An endpoint as one worker sees it: where it is, and how much it has to do.
///
/// Shared by `Rc` between the pool and the tickets of its requests, so it outlives its
/// place in the pool: a request that began before the endpoint was removed still ends
/// well. It lives as long as its address stays in the snapshots; its weight may change.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    weight: Cell<NonZeroU16>,
    active: Cell<u32>,
    handoff: Box<[u8]>,
}

impl Target {
    /// An idle target. `handoff` is what tells Envoy's router to go there.
    pub(super) const fn new(endpoint: &Endpoint, handoff: Box<[u8]>) -> Self {
        Self {
            address: endpoint.address,
            weight: Cell::new(endpoint.weight),
            active: Cell::new(0),
            handoff,
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its share of the traffic relative to the others.
    pub const fn weight(&self) -> NonZeroU16 {
        self.weight.get()
    }

    /// The requests in flight to it from this worker.
    pub const fn active(&self) -> u32 {
        self.active.get()
    }

    /// The bytes that tell Envoy's router to go there, prepared when it was installed.
    pub const fn handoff(&self) -> &[u8] {
        &self.handoff
    }

    /// Takes over the weight of a newer snapshot.
    pub(super) fn set_weight(&self, weight: NonZeroU16) {
        self.weight.set(weight);
    }

    /// Counts a request that begins.
    pub(super) fn begin(&self) {
        self.active.set(self.active.get().saturating_add(1));
    }

    /// Counts a request that ends.
    pub(super) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
    }
}
