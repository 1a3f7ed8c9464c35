//! `GET /v1/health/service/<name>` and what all blocking queries have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalog::{Catalog, ServiceRow};
use super::reply::Reply;
use super::shape::service_entry;
use stack::duration;

/// How long Consul blocks when it is not told.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);

/// The longest it blocks.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A decoded query string.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(&text.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decode(k), decode(v)))
                .collect(),
        )
    }

    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    /// A value that is there and not empty.
    pub fn filled(&self, key: &str) -> Option<&str> {
        self.value(key).filter(|value| !value.is_empty())
    }

    /// Refuses an expression in Consul's filter language, which the fake does not know.
    pub fn refuse_filter(&self) -> Result<(), Reply> {
        let refused = || Reply::text(501, "the fake Consul knows no filters: use the real one");
        self.filled("filter").map_or(Ok(()), |_| Err(refused()))
    }

    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == key).map(|(_, value)| value.as_str())
    }
}

/// What a query asks about time and consistency.
#[derive(Debug, Clone)]
pub struct Blocking {
    /// Answer once the index is above this; `None` answers now.
    pub above: Option<u64>,
    /// How long to wait at most, with Consul's jitter of up to a sixteenth.
    pub wait: Duration,
    /// `X-Consul-Effective-Consistency`.
    pub consistency: &'static str,
}

impl Blocking {
    pub fn from_query(query: &Query) -> Result<Self, Reply> {
        if query.has("cached") {
            return Err(Reply::text(501, "the fake Consul has no cache: use the real one"));
        }
        let (stale, consistent) = (query.has("stale"), query.has("consistent"));
        let index = query.filled("index").map(str::parse::<u64>).transpose();
        let index = index.map_err(|_| Reply::text(400, "Invalid index"))?;
        let wait = query
            .filled("wait")
            .map(|wait| duration::parse(wait).filter(|_| wait != "0"))
            .unwrap_or(Some(DEFAULT_WAIT));
        let wait = wait.ok_or_else(|| Reply::text(400, "Invalid wait time"))?;
        if stale && consistent {
            return Err(Reply::text(
                400,
                "Cannot specify ?stale with ?consistent, conflicting semantics.",
            ));
        }
        let wait = if wait.is_zero() { DEFAULT_WAIT } else { wait.min(LONGEST_WAIT) };
        let consistency = match (stale, consistent) {
            (true, _) => "stale",
            (_, true) => "consistent",
            _ => "leader",
        };
        let above = index.filter(|&index| index > 0);
        Ok(Self { above, wait: wait + (wait / 16).mul_f64(fastrand::f64()), consistency })
    }
}

/// What a query asks about instances.
#[derive(Debug, Clone)]
pub struct HealthQuery {
    service: String,
    passing: bool,
    tags: Vec<String>,
    node_meta: BTreeMap<String, String>,
}

impl HealthQuery {
    pub fn new(service: &str, query: &Query) -> Result<Self, Reply> {
        if service.is_empty() {
            return Err(Reply::text(400, "Missing service name"));
        }
        let passing = match query.value("passing") {
            None => false,
            Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(_) => return Err(Reply::text(400, "Invalid value for ?passing")),
        };
        query.refuse_filter()?;
        let tags = query.values("tag").map(str::to_lowercase).collect();
        // What has no colon is a key without a value.
        let pair = |pair: &str| {
            let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        };
        let node_meta = query.values("node-meta").map(pair).collect();
        Ok(Self { service: service.to_owned(), passing, tags, node_meta })
    }

    /// The service's index.
    pub fn index(&self, catalog: &Catalog) -> u64 {
        catalog.service_index(&self.service)
    }

    /// The entries as JSON.
    pub fn entries(&self, catalog: &Catalog) -> String {
        let has_tags = |row: &&ServiceRow| {
            let own: Vec<String> =
                row.registration.tags.iter().map(|tag| tag.to_lowercase()).collect();
            self.tags.iter().all(|tag| own.contains(tag))
        };
        let is_passing = |row: &&ServiceRow| {
            let mut checks = catalog.checks_of(row);
            !self.passing || checks.all(|check| check.status == stack::Status::Passing)
        };
        let has_meta = |row: &&ServiceRow| catalog.has_meta(row, &self.node_meta);
        let rows =
            catalog.instances(&self.service).filter(has_tags).filter(is_passing).filter(has_meta);
        let mut list = String::from("[");
        for row in rows {
            if list.len() > 1 {
                list.push(',');
            }
            list.push_str(&catalog.entries().json(row, || service_entry(catalog, row).to_string()));
        }
        list.push(']');
        list
    }
}
