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

mod check;
mod consistency;
mod consul;
mod cursor;
mod dependencies;
mod discover;
mod dns_names;
mod duration;
mod endpoints;
mod error;
mod excerpt;
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
mod policy;
mod prepared_query;
mod probe;
mod protobuf;
mod registration;
mod removed;
mod service;
mod shrink_guard;
mod source;
mod staleness;
mod suggestion;
mod template;
mod versions;
mod xds;

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use hashbrown::HashMap;
use log::LevelFilter;

pub use self::check::{Check, CheckKind, CheckTarget, RunByConsul};
pub use self::consistency::{CacheAges, Consistency};
pub use self::consul::{BreakerConfig, Consul, RetryBudgetConfig};
pub use self::dependencies::{Cycle, Dependencies, DependencyError, OnDependencyDown};
pub use self::discover::Discover;
pub use self::dns_names::DnsNames;
pub use self::duration::DurationError;
pub use self::endpoints::{AddressPolicy, Cidr, CidrError};
pub use self::error::ConfigError;
pub use self::excerpt::Excerpt;
pub use self::field_error::FieldError;
pub use self::field_path::FieldPath;
pub use self::handoff::Handoff;
pub use self::hash_on::HashOn;
pub use self::health_check::HealthCheck;
pub use self::host_pattern::{HostPattern, HostPatternError};
pub use self::host_template::HostTemplate;
pub use self::load_balancing::{LoadBalancing, SlowStart};
pub use self::locality::Locality;
pub use self::node_info::NodeInfo;
pub use self::policy::{Hashing, Policy, PolicyKind};
pub use self::prepared_query::PreparedQuery;
pub use self::probe::Probe;
pub use self::protobuf::StructError;
pub use self::registration::{Registration, TaggedAddress, Weights};
pub use self::service::{AddressChoice, HealthThreshold, Protocol, Service};
pub use self::shrink_guard::ShrinkGuardConfig;
pub use self::source::Source;
pub use self::staleness::{OnStale, Staleness};
pub use self::suggestion::suggestion;
pub use self::versions::{Share, VersionFallback, VersionKey, Versions};
pub use self::xds::{ClustersConfig, RoutesConfig, Xds, XdsError};

use self::cursor::Cursor;

/// The filter's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where Consul is and how it is asked.
    pub consul: Consul,
    /// The services to discover, at most [`Config::MAX_SERVICES`]; at least one, unless others
    /// are found while running. No two have the same name (in any case) or a host in
    /// common.
    pub services: Vec<Service>,
    /// Which services of Consul's catalog are served, too; none: none.
    pub discover: Option<Discover>,
    /// How the names of Consul's DNS are served, too; none: not at all.
    pub dns_names: Option<DnsNames>,
    /// The services that this proxy registers, at most [`Registration::MAX`].
    pub registrations: Vec<Registration>,
    /// Where this proxy is; none: zones make no difference.
    pub locality: Option<Locality>,
    /// Which addresses may be endpoints.
    pub endpoints: AddressPolicy,
    /// How Envoy's own clusters are fed; none: they are not.
    pub xds: Option<Xds>,
    /// How a pick reaches Envoy's router.
    pub handoff: Handoff,
    /// Whether the Envoy route's metadata may name a request's service.
    pub route_metadata: bool,
    /// What happens to a request of no service.
    pub unmatched: Unmatched,
    /// How long a request may wait for a service that was never resolved yet; 0 is not at
    /// all.
    pub warmup_timeout: Duration,
    /// The least important level that is logged.
    pub log_level: LevelFilter,
}

impl Config {
    /// The most bytes of a configuration.
    pub const MAX_BYTES: usize = 1 << 20;
    /// The most services: their ids have 16 bits.
    pub const MAX_SERVICES: usize = 65_535;
    /// The shortest and the longest `warmup_timeout`.
    pub const WARMUP_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
    /// The `warmup_timeout` where none is given.
    pub const DEFAULT_WARMUP_TIMEOUT: Duration = Duration::from_secs(2);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "consul",
        "services",
        "discover",
        "dns_names",
        "register",
        "locality",
        "endpoints",
        "xds",
        "handoff",
        "route_metadata",
        "unmatched",
        "warmup_timeout",
        "log_level",
    ];
    /// The log levels, as the configuration calls them.
    pub const LOG_LEVELS: &[(&str, LevelFilter)] = &[
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];

    /// Reads a configuration as Envoy hands it over: JSON text, or the protobuf encoding of
    /// a `google.protobuf.Struct`.
    ///
    /// The same bytes give the same result on every thread: nothing but the bytes decides.
    ///
    /// # Errors
    ///
    /// The first thing that is not as the contract says, with its place. Unknown fields are
    /// found before anything else in the same object is looked at, so that a misspelt field
    /// is not reported as a missing one.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        if json.len() > Self::MAX_BYTES {
            return Err(ConfigError::TooLarge { limit: Self::MAX_BYTES, found: json.len() });
        }
        let Some(first) = json.iter().find(|byte| !byte.is_ascii_whitespace()) else {
            return Err(ConfigError::Empty);
        };
        // The encoding of a `Struct` begins with a byte that is a blank in JSON, and goes on
        // with a length that may be any character: only the whole tells which it is.
        let value = match (serde_json::from_slice(json), protobuf::read_struct(json)) {
            (Ok(value), _) | (Err(_), Ok(value)) => value,
            (Err(_), Err(cause)) if cause.is_about_a_struct() => {
                return Err(ConfigError::Struct { cause });
            }
            (Err(cause), Err(_)) if matches!(first, b'{' | b'[') => {
                return Err(ConfigError::Syntax { cause });
            }
            (Err(cause), Err(_)) => return Err(ConfigError::NotJson { cause }),
        };
        Self::read(&Cursor::root(&value))
    }

    fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let finds_others = object.has("discover") || object.has("dns_names");
        let mut config = Self {
            consul: object.required(
                "consul",
                "an object such as {\"cluster\": \"consul\"}",
                Consul::read,
            )?,
            services: match object.optional("services", |node| services(node, finds_others))? {
                Some(services) => services,
                None if finds_others || object.has("register") => Vec::new(),
                None => {
                    let expected = "an array such as [{\"name\": \"web\"}]";
                    return Err(object.error_at("services", FieldError::Missing { expected }));
                }
            },
            discover: object.optional("discover", Discover::read)?,
            dns_names: object.optional("dns_names", DnsNames::read)?,
            registrations: object
                .optional("register", |node| node.array(Registration::MAX, Registration::read))?
                .unwrap_or_default(),
            locality: object.optional("locality", Locality::read)?,
            endpoints: object.optional("endpoints", AddressPolicy::read)?.unwrap_or_default(),
            xds: object.optional("xds", Xds::read)?,
            handoff: object.optional("handoff", Handoff::read)?.unwrap_or_default(),
            route_metadata: object.optional("route_metadata", Cursor::boolean)?.unwrap_or(false),
            unmatched: object
                .optional("unmatched", |node| node.one_of("reaction", Unmatched::CHOICES))?
                .unwrap_or_default(),
            warmup_timeout: object
                .optional("warmup_timeout", |node| node.duration(Self::WARMUP_TIMEOUT))?
                .unwrap_or(Self::DEFAULT_WARMUP_TIMEOUT),
            log_level: object
                .optional("log_level", |node| node.one_of("log level", Self::LOG_LEVELS))?
                .unwrap_or(LevelFilter::Info),
        };
        config.check_ids_suffice()?;
        config.check_hosts_given()?;
        config.check_cache_ages()?;
        config.check_fallbacks_admitted()?;
        config.check_registrations_depend()?;
        config.check_clusters_suffice()?;
        config.keep_clusters_apart();
        Ok(config)
    }

    /// Refuses a service that no request could ever find.
    fn check_hosts_given(&self) -> Result<(), ConfigError> {
        let is_only = self.services.len() == 1 && self.is_static();
        if self.route_metadata || is_only || self.xds.is_some() {
            return Ok(());
        }
        match self.services.iter().position(|service| service.hosts.is_empty()) {
            Some(index) => Err(ConfigError::refused(
                service_place(index).field("hosts"),
                FieldError::HostsNeeded,
            )),
            None => Ok(()),
        }
    }

    /// Refuses an age that the endpoints of a quiet service reach while all is well.
    fn check_cache_ages(&self) -> Result<(), ConfigError> {
        let least = Staleness::least_max_age(&self.consul);
        for (place, service) in self.each() {
            if let Some(found) = service.staleness.map(|staleness| staleness.max_age)
                && found < least
            {
                let problem = FieldError::BelowWait { found, least };
                return Err(ConfigError::refused(place.field("max_age"), problem));
            }
        }
        Ok(())
    }

    /// Refuses addresses of a fallback that would not be used if Consul had them.
    fn check_fallbacks_admitted(&self) -> Result<(), ConfigError> {
        for (index, service) in self.services.iter().enumerate() {
            let denied = |address: &SocketAddr| !self.endpoints.admits(address.ip());
            if let Some(n) = service.fallback.iter().position(denied) {
                let place = service_place(index).field("fallback").item(n);
                return Err(ConfigError::refused(place, FieldError::NotAdmitted));
            }
        }
        Ok(())
    }

    /// Every service, with its place: those that are configured, and what those are like that
    /// are found.
    fn each(&self) -> impl Iterator<Item = (FieldPath, &Service)> {
        let place = || FieldPath::root().field("dns_names").field("service");
        let named = self.dns_names.as_ref().map(|it| (place(), &it.service));
        self.each_with_cluster().chain(named)
    }

    /// Those of them that a cluster of Envoy's own can be for: not what clients name.
    fn each_with_cluster(&self) -> impl Iterator<Item = (FieldPath, &Service)> {
        let place = || FieldPath::root().field("discover").field("service");
        let listed = self.discover.as_ref().map(|it| (place(), &it.service));
        let configured = self.services.iter().enumerate();
        let configured = configured.map(|(index, service)| (service_place(index), service));
        configured.chain(listed)
    }

    /// Whether the configured services are all that there are.
    pub const fn is_static(&self) -> bool {
        self.discover.is_none() && self.dns_names.is_none()
    }
}

/// What happens to a request that belongs to no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unmatched {
    /// It goes on untouched.
    #[default]
    Pass,
    /// It is answered 404.
    Reject,
}

impl Unmatched {
    /// The reactions, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("pass", Self::Pass), ("reject", Self::Reject)];
}

fn services(node: &Cursor<'_>, finds_others: bool) -> Result<Vec<Service>, ConfigError> {
    let mut services = node.array(Config::MAX_SERVICES, Service::read)?;
    if services.is_empty() && !finds_others {
        return Err(node.error(FieldError::Empty { expected: "at least one service" }));
    }
    check_names_differ(&services)?;
    check_hosts_differ(&services)?;
    Dependencies::read(node, &mut services)?;
    Ok(services)
}

fn check_names_differ(services: &[Service]) -> Result<(), ConfigError> {
    let place = |index| service_place(index).field("name");
    let mut seen = HashMap::with_capacity(services.len());
    for (index, service) in services.iter().enumerate() {
        if let Some(first) = seen.insert(service.name.to_ascii_lowercase(), index) {
            let text = Excerpt::of(&service.name);
            let problem = FieldError::Repeated { text, first: place(first) };
            return Err(ConfigError::refused(place(index), problem));
        }
    }
    Ok(())
}

fn check_hosts_differ(services: &[Service]) -> Result<(), ConfigError> {
    let place = |(index, host)| service_place(index).field("hosts").item(host);
    let mut seen = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        for (host, pattern) in service.hosts.iter().enumerate() {
            if let Some(first) = seen.insert(pattern, (index, host)) {
                let text = Excerpt::of(&pattern.to_string());
                let problem = FieldError::Repeated { text, first: place(first) };
                return Err(ConfigError::refused(place((index, host)), problem));
            }
        }
    }
    Ok(())
}

fn service_place(index: usize) -> FieldPath {
    FieldPath::root().field("services").item(index)
}
