//! What a service wants to know of its requests and answers.

use crate::config::{HashOn, Policy, Protocol, Service};

/// What a service wants to know of its requests and their answers. Each part costs host calls
/// at every request, and is read only for the services that use it.
#[derive(Debug, Clone, Default)]
pub struct RequiredInputs {
    /// What its policy hashes.
    pub hash_on: Option<HashOn>,
    /// The header that names a version.
    pub version_header: Option<String>,
    /// What holds a client to its share of a split.
    pub split_on: Option<HashOn>,
    /// What answers are judged by, where they are wanted at all, and the exact time with them: for
    /// `peak_ewma`.
    pub answers: Option<Protocol>,
}

impl RequiredInputs {
    /// What a service that is configured so wants to know.
    pub fn of(service: &Service) -> Self {
        let policy = &service.load_balancing.policy;
        let versions = service.versions.as_ref();
        let learns = matches!(policy, Policy::PeakEwma { .. });
        Self {
            hash_on: policy.hashing().map(|hash| hash.on.clone()),
            version_header: versions.and_then(|versions| versions.header.clone()),
            split_on: versions.and_then(|versions| versions.hash_on.clone()),
            answers: learns.then_some(service.protocol),
        }
    }
}
