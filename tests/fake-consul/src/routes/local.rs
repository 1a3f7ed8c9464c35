//! What a client asks the agent of its own services and checks, and tells it.

use serde_json::{Value, json};

use super::{Call, refused};
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

    /// Of Consul's filters only the one that chooses the checks of an instance is known.
    fn agent_checks(&self) -> Result<Reply, Reply> {
        let id = self.query.filled("filter").and_then(|filter| {
            filter.strip_prefix("ServiceID == \"")?.strip_suffix('"').filter(|id| !id.contains('"'))
        });
        if id.is_none() {
            self.query.refuse_filter()?;
        }
        let catalog = self.core.catalog();
        // The node's own check is Serf's, and the agent does not know it.
        let local = catalog.checks().filter(|row| match &row.service {
            Some((own, ..)) => catalog.local(own).is_some() && id.is_none_or(|id| id == own),
            None => row.id != "serfHealth" && id.is_none(),
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
        shape::agent_service(registration)
    }

    fn register(&self) -> Result<Reply, Reply> {
        let body = self.body()?;
        let registration = Registration::from_request(&body);
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
        self.core.change(|catalog, _| catalog.deregister(id));
        Ok(Reply::done())
    }

    fn deregister_check(&self, id: &str) -> Result<Reply, Reply> {
        self.core.change(|catalog, _| catalog.deregister_check(id));
        Ok(Reply::done())
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
        match self.core.report(id, status, output) {
            true => Ok(Reply::done()),
            false => {
                let text = format!("CheckID {id:?} does not have associated TTL");
                Err(Reply::text(500, &text))
            }
        }
    }
}
