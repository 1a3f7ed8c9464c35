//! Prepared queries: `POST /v1/query`, `GET /v1/query/<name or id>/execute`.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::catalog::{Catalog, ServiceRow};
use super::health::{HealthQuery, Query};
use super::registration::{RegistrationError, strings, text};
use super::reply::Reply;
use super::shape::service_entry;
use stack::Status;

/// How long an agent answers from its cache where the client does not say: three days.
const CACHE: Duration = Duration::from_secs(3 * 24 * 3_600);

/// The prepared queries of a datacenter, and their answers in the agent's cache.
#[derive(Debug, Default)]
pub struct PreparedQueries {
    queries: Vec<PreparedQuery>,
    /// When each was asked for, and what the answer was, by path and parameters.
    cached: HashMap<String, (Instant, Value)>,
}

impl PreparedQueries {
    /// Adds one; gives its id.
    pub fn create(&mut self, body: &Value) -> Result<String, RegistrationError> {
        let query = PreparedQuery::from_json(body, self.queries.len())?;
        let id = query.id.clone();
        self.queries.push(query);
        Ok(id)
    }

    /// Removes the one with an id; `false` if there is none.
    pub fn delete(&mut self, id: &str) -> bool {
        let before = self.queries.len();
        self.queries.retain(|query| query.id != id);
        self.queries.len() < before
    }

    /// The one with a name or an id.
    pub fn find(&self, name: &str) -> Option<&PreparedQuery> {
        self.queries.iter().find(|query| query.id == name || query.name == name)
    }

    /// What is in the cache and not older than `max_age`, with its age.
    pub fn recall(&self, key: &str, max_age: Option<Duration>) -> Option<(Value, Duration)> {
        let (at, value) = self.cached.get(key)?;
        let age = at.elapsed();
        (age <= max_age.unwrap_or(CACHE)).then(|| (value.clone(), age))
    }

    /// Puts an answer into the cache.
    pub fn remember(&mut self, key: &str, value: &Value) {
        self.cached.insert(key.to_owned(), (Instant::now(), value.clone()));
    }
}

/// One of them.
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    id: String,
    name: String,
    /// The service whose instances it finds.
    pub service: String,
    only_passing: bool,
    connect: bool,
    tags: Vec<String>,
    node_meta: BTreeMap<String, String>,
    /// Where it looks when there is nothing at home.
    pub failover: Vec<String>,
}

impl PreparedQuery {
    fn from_json(body: &Value, number: usize) -> Result<Self, RegistrationError> {
        let service = &body["Service"];
        let list = |value: &Value| {
            let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let flag = |key: &str| service[key].as_bool().unwrap_or(false);
        Ok(Self {
            id: format!("{number:08x}-9a53-8f74-483b-987c14fc4118"),
            name: text(body, "Name", "Name")?,
            service: text(service, "Service", "Service")?,
            only_passing: flag("OnlyPassing"),
            connect: flag("Connect"),
            tags: list(&service["Tags"]),
            node_meta: strings(service, "NodeMeta")?,
            failover: list(&service["Failover"]["Datacenters"]),
        })
    }

    /// The entries of one datacenter: those that are not critical, in any order.
    pub fn nodes(&self, catalog: &Catalog, query: &Query) -> Result<Vec<Value>, Reply> {
        let limit = query.filled("limit").map(|limit| {
            let refused = format!("Bad limit: strconv.Atoi: parsing {limit:?}: invalid syntax");
            limit.parse::<usize>().map_err(|_| Reply::text(500, &refused))
        });
        let limit = limit.transpose()?.filter(|&limit| limit > 0).unwrap_or(usize::MAX);
        let connect = self.connect || query.value("connect") == Some("true");
        let is_usable = |row: &ServiceRow| {
            catalog.checks_of(row).all(|check| match check.status {
                Status::Passing => true,
                Status::Warning => !self.only_passing,
                Status::Critical => false,
            })
        };
        let has_tags = |row: &ServiceRow| {
            let has = |tag: &str| row.registration.tags.iter().any(|own| own == tag);
            self.tags.iter().all(|tag| tag.strip_prefix('!').map_or(has(tag), |not| !has(not)))
        };
        let all = HealthQuery::of(&self.service, connect);
        let mut entries: Vec<Value> = all
            .rows(catalog)
            .filter(|row| is_usable(row) && has_tags(row) && catalog.has_meta(row, &self.node_meta))
            .map(|row| service_entry(catalog, row))
            .collect();
        fastrand::shuffle(&mut entries);
        entries.truncate(limit);
        Ok(entries)
    }

    /// The whole answer.
    pub fn answer(
        &self,
        nodes: Vec<Value>,
        datacenter: &str,
        failovers: usize,
        consistency: &str,
    ) -> Value {
        json!({
            "Service": self.service,
            "Nodes": nodes,
            "DNS": {"TTL": ""},
            "Datacenter": datacenter,
            "Failovers": failovers,
            "Index": 0,
            "LastContact": 0,
            "KnownLeader": true,
            "ConsistencyLevel": consistency,
        })
    }
}

/// `max-age` of a `Cache-Control` header, in any order with other directives.
pub fn max_age(header: Option<&str>) -> Result<Option<Duration>, Reply> {
    let refused = || Reply::text(400, "Invalid Cache-Control header.");
    let directives = header.unwrap_or_default().split(',').map(str::trim);
    let ages = directives.filter_map(|directive| directive.split_once('='));
    let mut max_age = None;
    for (name, value) in ages {
        if matches!(name, "max-age" | "stale-if-error") {
            let age = Duration::from_secs(value.parse().map_err(|_| refused())?);
            max_age = if name == "max-age" { Some(age) } else { max_age };
        }
    }
    Ok(max_age)
}
