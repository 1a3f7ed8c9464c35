//! What Consul is asked for, and which of it a tracker asks for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use consul_resolver::config::{Config, Service};
use consul_resolver::discovery::subject::Subject;
use consul_resolver::discovery::tracker::Tracker;
use consul_resolver::model::service::QueryKey;

use crate::configs::configs;

/// What Consul is asked for: a service in a datacenter, or in the agent's own; one that Consul does
/// not know; the catalog; and services whose endpoints are probed.
pub const SOURCES: [&str; 10] =
    ["web@dc1", "web@dc2", "api", "db", "cache", "mail", "nobody", "the catalog", "shop", "bank"];

/// Those that may be configured where no endpoints are probed.
pub const CONFIGURED: [usize; 4] = [0, 1, 2, 3];
/// Those, and what may be found beside them.
pub const SERVICES: [usize; 6] = [0, 1, 2, 3, CACHE, MAIL];
/// Those that may be configured where endpoints are probed; these come more often.
pub const PROBED: [usize; 7] = [0, 1, 2, SHOP, SHOP, BANK, BANK];
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
/// One whose endpoints are probed, beside what Consul's own checks say.
pub const SHOP: usize = 8;
/// One whose endpoints are probed, whatever Consul's own checks say.
pub const BANK: usize = 9;
/// Those whose endpoints are probed.
pub const CHECKED: [usize; 2] = [SHOP, BANK];

/// The place of a name among them.
pub fn position(name: &str) -> Option<usize> {
    SOURCES.iter().position(|known| *known == name)
}

/// Whether Consul's own checks say that an instance is critical.
pub const fn is_critical(source: usize, port: u16) -> bool {
    (source == SHOP || source == BANK) && port.is_multiple_of(3)
}

/// Those of the instances that are endpoints.
pub fn endpoints<'a>(source: usize, ports: impl IntoIterator<Item = &'a u16>) -> Vec<u16> {
    let is_endpoint = |port: &u16| source == BANK || !is_critical(source, *port);
    ports.into_iter().copied().filter(is_endpoint).collect()
}

/// The place of a source by what is asked for it.
pub fn place_of(query: QueryKey) -> usize {
    let known = QUERIES.iter().find(|(its, _)| *its == query);
    known.expect("a query of a configuration").1
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

/// The sources by what is asked of Consul, whichever configuration asks.
static QUERIES: LazyLock<Vec<(QueryKey, usize)>> = LazyLock::new(|| {
    let all: BTreeMap<_, _> = configs().iter().flat_map(queries).collect();
    assert_eq!(all.len(), SOURCES.len(), "all ask the same for a source");
    all.into_iter().collect()
});

/// What a tracker asks for, by its place in [`SOURCES`].
pub fn source_of(tracker: &Tracker) -> usize {
    place_of(tracker.key())
}

/// What is asked for a source.
pub fn query_of(source: usize) -> QueryKey {
    let known = QUERIES.iter().find(|(_, its)| *its == source);
    known.expect("a configuration that asks for it").0
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

/// All that a configuration may ask, with what it asks for.
fn queries(config: &Config) -> Vec<(QueryKey, usize)> {
    let subjects = config.sources().map(|source| Subject::new(config, source));
    let mut queries: Vec<_> =
        subjects.map(|subject| subject.query.key()).zip(configured(config)).collect();
    let like = |service: &Service, source: usize| {
        let service = Service { name: SOURCES[source].to_owned(), ..service.clone() };
        (Subject::of(config, &service, None).query.key(), source)
    };
    if let Some(discover) = &config.discover {
        queries.push((Subject::catalog(config, discover).query.key(), CATALOG));
        let listed = (0..SOURCES.len()).filter(|source| is_listed(*source));
        queries.extend(listed.map(|source| like(&discover.service, source)));
    }
    if let Some(names) = &config.dns_names {
        let named = 2..CATALOG;
        queries.extend(named.map(|source| like(&names.service, source)));
    }
    queries
}
