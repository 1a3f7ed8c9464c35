//! Events of Envoy's subscriptions.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::util::excerpt::Excerpt;
use crate::xds::request::Malformed;
use crate::xds::resource::ResourceKind;

/// An event of a subscription. All but the first four are for a log, where repeated ones become rare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// Envoy has the endpoints of a service. Each request says so again, since another VM may have
    /// reported meanwhile that the service is gone.
    Acknowledged {
        /// The name of the service.
        service: Rc<str>,
    },
    /// Envoy has no endpoints of a service any more, or will soon be told so: the service is gone.
    Gone {
        /// The name of the service.
        service: Rc<str>,
    },
    /// Envoy was sent all clusters: it has none of other services any more.
    ClustersTold,
    /// Envoy has taken a service's cluster with settings of its own: to be kept for [`on_earlier`].
    ///
    /// [`on_earlier`]: crate::xds::server::Server::on_earlier
    ClusterTaken {
        /// The service's name.
        service: Rc<str>,
        /// The cluster.
        cluster: Box<str>,
    },
    /// Envoy goes on asking for an old version right after it was told a newer one.
    Rejected {
        /// The kind of the rejected resource.
        kind: ResourceKind,
        /// The service, or the route configuration; empty if all clusters are to blame.
        name: Rc<str>,
        /// The number of rejections in a row.
        times: u32,
    },
    /// Another Envoy has sent a request.
    ForeignNode {
        /// The id of its node.
        found: Excerpt,
        /// The number of times until now.
        times: u64,
    },
    /// Envoy subscribes to the endpoints of an unknown service.
    UnknownName {
        /// The name.
        name: Excerpt,
        /// The service that was probably meant.
        nearest: Option<Excerpt>,
    },
    /// Envoy subscribes to routes by another name than the configured one.
    UnknownRoute {
        /// The name.
        name: Excerpt,
    },
    /// Envoy subscribes to a kind of resource that the configuration does not offer.
    NotOffered {
        /// The kind.
        kind: ResourceKind,
    },
    /// A request is no subscription.
    Malformed {
        /// The cause.
        cause: Malformed,
        /// The number of times until now.
        times: u64,
    },
    /// There were more subscriptions than can be held: the oldest ones were answered early.
    TooMany {
        /// The number of times until now.
        times: u64,
    },
    /// Envoy does not wait for news as long as it could.
    EndsEarly {
        /// The time that it has waited.
        after: Duration,
    },
    /// Endpoints are not sent, since they have a name instead of an address.
    HostNamesNotSent {
        /// The name of the service.
        service: Rc<str>,
        /// The number of the endpoints.
        found: usize,
    },
}

impl fmt::Display for SubscriptionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged { service } => write!(f, "Envoy knows the endpoints of {service}"),
            Self::Gone { service } => {
                write!(f, "Envoy forgets the endpoints of {}", Excerpt::of(service))
            }
            Self::ClustersTold => f.write_str("Envoy knows which clusters there are"),
            Self::ClusterTaken { service, .. } => write!(f, "Envoy knows the cluster of {service}"),
            Self::Rejected { kind, name, times } => {
                write!(f, "Envoy rejects what it is told by {kind}")?;
                if !name.is_empty() {
                    write!(f, " of {name}")?;
                }
                write!(f, " (rejection {times} in a row; its own log says why)")
            }
            Self::ForeignNode { found, times } => write!(
                f,
                "an Envoy of another node, {found}, subscribes here ({times} times): \
                 each needs an xds.address of its own"
            ),
            Self::UnknownName { name, nearest } => {
                write!(f, "Envoy subscribes to the endpoints of {name}, which is no service here")?;
                nearest.as_ref().map_or(Ok(()), |it| write!(f, "; did you mean {it}?"))
            }
            Self::UnknownRoute { name } => write!(
                f,
                "Envoy subscribes to the routes {name}, which are not those of xds.routes.name"
            ),
            Self::NotOffered { kind } => {
                let field = if *kind == ResourceKind::Clusters { "clusters" } else { "routes" };
                write!(f, "Envoy subscribes by {kind}, and the configuration has no xds.{field}")
            }
            Self::Malformed { cause, times } => {
                write!(f, "a request to xds.address is no subscription ({times} times): {cause}")
            }
            Self::TooMany { times } => {
                write!(
                    f,
                    "there are too many subscriptions to hold: the oldest is answered before its \
                     time ({times} times)"
                )
            }
            Self::EndsEarly { after } => write!(
                f,
                "Envoy ends its subscriptions after {} ms: set request_timeout, and the \
                 listener's stream_idle_timeout, above xds.hold",
                after.as_millis()
            ),
            Self::HostNamesNotSent { service, found } => write!(
                f,
                "{found} endpoints of {service} are host names, which Envoy does not take by EDS"
            ),
        }
    }
}

/// The numbers of events since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Responses with news.
    pub answers: u64,
    /// Responses without.
    pub unchanged: u64,
    /// Responses that Envoy has rejected.
    pub rejected: u64,
    /// Requests of another Envoy.
    pub foreign: u64,
    /// Requests that are no subscriptions.
    pub malformed: u64,
    /// Requests for unknown resources.
    pub unknown: u64,
    /// Requests that were answered early to hold another one, and bodies above the limit of all bodies.
    pub too_many: u64,
    /// Requests that ended while they were held.
    pub ended_early: u64,
    /// Endpoints that were left out of responses, since they have a name instead of an address.
    pub host_names: u64,
}

/// The queue of events, and the names that were reported already.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<SubscriptionEvent>,
    pub(super) counts: Counts,
    /// The names that are reported as unknown.
    names: Vec<(ResourceKind, Box<str>)>,
    /// The services that are reported to have host names.
    named: Vec<Rc<str>>,
    has_ended_early: bool,
}

impl Events {
    /// The most names of each kind that are reported; all are counted.
    const MAX_NAMES: usize = 64;
    /// The most events that wait: each of the services may be acknowledged.
    const MAX: usize = 1 << 17;

    pub(super) fn push(&mut self, event: SubscriptionEvent) {
        // Many requests may come at once for an unknown name.
        let is_told = event == SubscriptionEvent::ClustersTold && self.queue.back() == Some(&event);
        if !is_told && self.queue.len() < Self::MAX {
            self.queue.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<SubscriptionEvent> {
        self.queue.pop_front()
    }

    pub(super) fn on_rejected(&mut self, kind: ResourceKind, name: Rc<str>, times: u32) {
        if times.is_power_of_two() {
            self.push(SubscriptionEvent::Rejected { kind, name, times });
        }
    }

    pub(super) fn on_foreign(&mut self, node: &str) {
        self.counts.foreign += 1;
        let times = self.counts.foreign;
        if times.is_power_of_two() {
            self.push(SubscriptionEvent::ForeignNode { found: Excerpt::of(node), times });
        }
    }

    pub(super) fn on_malformed(&mut self, cause: Malformed) {
        self.counts.malformed += 1;
        let times = self.counts.malformed;
        if times.is_power_of_two() {
            self.push(SubscriptionEvent::Malformed { cause, times });
        }
    }

    pub(super) fn on_too_many(&mut self) {
        self.counts.too_many += 1;
        let times = self.counts.too_many;
        if times.is_power_of_two() {
            self.push(SubscriptionEvent::TooMany { times });
        }
    }

    /// Reports each unknown name once.
    pub(super) fn on_unknown(
        &mut self,
        kind: ResourceKind,
        name: &str,
        event: impl FnOnce() -> SubscriptionEvent,
    ) {
        self.counts.unknown += 1;
        let is_known = self.names.iter().any(|(told, it)| *told == kind && **it == *name);
        if !is_known && self.names.len() < Self::MAX_NAMES {
            self.names.push((kind, name.into()));
            self.push(event());
        }
    }

    /// Reports each service with host names once.
    pub(super) fn on_host_names(&mut self, service: &Rc<str>, found: usize) {
        if self.named.len() < Self::MAX_NAMES && !self.named.contains(service) {
            self.named.push(service.clone());
            self.push(SubscriptionEvent::HostNamesNotSent { service: service.clone(), found });
        }
    }

    /// Reports once that Envoy ends its subscriptions, at the second time.
    pub(super) fn on_ended_early(&mut self, after: Duration, is_again: bool) {
        self.counts.ended_early += 1;
        if is_again && !core::mem::replace(&mut self.has_ended_early, true) {
            self.push(SubscriptionEvent::EndsEarly { after });
        }
    }
}
