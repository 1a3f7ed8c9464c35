//! What Envoy is told of one thing, and how soon it may be told more.

use core::time::Duration;
use std::rc::Rc;

use crate::util::hash::xxh64;
use crate::util::time::Time;

/// Resources of Envoy's, as JSON.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// The text of each, with commas between them.
    pub(super) text: String,
    /// The endpoints, clusters or virtual hosts in it, which Envoy's time to read it goes by.
    pub(super) items: usize,
    /// The endpoints that could not be sent, since they have a name instead of an address.
    pub(super) host_names: usize,
}

/// What Envoy is told of one thing. Its content changes at once where Envoy can read it at once; that
/// of a large one when Envoy has had twenty times as long as it takes to read what it was told last.
#[derive(Debug, Default)]
pub(super) struct Resource {
    published: Option<Published>,
    is_stale: bool,
    /// Until when Envoy is busy with what it was told.
    busy: Time,
}

/// What Envoy is told at present.
#[derive(Debug)]
pub(super) struct Published {
    /// Its text.
    pub(super) text: Rc<str>,
    /// The hash of that.
    pub(super) hash: u64,
    /// The endpoints, clusters or virtual hosts in it.
    pub(super) items: usize,
    /// The endpoints that are not in it, since they have a name instead of an address.
    pub(super) host_names: usize,
}

impl Resource {
    /// What is read at once.
    const SMALL: usize = 200;
    /// What Envoy takes to read one endpoint: 119 ms for 10,000 of them.
    const COST: Duration = Duration::from_micros(12);
    /// Of its time Envoy is to spend one in so many parts on reading.
    const SHARE: u32 = 20;
    /// The most responses that it waits for, however many are asked for.
    const MAX_BUSY: u32 = 4;

    /// Notes that its content may have changed.
    pub(super) const fn on_change(&mut self) {
        self.is_stale = true;
    }

    /// Notes that Envoy was told it. What is told while there is news already does not put that off:
    /// whoever asks again and again would keep it from all others.
    pub(super) fn on_answer(&mut self, now: Time) {
        let items = self.published.as_ref().map_or(0, |it| it.items);
        if items > Self::SMALL && !self.is_stale {
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            let pause = Self::COST.saturating_mul(items).saturating_mul(Self::SHARE);
            let most = now + pause.saturating_mul(Self::MAX_BUSY);
            self.busy = (self.busy.max(now) + pause).min(most);
        }
    }

    /// Renders it where it has changed and Envoy can read it; tells when it can, where it cannot.
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

    /// What Envoy is told at present; none before it was asked for.
    pub(super) const fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// Forgets what Envoy was told, since it asks no more.
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
