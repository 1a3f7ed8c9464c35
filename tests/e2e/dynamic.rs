//! Parts of Envoy's configuration in files that it watches.

use serde_json::json;
use serde_yaml_ng::Value;
use stack::{Bootstrap, Envoy};

use crate::testbed::{Setup, Testbed, yaml};

/// A kind of resource that Envoy reads from a file.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The list under `static_resources`.
    list: &'static str,
    /// The source under `dynamic_resources`.
    source: &'static str,
    /// The name of its protobuf.
    proto: &'static str,
}

/// Listeners, by file-based LDS.
pub const LISTENERS: Kind = Kind {
    list: "listeners",
    source: "lds_config",
    proto: "type.googleapis.com/envoy.config.listener.v3.Listener",
};

/// Clusters, by file-based CDS.
pub const CLUSTERS: Kind = Kind {
    list: "clusters",
    source: "cds_config",
    proto: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
};

/// How long the old filter chains of an updated listener live on.
pub const DRAIN_SECONDS: u64 = 2;

impl Kind {
    /// The text of the file: what the configuration has of this kind.
    pub fn text(self, setup: Setup) -> String {
        let mut resources = Vec::new();
        setup.edit(|bootstrap| {
            // As it is written, where both listeners have the same plugin.
            let written = bootstrap.to_yaml().expect("YAML");
            let mut bootstrap = Bootstrap::parse(&written).expect("a configuration");
            let list = &mut bootstrap.config()["static_resources"][self.list];
            resources.clone_from(list.as_sequence().expect("a list"));
        });
        for resource in &mut resources {
            resource["@type"] = self.proto.into();
        }
        let mut file = Value::Mapping(serde_yaml_ng::Mapping::new());
        file["resources"] = Value::Sequence(resources);
        serde_yaml_ng::to_string(&file).expect("YAML")
    }

    /// Replaces the file under a running Envoy.
    pub fn update(self, bed: &Testbed, setup: Setup) {
        let file = self.file();
        let replaced = bed.envoy.replace_file(&file, &self.text(setup));
        replaced.expect("the file is replaced");
    }

    /// Empties the file under a running Envoy.
    pub fn remove_all(self, bed: &Testbed) {
        let replaced = bed.envoy.replace_file(&self.file(), "resources: []\n");
        replaced.expect("the file is replaced");
    }

    /// Starts Envoy with this kind of resource in a file; `make` is called twice. What is replaced drains
    /// soon, and at once.
    pub fn start(self, make: impl Fn() -> Setup) -> Testbed {
        let drain = DRAIN_SECONDS.to_string();
        // Connections are told to close at once, not more and more of them.
        self.start_with(make, &["--drain-time-s", &drain, "--drain-strategy", "immediate"])
    }

    /// Starts Envoy with this kind of resource in a file and these arguments; `make` is called twice.
    pub fn start_with(self, make: impl Fn() -> Setup, arguments: &[&str]) -> Testbed {
        let text = self.text(make());
        let setup = make().edit(|bootstrap| {
            let config = bootstrap.config();
            let resources = config["static_resources"].as_mapping_mut();
            resources.expect("a mapping").remove(self.list);
            let path = format!("{{dir}}/{}", self.file());
            let source =
                json!({"resource_api_version": "V3", "path_config_source": {"path": path}});
            // What a configuration says of its node stays.
            if config.get("node").is_none() {
                config["node"] = yaml(json!({"id": "test", "cluster": "test"}));
            }
            if config.get("dynamic_resources").is_none() {
                config["dynamic_resources"] = yaml(json!({}));
            }
            config["dynamic_resources"][self.source] = yaml(source);
        });
        let builder = setup.builder();
        let builder = arguments.iter().fold(builder, |builder, argument| builder.arg(*argument));
        let envoy: Envoy =
            builder.file(self.file(), text).start().unwrap_or_else(|error| panic!("{error}"));
        let ingress = envoy.listener("ingress").expect("the listener ingress");
        Testbed { envoy, ingress }
    }

    fn file(self) -> String {
        format!("{}.yaml", self.list)
    }
}
