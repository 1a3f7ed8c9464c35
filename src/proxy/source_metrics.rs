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

/// What discovery tells of one source.
#[derive(Debug)]
pub(super) struct SourceMetrics {
    claim: Claim,
    updates: Option<MetricId>,
    endpoints: Gauge,
    /// Instances of the last answer whose registrations somebody should mend.
    faulty: Gauge,
    /// Instances of the last answer whose addresses the policy does not admit; none of a catalog.
    denied: Option<Gauge>,
    age: Gauge,
    fetchers: Gauge,
    doubted: Option<MetricId>,
    refuted: Option<MetricId>,
    /// Whether an answer is held back.
    held: Gauge,
}

impl SourceMetrics {
    /// Defines them under names that begin so, for what a query tells.
    pub(super) fn define(prefix: &str, query: QueryKey) -> Self {
        Self::define_as(prefix, query, Some)
    }

    /// Those of the catalog, with its services in the place of endpoints.
    pub(super) fn of_catalog(query: QueryKey) -> Self {
        Self::define_as("consul_resolver.catalog", query, |what| match what {
            "endpoints" => Some("services"),
            "faulty_instances" => Some("left_out"),
            "denied_instances" => None,
            other => Some(other),
        })
    }

    /// Defines them where some have another name or are left out.
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

    /// Counts and shows what discovery tells; tells whether the gauges are this query's to set.
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

    /// Shows that there is nothing any more, where that is this query's to show.
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

/// A gauge, and what it is to show: that may be another configuration's to set.
#[derive(Debug)]
struct Gauge {
    metric: Option<MetricId>,
    value: Cell<u64>,
}

impl Gauge {
    /// Defines it under this name.
    fn define(name: &str) -> Self {
        Self { metric: host::define_gauge(name), value: Cell::new(0) }
    }

    /// Remembers the value, and shows it where that may be.
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

/// The right of one query to set the gauges of a name, of which the process has one set for all of
/// its configurations.
#[derive(Debug)]
struct Claim {
    /// How the names of the gauges begin.
    prefix: String,
    key: String,
    query: QueryKey,
    is_told: Cell<bool>,
}

/// What a query may do with the gauges of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Nothing: they show another query.
    None,
    /// Set those that change.
    Kept,
    /// Set all of them: they may have shown another query until now.
    New,
}

impl Claim {
    /// That of a query to the gauges that begin so.
    fn new(prefix: &str, query: QueryKey) -> Self {
        let (prefix, key) = (prefix.to_owned(), Shown::key(prefix));
        Self { prefix, key, query, is_told: Cell::new(false) }
    }

    /// Tells what may be done with the gauges now that there is something to show. The VM that
    /// begins to fetch takes them, and whoever fetches takes those that are nobody's.
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

    /// Leaves the gauges to others: nobody here fetches any more.
    fn give_up(&self) {
        if let Some((bytes, cas)) = host::load(&self.key)
            && Shown::read(&bytes, self.query) == Shown::Ours
        {
            host::store(&self.key, &[], Expect::Unchanged(cas));
        }
    }
}
