//! The filter's configuration: JSON in, checked types out, errors that name their place.
//!
//! Envoy hands the configuration over as JSON text where it was written as a `StringValue`,
//! and as protobuf where it was written as a `Struct`. It is read once into JSON values, and these by a reader
//! that knows where it stands; nothing that this module has accepted needs to be checked
//! again. `envoy/config.schema.json` says the same to editors.
//!
//! Limits: [`Config::MAX_BYTES`] of text, 127 levels of nesting (`serde_json`'s), and what
//! the constants of each type say. Of a field that one JSON object has twice the last
//! counts, as everywhere in `serde_json`; a `Struct` cannot have one twice.

mod across;
mod check;
mod cidr;
mod consistency;
mod consul;
mod cursor;
mod dependencies;
mod dependency_error;
mod dependency_graph;
mod discover;
mod dns_names;
mod duration;
mod endpoints;
mod error;
mod field_error;
mod field_path;
mod handoff;
mod hash_on;
mod health_check;
mod host_pattern;
mod host_template;
mod load_balancing;
mod locality;
mod node_info;
mod object;
mod policy;
mod prepared_query;
mod protobuf;
#[cfg_attr(target_family = "wasm", path = "no_recorder.rs")]
mod recorder;
#[cfg(not(target_family = "wasm"))]
pub mod reference;
mod registration;
mod selection;
mod service;
mod services;
mod shrink_guard;
mod staleness;
mod suggestion;
mod template;
mod versions;
mod whole;
mod xds;
mod xds_error;

pub use self::check::{Check, CheckKind, CheckTarget, RunByConsul};
pub use self::cidr::{Cidr, CidrError};
pub use self::consistency::{CacheAges, Consistency};
pub use self::consul::{BreakerConfig, Consul, RetryBudgetConfig};
pub use self::dependencies::{Dependencies, OnDependencyDown};
pub use self::dependency_error::DependencyError;
pub use self::dependency_graph::Cycle;
pub use self::discover::Discover;
pub use self::dns_names::DnsNames;
pub use self::duration::DurationError;
pub use self::endpoints::AddressPolicy;
pub use self::error::{ConfigError, Refusals};
pub use self::field_error::FieldError;
pub use self::field_path::FieldPath;
pub use self::handoff::Handoff;
pub use self::hash_on::HashOn;
pub use self::health_check::{HealthCheck, Probe};
pub use self::host_pattern::{HostPattern, HostPatternError};
pub use self::host_template::HostTemplate;
pub use self::load_balancing::{LoadBalancing, Protocol, SlowStart};
pub use self::locality::Locality;
pub use self::node_info::NodeInfo;
pub use self::policy::{Hashing, Policy, PolicyKind};
pub use self::prepared_query::PreparedQuery;
pub use self::protobuf::StructError;
pub use self::registration::{Registration, TaggedAddress, Weights};
pub use self::selection::{AddressChoice, HealthThreshold};
pub use self::service::Service;
pub use self::shrink_guard::ShrinkGuardConfig;
pub use self::staleness::{OnStale, Staleness};
pub use self::suggestion::suggestion;
pub use self::versions::{Share, VersionFallback, VersionKey, Versions};
pub use self::whole::{Config, Source, Unmatched};
pub use self::xds::{ClustersConfig, RoutesConfig, Xds};
pub use self::xds_error::XdsError;
