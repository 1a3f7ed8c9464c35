//! A plain configuration for the tests of this floor.

use core::time::Duration;

use crate::config::{AddressChoice, Consistency, Consul, HealthThreshold, Policy, Service};

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
    Service {
        name: name.into(),
        hosts: vec![],
        tags: vec![],
        filter: None,
        health: HealthThreshold::Passing,
        address: AddressChoice::Service,
        policy: Policy::RoundRobin,
    }
}
