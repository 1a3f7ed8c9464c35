//! Which request goes where.

mod local;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::catalog::Catalog;
use super::health::{Blocking, HealthQuery, Query};
use super::journal::Record;
use super::node::DATACENTER;
use super::registration::{Registration, RegistrationError};
use super::reply::Reply;
use super::{Core, shape};

/// Answers one request, with the faults that befall it.
pub async fn handle(
    request: Request<Incoming>,
    core: &Arc<Core>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path =
        percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let query = parts.uri.query().unwrap_or_default();
    let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    core.journal.record(Record {
        at: Instant::now(),
        method: parts.method.to_string(),
        path: path.clone(),
        query: query.to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, v)| (name.to_string(), value(v.as_bytes())))
            .collect(),
        body: body.clone(),
    });
    let call =
        Call { core, method: parts.method.as_str(), path: &path, query: Query::parse(query), body };
    // What is answered with an error has not been done either.
    let reply = match call.method != "GET" && core.faults().refuse(&path) {
        true => Reply::done(),
        false => call.reply().await.unwrap_or_else(|refusal| refusal),
    };
    let faults = core.faults().take(&path);
    Ok(reply.response(faults).await)
}

struct Call<'a> {
    core: &'a Arc<Core>,
    method: &'a str,
    path: &'a str,
    query: Query,
    body: Bytes,
}

impl Call<'_> {
    async fn reply(&self) -> Result<Reply, Reply> {
        let segments: Vec<&str> = self.path.trim_start_matches('/').splitn(5, '/').collect();
        match segments.as_slice() {
            ["v1", "health", "service", name] => self.only("GET")?.health(name).await,
            ["v1", "catalog", "services"] => self.only("GET")?.catalog_services().await,
            ["v1", "status", "leader"] => {
                self.only("GET").map(|_| Reply::json(&json!("127.0.0.1:8300")))
            }
            ["v1", "catalog", "register"] => self.only("PUT")?.register_on_node(),
            ["v1", "catalog", "deregister"] => self.only("PUT")?.deregister_from_node(),
            ["v1", "agent", rest @ ..] => self.local(rest),
            _ => Err(Reply::text(404, "")),
        }
    }

    fn only(&self, method: &str) -> Result<&Self, Reply> {
        if self.method == method {
            return Ok(self);
        }
        let text = format!("method {} not allowed", self.method);
        Err(Reply::text(405, &text).with("Allow", format!("OPTIONS,{method}")))
    }

    async fn health(&self, name: &str) -> Result<Reply, Reply> {
        let blocking = Blocking::from_query(&self.query)?;
        let query = HealthQuery::new(name, &self.query)?;
        let _outstanding = blocking.above.map(|_| self.core.journal.begin(name));
        self.blocking(&blocking, |catalog| query.index(catalog), |catalog| query.entries(catalog))
            .await
    }

    async fn catalog_services(&self) -> Result<Reply, Reply> {
        let blocking = Blocking::from_query(&self.query)?;
        let body = |catalog: &Catalog| shape::catalog_services(catalog).to_string();
        self.blocking(&blocking, Catalog::services_index, body).await
    }

    /// Waits until the index is above the one asked for, the time is up, or a fault or a test
    /// wants an answer at once. The body is JSON, and made only then: a thousand queries that wait
    /// look at their index at each change.
    async fn blocking(
        &self,
        blocking: &Blocking,
        index: impl Fn(&Catalog) -> u64,
        body: impl Fn(&Catalog) -> String,
    ) -> Result<Reply, Reply> {
        self.refuse_other_datacenters()?;
        let mut changes = self.core.changes();
        let woken = *changes.borrow_and_update();
        let now = || {
            let catalog = self.core.catalog();
            (index(&catalog), body(&catalog))
        };
        let ready = async {
            loop {
                // First: a change after this moment is waited for, one before it is in the answer.
                let interrupted = changes.borrow_and_update().wake_ups > woken.wake_ups;
                let answer = {
                    let catalog = self.core.catalog();
                    let index = index(&catalog);
                    let wanted = blocking.above.is_none_or(|above| index > above);
                    let at_once = || self.core.faults().answers_at_once(self.path);
                    (wanted || interrupted || at_once()).then(|| (index, body(&catalog)))
                };
                if let Some(answer) = answer {
                    return answer;
                }
                if changes.changed().await.is_err() {
                    return now();
                }
            }
        };
        let ready = tokio::time::timeout(blocking.wait, ready).await;
        let (index, body) = ready.unwrap_or_else(|_| now());
        Ok(Reply::json_text(body)
            .with("X-Consul-Effective-Consistency", blocking.consistency)
            .with("X-Consul-Index", index)
            .with("X-Consul-Knownleader", true)
            .with("X-Consul-Lastcontact", 0))
    }

    /// Refuses what is asked of another datacenter, as Consul does of one that it does not know.
    fn refuse_other_datacenters(&self) -> Result<(), Reply> {
        let is_own = self.query.filled("dc").is_none_or(|datacenter| datacenter == DATACENTER);
        let refused = || {
            Reply::text(500, "No path to datacenter")
                .with("X-Consul-Index", 1)
                .with("X-Consul-Knownleader", false)
                .with("X-Consul-Lastcontact", 0)
        };
        is_own.then_some(()).ok_or_else(refused)
    }

    fn register_on_node(&self) -> Result<Reply, Reply> {
        let registration = Registration::from_catalog_json(&self.body()?);
        let registration = registration.map_err(refused)?;
        self.core.change(|catalog, now| catalog.register(registration, true, now));
        Ok(Reply::json(&Value::Bool(true)))
    }

    fn deregister_from_node(&self) -> Result<Reply, Reply> {
        let body = self.body()?;
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (node, id) = (text("Node"), text("ServiceID"));
        self.core.change(|catalog, _| catalog.deregister_at(&node, &id));
        Ok(Reply::json(&Value::Bool(true)))
    }

    /// The body as JSON.
    fn body(&self) -> Result<Value, Reply> {
        let refused = |error| Reply::text(400, &format!("Request decode failed: {error}"));
        serde_json::from_slice(&self.body).map_err(refused)
    }
}

fn refused(error: RegistrationError) -> Reply {
    Reply::text(400, &error.to_string())
}
