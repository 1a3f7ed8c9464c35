//! Who competes: this filter with a policy, or Envoy's own balancing with one.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::config::EnvoyConfig;

/// One way to balance; a contest goes through [`Contender::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// This filter with a policy.
    Filter(&'static str),
    /// A static cluster with one of Envoy's policies.
    Native(&'static str),
}

impl Contender {
    /// All, in the order of a round.
    pub const ALL: [Self; 5] = [
        Self::Filter("peak_ewma"),
        Self::Filter("least_request"),
        Self::Filter("round_robin"),
        Self::Native("LEAST_REQUEST"),
        Self::Native("ROUND_ROBIN"),
    ];

    /// The one that the target is about.
    pub const CHAMPION: Self = Self::Filter("peak_ewma");

    /// Attempts of a request: the first one and the retries.
    pub const ATTEMPTS: u8 = 3;

    /// Of Envoy's outlier detection, which judges the hosts of its own balancing: enough for two of
    /// five instances; all else is as Envoy's defaults.
    pub const MAX_EJECTION_PERCENT: u8 = 50;

    /// What is retried, on both sides.
    const RETRY_ON: &str = "connect-failure,refused-stream,reset,gateway-error";

    /// As in the tables.
    pub fn name(self) -> String {
        match self {
            Self::Filter(policy) => format!("this filter, `{policy}`"),
            Self::Native(policy) => format!("Envoy, `{policy}`"),
        }
    }

    /// Whether it is one of Envoy's own.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Its configuration.
    pub fn config(self, module: &Path, consul: SocketAddr, backends: &[SocketAddr]) -> EnvoyConfig {
        let mut config = EnvoyConfig::headers();
        match self {
            Self::Filter(policy) => {
                config.load(module);
                config.attempt(Self::ATTEMPTS);
                let service = &mut config.filter()["services"][0];
                service["load_balancing"]["policy"] = policy.into();
                config.retry_policy()["retry_on"] = Self::RETRY_ON.into();
            }
            Self::Native(policy) => {
                let detection = format!("{{max_ejection_percent: {}}}", Self::MAX_EJECTION_PERCENT);
                let detection: Value = serde_yaml_ng::from_str(&detection).expect("it is YAML");
                config.hand_over_natively(policy, backends, detection);
                let retry = config.retry_policy();
                retry["retry_on"] = Self::RETRY_ON.into();
                retry["num_retries"] = (Self::ATTEMPTS - 1).into();
                // Envoy's own way not to try an instance twice.
                retry["retry_host_predicate"] = serde_yaml_ng::from_str(
                    "[{name: envoy.retry_host_predicates.previous_hosts, typed_config: \
                     {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]",
                )
                .expect("it is YAML");
                retry["host_selection_retry_max_attempts"] = 5.into();
            }
        }
        config.ask(consul);
        config
    }
}
