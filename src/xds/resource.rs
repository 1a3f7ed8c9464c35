//! A resource of Envoy: its kind, its content, and the pace at which it may change.

use core::fmt;
use core::time::Duration;
use std::rc::Rc;

use crate::util::hash::xxh64;
use crate::util::time::Time;

/// A kind of resources that Envoy subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The endpoints of services (EDS).
    Endpoints,
    /// Clusters (CDS).
    Clusters,
    /// Routes (RDS).
    Routes,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::Endpoints, Self::Clusters, Self::Routes];

    /// Returns the kind that is requested at a path.
    pub(super) fn of_path(path: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path().as_bytes() == path)
    }

    /// The path of the requests.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Endpoints => "/v3/discovery:endpoints",
            Self::Clusters => "/v3/discovery:clusters",
            Self::Routes => "/v3/discovery:routes",
        }
    }

    /// The type of the resources.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoints => "EDS",
            Self::Clusters => "CDS",
            Self::Routes => "RDS",
        })
    }
}

/// A rendered resource, as JSON.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// The texts of its messages, with commas between them.
    pub(super) text: String,
    /// The number of endpoints, clusters or virtual hosts, by which the time to read it grows.
    pub(super) items: usize,
    /// The number of endpoints that are not sent, since they have a name instead of an address.
    pub(super) host_names: usize,
}

/// A resource of Envoy. The content of a small resource changes at once. A large resource changes when
/// Envoy has had twenty times as long as it takes to read the last response.
#[derive(Debug, Default)]
pub(super) struct Resource {
    published: Option<Published>,
    is_stale: bool,
    /// The time until which Envoy is busy with earlier responses.
    busy: Time,
}

/// The present content of a resource.
#[derive(Debug)]
pub(super) struct Published {
    /// The text.
    pub(super) text: Rc<str>,
    /// The hash of the text.
    pub(super) hash: u64,
    /// The number of endpoints, clusters or virtual hosts.
    pub(super) items: usize,
    /// The number of endpoints that are left out, since they have a name instead of an address.
    pub(super) host_names: usize,
}

impl Resource {
    /// The most items of a small resource.
    const SMALL: usize = 200;
    /// The time that Envoy needs to read an endpoint: 119 ms for 10,000 of them.
    const COST: Duration = Duration::from_micros(12);
    /// The share of its time that Envoy may spend on reading: one part in so many.
    const SHARE: u32 = 20;
    /// The most responses that a change waits for, whatever their number.
    const MAX_BUSY: u32 = 4;

    /// Notes that the content may have changed.
    pub(super) const fn on_change(&mut self) {
        self.is_stale = true;
    }

    /// Notes that Envoy was sent the resource. A response while there is news does not put the news off:
    /// a client with many requests would keep it from all others.
    pub(super) fn on_answer(&mut self, now: Time) {
        let items = self.published.as_ref().map_or(0, |it| it.items);
        if items > Self::SMALL && !self.is_stale {
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            let pause = Self::COST.saturating_mul(items).saturating_mul(Self::SHARE);
            let most = now + pause.saturating_mul(Self::MAX_BUSY);
            self.busy = (self.busy.max(now) + pause).min(most);
        }
    }

    /// Renders the resource anew if it has changed and Envoy can read it. Returns the time at which Envoy
    /// can, if it cannot yet.
    pub(super) fn refresh(&mut self, now: Time, render: impl FnOnce() -> Rendered) -> Option<Time> {
        let is_first = self.published.is_none();
        if !is_first && !self.is_stale {
            return None;
        }
        if !is_first && now < self.busy {
            return Some(self.busy);
        }
        let Rendered { text, items, host_names } = render();
        let hash = xxh64(text.as_bytes(), 0);
        self.published = Some(Published { text: text.into(), hash, items, host_names });
        self.is_stale = false;
        None
    }

    /// The present content; none before the first request.
    pub(super) const fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// Forgets the content, since Envoy does not subscribe any more.
    pub(super) fn forget(&mut self) {
        self.published = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn of(items: usize, text: &str) -> Rendered {
        Rendered { text: text.to_owned(), items, host_names: 0 }
    }

    fn text(resource: &Resource) -> &str {
        resource.published().map_or("", |it| &it.text)
    }

    fn at(millis: u64) -> Time {
        Time::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn small_resource_changes_at_once_and_is_rendered_once() {
        let mut resource = Resource::default();
        for content in ["a", "b", "c"] {
            resource.on_change();
            assert_eq!(resource.refresh(at(0), || of(Resource::SMALL, content)), None);
            resource.on_answer(at(0));
            assert_eq!(resource.refresh(at(0), || panic!("it has not changed")), None);
            assert_eq!(text(&resource), content);
        }
    }

    #[test]
    fn large_resource_changes_when_envoy_has_time_for_it() {
        let mut resource = Resource::default();
        assert_eq!(resource.refresh(at(0), || of(10_000, "a")), None);
        resource.on_answer(at(1_000));
        resource.on_change();
        let later = at(1_000 + 2_400);
        assert_eq!(resource.refresh(at(3_399), || panic!("too soon")), Some(later));
        assert_eq!(text(&resource), "a");
        assert_eq!(resource.refresh(later, || of(10_000, "b")), None);
        assert_eq!(text(&resource), "b");
    }

    #[test]
    fn several_responses_take_their_time_up_to_a_bound() {
        let mut resource = Resource::default();
        resource.refresh(at(0), || of(10_000, "a"));
        resource.on_answer(at(0));
        resource.on_answer(at(0));
        resource.on_change();
        assert_eq!(resource.refresh(at(0), || panic!("too soon")), Some(at(4_800)));
        assert_eq!(resource.refresh(at(4_800), || of(10_000, "b")), None);
        (0..1_000).for_each(|_| resource.on_answer(at(4_800)));
        resource.on_change();
        assert_eq!(resource.refresh(at(4_800), || panic!("too soon")), Some(at(14_400)));
    }

    #[test]
    fn news_is_rendered_when_requests_never_end() {
        let mut resource = Resource::default();
        resource.refresh(at(0), || of(10_000, "a"));
        resource.on_answer(at(0));
        resource.on_change();
        for millis in 0..2_400 {
            assert_eq!(resource.refresh(at(millis), || panic!("too soon")), Some(at(2_400)));
            resource.on_answer(at(millis));
        }
        assert_eq!(resource.refresh(at(2_400), || of(10_000, "b")), None);
        assert_eq!(text(&resource), "b");
    }
}
