//! What Consul is asked for, and which of it a tracker asks for.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::LazyLock;

use consul_resolver::config::{Config, Service, Source};
use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::model::service::QueryKey;
use consul_resolver::registry::consul::dns_name::DnsName;
use consul_resolver::registry::polled::PolledQuery;
use consul_resolver::registry::query::Query;
use consul_resolver::registry::source_spec::SourceSpec;

use crate::configs::configs;

/// What Consul is asked for in most worlds: a service in a datacenter, or in the agent's own; one that
/// Consul does not know; the catalog; one with critical instances; and a prepared query.
const USUAL_SOURCES: [&str; USUAL] = [
    "web@dc1",
    "web@dc2",
    "api",
    "db",
    "cache",
    "mail",
    "nobody",
    "the catalog",
    "shop",
    "geo",
    "feed",
];
/// How many of them there are.
pub const USUAL: usize = 11;
/// The services of a crowd, which some worlds have besides.
pub const CROWD: Range<usize> = USUAL..USUAL + 300;
/// What clients make up there: a service in a datacenter that nobody knows, and prepared queries.
pub const MADE_UP: Range<usize> = CROWD.end..CROWD.end + 1 + 300;

/// All that Consul may be asked for.
pub static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let usual = USUAL_SOURCES.into_iter().map(str::to_owned);
    let crowd = (0..CROWD.len()).map(|n| format!("crowd-{n}"));
    let queries = (1..MADE_UP.len()).map(|n| format!("query-{n}"));
    usual.chain(crowd).chain(["lost@nowhere".to_owned()]).chain(queries).collect()
});

/// Those that may be configured where nobody asks whether Envoy drains.
pub const CONFIGURED: [usize; 5] = [0, 1, API, DB, GEO];
/// Those, and one of the polled registry.
pub const CHANGING: [usize; 6] = [0, 1, API, DB, GEO, FEED];
/// Those, and what may be found beside them.
pub const SERVICES: [usize; 8] = [0, 1, API, DB, GEO, FEED, CACHE, MAIL];
/// Those that may be configured where somebody does.
pub const BESIDE_DRAINS: [usize; 4] = [0, 1, API, SHOP];
/// One that has two datacenters, and its place for the second.
pub const WEB_IN_DC2: usize = 1;
/// One some of whose instances are registered so that nobody can reach them.
pub const API: usize = 2;
/// One that configurations have.
pub const DB: usize = 3;
/// One that is found.
pub const CACHE: usize = 4;
/// Another one.
pub const MAIL: usize = 5;
/// One that Consul does not know.
pub const NOBODY: usize = 6;
/// The catalog.
pub const CATALOG: usize = 7;
/// One of whose instances every third is critical.
pub const SHOP: usize = 8;
/// One that is found by a prepared query, which lists no instance that is critical.
pub const GEO: usize = 9;
/// One of the polled registry, which knows no health.
pub const FEED: usize = 10;

/// The place of a name among them.
pub fn position(name: &str) -> Option<usize> {
    static PLACES: LazyLock<HashMap<&str, usize>> =
        LazyLock::new(|| SOURCES.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect());
    PLACES.get(name).copied()
}

/// Where the instances of a source are.
pub fn address(source: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(source).expect("a small number").to_be_bytes();
    Ipv4Addr::new(10, high, low, 1)
}

/// The source whose instances are at an address.
pub fn place_at(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [_, high, low, _] = ip.octets();
            u16::from_be_bytes([high, low]).into()
        }
        IpAddr::V6(ip) => panic!("nobody is at {ip}"),
    }
}

/// The same instance, while it is critical: such a number stands for the port below it.
pub const fn ill(port: u16) -> u16 {
    port + ILL
}
/// See [`ill`].
pub const ILL: u16 = 1_000;

/// Whether Consul's own checks say that an instance is critical.
pub const fn is_critical(source: usize, port: u16) -> bool {
    source != FEED && port >= ILL || source == SHOP && port.is_multiple_of(3)
}

/// Whether an instance is registered so that nobody can reach it: with a host name, or without a
/// port.
pub const fn is_unusable(source: usize, port: u16) -> bool {
    source == API && port > 10 && port <= 12
}

/// Those of the instances that are endpoints.
pub fn endpoints<'a>(source: usize, ports: impl IntoIterator<Item = &'a u16>) -> Vec<u16> {
    let is_endpoint = |port: &u16| !is_critical(source, *port) && !is_unusable(source, *port);
    let ports = ports.into_iter().filter(|port| is_endpoint(port)).map(|port| port % ILL);
    let ports: BTreeSet<u16> = ports.collect();
    ports.into_iter().collect()
}

/// The place of a source by what is asked for it.
pub fn place_of(query: QueryKey) -> usize {
    *QUERIES.0.get(&query).expect("a query of a configuration")
}

/// Whether the catalog of the agent's own datacenter lists a source while it has instances.
pub const fn is_listed(source: usize) -> bool {
    2 <= source && source <= MAIL
}

/// The hosts of requests for services that are not configured; the first ones come more often.
pub const HOSTS: [&str; 4] =
    ["cache.service.consul", "db.service.consul", "mail.internal", "nobody.service.consul"];
/// The sources of those hosts that are names of Consul's DNS.
pub const NAMED: [usize; 3] = [CACHE, DB, NOBODY];

/// The name of a source that Consul's DNS would have.
pub fn host_of(source: usize) -> String {
    let name = &SOURCES[source];
    match name.split_once('@') {
        Some((service, datacenter)) => format!("{service}.service.{datacenter}.consul"),
        None if MADE_UP.contains(&source) => format!("{name}.query.consul"),
        None => format!("{name}.service.consul"),
    }
}

/// The sources by what is asked of Consul, whichever configuration asks; and the other way round.
static QUERIES: LazyLock<(HashMap<QueryKey, usize>, HashMap<usize, QueryKey>)> =
    LazyLock::new(|| {
        let configs = configs();
        // Who has Envoy's clusters fed asks for more of each instance.
        let (feeding, configs): (Vec<_>, Vec<_>) = configs
            .iter()
            .filter(|config| config.consul.cluster == "c")
            .partition(|config| config.xds.is_some());
        let all: Vec<_> = configs.into_iter().flat_map(queries).collect();
        let back: HashMap<_, _> = all.iter().map(|(query, source)| (*source, *query)).collect();
        let queries: HashMap<_, _> = all.into_iter().collect();
        assert_eq!(queries.len(), back.len(), "all ask the same for a source");
        assert_eq!(queries.len(), SOURCES.len(), "each is asked for");
        let more = feeding.into_iter().flat_map(self::queries);
        (queries.into_iter().chain(more).collect(), back)
    });

/// What a tracker asks for, by its place in [`SOURCES`].
pub fn source_of(tracker: &TrackedSource) -> usize {
    place_of(tracker.key())
}

/// What is asked for a source.
pub fn query_of(source: usize) -> QueryKey {
    QUERIES.1[&source]
}

/// The configured sources of a configuration, in their order.
pub fn configured(config: &Config) -> Vec<usize> {
    let name = |service: &str, datacenter: Option<&str>| match datacenter {
        Some(datacenter) => format!("{service}@{datacenter}"),
        None => service.to_owned(),
    };
    let names = config.sources().map(|source| name(&source.service.name, source.datacenter));
    names.map(|name| position(&name).expect("a source that is known")).collect()
}

/// The sources of a service that a configuration has or may find, in the order of preference.
pub fn of_service(config: &Config, name: &str) -> Option<Vec<usize>> {
    let all = config.sources().zip(configured(config));
    let own: Vec<_> = all.filter(|(it, _)| it.service.name == name).map(|(_, it)| it).collect();
    let found = || position(name).filter(|it| config.discover.is_some() && is_listed(*it));
    if own.is_empty() { Some(vec![found()?]) } else { Some(own) }
}

/// What is asked for a configured source: of Consul, or of the polled registry.
pub fn spec(config: &Config, source: Source<'_>) -> SourceSpec {
    let spec = SourceSpec::new(config, source);
    match source.service.name == SOURCES[FEED] {
        true => SourceSpec { query: Query::Polled(PolledQuery::new("c", &SOURCES[FEED])), ..spec },
        false => spec,
    }
}

/// All that a configuration may ask, with what it asks for.
fn queries(config: &Config) -> Vec<(QueryKey, usize)> {
    let subjects = config.sources().map(|source| spec(config, source));
    let mut queries: Vec<_> =
        subjects.map(|subject| subject.query.key()).zip(configured(config)).collect();
    let like = |service: &Service, source: usize| {
        let service = Service { name: SOURCES[source].clone(), ..service.clone() };
        (SourceSpec::of(config, &service, None).query.key(), source)
    };
    let named = |service: &Service, source: usize| {
        let host = host_of(source);
        let name = DnsName::parse(host.as_bytes(), "consul").expect("a name");
        let (service, datacenter) = name.service(service).expect("a service");
        (SourceSpec::of(config, &service, datacenter.as_deref()).query.key(), source)
    };
    if let Some(discover) = &config.discover {
        queries.push((SourceSpec::catalog(config, discover).query.key(), CATALOG));
        let listed = (0..SOURCES.len()).filter(|source| is_listed(*source));
        queries.extend(listed.map(|source| like(&discover.service, source)));
    }
    if let Some(names) = &config.dns_names {
        let all = (API..CATALOG).chain(CROWD).chain(MADE_UP);
        queries.extend(all.map(|source| named(&names.service, source)));
    }
    queries
}
