//! Answers Envoy's subscriptions.

use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::{Config, Xds};
use crate::util::excerpt::Excerpt;
use crate::util::hash::xxh64;
use crate::util::time::{Clock, Time};
use crate::xds::event::{Counts, Events, SubscriptionEvent};
use crate::xds::request::{
    DiscoveryRequest, Malformed, ResourceVersion, StreamId, SubscriptionRequest,
};
use crate::xds::resource::ResourceKind;
use crate::xds::resources::{Resources, Update};
use crate::xds::response::SubscriptionResponse;
use crate::xds::subscriptions::{ResourceName, SubscriptionKey, Subscriptions, Task};
use crate::xds::suspects::Blame;
use crate::xds::trial::Finding;

/// Answers the subscriptions of one Envoy, as far as they come to this VM.
///
/// A request is answered as soon as there is news for its Envoy, and with 304 when its time is over. A
/// service whose endpoints are not known yet is no news.
#[derive(Debug)]
pub struct Server {
    hold: Duration,
    /// The name of the route configuration, if there is one.
    routes: Option<Rc<str>>,
    has_clusters: bool,
    node: Box<str>,
    clock: Clock,
    resources: Resources,
    subscriptions: Subscriptions,
    ready: VecDeque<(StreamId, SubscriptionResponse)>,
    events: Events,
}

/// A request that is answered at once.
struct RefusedRequest {
    status: u16,
    text: &'static str,
}

impl Server {
    /// The most names in requests that are held, and so the most requests.
    pub const MAX_HELD: usize = Subscriptions::MAX_HELD;

    /// Creates the server for the Envoy whose node has this id, without endpoints.
    pub fn new(config: &Config, xds: &Xds, node: &str) -> Self {
        Self {
            hold: xds.hold,
            routes: xds.routes.as_ref().map(|routes| routes.name.as_str().into()),
            has_clusters: xds.clusters.is_some(),
            node: node.into(),
            clock: Clock::default(),
            resources: Resources::new(config),
            subscriptions: Subscriptions::default(),
            ready: VecDeque::new(),
            events: Events::default(),
        }
    }

    /// Returns the services whose last taken cluster must be passed to [`Self::on_earlier`] before Envoy is
    /// answered: Envoy rejects clusters, and clusters with settings of their own are left out. Envoy may
    /// have taken such a cluster from another VM, even after this VM was created.
    pub fn poll_left_out(&mut self) -> Vec<Rc<str>> {
        self.resources.poll_left_out()
    }

    /// Takes note of the cluster that Envoy has of a service, from an earlier configuration or from another
    /// VM. Envoy keeps this cluster while it rejects the new one.
    pub fn on_earlier(&mut self, service: &str, cluster: &str) {
        self.resources.on_earlier(service, cluster);
    }

    /// Takes note of a change of a service.
    pub fn on_update(&mut self, update: Update, now: Time) {
        self.clock.at(now);
        let is_listed = update == Update::Listed;
        let is_end = matches!(update, Update::Removed { .. });
        let (endpoints, is_list) = self.resources.on_update(update);
        if is_listed {
            self.subscriptions.wake_all();
        }
        let endpoints = endpoints.map(|name| (ResourceKind::Endpoints, name));
        let list = is_list.then(|| self.lists()).into_iter().flatten();
        for subject in endpoints.into_iter().chain(list) {
            if !self.subscriptions.wake(&subject) {
                self.resources.forget(&subject);
            } else if is_end && subject.0 == ResourceKind::Endpoints {
                // The service may be back before the next request, which acknowledges it anew.
                self.events.push(SubscriptionEvent::Gone { service: subject.1 });
            }
        }
    }

    /// Takes a request, to answer it now or to hold it.
    pub fn on_request(&mut self, stream: StreamId, request: SubscriptionRequest<'_>, now: Time) {
        let now = self.clock.at(now);
        self.subscriptions.release(stream, now);
        let response = match self.read(&request) {
            Ok((key, version)) => return self.hold(stream, key, version, now),
            Err(refusal) => refusal,
        };
        self.ready
            .push_back((stream, SubscriptionResponse::refused(response.status, response.text)));
    }

    /// Takes note that a stream has ended. The end of an answered stream makes no difference.
    pub fn on_gone(&mut self, stream: StreamId, now: Time) {
        let now = self.clock.at(now);
        self.ready.retain(|(answered, _)| *answered != stream);
        let Some(held) = self.subscriptions.release(stream, now) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&held.key) else { return };
        // A single early end may be due to a removed cluster or a broken connection.
        let is_again = subscription.ended.replace(now).is_some_and(|ended| held.since >= ended);
        self.events.on_ended_early(now.since(held.since), is_again);
    }

    /// Refuses a request whose body is incomplete, since all bodies together are too large.
    pub fn on_flood(&mut self, stream: StreamId) {
        self.events.on_too_many();
        self.ready.push_back((
            stream,
            SubscriptionResponse::refused(503, "too many bodies that have not ended"),
        ));
    }

    /// Returns the next response that is due.
    pub fn poll_response(&mut self, now: Time) -> Option<(StreamId, SubscriptionResponse)> {
        let now = self.clock.at(now);
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(response);
            }
            match self.subscriptions.poll(now)? {
                Task::Look(key) => self.look(&key, now),
                Task::Expired(stream) => self.let_go(stream, now),
            }
        }
    }

    /// The time of the next response, if only time passes.
    pub fn due(&self) -> Option<Time> {
        if !self.ready.is_empty() || self.subscriptions.is_awake() {
            return Some(self.clock.last);
        }
        self.subscriptions.due().map(|time| self.clock.when(time))
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<SubscriptionEvent> {
        self.events.pop()
    }

    /// The numbers of events.
    pub fn counts(&self) -> Counts {
        self.events.counts
    }

    /// The names of the services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.resources.names()
    }

    /// The number of held requests.
    pub fn held(&self) -> usize {
        self.subscriptions.held()
    }

    /// Reads the resources of a request, and the version that its Envoy has.
    fn read(
        &mut self,
        request: &SubscriptionRequest<'_>,
    ) -> Result<(SubscriptionKey, Option<ResourceVersion>), RefusedRequest> {
        let Some(kind) = ResourceKind::of_path(request.path) else {
            return Err(self.malformed(Malformed::Path));
        };
        if request.method != b"POST" {
            return Err(self.malformed(Malformed::Method));
        }
        let found = DiscoveryRequest::parse(request.body).map_err(|cause| self.malformed(cause))?;
        if *found.node != *self.node {
            self.events.on_foreign(&found.node);
            return Err(RefusedRequest {
                status: 404,
                text: "this is the listener of another Envoy",
            });
        }
        let names = match kind {
            ResourceKind::Endpoints if found.names.is_empty() => {
                return Err(self.malformed(Malformed::Names));
            }
            ResourceKind::Endpoints => found.names.into_iter().map(Rc::from).collect(),
            ResourceKind::Clusters if self.has_clusters => vec![Rc::from("")],
            ResourceKind::Routes => {
                let own = self.routes.clone().ok_or_else(|| self.not_offered(kind))?;
                if let Some(other) = found.names.iter().find(|name| **name != *own) {
                    let event = || SubscriptionEvent::UnknownRoute { name: Excerpt::of(other) };
                    self.events.on_unknown(kind, other, event);
                    return Err(RefusedRequest {
                        status: 404,
                        text: "there are no routes of that name",
                    });
                }
                vec![own]
            }
            ResourceKind::Clusters => return Err(self.not_offered(kind)),
        };
        Ok((SubscriptionKey { kind, names }, found.version))
    }

    fn malformed(&mut self, cause: Malformed) -> RefusedRequest {
        self.events.on_malformed(cause);
        RefusedRequest { status: cause.status(), text: cause.text() }
    }

    fn not_offered(&mut self, kind: ResourceKind) -> RefusedRequest {
        self.events.on_unknown(kind, "", || SubscriptionEvent::NotOffered { kind });
        RefusedRequest { status: 404, text: "the configuration does not offer that" }
    }

    /// Takes note of the version of a request, and holds the request until there is news.
    fn hold(
        &mut self,
        stream: StreamId,
        key: SubscriptionKey,
        version: Option<ResourceVersion>,
        now: Time,
    ) {
        let key = Rc::new(key);
        while let Some(oldest) = self.subscriptions.in_the_way_of(&key) {
            self.events.on_too_many();
            self.let_go(oldest, now);
        }
        self.subscriptions.place(&key, now);
        for subject in key.subjects() {
            self.refresh(&subject, now);
            if self.resources.is_unknown(&subject) {
                let name = &subject.1;
                let nearest = || self.resources.nearest(name);
                let event = || SubscriptionEvent::UnknownName {
                    name: Excerpt::of(name),
                    nearest: nearest(),
                };
                self.events.on_unknown(key.kind, name, event);
            }
        }
        self.on_ask(&key, version, now);
        self.subscriptions.hold(stream, &key, version, [now, now + self.hold]);
    }

    /// Answers that there is no news, so that Envoy sends the next request.
    fn let_go(&mut self, stream: StreamId, now: Time) {
        let Some(held) = self.subscriptions.release(stream, now) else { return };
        self.on_answered(&held.key);
        self.events.counts.unchanged += 1;
        self.ready.push_back((stream, SubscriptionResponse::not_modified()));
    }

    /// Takes note of the version with which Envoy asks: an acknowledgement or a rejection.
    fn on_ask(&mut self, key: &SubscriptionKey, version: Option<ResourceVersion>, now: Time) {
        let Some((current, _)) = self.current(key) else { return };
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let clusters = subscription.clusters.count();
        let finding = subscription.trials.on_ask(version, current, clusters, now);
        match (finding, key.kind) {
            (Finding::Rejected(times), kind) => self.on_rejected(kind, key, times, now),
            (Finding::Acknowledged, ResourceKind::Clusters) => self.on_clusters_taken(),
            _ => {}
        }
        // An Envoy that rejects a newer version has taken an older one.
        let has_some = finding != Finding::None && version.is_some();
        for name in key.names.iter().filter(|_| has_some && key.kind == ResourceKind::Endpoints) {
            if self.resources.has_hosts(name) {
                self.events.push(SubscriptionEvent::Acknowledged { service: name.clone() });
            }
        }
    }

    fn on_clusters_taken(&mut self) {
        for (service, cluster) in self.resources.on_clusters_taken() {
            self.events.push(SubscriptionEvent::ClusterTaken { service, cluster });
        }
    }

    /// Counts a rejection, and reports its service as soon as that is clear.
    fn on_rejected(&mut self, kind: ResourceKind, key: &SubscriptionKey, times: u32, now: Time) {
        self.events.counts.rejected += 1;
        let name = key.names.first().cloned().unwrap_or_else(|| Rc::from(""));
        let (name, times) = match kind {
            ResourceKind::Clusters => match self.resources.on_clusters_rejected(now) {
                Blame::All => (name, times),
                Blame::Unclear => return,
                Blame::One(service, times) => (service.name.as_str().into(), times),
            },
            ResourceKind::Endpoints | ResourceKind::Routes => (name, times),
        };
        self.events.on_rejected(kind, name, times);
    }

    /// Answers all requests of a subscription for which there is news.
    fn look(&mut self, key: &Rc<SubscriptionKey>, now: Time) {
        let mut later = key.subjects().filter_map(|subject| self.refresh(&subject, now)).min();
        let Some((current, texts)) = self.current(key) else { return };
        // An Envoy that has clusters is not sent an incomplete list, which would remove the rest.
        let is_whole = key.kind == ResourceKind::Endpoints || self.resources.is_complete();
        let waiting: Vec<_> = self.subscriptions.waiting(key).collect();
        let is_asked = !waiting.is_empty();
        let has_clusters = |(_, version): &(_, _)| *version == Some(current);
        let is_new = key.kind == ResourceKind::Clusters && !self.resources.are_clusters_taken();
        if is_new && waiting.iter().any(has_clusters) {
            // As after a rejection, when the earlier clusters were sent again. More may be offered now.
            self.on_clusters_taken();
            later = Some(now);
        }
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let mut told = Vec::new();
        for (stream, version) in waiting {
            if version == Some(current) || (version.is_some() && !is_whole) {
                continue;
            }
            match subscription.trials.until(version, current).filter(|until| *until > now) {
                Some(until) => later = Some(later.map_or(until, |later| later.min(until))),
                None => told.push((stream, version)),
            }
        }
        for (_, version) in &told {
            subscription.trials.on_answer(*version, current, now);
        }
        if let Some(later) = later {
            self.subscriptions.look_at(key, later);
        }
        // A service without endpoints was reported already, before it was removed.
        let gone = key.subjects().filter(|it| is_asked && self.resources.is_unknown(it));
        gone.for_each(|(_, service)| self.events.push(SubscriptionEvent::Gone { service }));
        if told.is_empty() {
            return;
        }
        self.on_answered(key);
        if key.kind == ResourceKind::Clusters {
            self.events.push(SubscriptionEvent::ClustersTold);
        }
        let response = SubscriptionResponse::discovery(key.kind, current, &texts);
        for (stream, _) in told {
            self.subscriptions.release(stream, now);
            for subject in key.subjects() {
                self.resources.on_answer(&subject, now);
                self.events.counts.host_names += self.resources.host_names(&subject) as u64;
            }
            self.events.counts.answers += 1;
            self.ready.push_back((stream, response.clone()));
        }
    }

    /// Notes that a request waited until it was answered.
    fn on_answered(&mut self, key: &SubscriptionKey) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.ended = None;
        }
    }

    /// Renders a resource anew if it has changed.
    fn refresh(&mut self, subject: &ResourceName, now: Time) -> Option<Time> {
        let later = self.resources.refresh(subject, now);
        let found = self.resources.host_names(subject);
        if found > 0 {
            self.events.on_host_names(&subject.1, found);
        }
        later
    }

    /// Returns the present version of a subscription and the texts of its resources; none if no resource
    /// is known yet.
    fn current(&self, key: &SubscriptionKey) -> Option<(ResourceVersion, Vec<Rc<str>>)> {
        const SEED: u64 = 0;
        let published = key.subjects().filter_map(|subject| self.resources.published(&subject));
        let (texts, hashes): (Vec<_>, Vec<_>) = published.unzip();
        let bytes: Vec<u8> = hashes.into_iter().flat_map(u64::to_le_bytes).collect();
        (!texts.is_empty()).then(|| (ResourceVersion(xxh64(&bytes, SEED)), texts))
    }

    /// The resources that change with the list of services.
    fn lists(&self) -> impl Iterator<Item = ResourceName> + use<> {
        let routes = self.routes.clone().map(|name| (ResourceKind::Routes, name));
        [(ResourceKind::Clusters, Rc::from(""))].into_iter().chain(routes)
    }
}

#[cfg(test)]
mod tests;
