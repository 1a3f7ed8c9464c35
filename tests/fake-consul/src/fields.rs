//! The names that the body of a registration may use. Consul refuses what it does not know, and the
//! fake also what only Consul does: the mesh, and results in a row that move a check.

use serde_json::Value;

use super::registration::{RegistrationError, field};

const OF_SERVICE: [&str; 14] = [
    "ID",
    "Name",
    "Tags",
    "Address",
    "TaggedAddresses",
    "tagged_addresses",
    "Meta",
    "Port",
    "Check",
    "Checks",
    "Weights",
    "Token",
    "EnableTagOverride",
    "enable_tag_override",
];

const OF_CHECK: [&str; 29] = [
    "CheckID",
    "Name",
    "Status",
    "Notes",
    "ScriptArgs",
    "script_args",
    "Args",
    "HTTP",
    "Header",
    "Method",
    "Body",
    "TCP",
    "Interval",
    "AliasNode",
    "AliasService",
    "DockerContainerID",
    "docker_container_id",
    "Shell",
    "GRPC",
    "GRPCUseTLS",
    "TLSSkipVerify",
    "tls_skip_verify",
    "Timeout",
    "TTL",
    "DeregisterCriticalServiceAfter",
    "deregister_critical_service_after",
    "OutputMaxSize",
    "ServiceID",
    "service_id",
];

/// Refuses a body in which there is a name that Consul does not know.
pub fn refuse_unknown(body: &Value) -> Result<(), RegistrationError> {
    refuse(body, |name| is_one_of(name, &OF_SERVICE))?;
    let one = field(body, "Check").into_iter();
    let many = field(body, "Checks").and_then(Value::as_array).into_iter().flatten();
    one.chain(many).try_for_each(|check| refuse(check, |name| is_one_of(name, &OF_CHECK)))
}

/// Refuses names in the report of a check.
pub fn refuse_unknown_in_report(body: &Value) -> Result<(), RegistrationError> {
    refuse(body, |name| is_one_of(name, &["Status", "Output"]))
}

fn is_one_of(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn refuse(object: &Value, is_known: impl Fn(&str) -> bool) -> Result<(), RegistrationError> {
    let names = object.as_object().into_iter().flat_map(|object| object.keys());
    let mut unknown = names.filter(|name| !is_known(name));
    unknown.next().map_or(Ok(()), |name| Err(RegistrationError::Unknown { name: name.clone() }))
}
