//! Which services there are, and how Envoy is configured for them.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::Value;

use super::Scale;
use crate::config::EnvoyConfig;
use crate::connection::Connection;

/// One catalog under one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// One service with a few instances: what the others are compared with.
    Small,
    /// One service with very many.
    OneLarge,
    /// One service with a few, while a bare client reads the one with very many, which changes:
    /// what the machine alone makes of it.
    Bystander,
    /// Very many services, each with a few, of which most are polled: the default.
    ManyPolled,
    /// The same, and each of them is watched.
    ManyWatched,
}

impl Case {
    /// All, in their order.
    pub const ALL: [Self; 5] =
        [Self::Small, Self::OneLarge, Self::Bystander, Self::ManyPolled, Self::ManyWatched];

    /// The most that Envoy has open to Consul at a time: above its default, which is 1,024.
    pub const CONNECTIONS: u32 = 4_096;

    /// How many services there are where there are many.
    const SERVICES: usize = 1_000;
    /// Instances of a service where there are many services.
    const FEW: usize = 10;
    /// All instances, where it is not the small case.
    pub const INSTANCES: usize = Self::SERVICES * Self::FEW;

    /// As in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "1 service of 10 instances",
            Self::OneLarge => "1 service of 10,000 instances",
            Self::Bystander => "1 of 10; a bare client reads 10,000",
            Self::ManyPolled => "1,000 services of 10, 100 watched",
            Self::ManyWatched => "1,000 services of 10, all watched",
        }
    }

    /// The services' names.
    pub fn services(self) -> impl Iterator<Item = String> {
        let (stem, count) = match self {
            Self::Small | Self::Bystander => ("small", 1),
            Self::OneLarge => ("large", 1),
            Self::ManyPolled | Self::ManyWatched => ("many", Self::SERVICES),
        };
        (0..count).map(move |number| format!("{stem}-{number}"))
    }

    /// Whether Envoy follows so many instances.
    pub const fn is_large(self) -> bool {
        !matches!(self, Self::Small | Self::Bystander)
    }

    /// The case whose services change under load.
    pub const fn changing(self) -> Self {
        match self {
            Self::Bystander => Self::OneLarge,
            its_own => its_own,
        }
    }

    /// The service that a change is in: each time another one, where there are several.
    pub fn changed(self, change: u32) -> String {
        // The first one takes the load; this number has no factor in common with their count.
        const STRIDE: usize = 37;
        let place = (change as usize + 1) * STRIDE % self.services().count();
        self.services().nth(place).expect("the place is below their count")
    }

    /// Instances of each service.
    pub const fn instances(self) -> usize {
        match self {
            Self::Small | Self::Bystander | Self::ManyPolled | Self::ManyWatched => Self::FEW,
            Self::OneLarge => Self::INSTANCES,
        }
    }

    /// How many registrations are timed side by side: where services are polled in turn, the
    /// turns of one after the other would take too long.
    pub const fn at_once(self) -> usize {
        match self {
            Self::Small | Self::OneLarge | Self::Bystander | Self::ManyWatched => 1,
            Self::ManyPolled => Scale::ARRIVALS as usize,
        }
    }

    /// The host of a service's requests.
    pub fn host(service: &str) -> String {
        format!("{service}.test")
    }

    /// `envoy/envoy.yaml` for these services; requests for the benchmark's usual host go to the
    /// first one. Without health checks: 10,000 every five seconds are another load.
    pub fn config(self, module: &Path, consul: SocketAddr) -> EnvoyConfig {
        let mut config = EnvoyConfig::recommended();
        config.load(module);
        config.ask(consul);
        let template = config.cluster_template();
        template.remove("health_checks").expect("instances are checked");
        // Of 10,000 instances each worker would keep a connection to each: more open files than a
        // process may have.
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
            '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
            common_http_protocol_options: { idle_timeout: 5s },
            explicit_http_config: { http_protocol_options: {} } }";
        let options = serde_yaml_ng::from_str(options).expect("it is YAML");
        template.insert("typed_extension_protocol_options".into(), options);
        let pattern = config.service().clone();
        let services = self.services().enumerate().map(|(place, name)| {
            let mut service = pattern.clone();
            let mut hosts = vec![Self::host(&name)];
            if place == 0 {
                hosts.push(Connection::HOST.to_owned());
            }
            service["name"] = name.into();
            service["hosts"] = hosts.into();
            service
        });
        config.filter()["services"] = services.collect::<Vec<Value>>().into();
        if self == Self::ManyWatched {
            config.filter()["consul"]["max_watches"] = Self::SERVICES.into();
            config.allow_to_consul(Self::CONNECTIONS);
        }
        config
    }
}
