//! Consul's HTTP API as tests call it: a scenario runs on real Consul and on a fake one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value};

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
    /// An instance never came to the state that was waited for.
    #[error("{id} is {found:?}, expected {expected:?}")]
    NotSo {
        /// The instance.
        id: String,
        /// Its state in the last answer; `None` where it was not there.
        found: Option<Status>,
        /// The state waited for.
        expected: Option<Status>,
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

/// What an agent knows of a check's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckState {
    /// The state.
    pub status: Status,
    /// Why: a report's output, what a probe saw, `TTL expired`.
    pub output: String,
}

/// A Consul agent with one node, real or fake.
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

    /// Removes one check, as somebody else may do.
    ///
    /// # Errors
    /// No answer, or a refusal.
    fn deregister_check(&self, check_id: &str) -> Result<(), RegistryError> {
        self.put(&format!("/v1/agent/check/deregister/{}", client::encode(check_id)), "")
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

    /// Reads what the agent knows of an instance; `None` where it knows none of that id.
    ///
    /// # Errors
    /// No answer, or one other than 200 and 404.
    fn local_service(&self, id: &str) -> Result<Option<Value>, RegistryError> {
        let path = format!("/v1/agent/service/{}", client::encode(id));
        let answer = client::get(self.address(), &path)?;
        match answer.status {
            404 => Ok(None),
            _ => accepted(&path, answer).map(|answer| Some(answer.json())),
        }
    }

    /// Reads what the agent knows of an instance's checks, by their ids. An agent with ACLs shows
    /// none to one who may not see them.
    ///
    /// # Errors
    /// No answer, or one other than 200.
    fn local_checks(&self, id: &str) -> Result<BTreeMap<String, CheckState>, RegistryError> {
        let path = "/v1/agent/checks";
        let answer = accepted(path, client::get(self.address(), path)?)?;
        let state = |check: &Value| {
            let status = Status::from_word(check["Status"].as_str()?)?;
            Some(CheckState { status, output: check["Output"].as_str()?.to_owned() })
        };
        let all: Map<String, Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
        let own = all.iter().filter(|(_, check)| check["ServiceID"] == id);
        Ok(own.filter_map(|(id, check)| Some((id.clone(), state(check)?))).collect())
    }

    /// Reads the state in which clients see an instance: that of its worst check, the node's
    /// included; `None` where they do not see it.
    ///
    /// # Errors
    /// No answer, or one other than 200.
    fn state(&self, service: &str, id: &str) -> Result<Option<Status>, RegistryError> {
        let health = self.health(service, "")?;
        let state = |entry: &Value| {
            let checks = entry["Checks"].as_array().into_iter().flatten();
            let status = |check: &Value| Status::from_word(check["Status"].as_str()?);
            checks.map(|check| status(check).unwrap_or(Status::Critical)).max()
        };
        Ok(health.entry(id).map(|entry| state(entry).unwrap_or(Status::Passing)))
    }

    /// Waits, at most ten seconds, until clients see an instance in a state, or see it no more.
    ///
    /// # Errors
    /// [`RegistryError::NotSo`]; no answer.
    fn await_state(
        &self,
        service: &str,
        id: &str,
        expected: Option<Status>,
    ) -> Result<(), RegistryError> {
        let mut last = Ok(None);
        let is_so = wait_until(Duration::from_secs(10), || {
            last = self.state(service, id);
            last.as_ref().is_ok_and(|found| *found == expected)
        });
        match last {
            _ if is_so => Ok(()),
            Ok(found) => Err(RegistryError::NotSo { id: id.to_owned(), found, expected }),
            Err(error) => Err(error),
        }
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

/// Gives the answer to a call that was answered 200.
///
/// # Errors
/// [`RegistryError::Refused`] for any other status.
pub fn accepted(call: &str, answer: Answer) -> Result<Answer, RegistryError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let (call, status, body) = (call.to_owned(), answer.status, answer.text());
    Err(RegistryError::Refused { call, status, body })
}
