//! The user's Envoy configuration, with other addresses in it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_yaml_ng::{Mapping, Value};

/// The project's own Envoy configuration, as the demo and the tests run it: what is not asked to
/// be replaced stays as a user would copy it.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    config: Value,
    /// Whether the plugin of the listener `ingress` stands at the listener `xds` as well.
    is_plugin_shared: bool,
}

/// Why a configuration does not fit.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Not YAML.
    #[error("not YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// No such listener or cluster.
    #[error("no {kind} named `{name}`; there are {found:?}")]
    Missing {
        /// `listener` or `cluster`.
        kind: &'static str,
        /// The name looked for.
        name: String,
        /// The names there are.
        found: Vec<String>,
    },
    /// It has no socket address.
    #[error("the {kind} `{name}` has no socket_address")]
    NoAddress {
        /// `listener` or `cluster`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// It loads no module.
    #[error("no `filename` ends in .wasm: it loads no filter")]
    NoModule,
    /// The listener has no such part.
    #[error("the listener `{LISTENER}` has no {0}")]
    NoPart(&'static str),
}

/// The listener that serves clients.
const LISTENER: &str = "ingress";
/// The listener that serves Envoy's subscriptions.
const XDS: &str = "xds";

/// Counts the sockets of this process, so that each has a name of its own.
static SOCKETS: AtomicU32 = AtomicU32::new(0);

impl Bootstrap {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`BootstrapError::Yaml`].
    pub fn parse(yaml: &str) -> Result<Self, BootstrapError> {
        let mut config: Value = serde_yaml_ng::from_str(yaml)?;
        config.apply_merge()?;
        let is_plugin_shared = is_plugin_shared(&mut config);
        Ok(Self { config, is_plugin_shared })
    }

    /// Replaces every `filename` that ends in `.wasm`.
    ///
    /// # Errors
    /// [`BootstrapError::NoModule`] where there is none.
    pub fn set_module(&mut self, module: &Path) -> Result<(), BootstrapError> {
        match replace_module(&mut self.config, &module.display().to_string()) {
            0 => Err(BootstrapError::NoModule),
            _ => Ok(()),
        }
    }

    /// Replaces the address of the cluster `consul`.
    ///
    /// # Errors
    /// There is no such cluster, or it has no address.
    pub fn set_consul(&mut self, consul: SocketAddr) -> Result<(), BootstrapError> {
        self.set_address("consul", consul)
    }

    /// Replaces the address of a cluster.
    ///
    /// # Errors
    /// There is no such cluster, or it has no address.
    pub fn set_address(
        &mut self,
        name: &'static str,
        at: SocketAddr,
    ) -> Result<(), BootstrapError> {
        let missing = BootstrapError::NoAddress { kind: "cluster", name };
        let address = socket_address(self.cluster(name)?).ok_or(missing)?;
        address.insert("address".into(), at.ip().to_string().into());
        address.insert("port_value".into(), at.port().into());
        Ok(())
    }

    /// Replaces the port of the listener `ingress`; 0 is any free one.
    ///
    /// # Errors
    /// There is no such listener, or it has no address.
    pub fn set_port(&mut self, port: u16) -> Result<(), BootstrapError> {
        let address = self.listener_address()?;
        address.insert("port_value".into(), port.into());
        Ok(())
    }

    /// Replaces the IP that the listener `ingress` is bound to.
    ///
    /// # Errors
    /// There is no such listener, or it has no address.
    pub fn set_ip(&mut self, ip: IpAddr) -> Result<(), BootstrapError> {
        let address = self.listener_address()?;
        address.insert("address".into(), ip.to_string().into());
        Ok(())
    }

    /// Gives the socket of the filter's subscriptions a name that no other has, wherever it stands;
    /// without subscriptions there is none.
    ///
    /// # Errors
    /// [`BootstrapError::NoPart`]: it has no plugin.
    pub fn set_own_socket(&mut self) -> Result<(), BootstrapError> {
        let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
        self.set_socket(&format!("@consul_resolver/{}-{number}", std::process::id()))
    }

    /// Gives the socket of the filter's subscriptions this name, wherever it stands; without
    /// subscriptions there is none.
    ///
    /// # Errors
    /// [`BootstrapError::NoPart`]: it has no plugin.
    pub fn set_socket(&mut self, new: &str) -> Result<(), BootstrapError> {
        if let Some(old) = self.socket()? {
            replace_text(&mut self.config, &old, new);
        }
        Ok(())
    }

    /// The name of the socket of the filter's subscriptions.
    ///
    /// # Errors
    /// [`BootstrapError::NoPart`]: it has no plugin.
    pub fn socket(&mut self) -> Result<Option<String>, BootstrapError> {
        let socket = self.plugin()?.get("xds").and_then(|xds| xds.get("address"));
        Ok(socket.and_then(Value::as_str).map(str::to_owned))
    }

    /// The filter's own configuration, to be changed in place: that of the listener `ingress`,
    /// else of `xds`. Where one and the same stands at both, both are changed.
    ///
    /// # Errors
    /// [`BootstrapError::NoPart`].
    pub fn plugin(&mut self) -> Result<&mut Value, BootstrapError> {
        let missing = BootstrapError::NoPart("plugin with a configuration of type Struct");
        // A listener may have been added with it since.
        self.is_plugin_shared |= is_plugin_shared(&mut self.config);
        let is_at_ingress = with_key(self.ingress()?, "configuration").is_some();
        let listener = if is_at_ingress { LISTENER } else { XDS };
        let listener = listener_named(&mut self.config, listener);
        let plugin = listener.ok().and_then(|listener| with_key(listener, "configuration"));
        let plugin = plugin.ok_or(missing)?;
        let value = plugin.get_mut("configuration").and_then(|part| part.get_mut("value"));
        value.ok_or(BootstrapError::NoPart("plugin with a configuration of type Struct"))
    }

    /// The HTTP connection manager of the listener `ingress`, to be changed in place.
    ///
    /// # Errors
    /// [`BootstrapError::NoPart`].
    pub fn connection_manager(&mut self) -> Result<&mut Value, BootstrapError> {
        let missing = BootstrapError::NoPart("HTTP connection manager");
        let map = with_key(self.ingress()?, "http_filters");
        map.ok_or(missing)
    }

    /// The listener `ingress`, to be changed in place.
    ///
    /// # Errors
    /// There is none.
    pub fn ingress(&mut self) -> Result<&mut Value, BootstrapError> {
        listener_named(&mut self.config, LISTENER)
    }

    /// A cluster, to be changed in place.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn cluster(&mut self, name: &str) -> Result<&mut Value, BootstrapError> {
        named(&mut self.config["static_resources"], "clusters", "cluster", name)
    }

    /// All of it, to be changed in place.
    pub fn config(&mut self) -> &mut Value {
        &mut self.config
    }

    /// Adds a cluster with one static endpoint.
    pub fn add_static_cluster(&mut self, name: &str, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        let cluster = serde_json::json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint":
                {"address": {"socket_address": {"address": ip, "port_value": port}}}}]}]},
        });
        let clusters = self.config["static_resources"].get_mut("clusters");
        if let (Some(clusters), Ok(cluster)) =
            (clusters.and_then(Value::as_sequence_mut), serde_yaml_ng::to_value(cluster))
        {
            clusters.push(cluster);
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// It holds what YAML cannot express.
    pub fn to_yaml(&self) -> Result<String, BootstrapError> {
        let mut config = self.config.clone();
        if self.is_plugin_shared {
            let plugin = listener_named(&mut config, LISTENER).ok();
            let plugin = plugin.and_then(|it| with_key(it, "configuration")).cloned();
            let other = listener_named(&mut config, XDS).ok();
            // They may have been taken out since.
            if let (Some(plugin), Some(other)) =
                (plugin, other.and_then(|it| with_key(it, "configuration")))
            {
                *other = plugin;
            }
        }
        Ok(serde_yaml_ng::to_string(&config)?)
    }

    fn listener_address(&mut self) -> Result<&mut Mapping, BootstrapError> {
        let missing = BootstrapError::NoAddress { kind: "listener", name: LISTENER };
        socket_address(&mut self.ingress()?["address"]).ok_or(missing)
    }
}

/// Whether one and the same plugin stands at the listeners `ingress` and `xds`.
fn is_plugin_shared(config: &mut Value) -> bool {
    let mut plugin_at = |listener| {
        let listener = listener_named(config, listener).ok()?;
        with_key(listener, "configuration").cloned()
    };
    let plugins = (plugin_at(LISTENER), plugin_at(XDS));
    plugins.0.is_some() && plugins.0 == plugins.1
}

fn listener_named<'a>(config: &'a mut Value, name: &str) -> Result<&'a mut Value, BootstrapError> {
    named(&mut config["static_resources"], "listeners", "listener", name)
}

fn named<'a>(
    resources: &'a mut Value,
    list: &str,
    kind: &'static str,
    name: &str,
) -> Result<&'a mut Value, BootstrapError> {
    let items = resources.get_mut(list).and_then(Value::as_sequence_mut);
    let items = items.map(Vec::as_mut_slice).unwrap_or_default();
    let name_of =
        |item: &Value| item.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let found: Vec<String> = items.iter().map(name_of).collect();
    let item = items.iter_mut().find(|item| name_of(item) == name);
    item.ok_or_else(|| BootstrapError::Missing { kind, name: name.to_owned(), found })
}

/// The first mapping, at any depth, that has this key.
fn with_key<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match value {
        Value::Mapping(map) if map.contains_key(key) => Some(value),
        Value::Mapping(map) => map.values_mut().find_map(|value| with_key(value, key)),
        Value::Sequence(items) => items.iter_mut().find_map(|item| with_key(item, key)),
        _ => None,
    }
}

/// The first `socket_address` at any depth.
fn socket_address(value: &mut Value) -> Option<&mut Mapping> {
    with_key(value, "socket_address")?.get_mut("socket_address")?.as_mapping_mut()
}

/// Replaces the module's path wherever it stands; gives how often that was.
fn replace_module(value: &mut Value, module: &str) -> usize {
    match value {
        Value::Mapping(map) => {
            let is_module =
                |path: &Value| path.as_str().is_some_and(|path| path.ends_with(".wasm"));
            let mut replaced = 0;
            for (key, value) in map.iter_mut() {
                if key == "filename" && is_module(value) {
                    *value = module.into();
                    replaced += 1;
                } else {
                    replaced += replace_module(value, module);
                }
            }
            replaced
        }
        Value::Sequence(items) => items.iter_mut().map(|item| replace_module(item, module)).sum(),
        _ => 0,
    }
}

/// Replaces a text wherever it stands by itself.
fn replace_text(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::Mapping(map) => map.values_mut().for_each(|value| replace_text(value, old, new)),
        Value::Sequence(items) => items.iter_mut().for_each(|item| replace_text(item, old, new)),
        Value::String(text) if text == old => new.clone_into(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9901}}}
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains: [{code: {local: {filename: /etc/envoy/a.wasm}}, cert: {filename: /etc/key.pem}}]
  clusters:
  - name: other
    load_assignment: {endpoints: [{address: {socket_address: {address: other, port_value: 1}}}]}
  - name: consul
    load_assignment: {endpoints: [{address: {socket_address: {address: consul, port_value: 8500}}}]}
";

    fn substitute(yaml: &str) -> Result<String, BootstrapError> {
        let mut bootstrap = Bootstrap::parse(yaml)?;
        bootstrap.set_module(Path::new("/b.wasm"))?;
        bootstrap.set_consul("127.0.0.1:28500".parse().expect("address"))?;
        bootstrap.set_port(10_001)?;
        bootstrap.to_yaml()
    }

    #[test]
    fn only_the_module_consul_and_the_port_are_replaced() {
        let expected = YAML
            .replace("/etc/envoy/a.wasm", "/b.wasm")
            .replace("address: consul, port_value: 8500", "address: 127.0.0.1, port_value: 28500")
            .replace("port_value: 80}", "port_value: 10001}");
        let value = |yaml: &str| serde_yaml_ng::from_str::<Value>(yaml).expect("YAML");
        assert_eq!(value(&substitute(YAML).expect("fits")), value(&expected));
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_told_why() {
        let error = |yaml: &str| substitute(yaml).expect_err("does not fit").to_string();
        assert!(error("a: [").starts_with("not YAML"));
        assert!(error("{}").contains(".wasm"));
        let renamed = YAML.replace("name: consul", "name: registry");
        assert_eq!(
            error(&renamed),
            r#"no cluster named `consul`; there are ["other", "registry"]"#
        );
        let mut bootstrap = Bootstrap::parse(YAML).expect("YAML");
        let plugin = bootstrap.plugin().expect_err("no plugin").to_string();
        assert!(plugin.contains("ingress"), "{plugin}");
    }

    #[test]
    fn the_projects_own_configurations_have_all_parts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy");
        for (name, list, service) in [
            ("envoy.yaml", "services", "web"),
            ("native.yaml", "services", "web"),
            ("tcp.yaml", "services", "db"),
            ("headers.yaml", "services", "web"),
            ("minimal.yaml", "services", "web"),
            ("dynamic-forward-proxy.yaml", "services", "web"),
            ("consul-tls.yaml", "services", "web"),
            ("register.yaml", "register", "edge"),
        ] {
            let yaml = std::fs::read_to_string(folder.join(name)).expect(name);
            substitute(&yaml).expect(name);
            let mut bootstrap = Bootstrap::parse(&yaml).expect(name);
            let plugin = bootstrap.plugin().expect(name);
            assert_eq!(plugin[list][0]["name"], service);
            if name != "tcp.yaml" {
                let manager = bootstrap.connection_manager().expect(name);
                assert_eq!(manager["stat_prefix"], "ingress");
            }
        }
    }

    #[test]
    fn plugin_of_both_listeners_changes_when_one_is_changed() {
        let yaml = |xds: &str| {
            let plugin = "{vm_config: {}, configuration: {value: {a: 1}}}";
            format!(
                "static_resources: {{listeners: [{{name: ingress, config: &p {plugin}}}, \
                 {{name: xds, config: {xds}}}]}}"
            )
        };
        for xds in ["*p", "{vm_config: {}}"] {
            let mut bootstrap = Bootstrap::parse(&yaml(xds)).expect("YAML");
            bootstrap.plugin().expect("a plugin")["a"] = 2.into();
            let written = bootstrap.to_yaml().expect("YAML");
            let expected: Value =
                serde_yaml_ng::from_str(&yaml(xds).replace("a: 1", "a: 2")).expect("YAML");
            assert_eq!(serde_yaml_ng::from_str::<Value>(&written).expect("YAML"), expected);
        }
    }

    #[test]
    fn plugin_changes_at_a_listener_that_was_added_with_it() {
        let ingress = "{name: ingress, config: {configuration: {value: {a: 1}}}}";
        let yaml = format!("static_resources: {{listeners: [{ingress}]}}");
        let mut bootstrap = Bootstrap::parse(&yaml).expect("YAML");
        let listeners = &mut bootstrap.config()["static_resources"]["listeners"];
        let mut xds = listeners[0].clone();
        xds["name"] = "xds".into();
        listeners.as_sequence_mut().expect("listeners").push(xds);
        bootstrap.plugin().expect("a plugin")["a"] = 2.into();
        let written: Value =
            serde_yaml_ng::from_str(&bootstrap.to_yaml().expect("YAML")).expect("YAML");
        let value = |n: usize| {
            &written["static_resources"]["listeners"][n]["config"]["configuration"]["value"]
        };
        assert_eq!(value(1), value(0));
    }

    #[test]
    fn sockets_differ_when_two_configurations_run_side_by_side() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy");
        let mut seen = Vec::new();
        for name in ["envoy.yaml", "envoy.yaml", "native.yaml", "tcp.yaml"] {
            let yaml = std::fs::read_to_string(folder.join(name)).expect(name);
            let mut bootstrap = Bootstrap::parse(&yaml).expect(name);
            bootstrap.set_own_socket().expect(name);
            let socket = bootstrap.plugin().expect(name)["xds"]["address"].clone();
            let socket = socket.as_str().expect(name).to_owned();
            let written = bootstrap.to_yaml().expect(name);
            // At the listener, in its cluster, and in each plugin.
            let places = if name == "envoy.yaml" { 4 } else { 3 };
            assert_eq!(written.matches(&socket).count(), places, "{name}");
            assert!(!written.contains("proxy-1'") && !seen.contains(&socket), "{name}");
            seen.push(socket);
        }
    }
}
