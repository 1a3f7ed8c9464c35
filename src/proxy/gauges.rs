//! The gauges of one source.

use core::cell::Cell;

use crate::host::Expect;
use crate::model::service::QueryKey;
use crate::proxy::host::{self, MetricId};
use crate::shared::gauges::Shown;
use crate::telemetry::SourceEvent;

/// A gauge, and what it is to show: that may be another configuration's to set.
#[derive(Debug)]
pub(super) struct Gauge {
    metric: Option<MetricId>,
    value: Cell<u64>,
}

impl Gauge {
    /// Defines it under this name.
    pub(super) fn define(name: &str) -> Self {
        Self { metric: host::define_gauge(name), value: Cell::new(0) }
    }

    /// Remembers the value, and shows it where that may be.
    pub(super) fn set(&self, value: u64, may_show: bool) {
        self.value.set(value);
        if may_show {
            self.show();
        }
    }

    /// Shows the value again.
    pub(super) fn show(&self) {
        host::record(self.metric, self.value.get());
    }
}

/// The right of one query to set the gauges of a name, of which the process has one set for all of
/// its configurations.
#[derive(Debug)]
pub(super) struct Claim {
    /// How the names of the gauges begin.
    prefix: String,
    key: String,
    query: QueryKey,
    is_told: Cell<bool>,
}

/// What a query may do with the gauges of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing: they show another query.
    None,
    /// Set those that change.
    Kept,
    /// Set all of them: they may have shown another query until now.
    New,
}

impl Claim {
    /// That of a query to the gauges that begin so.
    pub(super) fn new(prefix: &str, query: QueryKey) -> Self {
        let (prefix, key) = (prefix.to_owned(), Shown::key(prefix));
        Self { prefix, key, query, is_told: Cell::new(false) }
    }

    /// Tells what may be done with the gauges now that there is something to show. The VM that
    /// begins to fetch takes them, and whoever fetches takes those that are nobody's.
    pub(super) fn right(&self, event: &SourceEvent) -> Right {
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
    pub(super) fn give_up(&self) {
        if let Some((bytes, cas)) = host::load(&self.key)
            && Shown::read(&bytes, self.query) == Shown::Ours
        {
            host::store(&self.key, &[], Expect::Unchanged(cas));
        }
    }
}
