//! The compose file in `envoy/` is one that Docker, Consul and Envoy would take.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_yaml_ng::Value;
use stack::fetch;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("envoy")
}

fn file() -> PathBuf {
    folder().join("docker-compose.yaml")
}

fn compose() -> Value {
    let text = std::fs::read_to_string(file()).expect("the compose file");
    let mut compose: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    compose.apply_merge().expect("anchors");
    compose
}

fn services(compose: &Value) -> Vec<(&str, &Value)> {
    let services = compose["services"].as_mapping().expect("services");
    let named = services.iter().map(|(name, service)| {
        let name = name.as_str().expect("a name");
        (name, service)
    });
    named.collect()
}

/// The text of one of the files that are written out in the compose file.
fn config<'a>(compose: &'a Value, name: &str) -> &'a str {
    compose["configs"][name]["content"].as_str().expect(name)
}

#[test]
fn images_are_official_and_pinned() {
    let compose = compose();
    let mut names = BTreeSet::new();
    for (service, of) in services(&compose) {
        let image = of["image"].as_str().expect(service);
        let (name, tag) = image.rsplit_once(':').expect("a tag");
        names.insert(name);
        let version = tag.trim_start_matches('v').split('-').next();
        let numbers = version.expect("a version").split('.').map(str::parse::<u32>);
        assert_eq!(numbers.filter(Result::is_ok).count(), 3, "{image}");
    }
    assert!(names.iter().eq(&["envoyproxy/envoy", "hashicorp/consul", "nginx"]));
    let ours = compose["services"]["envoy"]["image"].as_str();
    let tag = format!("v{}", fetch::EnvoyRelease::DEFAULT.version());
    assert_eq!(ours, Some(format!("envoyproxy/envoy:{tag}").as_str()));
}

#[test]
fn mounted_files_stand_where_the_configuration_looks() {
    let compose = compose();
    let envoy = &compose["services"]["envoy"];
    let mounts = envoy["volumes"].as_sequence().expect("mounts");
    let root = envoy["working_dir"].as_str().expect("a folder");
    let mut targets = BTreeSet::new();
    for mount in mounts {
        let source = folder().join(mount["source"].as_str().expect("a source"));
        assert!(source.is_file(), "{} is not there", source.display());
        let target = mount["target"].as_str().expect("a target");
        targets.insert(target.strip_prefix(root).expect("under the folder"));
        assert_eq!(mount["read_only"], true);
        assert_eq!(mount["bind"]["create_host_path"], false);
    }
    let command: Vec<&str> = envoy["command"]
        .as_sequence()
        .expect("a command")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(command, ["envoy", "-c", "envoy/envoy.yaml"]);
    let yaml = std::fs::read_to_string(folder().join("envoy.yaml")).expect("envoy.yaml");
    let module = "target/wasm32-wasip1/release/consul_resolver.wasm";
    assert!(yaml.contains(&format!("filename: {module}")));
    for path in ["envoy/envoy.yaml", module] {
        assert!(targets.contains(format!("/{path}").as_str()), "{path}");
    }
    // envoy.yaml asks Consul at 127.0.0.1:8500, and listens on 10000.
    assert_eq!(envoy["network_mode"], "service:consul");
    let ports = compose["services"]["consul"]["ports"].as_sequence();
    let published = |port: &str| ports.is_some_and(|all| all.iter().any(|one| *one == port));
    assert!(published("127.0.0.1:10000:10000") && published("127.0.0.1:8500:8500"));
}

#[test]
fn consul_is_told_of_the_instances_that_run() {
    let compose = compose();
    let told: serde_json::Value = serde_json::from_str(config(&compose, "services")).expect("JSON");
    let told = told["services"].as_array().expect("services");
    assert_eq!(told.len(), 3);
    for service in told {
        let id = service["id"].as_str().expect("an id");
        assert_eq!(service["name"], "web");
        let of = &compose["services"][id];
        assert_eq!(of["environment"]["INSTANCE"], id);
        let address = of["networks"]["demo"]["ipv4_address"].as_str();
        assert_eq!(service["address"].as_str(), address, "{id}");
        let check = format!("http://{}/health", address.expect("an address"));
        assert_eq!(service["checks"][0]["http"], check.as_str());
    }
    for (name, of) in services(&compose) {
        for config in of["configs"].as_sequence().into_iter().flatten() {
            let source = config["source"].as_str().expect(name);
            assert!(compose["configs"][source]["content"].is_string(), "{name}");
        }
    }
}

#[test]
fn consul_takes_the_service_definitions() {
    let binary = match fetch::consul() {
        Ok(binary) => binary,
        Err(error) => return skipped("service definitions of the compose file", &error),
    };
    let compose = compose();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compose-services");
    std::fs::create_dir_all(&dir).expect("a folder");
    let agent = serde_json::json!({"data_dir": dir.join("data"), "server": true});
    for (name, text) in [
        ("agent.json", agent.to_string()),
        ("services.json", config(&compose, "services").to_owned()),
    ] {
        std::fs::write(dir.join(name), text).expect("written");
    }
    let output = Command::new(binary).arg("validate").arg(&dir).output();
    let output = output.expect("consul runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn docker_compose_takes_the_file() {
    let version = Command::new("docker").args(["compose", "version"]).output();
    if !version.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped("docker compose config", &"no docker compose here");
    }
    let output = Command::new("docker")
        .args(["compose", "--file"])
        .arg(file())
        .args(["config", "--quiet"])
        .output()
        .expect("docker runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Says it past the test runner's capture.
fn skipped(what: &str, why: &dyn std::fmt::Display) {
    let required = std::env::var("REQUIRE_CONSUL").is_ok_and(|value| value == "1");
    assert!(!required || !what.contains("service"), "{what}: {why}");
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what}: {why}\n");
}
