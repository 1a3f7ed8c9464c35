//! What an operator wants to know of Envoy's subscriptions.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::Excerpt;
use crate::xds::discovery_request::Malformed;
use crate::xds::resource_kind::ResourceKind;

/// What has become known. All but the first four are for a log, and told less and less often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// Envoy has taken a service's endpoints: so it says with each question, and others may have told all
    /// meanwhile that the service has gone.
    Acknowledged {
        /// Its name.
        service: Rc<str>,
    },
    /// Envoy has no endpoints of a service any more, or will soon be told so: there is none of that name.
    Gone {
        /// Its name.
        service: Rc<str>,
    },
    /// Envoy is told which clusters there are: of other services it has none any more.
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
        /// What it rejects.
        kind: ResourceKind,
        /// The service, or the route configuration; empty where it is what all clusters have in common.
        name: Rc<str>,
        /// How often in a row.
        times: u32,
    },
    /// Another Envoy has asked.
    ForeignNode {
        /// The id of its node.
        found: Excerpt,
        /// How often that was.
        times: u64,
    },
    /// Endpoints are asked for of a service that nobody has configured.
    UnknownName {
        /// The name.
        name: Excerpt,
        /// The service that was probably meant.
        nearest: Option<Excerpt>,
    },
    /// Routes are asked for by another name than the configured one.
    UnknownRoute {
        /// The name.
        name: Excerpt,
    },
    /// Something is asked for that the configuration does not offer.
    NotOffered {
        /// What.
        kind: ResourceKind,
    },
    /// What has come is no subscription.
    Malformed {
        /// Why.
        cause: Malformed,
        /// How often that was.
        times: u64,
    },
    /// There were more subscriptions than can be held: the oldest ones were answered early.
    TooMany {
        /// How often that was.
        times: u64,
    },
    /// Envoy does not wait for news as long as it could.
    EndsEarly {
        /// How long it has waited.
        after: Duration,
    },
    /// Endpoints are not sent, since they have a name instead of an address.
    HostNamesNotSent {
        /// Of which service.
        service: Rc<str>,
        /// How many.
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

/// How often something has happened, since the start.
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
    /// Requests for something that nobody has configured.
    pub unknown: u64,
    /// Requests that were answered before their time, to hold another one, and bodies beyond those that
    /// can be gathered.
    pub too_many: u64,
    /// Requests that ended while they were held.
    pub ended_early: u64,
    /// Endpoints that were left out of responses, since they have a name instead of an address.
    pub host_names: u64,
}

/// Events on their way out, and what has been told already.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<SubscriptionEvent>,
    pub(super) counts: Counts,
    /// The names that are told as unknown.
    names: Vec<(ResourceKind, Box<str>)>,
    /// The services that are told to have host names.
    named: Vec<Rc<str>>,
    has_ended_early: bool,
}

impl Events {
    /// The most names of each kind that are told; all are counted.
    const MAX_NAMES: usize = 64;
    /// The most events that wait: each of the services may be acknowledged.
    const MAX: usize = 1 << 17;

    pub(super) fn push(&mut self, event: SubscriptionEvent) {
        // Many may ask at once for what there is not.
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

    /// Tells what is unknown once for each name.
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

    /// Tells once of each service that it has host names.
    pub(super) fn on_host_names(&mut self, service: &Rc<str>, found: usize) {
        if self.named.len() < Self::MAX_NAMES && !self.named.contains(service) {
            self.named.push(service.clone());
            self.push(SubscriptionEvent::HostNamesNotSent { service: service.clone(), found });
        }
    }

    /// Tells once that Envoy ends its subscriptions, when it does so again.
    pub(super) fn on_ended_early(&mut self, after: Duration, is_again: bool) {
        self.counts.ended_early += 1;
        if is_again && !core::mem::replace(&mut self.has_ended_early, true) {
            self.push(SubscriptionEvent::EndsEarly { after });
        }
    }
}
