//! The configurations that listeners may have.

use std::time::Duration;

use consul_resolver::config::{Config, NodeInfo};

use crate::registry::MANY;

/// What a configuration says.
struct Setting {
    /// How Consul's cluster is called.
    cluster: &'static str,
    services: &'static [&'static str],
    /// So many of the crowd are services, too.
    crowd: usize,
    /// How long Consul may hold a query, in seconds.
    wait: u64,
    /// How long a name of Consul's DNS is kept that nobody asks for, in seconds, where they are
    /// resolved. Shorter than a configuration may say: names come and go while things go wrong.
    idle_timeout: Option<u64>,
    /// Whether the services of the catalog are served.
    discovers: bool,
    /// How many queries may block, where that is said.
    max_watches: Option<usize>,
    /// After how many seconds requests fail for what Consul has not confirmed, where they do.
    expires: Option<u64>,
    /// How Envoy's own clusters are fed, where they are, and what else the first service says.
    feeds: Option<[&'static str; 2]>,
    /// What is registered, by the places in [`REGISTRATIONS`].
    registers: &'static [usize],
    /// So many more are registered.
    many: usize,
}

/// What may be registered: one service in two versions, and two others; and one in two versions whose
/// checks say whether Envoy drains. The first and that one are probed.
const REGISTRATIONS: [&str; 6] = [
    r#"{"name":"edge","id":"edge-1","address":"10.9.0.1","port":80,"version":"1",
        "checks":[{"ttl":"15s","probe":{"cluster":"app"}}]}"#,
    r#"{"name":"edge","id":"edge-1","address":"10.9.0.1","port":80,"version":"2",
        "checks":[{"ttl":"15s","probe":{"cluster":"app"}}]}"#,
    r#"{"name":"extra","id":"extra-1","address":"10.9.0.1","port":81,"checks":[{"ttl":"10s"}]}"#,
    r#"{"name":"plain","id":"plain-1","address":"10.9.0.1","port":82}"#,
    r#"{"name":"gate","id":"gate-1","address":"10.9.0.1","port":83,"version":"1",
        "drain":{"cluster":"admin","path":"/ready"},
        "checks":[{"ttl":"15s","probe":{"cluster":"app"}},{"ttl":"10s"}]}"#,
    r#"{"name":"gate","id":"gate-1","address":"10.9.0.1","port":83,"version":"2",
        "drain":{"cluster":"admin","path":"/ready"},
        "checks":[{"ttl":"15s","probe":{"cluster":"app"}},{"ttl":"10s"}]}"#,
];

const PLAIN: Setting = Setting {
    cluster: "c",
    services: &[],
    crowd: 0,
    wait: 0,
    idle_timeout: None,
    discovers: false,
    max_watches: None,
    expires: None,
    feeds: None,
    registers: &[],
    many: 0,
};

const SETTINGS: [Setting; 32] = [
    Setting { services: &["web", "api"], wait: LONGEST_WAIT / 1_000, ..PLAIN },
    Setting { services: &["web", "api"], wait: 2, registers: &[0, 2], ..PLAIN },
    Setting { services: &["web"], wait: 5, registers: &[1], ..PLAIN },
    Setting { services: &["api", "db", "geo", "feed"], wait: 1, registers: &[3], ..PLAIN },
    Setting { services: &["web", "api"], wait: 10, ..PLAIN },
    Setting { services: &["db"], wait: LONGEST_WAIT / 1_000, ..PLAIN },
    Setting { services: &["web"], wait: 5, idle_timeout: Some(10), registers: &[0], ..PLAIN },
    Setting { services: &["api"], wait: 2, idle_timeout: Some(4), ..PLAIN },
    Setting { services: &["web"], wait: 10, discovers: true, ..PLAIN },
    Setting { services: &["db"], wait: 2, idle_timeout: Some(3), discovers: true, ..PLAIN },
    Setting { services: &["api"], wait: 5, idle_timeout: Some(4), discovers: true, ..PLAIN },
    Setting { services: &["web", "api", "db"], wait: 5, max_watches: Some(2), ..PLAIN },
    Setting {
        services: &["web"],
        wait: 2,
        idle_timeout: Some(5),
        discovers: true,
        max_watches: Some(4),
        ..PLAIN
    },
    Setting { services: &["shop", "api"], wait: 2, registers: &[4], ..PLAIN },
    Setting { services: &["web", "shop"], wait: 5, registers: &[5, 2], ..PLAIN },
    Setting { services: &["api"], wait: 10, registers: &[0], ..PLAIN },
    Setting { services: &["shop"], wait: LONGEST_WAIT / 1_000, ..PLAIN },
    Setting {
        services: &["web", "api", "db", "geo"],
        crowd: 12,
        wait: LONGEST_WAIT / 1_000,
        registers: &[0, 2],
        ..PLAIN
    },
    Setting { services: &["web", "geo"], crowd: 8, wait: 5, registers: &[0], ..PLAIN },
    Setting { services: &["db", "api"], crowd: 10, wait: 10, registers: &[1, 2], ..PLAIN },
    Setting { services: &["api"], crowd: 250, wait: LONGEST_WAIT / 1_000, many: MANY, ..PLAIN },
    Setting { services: &["api", "db"], wait: 10, idle_timeout: Some(20), ..PLAIN },
    Setting { wait: 10, idle_timeout: Some(20), registers: &[0, 2], ..PLAIN },
    Setting { cluster: "d", wait: 10, idle_timeout: Some(20), registers: &[0, 2], ..PLAIN },
    Setting { cluster: "d", wait: 10, idle_timeout: Some(20), registers: &[0], ..PLAIN },
    Setting { services: &["api", "db"], wait: 10, expires: Some(90), ..PLAIN },
    Setting { services: &["web", "api"], wait: 2, feeds: Some([ENDPOINTS, ""]), ..PLAIN },
    Setting {
        services: &["web", "geo"],
        wait: 2,
        expires: Some(10),
        feeds: Some([ENDPOINTS, ""]),
        ..PLAIN
    },
    Setting {
        services: &["db", "web"],
        wait: 5,
        discovers: true,
        feeds: Some([ENDPOINTS, FALLS_BACK]),
        ..PLAIN
    },
    Setting { services: &["web", "api"], wait: 5, feeds: Some([CLUSTERS, ""]), ..PLAIN },
    Setting {
        services: &["db", "web"],
        wait: 10,
        discovers: true,
        feeds: Some([CLUSTERS, FALLS_BACK]),
        ..PLAIN
    },
    Setting {
        services: &["web", "db", "geo"],
        wait: 2,
        discovers: true,
        feeds: Some([OTHER_CLUSTERS, ""]),
        ..PLAIN
    },
];

/// Endpoints alone.
const ENDPOINTS: &str = r#""hold":"3s""#;
/// Clusters and routes, too.
const CLUSTERS: &str = r#""hold":"5s","clusters":{},"routes":{}"#;
/// The same with other clusters.
const OTHER_CLUSTERS: &str =
    r#""hold":"10s","clusters":{"template":{"connect_timeout":"2s"}},"routes":{}"#;
/// A service that has an endpoint before Consul has answered.
const FALLS_BACK: &str = r#","fallback":["10.255.0.1:9"]"#;

/// The longest wait of those, in milliseconds.
pub const LONGEST_WAIT: u64 = 55_000;

/// Those that find no other services, and whose sources are all watched. Some are more
/// likely than others.
pub const PLAIN_CONFIGS: [usize; 8] = [1, 1, 1, 2, 2, 3, 4, 5];
/// Those that find others, or have fewer places among the watches than sources, and some that do
/// not. In none of them Consul holds a query for long: whoever forgets a source, or gives it to a more
/// suitable VM that a name has come to, cannot call its query back.
pub const FINDING_CONFIGS: [usize; 11] = [2, 3, 3, 6, 6, 7, 8, 9, 10, 11, 12];

/// Those that ask whether Envoy drains, and some that do not.
pub const DRAINING_CONFIGS: [usize; 6] = [13, 13, 14, 14, 15, 16];

/// One with a source of the polled registry.
pub const POLLS: usize = 3;
/// One that resolves names.
pub const NAMES: usize = 6;
/// One that forgets them soon.
pub const SHORT_NAMES: usize = 7;
/// One that follows the catalog.
pub const DISCOVERS: usize = 8;
/// One that resolves names and follows the catalog.
pub const BOTH: usize = 10;
/// One with places among the watches for two of its four sources.
pub const TWO_WATCHES: usize = 11;
/// One that does both, with places for its own sources, the catalog and one service that is found.
pub const ONE_FOR_THE_FOUND: usize = 12;

/// One that asks whether Envoy drains.
pub const ASKS: usize = 13;

/// Those with services that may fail for good beside others, in one datacenter and in two, and what
/// is registered meanwhile.
pub const TROUBLED_CONFIGS: [usize; 4] = [BESIDE, 18, UNPOLLED, UNPOLLED];
/// One that has all kinds of services, and twelve of a crowd.
pub const BESIDE: usize = 17;
/// One none of whose services is polled, so that in quiet times those alone are answered that fail.
pub const UNPOLLED: usize = 19;
/// One with hundreds of services, which registers dozens.
pub const CROWDED: usize = 20;
/// One that resolves names beside what it is configured to.
pub const NAMES_BESIDE: usize = 21;
/// One that registers two services, by the first name of Consul's cluster.
pub const FIRST_NAME: usize = 22;
/// The same by the second name.
pub const SECOND_NAME: usize = 23;
/// The same, without one of the services.
pub const SECOND_NAME_LESS: usize = 24;

/// One for whose services requests fail where Consul has not confirmed them for long.
pub const EXPIRES: usize = 25;

/// Those that feed Envoy's clusters with endpoints alone.
pub const FEEDING_CONFIGS: [usize; 4] = [FEEDS, FEEDS, 27, 28];
/// One of them.
pub const FEEDS: usize = 26;
/// Those that give it clusters and routes, too.
pub const GENERATING_CONFIGS: [usize; 3] = [GENERATES, 30, 31];
/// One of them.
pub const GENERATES: usize = 29;

/// The configurations, by their number.
pub fn configs() -> Vec<Config> {
    SETTINGS.iter().map(Setting::config).collect()
}

impl Setting {
    fn config(&self) -> Config {
        let own = self.feeds.map(|[_, own]| own).unwrap_or_default();
        let service = |name: &&str| {
            let datacenters = if *name == "web" { r#","datacenters":["dc1","dc2"]"# } else { "" };
            let query = if *name == "geo" { r#","query":"geo""# } else { "" };
            let expires = self.expires;
            let expires = expires.map(|it| format!(r#","max_age":"{it}s","on_stale":"fail""#));
            let own = if self.services.first() == Some(name) { own } else { "" };
            let more = [datacenters, query, &expires.unwrap_or_default(), own].concat();
            format!(r#"{{"name":"{name}","hosts":["{name}.test"]{more}}}"#)
        };
        let crowd: Vec<String> = (0..self.crowd).map(|n| format!("crowd-{n}")).collect();
        let crowd = crowd.iter().map(String::as_str);
        let all: Vec<&str> = self.services.iter().copied().chain(crowd).collect();
        let services: Vec<String> = all.iter().map(service).collect();
        let services = services.join(",");
        let most = self.max_watches.map(|most| format!(r#","max_watches":{most}"#));
        let names = self.idle_timeout.map(|_| r#","dns_names":{}"#);
        let registers = self.registers.iter().map(|place| REGISTRATIONS[*place].to_owned());
        let many = (0..self.many).map(|n| {
            let port = 1_000 + n;
            format!(
                r#"{{"name":"many","id":"many-{n}","address":"10.9.0.1","port":{port},
                    "checks":[{{"ttl":"10s","probe":{{"cluster":"app"}}}}]}}"#
            )
        });
        let registers: Vec<_> = registers.chain(many).collect();
        let registers = registers.join(",");
        let discover = r#","discover":{"host":"{service}.internal"}"#;
        let discover = if self.discovers { discover } else { "" };
        let feeds = self
            .feeds
            .map(|[how, _]| format!(r#","xds":{{"cluster":"xds","address":"@xds",{how}}}"#));
        let json = format!(
            r#"{{"consul":{{"cluster":"{}","wait":"{}s"{}}},"services":[{services}]{}{discover}{},
                "register":[{registers}]}}"#,
            self.cluster,
            self.wait,
            most.unwrap_or_default(),
            names.unwrap_or_default(),
            feeds.unwrap_or_default(),
        );
        let config = Config::parse(json.as_bytes());
        let config = config.and_then(|config| config.with_node_defaults(&NodeInfo::default()));
        let mut config = config.expect("a configuration");
        if let (Some(names), Some(seconds)) = (&mut config.dns_names, self.idle_timeout) {
            names.idle_timeout = Duration::from_secs(seconds);
        }
        config
    }
}
