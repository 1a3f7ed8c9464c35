//! What the configuration takes from the Envoy that it runs in.

use super::error::{ConfigError, Refusals};
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::registration::{Registration, is_address};
use super::whole::Config;
use crate::util::excerpt::Excerpt;
use crate::util::hash::xxh64;

/// Facts about Envoy's node; each may be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// The zone of its node.
    pub zone: Option<String>,
    /// The id of its node.
    pub node_id: Option<String>,
    /// The address at which it is reached, by its node's metadata.
    pub address: Option<String>,
    /// The port at which it is reached, by its node's metadata.
    pub port: Option<u16>,
}

impl Config {
    /// Fills in what was left out because Envoy can tell it. The same surroundings give the same
    /// result on every thread.
    ///
    /// # Errors
    ///
    /// A registration without an address or a port, and one that has the id of another.
    pub fn with_node_defaults(mut self, surroundings: &NodeInfo) -> Result<Self, ConfigError> {
        let mut refusals = Refusals::default();
        if let Some(locality) = &mut self.locality
            && locality.zone.is_none()
        {
            locality.zone.clone_from(&surroundings.zone);
        }
        for (index, registration) in self.registrations.iter_mut().enumerate() {
            registration.complete(surroundings, |field, problem| {
                refusals.add(place(index).field(field), problem);
            });
        }
        if refusals.is_empty() {
            self.check_ids_differ(&mut refusals);
        }
        refusals.none_or(self).map_err(ConfigError::Refused)
    }

    fn check_ids_differ(&self, refusals: &mut Refusals) {
        for (index, registration) in self.registrations.iter().enumerate() {
            let consul = &self.consul;
            let scope = |it: &Registration| {
                let namespace = it.namespace.as_ref().or(consul.namespace.as_ref()).cloned();
                (namespace, it.partition.as_ref().or(consul.partition.as_ref()).cloned())
            };
            let is_same =
                |it: &Registration| it.id == registration.id && scope(it) == scope(registration);
            let first = self.registrations.iter().position(is_same);
            if let Some(first) = first.filter(|first| *first < index) {
                let (text, first) = (Excerpt::of(&registration.id), place(first).field("id"));
                let problem = FieldError::Repeated { text, first };
                refusals.add(place(index).field("id"), problem);
            }
        }
    }
}

impl Registration {
    fn complete(
        &mut self,
        surroundings: &NodeInfo,
        mut refuse: impl FnMut(&'static str, FieldError),
    ) {
        if self.address.is_empty() {
            match surroundings.address.as_deref().filter(|address| !address.is_empty()) {
                Some(address) if is_address(address) => address.clone_into(&mut self.address),
                Some(address) => {
                    let text = Excerpt::of(address);
                    let expected = "an address at which others reach it, in \
                                    metadata.consul.address of Envoy's node";
                    refuse("address", FieldError::Malformed { text, expected });
                }
                None => {
                    let expected = "an address at which others reach it, here or as \
                                    metadata.consul.address of Envoy's node";
                    refuse("address", FieldError::Missing { expected });
                }
            }
        }
        if self.port == 0 {
            match surroundings.port.filter(|port| *port != 0) {
                Some(port) => self.port = port,
                None => {
                    let expected = "a port at which others reach it, here or as \
                                    metadata.consul.port of Envoy's node";
                    refuse("port", FieldError::Missing { expected });
                }
            }
        }
        if self.id.is_empty() {
            let node = surroundings.node_id.as_deref().filter(|id| !id.is_empty());
            self.id = default_id(&self.name, node, &self.address, self.port);
        }
    }
}

/// Makes the id of an instance: `<name>-<node>-<address>-<port>`, where the node is the id of Envoy's
/// node, and is left out where it has none. It stays the same when Envoy starts again, and two proxies
/// have the same only where they are reached at the same place: the id of a node is often that of all
/// proxies that share a bootstrap.
///
/// Characters that an id must not have become `-`, and one that would be too long ends in a hash
/// of the whole.
fn default_id(name: &str, node: Option<&str>, address: &str, port: u16) -> String {
    let node = node.map(|node| format!("{node}-")).unwrap_or_default();
    let whole = format!("{name}-{node}{address}-{port}");
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '~');
    let is_plain = whole.chars().all(is_allowed);
    if is_plain && whole.len() <= Registration::MAX_ID_BYTES {
        return whole;
    }
    let hash = xxh64(whole.as_bytes(), 0);
    let plain = whole.chars().map(|c| if is_allowed(c) { c } else { '-' });
    let kept = Registration::MAX_ID_BYTES - 17;
    format!("{}-{hash:016x}", plain.take(kept).collect::<String>())
}

fn place(index: usize) -> FieldPath {
    FieldPath::root().field("register").item(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parsed(register: &str) -> Config {
        let json = format!(r#"{{"consul": {{"cluster": "consul"}}, "register": [{register}]}}"#);
        Config::parse(json.as_bytes()).unwrap()
    }

    fn completed(register: &str, surroundings: &NodeInfo) -> Result<Registration, String> {
        let result = parsed(register).with_node_defaults(surroundings);
        result.map(|mut config| config.registrations.remove(0)).map_err(|error| error.to_string())
    }

    fn here() -> NodeInfo {
        NodeInfo {
            zone: None,
            node_id: Some("proxy-1".to_owned()),
            address: Some("10.0.0.5".to_owned()),
            port: Some(8080),
        }
    }

    #[test]
    fn address_and_port_are_those_of_the_node_unless_they_are_given() {
        let whole = completed(r#"{"name": "edge"}"#, &here()).unwrap();
        assert_eq!((whole.address.as_str(), whole.port), ("10.0.0.5", 8080));
        let given = completed(r#"{"name": "edge", "address": "web.test", "port": 1}"#, &here());
        let given = given.unwrap();
        assert_eq!((given.address.as_str(), given.port), ("web.test", 1));
        let unknown = NodeInfo { port: None, ..here() };
        let error = completed(r#"{"name": "edge"}"#, &unknown).unwrap_err();
        assert!(error.starts_with("register[0].port: missing"), "{error}");
        let error = completed(r#"{"name": "edge"}"#, &NodeInfo::default()).unwrap_err();
        assert!(error.starts_with("register[0].address: missing"), "{error}");
    }

    #[test]
    fn the_id_is_made_of_name_node_address_and_port() {
        let id = |surroundings| completed(r#"{"name": "edge"}"#, &surroundings).unwrap().id;
        assert_eq!(id(here()), "edge-proxy-1-10.0.0.5-8080");
        assert_eq!(id(NodeInfo { node_id: None, ..here() }), "edge-10.0.0.5-8080");
        let other = NodeInfo { address: Some("10.0.0.6".to_owned()), ..here() };
        assert_ne!(id(here()), id(other), "two proxies of one bootstrap");
        let given = completed(r#"{"name": "edge", "id": "mine"}"#, &here()).unwrap();
        assert_eq!(given.id, "mine");
    }

    #[test]
    fn ids_stay_different_when_they_are_changed_to_be_usable() {
        assert_ne!(default_id("a/b", None, "n", 1), default_id("a-b", None, "n", 1));
        let long = "n".repeat(400);
        let id = default_id("edge", Some(&long), "n", 8080);
        assert_eq!(id.len(), Registration::MAX_ID_BYTES);
        assert_ne!(id, default_id("edge", Some(&long), "n", 8081));
    }

    #[test]
    fn no_two_registrations_have_one_id() {
        let twice = r#"{"name": "edge"}, {"name": "edge"}"#;
        let error = parsed(twice).with_node_defaults(&here()).unwrap_err().to_string();
        assert!(error.starts_with("register[1].id: "), "{error}");
        let apart = r#"{"name": "edge"}, {"name": "edge", "namespace": "b"}"#;
        assert!(parsed(apart).with_node_defaults(&here()).is_ok());
    }
}
