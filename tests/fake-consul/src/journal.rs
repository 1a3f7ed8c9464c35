//! What the agent was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;

/// How many requests are remembered in full.
const REMEMBERED: usize = 10_000;

/// One request the agent was asked.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query as it was sent, without `?`.
    pub query: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Record {
    /// A value of the query as it was sent; empty for a key without one.
    pub fn query_value(&self, key: &str) -> Option<&str> {
        let mut pairs =
            self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Blocking queries for one service.
#[derive(Debug, Default, Clone, Copy)]
struct Outstanding {
    now: usize,
    most: usize,
}

#[derive(Debug, Default)]
struct Pages {
    total: u64,
    records: VecDeque<Record>,
    outstanding: BTreeMap<String, Outstanding>,
}

/// The agent's memory of its requests.
#[derive(Debug, Default, Clone)]
pub struct Journal(Arc<Mutex<Pages>>);

impl Journal {
    pub fn record(&self, record: Record) {
        self.with(|pages| {
            pages.total += 1;
            if pages.records.len() == REMEMBERED {
                pages.records.pop_front();
            }
            pages.records.push_back(record);
        });
    }

    pub fn total(&self) -> u64 {
        self.with(|pages| pages.total)
    }

    pub fn records(&self) -> Vec<Record> {
        self.with(|pages| pages.records.iter().cloned().collect())
    }

    /// Counts a blocking query as outstanding as long as the guard lives.
    pub fn begin(&self, service: &str) -> Blocking {
        self.with(|pages| {
            let count = pages.outstanding.entry(service.to_owned()).or_default();
            count.now += 1;
            count.most = count.most.max(count.now);
        });
        Blocking { journal: self.clone(), service: service.to_owned() }
    }

    /// Blocking queries outstanding now, and the most there were at a time.
    pub fn outstanding(&self, service: &str) -> (usize, usize) {
        let count = self.with(|pages| pages.outstanding.get(service).copied()).unwrap_or_default();
        (count.now, count.most)
    }

    /// Forgets everything but what is outstanding now.
    pub fn forget(&self) {
        self.with(|pages| {
            pages.total = 0;
            pages.records.clear();
            pages.outstanding.values_mut().for_each(|count| count.most = count.now);
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Pages) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A blocking query in progress; ends when its answer is made or its client goes away.
#[derive(Debug)]
pub struct Blocking {
    journal: Journal,
    service: String,
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.journal.with(|pages| {
            if let Some(count) = pages.outstanding.get_mut(&self.service) {
                count.now -= 1;
            }
        });
    }
}
