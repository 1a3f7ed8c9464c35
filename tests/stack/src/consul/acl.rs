//! A Consul where nobody may do anything without a token.

use serde_json::{Value, json};

use super::Consul;
use crate::client::{Answer, Request};
use crate::registry::{Registry, RegistryError, accepted};

/// The token that may do everything, of a Consul whose builder was told so.
pub(super) const MANAGEMENT: &str = "6f3d5c0e-2b7a-4f57-9a3e-8d1c4b60f2aa";

/// A token, and the policy that says what it may do.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The token itself.
    pub secret: String,
    accessor: String,
    policy: String,
    name: String,
}

impl Consul {
    /// Makes a token that may do what these rules say, and nothing else.
    ///
    /// # Errors
    /// No answer, or a refusal, as of a Consul without ACLs.
    pub fn grant(&self, name: &str, rules: &str) -> Result<Grant, RegistryError> {
        let policy =
            self.managed("PUT", "/v1/acl/policy", &json!({"Name": name, "Rules": rules}))?;
        let body = json!({"Policies": [{"Name": name}]});
        let token = self.managed("PUT", "/v1/acl/token", &body)?;
        let text = |answer: &Value, field: &str| {
            answer[field].as_str().map(str::to_owned).unwrap_or_default()
        };
        Ok(Grant {
            secret: text(&token, "SecretID"),
            accessor: text(&token, "AccessorID"),
            policy: text(&policy, "ID"),
            name: name.to_owned(),
        })
    }

    /// Lets a token do what these rules say from now on.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn change(&self, grant: &Grant, rules: &str) -> Result<(), RegistryError> {
        let Grant { policy, name, .. } = grant;
        let body = json!({"ID": policy, "Name": name, "Rules": rules});
        self.managed("PUT", &format!("/v1/acl/policy/{policy}"), &body).map(|_| ())
    }

    /// Takes a token away: nobody knows it any more.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    pub fn revoke(&self, grant: &Grant) -> Result<(), RegistryError> {
        let path = format!("/v1/acl/token/{}", grant.accessor);
        self.managed("DELETE", &path, &Value::Null).map(|_| ())
    }

    fn managed(&self, method: &str, path: &str, body: &Value) -> Result<Value, RegistryError> {
        let request = Request::new(method, self.address(), path).body(body.to_string());
        let answer = request.header("x-consul-token", MANAGEMENT).send()?;
        accepted(path, answer).map(|answer: Answer| answer.json())
    }
}

/// The settings that let nobody do anything without a token, but the agent for itself.
pub(super) fn settings() -> Value {
    json!({
        "enabled": true,
        "default_policy": "deny",
        "tokens": {"master": MANAGEMENT, "agent": MANAGEMENT},
    })
}
