//! Who competes: this filter with a policy, or Envoy's own balancing with one.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::EnvoyConfig;
use crate::connection::Connection;

/// One way to balance over hosts that Consul names; a contest goes through [`Contender::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// This filter picks by a policy.
    Filter(&'static str),
    /// Envoy balances by its policy of that name; this filter is on no request's way.
    Native(&'static str),
}

impl Contender {
    /// All, in the order of a round.
    pub const ALL: [Self; 5] = [
        Self::Filter("peak_ewma"),
        Self::Filter("least_request"),
        Self::Filter("round_robin"),
        Self::Native("least_request"),
        Self::Native("round_robin"),
    ];

    /// The one that the target is about.
    pub const CHAMPION: Self = Self::Filter("peak_ewma");

    /// Attempts of a request: the first one and the retries.
    pub const ATTEMPTS: u8 = 3;

    /// What is retried, on both sides.
    const RETRY_ON: &str = "connect-failure,refused-stream,reset,gateway-error";

    /// As in the tables.
    pub fn name(self) -> String {
        match self {
            Self::Filter(policy) => format!("this filter, `{policy}`"),
            Self::Native(policy) => format!("Envoy, `{}`", policy.to_uppercase()),
        }
    }

    /// Whether it is one of Envoy's own.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Its configuration: `envoy/envoy.yaml` with its health checks and outlier detection, and
    /// without the filters of the pick where Envoy picks.
    pub fn config(self, module: &Path, consul: SocketAddr) -> EnvoyConfig {
        let mut config = EnvoyConfig::recommended();
        let (Self::Filter(policy) | Self::Native(policy)) = self;
        if self.is_native() {
            config.unplug();
        }
        config.load(module);
        config.service()["hosts"] = vec![Connection::HOST].into();
        config.service()["load_balancing"]["policy"] = policy.into();
        let retry = &mut config.route_template()["retry_policy"];
        retry["retry_on"] = Self::RETRY_ON.into();
        retry["num_retries"] = (Self::ATTEMPTS - 1).into();
        config.ask(consul);
        config
    }
}
