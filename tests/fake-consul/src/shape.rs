//! The JSON shapes of Consul 1.8.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::catalog::{Catalog, ServiceRow};
use super::check::CheckRow;
use super::node::{NODE, Node, add_locality};
use super::registration::Registration;

/// One entry of `/v1/health/service/<name>`.
pub fn service_entry(catalog: &Catalog, row: &ServiceRow) -> Value {
    let Registration { id, name, tags, address, port, .. } = &row.registration;
    let mut service = json!({
        "ID": id,
        "Service": name,
        "Tags": tags,
        "Address": address,
        "Meta": null_if_empty(&row.registration),
        "Port": port,
        "Weights": weights(&row.registration),
        "EnableTagOverride": row.registration.enable_tag_override,
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    });
    service["Proxy"] = json!({"MeshGateway": {}, "Expose": {}});
    service["Connect"] = json!({});
    add_tagged_addresses(&mut service, &row.registration);
    add_locality(&mut service, row.registration.locality.as_ref());
    let node = row.registration.node.as_ref().unwrap_or(catalog.node());
    let checks: Vec<Value> = catalog.checks_of(row).map(|row| check(row, node)).collect();
    json!({"Node": node.to_json(), "Service": service, "Checks": checks})
}

/// One value of `/v1/agent/services`.
pub fn agent_service(registration: &Registration) -> Value {
    let mut service = json!({
        "ID": registration.id,
        "Service": registration.name,
        "Tags": registration.tags,
        "Meta": registration.meta,
        "Port": registration.port,
        "Address": registration.address,
        "Weights": weights(registration),
        "EnableTagOverride": registration.enable_tag_override,
    });
    add_tagged_addresses(&mut service, registration);
    add_locality(&mut service, registration.locality.as_ref());
    service
}

/// A hash that moves with the content; Consul's own, too, is only good for comparing.
pub fn content_hash(service: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    service.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The body of `/v1/agent/self`, as far as clients look at it.
pub fn agent_self(catalog: &Catalog) -> Value {
    let node = catalog.node().to_json();
    json!({
        "Config": {
            "Datacenter": node["Datacenter"], "NodeName": NODE, "NodeID": node["ID"],
            "Revision": "", "Server": true, "Version": "1.8.7",
        },
        "Member": {"Name": NODE, "Addr": "127.0.0.1", "Status": 1},
        "Meta": node["Meta"],
    })
}

/// The body of `/v1/catalog/services`: every service's tags (Consul's are in random order).
pub fn catalog_services(catalog: &Catalog) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for row in catalog.services() {
        let tags = all.entry(row.registration.name.clone()).or_insert_with(|| json!([]));
        let Value::Array(tags) = tags else { continue };
        for tag in &row.registration.tags {
            if !tags.iter().any(|other| other == tag) {
                tags.push(json!(tag));
            }
        }
    }
    Value::Object(all)
}

/// One of an instance's `Checks`, and one value of `/v1/agent/checks`.
pub fn check(row: &CheckRow, node: &Node) -> Value {
    let empty = (String::new(), String::new(), Vec::new());
    let (id, name, tags) = row.service.as_ref().unwrap_or(&empty);
    json!({
        "Node": node.name,
        "CheckID": row.id,
        "Name": row.name,
        "Status": row.status.as_str(),
        "Notes": row.notes,
        "Output": row.output,
        "ServiceID": id,
        "ServiceName": name,
        "ServiceTags": tags,
        "Type": row.course.kind.as_str(),
        "Definition": {},
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    })
}

fn weights(registration: &Registration) -> Value {
    json!({"Passing": registration.passing_weight, "Warning": registration.warning_weight})
}

/// The catalog gives `null` for metadata without entries.
fn null_if_empty(registration: &Registration) -> Value {
    if registration.meta.is_empty() { Value::Null } else { json!(registration.meta) }
}

fn add_tagged_addresses(service: &mut Value, registration: &Registration) {
    let Value::Object(object) = service else {
        return;
    };
    let all = registration.tagged_addresses.iter();
    let all: Map<String, Value> = all
        .map(|(name, (address, port))| (name.clone(), json!({"Address": address, "Port": port})))
        .collect();
    if !all.is_empty() {
        object.insert("TaggedAddresses".to_owned(), Value::Object(all));
    }
}
