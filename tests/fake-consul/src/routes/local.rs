//! What a client asks the agent of its own services and checks, and tells it.

use serde_json::{Value, json};

use super::{Call, refused};
use crate::check::{CheckKind, CheckRow};
use crate::registration::{Registration, text};
use crate::reply::Reply;
use crate::{fields, shape};
use stack::Status;

impl Call<'_> {
    /// Answers what is asked below `/v1/agent`.
    pub(super) fn local(&self, path: &[&str]) -> Result<Reply, Reply> {
        match path {
            ["self"] => self.only("GET").map(|_| {
                let catalog = self.core.catalog();
                Reply::json(&shape::agent_self(&catalog))
            }),
            ["services"] => self.only("GET")?.agent_services(),
            ["checks"] => self.only("GET")?.agent_checks(),
            ["maintenance"] => self.only("PUT")?.maintenance(None),
            ["service", "register"] => self.only("PUT")?.register(),
            ["service", "deregister", id] => self.only("PUT")?.deregister(id),
            ["service", "maintenance", id] => self.only("PUT")?.maintenance(Some(id)),
            ["service", ..] => {
                let id = self.path.strip_prefix("/v1/agent/service/");
                self.only("GET")?.agent_service(id.unwrap_or_default())
            }
            ["health", "service", rest] => match rest.strip_prefix("id/") {
                Some(id) => self.only("GET")?.agent_health(id),
                None => Err(Reply::text(404, "")),
            },
            ["check", "pass", id] => self.only("PUT")?.set_check(id, Status::Passing),
            ["check", "warn", id] => self.only("PUT")?.set_check(id, Status::Warning),
            ["check", "fail", id] => self.only("PUT")?.set_check(id, Status::Critical),
            ["check", "update", id] => self.only("PUT")?.update_check(id),
            ["check", "deregister", id] => self.only("PUT")?.deregister_check(id),
            _ => Err(Reply::text(404, "")),
        }
    }

    fn agent_services(&self) -> Result<Reply, Reply> {
        self.query.refuse_filter()?;
        let catalog = self.core.catalog();
        let local = catalog.services().filter(|row| row.local);
        let all = local.map(|row| (row.registration.id.clone(), self.shape(&row.registration)));
        Ok(Reply::json(&Value::Object(all.collect())))
    }

    fn agent_checks(&self) -> Result<Reply, Reply> {
        self.query.refuse_filter()?;
        let catalog = self.core.catalog();
        // The node's own check is Serf's, and the agent does not know it.
        let local = catalog.checks().filter(|row| match &row.service {
            Some((id, ..)) => catalog.local(id).is_some(),
            None => row.id != "serfHealth",
        });
        let all = local.map(|row| (row.id.clone(), shape::check(row, catalog.node())));
        Ok(Reply::json(&Value::Object(all.collect())))
    }

    fn agent_service(&self, id: &str) -> Result<Reply, Reply> {
        let catalog = self.core.catalog();
        let unknown = || Reply::text(404, &format!("unknown service ID: {id}"));
        let mut service = self.shape(&catalog.local(id).ok_or_else(unknown)?.registration);
        let hash = shape::content_hash(&service);
        service["ContentHash"] = json!(hash);
        Ok(Reply::json(&service).with("X-Consul-ContentHash", hash))
    }

    fn shape(&self, registration: &Registration) -> Value {
        let mut service = shape::agent_service(registration);
        if self.core.release().names_datacenter() {
            service["Datacenter"] = json!(self.core.datacenter);
        }
        service
    }

    /// The worst of an instance's checks, as a status too.
    fn agent_health(&self, id: &str) -> Result<Reply, Reply> {
        if id.is_empty() {
            return Err(Reply::text(500, "Bad request: Missing serviceID"));
        }
        let catalog = self.core.catalog();
        let is_text = self.query.value("format") == Some("text");
        let Some(row) = catalog.local(id) else {
            let reason = format!("ServiceId {id} not found");
            let none = json!({"AggregatedStatus": "critical", "Service": null, "Checks": null});
            let reply = Reply::json(&if is_text { json!(reason) } else { none });
            return Err(reply.status(404).with("X-Consul-Reason", reason));
        };
        let checks = || catalog.checks_of(row).filter(|check| check.id != "serfHealth");
        let (status, word) = aggregated(checks());
        let reply = if is_text {
            Reply::text(status, word).with("Content-Type", "text/plain")
        } else {
            let checks = checks().map(|check| shape::health_check(check, catalog.node()));
            Reply::json(&json!({
                "AggregatedStatus": word,
                "Service": self.shape(&row.registration),
                "Checks": checks.collect::<Vec<_>>(),
            }))
        };
        Ok(reply.status(status).with("X-Consul-Reason", word))
    }

    fn register(&self) -> Result<Reply, Reply> {
        let body = self.body()?;
        let registration = Registration::from_request(&body, self.core.release());
        let mut registration = registration.map_err(refused)?;
        let replace = matches!(self.query.value("replace-existing-checks"), Some("" | "true"));
        let dropped = match self.core.faults().take_checks_away(self.path) {
            true => std::mem::take(&mut registration.checks),
            false => Vec::new(),
        };
        self.core.change(|catalog, now| {
            catalog.register(registration, replace, now);
            for check in dropped {
                catalog.deregister_check(&check.id);
            }
        });
        Ok(Reply::done())
    }

    fn deregister(&self, id: &str) -> Result<Reply, Reply> {
        if id.is_empty() {
            return Err(Reply::text(500, "ServiceID missing"));
        }
        let is_gone = self.core.change(|catalog, _| catalog.deregister(id));
        let refusal = self.core.release().no_such_service(id).filter(|_| !is_gone);
        refusal.map_or(Ok(Reply::done()), |(status, text)| Err(Reply::text(status, &text)))
    }

    fn deregister_check(&self, id: &str) -> Result<Reply, Reply> {
        let is_gone = self.core.change(|catalog, _| catalog.deregister_check(id));
        let refusal = self.core.release().no_such_check(id).filter(|_| !is_gone);
        refusal.map_or(Ok(Reply::done()), |(status, text)| Err(Reply::text(status, &text)))
    }

    fn maintenance(&self, id: Option<&str>) -> Result<Reply, Reply> {
        let enable = self
            .query
            .filled("enable")
            .ok_or_else(|| Reply::text(400, "Missing value for enable"))?;
        let on = match enable {
            "1" | "t" | "true" => true,
            "0" | "f" | "false" => false,
            _ => {
                return Err(Reply::text(400, &format!("Invalid value for enable: {enable:?}")));
            }
        };
        if let Some(id) = id.filter(|id| self.core.catalog().local(id).is_none()) {
            return Err(Reply::text(404, &format!("No service registered with ID {id:?}")));
        }
        let reason = self.query.value("reason").unwrap_or_default().to_owned();
        self.core.change(|catalog, now| catalog.set_maintenance(id, on, &reason, now));
        Ok(Reply::done())
    }

    fn update_check(&self, id: &str) -> Result<Reply, Reply> {
        let body = self.body()?;
        fields::refuse_unknown_in_report(&body).map_err(refused)?;
        let given = |key| text(&body, key, "report").map_err(refused);
        let (word, output) = (given("Status")?, given("Output")?);
        let status = Status::from_word(&word);
        let status =
            status.ok_or_else(|| Reply::text(400, &format!("Invalid check status: '{word}'")))?;
        self.report(id, status, &output)
    }

    fn set_check(&self, id: &str, status: Status) -> Result<Reply, Reply> {
        self.report(id, status, self.query.value("note").unwrap_or_default())
    }

    fn report(&self, id: &str, status: Status, output: &str) -> Result<Reply, Reply> {
        if self.core.report(id, status, output) {
            return Ok(Reply::done());
        }
        let is_known = self.core.catalog().check(id).is_some();
        let (status, text) = self.core.release().no_such_report(id, is_known);
        Err(Reply::text(status, &text))
    }
}

/// What an instance's checks come to, as a status of HTTP and in a word.
fn aggregated<'a>(checks: impl Iterator<Item = &'a CheckRow>) -> (u16, &'static str) {
    let (mut worst, mut in_maintenance) = (Status::Passing, false);
    for check in checks {
        match check.course.kind {
            CheckKind::Maintenance => in_maintenance = true,
            _ => worst = worst.max(check.status),
        }
    }
    match worst {
        _ if in_maintenance => (503, "maintenance"),
        Status::Passing => (200, "passing"),
        Status::Warning => (429, "warning"),
        Status::Critical => (503, "critical"),
    }
}
