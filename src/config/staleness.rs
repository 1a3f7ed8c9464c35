//! What becomes of endpoints that Consul has not confirmed for long.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::consul::Consul;
use super::field_error::FieldError;
use super::object::{Object, field};

/// Age of endpoints without contact to Consul, and the reaction above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// The age above which they are stale; below that nothing is.
    pub max_age: Duration,
    /// Reaction to requests then.
    pub on_stale: OnStale,
}

/// Reaction to requests for a service whose endpoints are stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnStale {
    /// They go on to them: old news are better than none.
    #[default]
    Serve,
    /// They are answered 503.
    Fail,
}

impl OnStale {
    /// The reactions, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("serve", Self::Serve), ("fail", Self::Fail)];
}

impl Staleness {
    /// The shortest and the longest `max_age`; see also [`Staleness::least_max_age`].
    pub const MAX_AGE: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);

    /// Reads `max_age` and `on_stale` of a service; none where nothing ever becomes stale.
    pub(super) fn read(service: &mut Object<'_>) -> Option<Self> {
        let mut max_age = None;
        let mut on_stale = OnStale::default();
        service.set_some(
            field(
                "max_age",
                "The age at which endpoints without contact to Consul are stale; \
                 above `consul.wait` by a sixteenth and 5 s. Default: any age.",
            ),
            &mut max_age,
            |node| node.duration(Self::MAX_AGE),
        );
        service.set(
            field(
                "on_stale",
                "The fate of requests above `max_age`: they go on to the old endpoints (`serve`), \
                 or are answered 503 (`fail`).",
            ),
            &mut on_stale,
            |node| node.one_of("reaction", OnStale::CHOICES),
        );
        if !service.has("max_age") && on_stale == OnStale::Fail {
            service.refuse("on_stale", FieldError::NeverStale);
        }
        max_age.map(|max_age| Self { max_age, on_stale })
    }

    /// The shortest `max_age` that makes sense: Consul may hold a query in which nothing changes
    /// for `wait` and a sixteenth of it longer, and an error may come between. In whole seconds.
    pub fn least_max_age(consul: &Consul) -> Duration {
        const MARGIN: Duration = Duration::from_secs(5);
        let quiet = consul.wait.saturating_add(consul.wait / 16).saturating_add(MARGIN);
        Duration::from_secs(quiet.as_secs() + u64::from(quiet.subsec_nanos() > 0))
    }
}
