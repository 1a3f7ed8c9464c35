//! What a service wants to know of its requests and answers.

use crate::balance::hints::Pin;
use crate::config::{HashOn, Policy, Protocol, Service, Sticky};

/// What a service wants to know of its requests and their answers. Each part costs host calls
/// at every request, and is read only for the services that use it.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// What its policy hashes.
    pub hash_on: Option<HashOn>,
    /// The header that names a version.
    pub version_header: Option<String>,
    /// What holds a client to its share of a split.
    pub split_on: Option<HashOn>,
    /// The cookie by which a client stays with its endpoint.
    pub sticky: Option<Sticky>,
    /// Whether latencies are wanted, and so the exact time.
    pub latency: bool,
    /// Whether answers are judged, and by what.
    pub judged_by: Option<Protocol>,
    /// Whether retries are counted.
    pub retries: bool,
    /// Whether the upstream is told which of its dependencies are down.
    pub dependency_header: bool,
}

impl Wants {
    /// What a service that is configured so wants to know.
    pub fn of(service: &Service) -> Self {
        let latency = matches!(service.load_balancing.policy, Policy::PeakEwma { .. });
        let versions = service.versions.as_ref();
        let judges = service.outlier_detection.is_some() || latency;
        Self {
            hash_on: match &service.load_balancing.policy {
                Policy::RingHash { hash, .. } | Policy::Maglev { hash, .. } => {
                    Some(hash.on.clone())
                }
                Policy::RoundRobin
                | Policy::Random
                | Policy::LeastRequest { .. }
                | Policy::PeakEwma { .. } => None,
            },
            version_header: versions.and_then(|versions| versions.header.clone()),
            split_on: versions.and_then(|versions| versions.hash_on.clone()),
            sticky: service.sticky.clone(),
            latency,
            judged_by: judges.then_some(service.protocol),
            retries: service.retry_budget.is_some(),
            dependency_header: service.dependencies.as_ref().is_some_and(|it| it.header),
        }
    }

    /// Whether it wants to see answers at all.
    pub const fn answers(&self) -> bool {
        self.judged_by.is_some() || self.retries || self.sticky.is_some()
    }

    /// The header that tells a client to stay with an endpoint.
    pub fn cookie(&self, pin: Pin) -> Option<String> {
        let Sticky { cookie, ttl } = self.sticky.as_ref()?;
        let seconds = ttl.as_secs();
        Some(match seconds {
            0 => format!("{cookie}={pin}; Path=/; HttpOnly"),
            _ => format!("{cookie}={pin}; Path=/; Max-Age={seconds}; HttpOnly"),
        })
    }
}
