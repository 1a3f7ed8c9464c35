//! The names that the body of a registration may use: Consul refuses what it does not know.

use serde_json::Value;

use super::registration::{RegistrationError, field};
use super::release::Release;

const OF_SERVICE: [&str; 17] = [
    "Kind",
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
    "Proxy",
    "Connect",
];

const OF_CHECK: [&str; 31] = [
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
    "SuccessBeforePassing",
    "FailuresBeforeCritical",
    "DeregisterCriticalServiceAfter",
    "deregister_critical_service_after",
    "OutputMaxSize",
    "ServiceID",
    "service_id",
];

/// Refuses a body in which there is a name that the release does not know.
pub fn refuse_unknown(body: &Value, release: Release) -> Result<(), RegistrationError> {
    let newer_of_service =
        |name: &str| release.knows_more_fields() && is_one_of(name, &["Locality"]);
    refuse(body, |name| is_one_of(name, &OF_SERVICE) || newer_of_service(name))?;
    let one = field(body, "Check").into_iter();
    let many = field(body, "Checks").and_then(Value::as_array).into_iter().flatten();
    let newer = ["FailuresBeforeWarning", "DisableRedirects", "TLSServerName", "H2PING", "UDP"];
    let newer_of_check = |name: &str| release.knows_more_fields() && is_one_of(name, &newer);
    one.chain(many).try_for_each(|check| {
        refuse(check, |name| is_one_of(name, &OF_CHECK) || newer_of_check(name))
    })
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
