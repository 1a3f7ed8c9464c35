//! A request that has come by the listener for subscriptions.

/// The stream of a request, until it is answered or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// A request that has come by the listener for subscriptions, whole.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionRequest<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its path.
    pub path: &'a [u8],
    /// Its body: a `DiscoveryRequest` of Envoy's as JSON.
    pub body: &'a [u8],
}

impl SubscriptionRequest<'_> {
    /// The most bytes of a body. One of Envoy 1.40 has 77 KB: the node lists its extensions.
    pub const MAX_BODY_BYTES: usize = 1 << 20;
}
