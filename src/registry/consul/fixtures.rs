//! A plain configuration for the tests of this room.

use crate::config::{Config, Consul, Service};

pub(super) fn config() -> Config {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    Config { consul: consul(), ..Config::parse(json).unwrap() }
}

pub(super) fn consul() -> Consul {
    Consul { authority: "consul.internal".into(), ..Consul::new("consul") }
}

pub(super) fn service(name: &str) -> Service {
    Service::new(name)
}
