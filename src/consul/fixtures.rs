//! A plain configuration for the tests of this floor.

use core::time::Duration;

use crate::config::{Config, Consistency, Consul, Service};

pub(super) fn config() -> Config {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    Config { consul: consul(), ..Config::parse(json).unwrap() }
}

pub(super) fn consul() -> Consul {
    Consul {
        cluster: "consul".into(),
        authority: "consul.internal".into(),
        datacenter: None,
        namespace: None,
        partition: None,
        consistency: Consistency::Default,
        wait: Duration::from_secs(55),
        token_env: None,
    }
}

pub(super) fn service(name: &str) -> Service {
    Service::new(name)
}
