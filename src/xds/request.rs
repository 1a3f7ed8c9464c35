//! A request to the listener for subscriptions.

/// The stream of a request, until it is answered or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// A complete request to the listener for subscriptions.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionRequest<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// The body: a `DiscoveryRequest` as JSON.
    pub body: &'a [u8],
}

impl SubscriptionRequest<'_> {
    /// The most bytes of a body. One of Envoy 1.40 has 77 KB: the node lists its extensions.
    pub const MAX_BODY_BYTES: usize = 1 << 20;
}
