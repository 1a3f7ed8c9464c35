//! What one or several clusters of Envoy subscribe to.

use std::rc::Rc;

use crate::time::Time;
use crate::xds::kind::Kind;
use crate::xds::request::StreamId;
use crate::xds::trial::Trials;

/// A resource that can be asked for: a service's endpoints by its name, the routes by theirs; the clusters
/// have none.
pub(super) type Subject = (Kind, Rc<str>);

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Sorted, none twice, at least one.
    pub(super) names: Vec<Rc<str>>,
}

impl Key {
    /// The resources.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        self.names.iter().map(|name| (self.kind, name.clone()))
    }
}

/// All requests that ask for the same.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Those that are held.
    pub(super) streams: Vec<StreamId>,
    /// How Envoy takes what it is told.
    pub(super) trials: Trials,
    /// When one was here last.
    pub(super) last: Time,
    /// When a request ended last before it was answered; none: one was answered since.
    pub(super) ended: Option<Time>,
    /// When there may be news next, if only time passes.
    pub(super) look: Option<Time>,
}
