//! What is wrong with Consul, the network and the VMs at the moment.

/// What is wrong with Consul and the way to it.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// How answers fail, and how many of a hundred.
    pub failing: Option<Failure>,
    /// See `failing`.
    pub failing_share: u32,
    /// Only queries that block fail: what is between Envoy and Consul cuts them off.
    pub failing_blocking: bool,
    /// Answers take up to ten seconds.
    pub slow: bool,
    /// There are no answers until then.
    pub stalled_until: u64,
    /// Queries that block are left alone whatever changes.
    pub deaf: bool,
    /// Good answers say less than the truth.
    pub lying: Option<Lie>,
    /// Of a hundred plain queries, so many are answered by a server that lags behind.
    pub lagging: u32,
    /// Of a hundred callouts, so many are not sent.
    pub refused: u32,
    /// Of a hundred callouts, so many never return.
    pub vanished: u32,
    /// Of a hundred callouts, so many return long after their time.
    pub late: u32,
}

/// How an answer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// With a status that is not 200; 503 comes from Envoy.
    Status(u16),
    /// It breaks off.
    Breaks,
    /// It has no index.
    NoIndex,
    /// The last byte of its body is missing.
    Truncated,
    /// The token may not see what it is about.
    Filtered,
}

/// What a good answer hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Everything.
    Empty,
    /// Every other port.
    Half,
}
