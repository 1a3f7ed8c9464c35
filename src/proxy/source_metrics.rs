//! The metrics of one source.

use core::cell::Cell;
use core::time::Duration;

use crate::host::Expect;
use crate::model::service::QueryKey;
use crate::proxy::host::{self, MetricId};
use crate::registry::rejected_instances::RejectedInstances;
use crate::shared::gauges::Shown;
use crate::telemetry::Resolution;
use crate::telemetry::SourceEvent;

/// The metrics of one source.
#[derive(Debug)]
pub(super) struct SourceMetrics {
    claim: Claim,
    updates: Option<MetricId>,
    endpoints: Gauge,
    /// The instances of the last response whose registrations are faulty.
    faulty: Gauge,
    /// The instances of the last response whose addresses the policy denies. `None` for a catalog.
    denied: Option<Gauge>,
    age: Gauge,
    fetchers: Gauge,
    doubted: Option<MetricId>,
    refuted: Option<MetricId>,
    /// The gauge that is 1 while a response is held back.
    held: Gauge,
}

impl SourceMetrics {
    /// Defines the metrics of a query under a prefix.
    pub(super) fn define(prefix: &str, query: QueryKey) -> Self {
        Self::define_as(prefix, query, Some)
    }

    /// Defines the metrics of the catalog, with its services in the place of endpoints.
    pub(super) fn of_catalog(query: QueryKey) -> Self {
        Self::define_as("consul_resolver.catalog", query, |what| match what {
            "endpoints" => Some("services"),
            "faulty_instances" => Some("left_out"),
            "denied_instances" => None,
            other => Some(other),
        })
    }

    /// Defines the metrics, some of them under another name or not at all.
    fn define_as(
        prefix: &str,
        query: QueryKey,
        named: fn(&'static str) -> Option<&'static str>,
    ) -> Self {
        let name = |what| format!("{prefix}.{}", named(what).unwrap_or(what));
        let gauge = |what| Gauge::define(&name(what));
        Self {
            claim: Claim::new(prefix, query),
            updates: host::define_counter(&name("updates")),
            endpoints: gauge("endpoints"),
            faulty: gauge("faulty_instances"),
            denied: named("denied_instances").map(gauge),
            age: gauge("snapshot_age_ms"),
            fetchers: gauge("fetchers"),
            doubted: host::define_counter(&name("doubted_answers")),
            refuted: host::define_counter(&name("refuted_answers")),
            held: gauge("held_answers"),
        }
    }

    /// Counts and shows an event. Returns true if this query may set the gauges.
    pub(super) fn on_event(&self, event: &SourceEvent) -> bool {
        if matches!(event, SourceEvent::Called(_)) {
            return false;
        }
        let right = self.claim.right(event);
        let may_show = right != Right::None;
        match event {
            SourceEvent::Elected(_) => {
                self.fetchers.set(1, may_show);
                // It reads the service at once, and then tells of those that there are.
                self.set_left_out(RejectedInstances::default(), may_show);
                self.held.set(0, may_show);
            }
            SourceEvent::Left => {
                self.fetchers.set(0, may_show);
                self.held.set(0, may_show);
                self.claim.give_up();
            }
            SourceEvent::Doubted(_) => {
                host::add(self.doubted, 1);
                self.held.set(1, may_show);
            }
            SourceEvent::Resolved(resolution) => {
                host::add(self.refuted, (*resolution == Resolution::Refuted).into());
                self.held.set(0, may_show);
            }
            SourceEvent::Published { endpoints, .. } => {
                host::add(self.updates, 1);
                self.set(Duration::ZERO, *endpoints, may_show);
            }
            SourceEvent::Listed { services, left_out, .. } => {
                host::add(self.updates, 1);
                self.set(Duration::ZERO, *services, may_show);
                self.faulty.set((*left_out).into(), may_show);
            }
            SourceEvent::Dropped(dropped) => self.set_left_out(*dropped, may_show),
            SourceEvent::Age { age, endpoints } => {
                self.fetchers.set(1, may_show);
                self.set(*age, *endpoints, may_show);
            }
            SourceEvent::ListsCatalog
            | SourceEvent::Called(_)
            | SourceEvent::Deposed
            | SourceEvent::FetcherLost
            | SourceEvent::Failing(_)
            | SourceEvent::Unresolved(_)
            | SourceEvent::Recovered(_)
            | SourceEvent::Unreadable(_) => {}
        }
        if right == Right::New {
            let all = [&self.endpoints, &self.faulty, &self.age, &self.fetchers, &self.held];
            all.into_iter().chain(&self.denied).for_each(Gauge::show);
        }
        may_show
    }

    /// Shows that there are no endpoints any more, if this query may set the gauges.
    pub(super) fn end(&self) {
        let may_show = self.claim.right(&SourceEvent::Left) != Right::None;
        self.set(Duration::ZERO, 0, may_show);
        self.claim.give_up();
    }

    fn set(&self, age: Duration, endpoints: usize, may_show: bool) {
        self.age.set(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), may_show);
        self.endpoints.set(u64::try_from(endpoints).unwrap_or(u64::MAX), may_show);
    }

    fn set_left_out(&self, dropped: RejectedInstances, may_show: bool) {
        self.faulty.set(u64::try_from(dropped.total()).unwrap_or(u64::MAX), may_show);
        if let Some(denied) = &self.denied {
            denied.set(u64::try_from(dropped.denied.count).unwrap_or(u64::MAX), may_show);
        }
    }
}

/// A gauge and its value. Another configuration may be the one that may set it.
#[derive(Debug)]
struct Gauge {
    metric: Option<MetricId>,
    value: Cell<u64>,
}

impl Gauge {
    /// Defines the gauge under this name.
    fn define(name: &str) -> Self {
        Self { metric: host::define_gauge(name), value: Cell::new(0) }
    }

    /// Remembers the value, and shows it if permitted.
    fn set(&self, value: u64, may_show: bool) {
        self.value.set(value);
        if may_show {
            self.show();
        }
    }

    /// Shows the value again.
    fn show(&self) {
        host::record(self.metric, self.value.get());
    }
}

/// The right of one query to set the gauges of a name. All configurations of the process share
/// these gauges.
#[derive(Debug)]
struct Claim {
    /// The prefix of the gauges.
    prefix: String,
    key: String,
    query: QueryKey,
    is_told: Cell<bool>,
}

/// The right of a query to the gauges of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// No right: the gauges show another query.
    None,
    /// The right to set the gauges that change.
    Kept,
    /// The right to set all gauges, since they may have shown another query until now.
    New,
}

impl Claim {
    /// Creates the claim of a query to the gauges with a prefix.
    fn new(prefix: &str, query: QueryKey) -> Self {
        let (prefix, key) = (prefix.to_owned(), Shown::key(prefix));
        Self { prefix, key, query, is_told: Cell::new(false) }
    }

    /// Returns the right to the gauges at an event. A VM that begins to lead takes them, and any
    /// leader takes gauges that no query has.
    fn right(&self, event: &SourceEvent) -> Right {
        let stored = host::load(&self.key);
        let bytes = stored.as_ref().map_or(&[][..], |(bytes, _)| bytes);
        let shown = Shown::read(bytes, self.query);
        let begins = matches!(event, SourceEvent::Elected(_));
        match shown {
            Shown::Ours => return Right::Kept,
            Shown::Others if !begins => {
                if !self.is_told.replace(true) {
                    log::warn!(
                        "{}.* show what another configuration asks of consul under this name; \
                         unless that one replaces this one, give one of them another name, and \
                         its name in consul as services[].service",
                        self.prefix
                    );
                }
                return Right::None;
            }
            Shown::Others | Shown::Free => {}
        }
        let expect = stored.map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(cas));
        match host::store(&self.key, &Shown::write(self.query), expect) {
            true => Right::New,
            // Somebody was faster.
            false => Right::None,
        }
    }

    /// Releases the gauges, because this VM does not lead any more.
    fn give_up(&self) {
        if let Some((bytes, cas)) = host::load(&self.key)
            && Shown::read(&bytes, self.query) == Shown::Ours
        {
            host::store(&self.key, &[], Expect::Unchanged(cas));
        }
    }
}
