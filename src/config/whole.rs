//! The whole configuration.

use core::ops::RangeInclusive;
use core::time::Duration;

use log::LevelFilter;

use super::consul::Consul;
use super::cursor::Cursor;
use super::discover::Discover;
use super::dns_names::DnsNames;
use super::endpoints::AddressPolicy;
use super::error::{ConfigError, Refusals};
use super::field_error::FieldError;
use super::handoff::Handoff;
use super::locality::Locality;
use super::object::{Object, field};
use super::protobuf;
use super::registration::Registration;
use super::service::Service;
use super::services::services;
use super::xds::Xds;
use crate::model::service::ServiceId;

/// The filter's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Access to Consul.
    pub consul: Consul,
    /// The services to discover, at most [`Service::MAX`]; at least one, unless others
    /// are found while running. No two have the same name (in any case) or a host in
    /// common.
    pub services: Vec<Service>,
    /// Services of Consul's catalog that are served, too; none: no others.
    pub discover: Option<Discover>,
    /// Names of Consul's DNS that are served, too; none: no others.
    pub dns_names: Option<DnsNames>,
    /// The services that this proxy registers, at most [`Registration::MAX`].
    pub registrations: Vec<Registration>,
    /// Zone of this proxy; none: zones make no difference.
    pub locality: Option<Locality>,
    /// Addresses that may be endpoints.
    pub endpoints: AddressPolicy,
    /// Feed of Envoy's own clusters; none: they are not fed.
    pub xds: Option<Xds>,
    /// Way of a pick to Envoy's router.
    pub handoff: Handoff,
    /// Lets the metadata of the Envoy route name a request's service.
    pub route_metadata: bool,
    /// Reaction to a request of no service.
    pub unmatched: Unmatched,
    /// Longest wait of a request for a service that was never resolved yet; 0 is not at
    /// all.
    pub warmup_timeout: Duration,
    /// The least important level that is logged.
    pub log_level: LevelFilter,
}

impl Config {
    /// The most bytes of a configuration.
    pub const MAX_BYTES: usize = 1 << 20;
    /// The shortest and the longest `warmup_timeout`.
    pub const WARMUP_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
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
    /// Nothing but the bytes decides, so all threads get one result.
    ///
    /// # Errors
    ///
    /// All that is not as the contract says, each with its place. Checks across services and sections
    /// run only where each field is as it should be.
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
        Self::read(&Cursor::root(&value)).map_err(ConfigError::Refused)
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("")?;
        object.describe(
            r#"{ "if": { "not": { "anyOf": [
                    { "required": ["discover"] },
                    { "required": ["dns_names"] },
                    { "required": ["register"] }
                 ] } },
                 "then": { "required": ["services"], "properties": { "services": { "minItems": 1 } } } }"#,
        );
        let mut config = Self {
            consul: Consul::new(""),
            services: Vec::new(),
            discover: None,
            dns_names: None,
            registrations: Vec::new(),
            locality: None,
            endpoints: AddressPolicy::default(),
            xds: None,
            handoff: Handoff::default(),
            route_metadata: false,
            unmatched: Unmatched::default(),
            warmup_timeout: Duration::from_secs(2),
            log_level: LevelFilter::Info,
        };
        object.require(
            field("consul", "The address of Consul and the way it is read."),
            "an object such as {\"cluster\": \"consul\"}",
            &mut config.consul,
            Consul::read,
        );
        let finds_others = object.has("discover") || object.has("dns_names");
        object.set(
            field(
                "services",
                "The services to discover. At least one, unless `discover` or `dns_names` finds others, or \
                 there is only something to register.",
            ),
            &mut config.services,
            |node| services(node, finds_others),
        );
        if !finds_others && !object.has("services") && !object.has("register") {
            let expected = "an array such as [{\"name\": \"web\"}]";
            object.refuse("services", FieldError::Missing { expected });
        }
        object.set_some(
            field(
                "discover",
                "The services of Consul's catalog that are served without being configured. Default: none.",
            ),
            &mut config.discover,
            Discover::read,
        );
        object.set_some(
            field(
                "dns_names",
                "The service of hosts that are names of Consul's DNS, such as \
                 `web.service.consul`. Default: not at all.",
            ),
            &mut config.dns_names,
            DnsNames::read,
        );
        object.set(
            field(
                "register",
                "The services that this proxy registers with Consul's agent, and whose health it keeps \
                 true. Default: none.",
            ),
            &mut config.registrations,
            |node| node.array(Registration::MAX, Registration::read),
        );
        object.set_some(
            field(
                "locality",
                "The place of this Envoy, so that instances of its own zone are preferred. Default: zones make \
                 no difference.",
            ),
            &mut config.locality,
            Locality::read,
        );
        object.set(
            field(
                "endpoints",
                "The addresses that may be endpoints. Unspecified and multicast addresses never are, \
                 link-local ones only where a range within link-local is allowed.",
            ),
            &mut config.endpoints,
            AddressPolicy::read,
        );
        object.set_some(
            field(
                "xds",
                "Feeds Envoy's own clusters: the filter answers Envoy's subscriptions to endpoints, \
                 clusters and routes. Default: not at all.",
            ),
            &mut config.xds,
            Xds::read,
        );
        object.set(
            field(
                "handoff",
                "The way of a pick to Envoy's router. The clusters of the Envoy configuration must agree. \
                 Default: `{ via: filter_state }`.",
            ),
            &mut config.handoff,
            Handoff::read,
        );
        config.read_requests(&mut object);
        config.keep_clusters_apart();
        // These checks compare sections: a part of the services would be refused for the others.
        let config = object.finish(config)?;
        let mut refusals = Refusals::default();
        config.check_ids_suffice(&mut refusals);
        config.check_hosts_given(&mut refusals);
        config.check_cache_ages(&mut refusals);
        config.check_fallbacks_admitted(&mut refusals);
        config.check_registrations_depend(&mut refusals);
        config.check_clusters_suffice(&mut refusals);
        refusals.none_or(config)
    }

    /// Reads the settings that are about requests, whatever their service.
    fn read_requests(&mut self, object: &mut Object<'_>) {
        object.set(
            field(
                "route_metadata",
                "Lets the metadata of the Envoy route name a request's service: \
                 `filter_metadata: { consul: { service: web } }`. It precedes `hosts`.",
            ),
            &mut self.route_metadata,
            Cursor::boolean,
        );
        object.set(
            field(
                "unmatched",
                "The fate of a request that belongs to no service: `pass` lets it go on untouched, \
                 `reject` answers 404.",
            ),
            &mut self.unmatched,
            |node| node.one_of("reaction", Unmatched::CHOICES),
        );
        object.set(
            field(
                "warmup_timeout",
                "The longest wait of a request for a service that was never resolved yet.",
            ),
            &mut self.warmup_timeout,
            |node| node.duration(Self::WARMUP_TIMEOUT),
        );
        object.set(
            field(
                "log_level",
                "The least important level that the filter logs. Envoy's own level for wasm applies, too.",
            ),
            &mut self.log_level,
            |node| node.one_of("log level", Self::LOG_LEVELS),
        );
    }

    /// Tells if no services are found beside the configured ones.
    pub const fn is_static(&self) -> bool {
        self.discover.is_none() && self.dns_names.is_none()
    }
}

/// Reaction to a request that belongs to no service.
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

/// A service in one of its datacenters: what one query to Consul asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source<'a> {
    /// The position of the service.
    pub id: ServiceId,
    /// The service.
    pub service: &'a Service,
    /// The datacenter; none: the agent's own.
    pub datacenter: Option<&'a str>,
    /// The place of the datacenter in the service's list; the first, 0, is preferred.
    pub preference: u8,
}

impl Config {
    /// The most sources: their ids have 16 bits.
    pub const MAX_SOURCES: usize = 65_535;

    /// Lists what is asked of Consul: service by service, and the datacenters of each in
    /// their order. A service without datacenters has that of `consul`. Two may ask the same.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.services.iter().zip((0..=u16::MAX).map(ServiceId::nth)).flat_map(
            move |(service, id)| {
                self.datacenters(service).zip(0..=u8::MAX).map(move |(datacenter, preference)| {
                    Source { id, service, datacenter, preference }
                })
            },
        )
    }

    /// The datacenters in which a service is looked for, in order of preference; none is the
    /// agent's own.
    pub fn datacenters<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let default = self.consul.datacenter.as_deref();
        let default = service.datacenters.is_empty().then_some(default);
        default.into_iter().chain(service.datacenters.iter().map(|name| Some(name.as_str())))
    }
}
