//! Computes the key of a query.

use crate::config::{Cidr, Consistency, Consul, Discover, HealthThreshold, VersionKey};
use crate::model::service::QueryKey;
use crate::registry::consul::instance_filter::InstanceFilter;
use crate::registry::consul::path::push_mode;

/// Hashes all settings that decide Consul's response or the way it is read. Each optional part is
/// marked as present or absent, so that no two selections collide by concatenation.
pub(super) fn key(consul: &Consul, path: &str, selection: &InstanceFilter) -> QueryKey {
    let health = match selection.health {
        HealthThreshold::Passing => "passing",
        HealthThreshold::Warning => "warning",
        HealthThreshold::Any => "any",
    };
    // Tagged addresses are told apart in no case.
    let tag = selection.tag().map(str::to_ascii_lowercase);
    let names = if selection.resolve_names { "names" } else { "addresses" };
    let told = if selection.tells_unhealthy { "unhealthy" } else { "endpoints" };
    let (version, version_text) = match &selection.version {
        Some(VersionKey::Meta(key)) => ("meta", key.as_str()),
        Some(VersionKey::TagPrefix(prefix)) => ("tag", prefix.as_str()),
        None => ("none", ""),
    };
    let (allow, deny) = (ranges(&selection.policy.allow), ranges(&selection.policy.deny));
    let details = selection.details.as_ref();
    let many = details.map(|keys| keys.len().to_string());
    let reading = [health, names, told, version, version_text]
        .into_iter()
        .chain(optional(selection.zone_key.as_deref()))
        .chain([allow.as_str(), deny.as_str()])
        .chain(optional(tag.as_deref()))
        .chain(optional(many.as_deref()))
        .chain(details.into_iter().flatten().map(String::as_str));
    of(consul, path, &reading.collect::<Vec<_>>())
}

/// Hashes all settings that decide Consul's list of services or the way it is read.
pub(super) fn catalog_key(consul: &Consul, path: &str, discover: &Discover) -> QueryKey {
    let lists = [&discover.tags, &discover.exclude, &discover.reserved].map(|list| {
        let mut list: Vec<&str> = list.iter().map(String::as_str).collect();
        list.sort_unstable();
        list.dedup();
        list
    });
    let lengths = lists.each_ref().map(|list| list.len().to_string());
    let (host, most) = (discover.host.to_string(), discover.max_services.to_string());
    let reading = ["catalog", &host, &most].into_iter();
    let reading = reading.chain(lengths.iter().map(String::as_str));
    let reading = reading.chain(lists.into_iter().flatten());
    of(consul, path, &reading.collect::<Vec<_>>())
}

/// Hashes the destination of a query and the way its response is read.
fn of(consul: &Consul, path: &str, reading: &[&str]) -> QueryKey {
    let mut path = path.to_owned();
    push_mode(&mut path, consul.consistency);
    let (fresh, old) = match consul.consistency {
        Consistency::Default | Consistency::Consistent => (None, None),
        Consistency::Stale { max_stale } => (max_stale, None),
        Consistency::Cached(ages) => (ages.max_age, ages.stale_if_error),
    };
    let ages = [fresh, old].map(|age| age.map(|age| age.as_millis().to_string()));
    let asked = [consul.cluster.as_str(), &consul.authority, &path].into_iter();
    let ages = ages.iter().flat_map(|age| optional(age.as_deref()));
    let parts = asked.chain(optional(consul.token_env.as_deref())).chain(ages);
    QueryKey::of(parts.chain(reading.iter().copied()))
}

/// Returns the parts that mark a text as present or absent, and the text.
fn optional(text: Option<&str>) -> impl Iterator<Item = &str> {
    [if text.is_some() { "some" } else { "none" }, text.unwrap_or_default()].into_iter()
}

/// Writes ranges in sorted order, since their order means nothing.
fn ranges(ranges: &[Cidr]) -> String {
    let texts: Vec<String> =
        ranges.iter().map(|range| format!("{}/{}", range.first, range.prefix)).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        self, AddressChoice, AddressPolicy, CacheAges, HostPattern, LoadBalancing, Locality,
        Policy, PreparedQuery, Versions,
    };
    use crate::registry::consul::fixtures::{config, consul, service};
    use crate::registry::consul::query::ConsulQuery;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn query(consul: Consul, service: &config::Service) -> ConsulQuery {
        let datacenter = consul.datacenter.clone();
        ConsulQuery::new(&config::Config { consul, ..config() }, service, datacenter.as_deref())
    }

    const fn stale(seconds: Option<u64>) -> Consistency {
        Consistency::Stale { max_stale: duration(seconds) }
    }

    const fn cached(max_age: Option<u64>, stale_if_error: Option<u64>) -> Consistency {
        let ages =
            CacheAges { max_age: duration(max_age), stale_if_error: duration(stale_if_error) };
        Consistency::Cached(ages)
    }

    const fn duration(seconds: Option<u64>) -> Option<Duration> {
        match seconds {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        }
    }

    fn prepared(name: &str, near: Option<&str>, limit: Option<u32>) -> config::Service {
        let near = near.map(str::to_owned);
        let query = Some(PreparedQuery { name: name.into(), near, limit });
        config::Service { query, ..service("web") }
    }

    fn versioned(key: VersionKey) -> config::Service {
        let versions = Versions {
            key,
            header: None,
            split: Vec::new(),
            hash_on: None,
            fallback: config::VersionFallback::Any,
        };
        config::Service { versions: Some(versions), ..service("web") }
    }

    fn locality(key: &str) -> Locality {
        Locality { zone: None, key: key.into(), min_cluster_size: 6 }
    }

    fn admitting(allow: Vec<Cidr>, deny: Vec<Cidr>) -> config::Config {
        config::Config { endpoints: AddressPolicy { allow, deny }, ..config() }
    }

    /// A configuration that feeds Envoy's own clusters.
    fn fed() -> config::Config {
        let xds = config::Xds {
            cluster: "xds".into(),
            address: "/run/xds.sock".into(),
            hold: Duration::from_secs(25),
            clusters: None,
            routes: None,
        };
        config::Config { xds: Some(xds), ..config() }
    }

    #[test]
    fn key_depends_on_all_that_decides_the_response_or_its_reading() {
        let mut keys = vec![query(consul(), &service("web")).key()];
        let some = || Some("x".to_owned());
        for consul in [
            config::Consul { cluster: "x".into(), ..consul() },
            config::Consul { authority: "x".into(), ..consul() },
            config::Consul { datacenter: some(), ..consul() },
            config::Consul { namespace: some(), ..consul() },
            config::Consul { partition: some(), ..consul() },
            config::Consul { consistency: stale(None), ..consul() },
            config::Consul { consistency: stale(Some(1)), ..consul() },
            config::Consul { consistency: stale(Some(2)), ..consul() },
            config::Consul { consistency: cached(None, None), ..consul() },
            config::Consul { consistency: cached(Some(1), None), ..consul() },
            config::Consul { consistency: cached(Some(1), Some(1)), ..consul() },
            config::Consul { token_env: some(), ..consul() },
            config::Consul { token_env: Some(String::new()), ..consul() },
        ] {
            keys.push(query(consul, &service("web")).key());
        }
        for service in [
            service("api"),
            config::Service { tags: vec!["x".into()], ..service("web") },
            config::Service { filter: some(), ..service("web") },
            config::Service { namespace: Some("y".into()), ..service("web") },
            config::Service { partition: Some("y".into()), ..service("web") },
            config::Service { peer: some(), ..service("web") },
            config::Service { connect: true, ..service("web") },
            config::Service { merge_central_config: true, ..service("web") },
            config::Service { node_meta: vec![("x".into(), "y".into())], ..service("web") },
            prepared("web", None, None),
            prepared("geo", None, None),
            prepared("geo", None, Some(2)),
            prepared("geo", Some("_agent"), Some(2)),
            config::Service { connect: true, ..prepared("geo", None, None) },
            config::Service { health: HealthThreshold::Warning, ..service("web") },
            config::Service { address: AddressChoice::Tagged("x".into()), ..service("web") },
            config::Service { address: AddressChoice::Tagged("y".into()), ..service("web") },
            config::Service { resolve_names: true, ..service("web") },
            config::Service { datacenters: vec!["a".into(), "b".into()], ..service("web") },
            versioned(VersionKey::Meta("x".into())),
            versioned(VersionKey::Meta("y".into())),
            versioned(VersionKey::TagPrefix("x".into())),
        ] {
            keys.push(query(consul(), &service).key());
        }
        let range = |prefix| vec![Cidr { first: [10, 0, 0, 0].into(), prefix }];
        for config in [
            config::Config { locality: Some(locality("x")), ..config() },
            config::Config { locality: Some(locality("y")), ..config() },
            admitting(range(8), Vec::new()),
            admitting(range(9), Vec::new()),
            admitting(Vec::new(), range(8)),
            admitting(range(8), range(8)),
            fed(),
        ] {
            keys.push(ConsulQuery::new(&config, &service("web"), None).key());
        }
        for metadata in [&["x"][..], &["y"], &["x", "y"]] {
            let endpoint_metadata = metadata.iter().map(|key| (*key).to_owned()).collect();
            let web = config::Service { endpoint_metadata, ..service("web") };
            keys.push(ConsulQuery::new(&fed(), &web, None).key());
        }
        keys.push(
            query(consul(), &config::Service { health: HealthThreshold::Any, ..service("web") })
                .key(),
        );
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn catalog_key_depends_on_the_selection_only() {
        let key = |discover: &str| {
            let json = format!(
                r#"{{"consul": {{"cluster": "c"}}, "discover": {{"host": "{{service}}.a"{discover}}}}}"#
            );
            let config = config::Config::parse(json.as_bytes()).unwrap();
            ConsulQuery::catalog(&config, config.discover.as_ref().unwrap()).key()
        };
        let plain = key("");
        let same = [r#", "exclude": ["Consul", "consul"]"#, r#", "service": {"tags": ["x"]}"#];
        assert!(same.into_iter().all(|fields| key(fields) == plain));
        assert_eq!(key(r#", "tags": ["a", "b", "a"]"#), key(r#", "tags": ["b", "a"]"#));
        let mut keys = vec![plain, query(consul(), &service("web")).key()];
        for fields in [
            r#", "tags": ["a"], "exclude": []"#,
            r#", "tags": [], "exclude": ["a"]"#,
            r#", "exclude": []"#,
            r#", "max_services": 7"#,
            r#", "host": "{service}.b""#,
            r#"}, "xds": {"cluster": "x-api", "address": "@a", "clusters": {"name": "x-{service}"}"#,
        ] {
            keys.push(key(fields));
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn key_depends_on_nothing_else() {
        let tags = |tags: [&str; 3]| tags.map(str::to_owned).to_vec();
        let tagged = |name: &str| AddressChoice::Tagged(name.into());
        let one = config::Service {
            tags: tags(["a", "b", "a"]),
            address: tagged("wan"),
            ..service("web")
        };
        let two = config::Service {
            tags: tags(["b", "a", "b"]),
            address: tagged("WAN"),
            hosts: vec![HostPattern::Exact("web.test".into())],
            load_balancing: LoadBalancing { policy: Policy::Random, ..LoadBalancing::default() },
            ..service("web")
        };
        let patient = config::Consul { wait: Duration::from_secs(600), ..consul() };
        assert_eq!(query(consul(), &one).key(), query(patient, &two).key());
        let unfed = config::Service { endpoint_metadata: vec!["x".into()], ..service("web") };
        assert_eq!(query(consul(), &unfed).key(), query(consul(), &service("web")).key());

        let ten = Cidr { first: [10, 0, 0, 0].into(), prefix: 8 };
        let eleven = Cidr { first: [11, 0, 0, 0].into(), prefix: 8 };
        let key =
            |deny| ConsulQuery::new(&admitting(Vec::new(), deny), &service("web"), None).key();
        assert_eq!(key(vec![ten, eleven]), key(vec![eleven, ten, ten]));

        let mut here = config::Config { locality: Some(locality("zone")), ..config() };
        let key = |config: &config::Config| ConsulQuery::new(config, &service("web"), None).key();
        let before = key(&here);
        here.locality = Some(Locality { zone: Some("a".into()), ..locality("zone") });
        assert_eq!(key(&here), before, "where this proxy is makes no difference to the answer");
    }
}
