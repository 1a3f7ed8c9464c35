//! The resources that Envoy can subscribe to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use crate::config::{self, Config, Service};
use crate::model::snapshot::Assignment;
use crate::util::excerpt::Excerpt;
use crate::util::hash::xxh64;
use crate::util::time::Time;
use crate::xds::endpoints::cluster_load_assignment;
use crate::xds::resource::{Rendered, Resource, ResourceKind};
use crate::xds::subscriptions::ResourceName;
use crate::xds::suspects::{Blame, SettingsId, Suspects};
use crate::xds::{clusters, routes};

/// The resources that Envoy can subscribe to. A resource is rendered for its first request, and again
/// after a change.
#[derive(Debug)]
pub(super) struct Resources {
    /// Without its services.
    config: Config,
    services: BTreeMap<Rc<str>, Known>,
    clusters: Resource,
    /// The settings of services' clusters that Envoy may reject.
    suspects: Suspects,
    /// The hash of the clusters that Envoy has taken last.
    taken: Option<u64>,
    /// True if more clusters are left out since the last [`Resources::poll_left_out`].
    has_left_out: bool,
    routes: Resource,
    /// True if all services are known.
    is_complete: bool,
}

/// A service with its resources.
#[derive(Debug)]
struct Known {
    service: Rc<Service>,
    /// True if the service was found while running.
    is_found: bool,
    /// The cluster, once it was rendered.
    cluster: Option<Box<str>>,
    /// The settings of the cluster beyond those of all clusters.
    settings: Option<SettingsId>,
    /// The cluster that Envoy has from an earlier configuration.
    earlier: Option<Box<str>>,
    /// The endpoints; none if they are not known yet.
    assignment: Option<Assignment>,
    endpoints: Resource,
}

impl Known {
    fn new(service: Rc<Service>, settings: Option<SettingsId>, is_found: bool) -> Self {
        Self {
            settings,
            service,
            is_found,
            cluster: None,
            earlier: None,
            assignment: None,
            endpoints: Resource::default(),
        }
    }

    fn host_names(&self) -> usize {
        self.endpoints.published().map_or(0, |it| it.host_names)
    }
}

impl Resources {
    /// Creates the resources of the configured services, without endpoints.
    pub(super) fn new(config: &Config) -> Self {
        let mut config = config.clone();
        let configured = core::mem::take(&mut config.services);
        config.registrations = Vec::new();
        let mut suspects = Suspects::default();
        let known = |service: Service| {
            let service = Rc::new(service);
            let settings = suspects.settings_of(&service);
            (service.name.as_str().into(), Known::new(service, settings, false))
        };
        Self {
            is_complete: config.discover.is_none(),
            services: configured.into_iter().map(known).collect(),
            config,
            clusters: Resource::default(),
            suspects,
            taken: None,
            has_left_out: false,
            routes: Resource::default(),
        }
    }

    /// Returns true if all services are known.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes note of an update. Returns the service whose endpoints may have changed, and true if the
    /// clusters and routes may have changed.
    pub(super) fn on_update(&mut self, update: Update) -> (Option<Rc<str>>, bool) {
        match update {
            Update::Added(service) => {
                let name: Rc<str> = service.name.as_str().into();
                let settings = self.suspects.settings_of(&service);
                match self.services.entry(name.clone()) {
                    Entry::Occupied(known) => {
                        let known = known.into_mut();
                        let is_same = known.service == service;
                        known.service = service;
                        if is_same {
                            return (None, false);
                        }
                        known.settings = settings;
                        known.cluster = None;
                    }
                    Entry::Vacant(place) => {
                        place.insert(Known::new(service, settings, true));
                    }
                }
                self.on_list();
                (Some(name), true)
            }
            Update::Assigned { service, assignment } => {
                let Some(known) = self.services.get_mut(&service) else { return (None, false) };
                if known.assignment.as_ref() == Some(&assignment) {
                    return (None, false);
                }
                known.assignment = Some(assignment);
                known.endpoints.on_change();
                (Some(service), false)
            }
            Update::Removed { service } => {
                if self.services.remove(&service).is_none() {
                    return (None, false);
                }
                self.on_list();
                (Some(service), true)
            }
            Update::Listed => {
                self.is_complete = true;
                (None, true)
            }
        }
    }

    fn on_list(&mut self) {
        self.clusters.on_change();
        self.routes.on_change();
    }

    /// Renders a resource anew if it has changed and Envoy can read it. Returns the time at which Envoy
    /// can, if it cannot yet.
    pub(super) fn refresh(&mut self, subject: &ResourceName, now: Time) -> Option<Time> {
        match subject {
            (ResourceKind::Endpoints, name) => {
                let known = self.services.get_mut(name)?;
                let assignment = known.assignment.as_ref()?;
                known.endpoints.refresh(now, || cluster_load_assignment(name, assignment))
            }
            (ResourceKind::Clusters, _) => self.refresh_clusters(now),
            (ResourceKind::Routes, _) => {
                self.routes.refresh(now, || render_routes(&self.config, &self.services))
            }
        }
    }

    fn refresh_clusters(&mut self, now: Time) -> Option<Time> {
        loop {
            let Self { config, services, suspects, .. } = self;
            let later = self.clusters.refresh(now, || render_clusters(config, services, suspects));
            // Settings that were left out are offered to an Envoy that has taken the rest.
            if later.is_some() || self.taken.is_none() || self.taken != self.clusters_hash() {
                return later;
            }
            // Offered settings that make no difference were taken from an earlier configuration or from
            // another VM.
            self.suspects.on_taken(self.services.values().filter_map(|known| known.settings));
            if !self.suspects.offer(now) {
                return self.suspects.due();
            }
            self.clusters.on_change();
        }
    }

    fn clusters_hash(&self) -> Option<u64> {
        self.clusters.published().map(|it| it.hash)
    }

    /// Returns the present text of a resource with its hash; none if Envoy has to wait.
    pub(super) fn published(&self, subject: &ResourceName) -> Option<(Rc<str>, u64)> {
        let (kind, name) = subject;
        if self.is_unknown(subject) {
            let text = cluster_load_assignment(name, &Assignment::default()).text;
            let hash = xxh64(text.as_bytes(), 0);
            return Some((text.into(), hash));
        }
        let resource = match kind {
            ResourceKind::Endpoints => &self.services.get(name)?.endpoints,
            ResourceKind::Clusters => &self.clusters,
            ResourceKind::Routes => &self.routes,
        };
        resource.published().map(|it| (it.text.clone(), it.hash))
    }

    /// The number of endpoints that are not sent, since they have a name instead of an address.
    pub(super) fn host_names(&self, (kind, name): &ResourceName) -> usize {
        let known = self.services.get(name).filter(|_| *kind == ResourceKind::Endpoints);
        known.map_or(0, Known::host_names)
    }

    /// Returns true if the resource is the endpoints of a service that does not exist.
    pub(super) fn is_unknown(&self, (kind, name): &ResourceName) -> bool {
        *kind == ResourceKind::Endpoints && self.is_complete && !self.services.contains_key(name)
    }

    /// The names of all services.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(|name| &**name)
    }

    /// Returns the service with the most similar name.
    pub(super) fn nearest(&self, name: &str) -> Option<Excerpt> {
        config::suggestion(name, self.names()).map(Excerpt::of)
    }

    /// Returns true if Envoy was sent a host of a service. Without one, a request for which an endpoint was
    /// picked would not find it in the cluster.
    pub(super) fn has_hosts(&self, service: &str) -> bool {
        let endpoints = self.services.get(service).and_then(|known| known.endpoints.published());
        endpoints.is_some_and(|it| it.items > 0)
    }

    /// Takes note of the cluster that Envoy has of a service from an earlier configuration.
    pub(super) fn on_earlier(&mut self, service: &str, cluster: &str) {
        if let Some(known) = self.services.get_mut(service) {
            known.earlier = Some(cluster.into());
            self.clusters.on_change();
        }
    }

    /// Returns the services whose clusters are left out, once after each rejection.
    pub(super) fn poll_left_out(&mut self) -> Vec<Rc<str>> {
        if !core::mem::take(&mut self.has_left_out) {
            return Vec::new();
        }
        let is_left_out = |it: &Known| it.settings.is_some_and(|it| !self.suspects.is_offered(it));
        let all = self.services.iter().filter(|(_, known)| is_left_out(known));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// Returns true if Envoy has acknowledged the present clusters.
    pub(super) fn are_clusters_taken(&self) -> bool {
        self.taken == self.clusters_hash()
    }

    /// Takes note that Envoy has taken the clusters. The first time, returns the clusters with settings of
    /// their own.
    pub(super) fn on_clusters_taken(&mut self) -> Vec<(Rc<str>, Box<str>)> {
        let hash = self.clusters_hash();
        if self.taken == hash {
            return Vec::new();
        }
        self.taken = hash;
        self.suspects.on_taken(self.services.values().filter_map(|known| known.settings));
        let is_told = |it: &Known| it.settings.is_some_and(|it| self.suspects.is_offered(it));
        let told = self.services.iter().filter(|(_, known)| is_told(known));
        told.filter_map(|(name, known)| Some((name.clone(), known.cluster.clone()?))).collect()
    }

    /// Takes note that Envoy has rejected the clusters. Returns the cause.
    pub(super) fn on_clusters_rejected(&mut self, now: Time) -> Blame {
        let settings = self.services.values().filter_map(|known| known.settings);
        let blame = self.suspects.on_rejected(settings, now);
        if blame != Blame::All {
            self.has_left_out = true;
            self.clusters.on_change();
        }
        blame
    }

    /// Takes note that Envoy was sent a resource.
    pub(super) fn on_answer(&mut self, subject: &ResourceName, now: Time) {
        if let Some(resource) = self.resource_mut(subject) {
            resource.on_answer(now);
        }
    }

    /// Forgets the text of a resource that Envoy does not subscribe to any more.
    pub(super) fn forget(&mut self, subject: &ResourceName) {
        if let Some(resource) = self.resource_mut(subject) {
            resource.forget();
        }
    }

    fn resource_mut(&mut self, (kind, name): &ResourceName) -> Option<&mut Resource> {
        match kind {
            ResourceKind::Endpoints => {
                self.services.get_mut(name).map(|known| &mut known.endpoints)
            }
            ResourceKind::Clusters => Some(&mut self.clusters),
            ResourceKind::Routes => Some(&mut self.routes),
        }
    }
}

/// Orders the services: those of the configuration, then those that were found.
fn ordered<'a, I: Iterator<Item = &'a Known> + Clone>(all: I) -> impl Iterator<Item = &'a Known> {
    all.clone().filter(|it| !it.is_found).chain(all.filter(|it| it.is_found))
}

fn render_routes(config: &Config, services: &BTreeMap<Rc<str>, Known>) -> Rendered {
    let ordered = ordered(services.values()).map(|known| &*known.service);
    let text = routes::route_configuration(config, ordered);
    Rendered { text, items: services.len(), host_names: 0 }
}

fn render_clusters(
    config: &Config,
    services: &mut BTreeMap<Rc<str>, Known>,
    suspects: &Suspects,
) -> Rendered {
    let (mut text, mut items) = (String::new(), 0);
    for known in services.values_mut() {
        let cluster = if known.settings.is_none_or(|it| suspects.is_offered(it)) {
            let render = || clusters::cluster(config, &known.service).into();
            known.cluster.get_or_insert_with(render)
        } else if let Some(earlier) = &known.earlier {
            earlier
        } else {
            continue;
        };
        text.push_str(if text.is_empty() { "" } else { "," });
        text.push_str(cluster);
        items += 1;
    }
    Rendered { text, items, host_names: 0 }
}

/// A change of a service that Envoy may know.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A service was added; its endpoints are not known yet.
    Added(Rc<Service>),
    /// The endpoints of a service have changed.
    Assigned {
        /// The name of the service.
        service: Rc<str>,
        /// The endpoints.
        assignment: Assignment,
    },
    /// A service was removed.
    Removed {
        /// The name of the service.
        service: Rc<str>,
    },
    /// All services of the catalog have been added. Until then nothing is removed from an Envoy that knows
    /// more services, as after a restart of the VM.
    Listed,
}
