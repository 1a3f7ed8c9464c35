//! What makes an instance a part of Consul's service mesh.

use serde_json::{Value, json};

use super::registration::{RegistrationError, text};

/// A sidecar proxy, an instance that speaks Connect itself, or neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mesh {
    /// Not a part of it.
    #[default]
    None,
    /// It speaks Connect itself.
    Native,
    /// It stands before instances of another service.
    Sidecar {
        /// That service.
        destination: String,
        /// The instance, where it is that of one.
        instance: String,
        /// The instance's port; 0 where it is not given.
        port: i64,
    },
}

impl Mesh {
    /// Reads what a registration says of it.
    pub fn from_json(service: &Value) -> Result<Self, RegistrationError> {
        if text(service, "Kind", "Kind")? == "connect-proxy" {
            let proxy = &service["Proxy"];
            let port = proxy["LocalServicePort"].as_i64().unwrap_or(0);
            return Ok(Self::Sidecar {
                destination: text(proxy, "DestinationServiceName", "Proxy")?,
                instance: text(proxy, "DestinationServiceID", "Proxy")?,
                port,
            });
        }
        let is_native = service["Connect"]["Native"].as_bool().unwrap_or(false);
        Ok(if is_native { Self::Native } else { Self::None })
    }

    /// Whether a client in the mesh that asks for `service` is led to it; `name` is its own.
    pub fn serves(&self, name: &str, service: &str) -> bool {
        match self {
            Self::None => false,
            Self::Native => name.eq_ignore_ascii_case(service),
            Self::Sidecar { destination, .. } => destination.eq_ignore_ascii_case(service),
        }
    }

    /// Adds what Consul tells of it to a `Service`.
    pub fn add_to(&self, service: &mut Value) {
        service["Proxy"] = json!({"MeshGateway": {}, "Expose": {}});
        service["Connect"] = json!({});
        match self {
            Self::None => {}
            Self::Native => service["Connect"]["Native"] = json!(true),
            Self::Sidecar { destination, instance, port } => {
                service["Kind"] = json!("connect-proxy");
                service["Proxy"]["DestinationServiceName"] = json!(destination);
                if !instance.is_empty() {
                    service["Proxy"]["DestinationServiceID"] = json!(instance);
                }
                if *port != 0 {
                    service["Proxy"]["LocalServicePort"] = json!(port);
                }
            }
        }
    }
}
