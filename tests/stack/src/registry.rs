//! What real Consul and the embedded agent have in common, so that a scenario runs on either.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::client::{self, Answer, ClientError, Request};
use crate::service::{Service, Status};
use crate::wait::wait_until;

/// A registry did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer.
    #[error("the registry gives no answer")]
    Client(#[from] ClientError),
    /// An answer other than 200.
    #[error("{call}: {status} {body}")]
    Refused {
        /// The request's path.
        call: String,
        /// The status.
        status: u16,
        /// What the registry says.
        body: String,
    },
    /// The registry never showed what was waited for.
    #[error("{service}: passing are {found:?}, expected {expected:?}")]
    NotSeen {
        /// The service.
        service: String,
        /// The instances' ids in the last answer.
        found: BTreeSet<String>,
        /// The ids waited for.
        expected: BTreeSet<String>,
    },
}

/// An answer of `/v1/health/service/<name>`.
#[derive(Debug, Clone)]
pub struct Health {
    /// `X-Consul-Index`.
    pub index: u64,
    /// The entries; empty when the body is no list.
    pub entries: Vec<Value>,
    /// The whole answer.
    pub answer: Answer,
}

impl Health {
    /// The ids of the instances in the answer.
    pub fn ids(&self) -> BTreeSet<String> {
        let id = |entry: &Value| entry["Service"]["ID"].as_str().map(str::to_owned);
        self.entries.iter().filter_map(id).collect()
    }

    /// The entry of one instance.
    pub fn entry(&self, id: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry["Service"]["ID"] == id)
    }
}

/// A Consul agent with one node, real or embedded.
pub trait Registry: Send + Sync {
    /// Where its HTTP API listens.
    fn address(&self) -> SocketAddr;

    /// Registers an instance with its checks, or updates it.
    ///
    /// # Errors
    /// No answer, or a refusal.
    fn register(&self, service: &Service) -> Result<(), RegistryError> {
        match &service.node {
            None => self.put("/v1/agent/service/register", &service.to_json().to_string()),
            Some(node) => {
                self.put("/v1/catalog/register", &service.to_catalog_json(node).to_string())
            }
        }
    }

    /// Removes an instance.
    ///
    /// # Errors
    /// No answer, or a refusal.
    fn deregister(&self, id: &str) -> Result<(), RegistryError> {
        self.put(&format!("/v1/agent/service/deregister/{}", client::encode(id)), "")
    }

    /// Removes an instance from a node without an agent.
    ///
    /// # Errors
    /// No answer, or a refusal.
    fn deregister_at(&self, node: &str, id: &str) -> Result<(), RegistryError> {
        let body = serde_json::json!({"Node": node, "ServiceID": id}).to_string();
        self.put("/v1/catalog/deregister", &body)
    }

    /// Reports the state of a TTL check (see [`Service::check_id`]).
    ///
    /// # Errors
    /// No answer, or no such check.
    fn set_check(&self, check_id: &str, status: Status) -> Result<(), RegistryError> {
        let body = serde_json::json!({"Status": status.as_str()}).to_string();
        self.put(&format!("/v1/agent/check/update/{}", client::encode(check_id)), &body)
    }

    /// Puts an instance into maintenance, or ends it.
    ///
    /// # Errors
    /// No answer, or no such instance.
    fn maintenance(&self, id: &str, on: bool) -> Result<(), RegistryError> {
        let id = client::encode(id);
        self.put(&format!("/v1/agent/service/maintenance/{id}?enable={on}"), "")
    }

    /// Puts the node, and so all its instances, into maintenance, or ends it.
    ///
    /// # Errors
    /// No answer.
    fn node_maintenance(&self, on: bool) -> Result<(), RegistryError> {
        self.put(&format!("/v1/agent/maintenance?enable={on}"), "")
    }

    /// Reads a service's health over HTTP; `query` is what follows the `?`, and may be empty.
    ///
    /// # Errors
    /// No answer, or one other than 200.
    fn health(&self, service: &str, query: &str) -> Result<Health, RegistryError> {
        let path = format!("/v1/health/service/{}?{query}", client::encode(service));
        let timeout = Duration::from_secs(660);
        let answer = Request::new("GET", self.address(), &path).timeout(timeout).send()?;
        let answer = accepted(&path, answer)?;
        let index = answer.header("x-consul-index").and_then(|index| index.parse().ok());
        let entries = match answer.json() {
            Value::Array(entries) => entries,
            _ => Vec::new(),
        };
        Ok(Health { index: index.unwrap_or(0), entries, answer })
    }

    /// Waits, at most ten seconds, until exactly these instances are passing. A real agent tells
    /// its server of a change only after it has answered the call that made it.
    ///
    /// # Errors
    /// [`RegistryError::NotSeen`]; no answer.
    fn await_passing(&self, service: &str, ids: &[&str]) -> Result<(), RegistryError> {
        let expected: BTreeSet<String> = ids.iter().map(|&id| id.to_owned()).collect();
        let mut last = None;
        let seen = wait_until(Duration::from_secs(10), || {
            let found = self.health(service, "passing").map(|health| health.ids());
            let matches = found.as_ref().is_ok_and(|found| *found == expected);
            last = Some(found);
            matches
        });
        match last {
            _ if seen => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(found)) => {
                Err(RegistryError::NotSeen { service: service.to_owned(), found, expected })
            }
            None => Ok(()),
        }
    }

    /// `PUT` that must be answered 200.
    ///
    /// # Errors
    /// No answer, or one other than 200.
    fn put(&self, path: &str, body: &str) -> Result<(), RegistryError> {
        accepted(path, client::put(self.address(), path, body)?).map(|_| ())
    }
}

/// The answer to a call, if that was answered 200.
pub(crate) fn accepted(call: &str, answer: Answer) -> Result<Answer, RegistryError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let (call, status, body) = (call.to_owned(), answer.status, answer.text());
    Err(RegistryError::Refused { call, status, body })
}
