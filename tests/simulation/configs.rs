//! The configurations that listeners may have.

use std::time::Duration;

use consul_resolver::config::{Config, Surroundings};

/// What a configuration says.
struct Setting {
    services: &'static [&'static str],
    /// How long Consul may hold a query, in seconds.
    wait: u64,
    /// How long a name of Consul's DNS is kept that nobody asks for, in seconds, where they are
    /// resolved. Shorter than a configuration may say: names come and go while things go wrong.
    idle_timeout: Option<u64>,
    /// Whether the services of the catalog are served.
    discovers: bool,
    /// How many queries may block, where that is said.
    max_watches: Option<usize>,
    /// What is registered, by the places in [`REGISTRATIONS`].
    registers: &'static [usize],
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

/// How the endpoints of a service are probed, where they are, and how they are picked: in turn, so
/// that it shows who is left out. Few probes may be sent at once, so that the limits show, too.
fn probed(service: &str) -> &'static str {
    match service {
        "shop" => {
            r#","load_balancing":{"policy":"round_robin","panic_threshold":0},
                "active_health_check":{"cluster":"probes","interval":"1s","max_per_second":4,
                    "max_concurrent":2}"#
        }
        "bank" => {
            r#","load_balancing":{"policy":"round_robin","panic_threshold":0},
                "active_health_check":{"cluster":"probes","interval":"2s","unhealthy_interval":"1s",
                    "healthy_threshold":2,"max_per_second":8,"max_concurrent":3,
                    "consul_health":"ignore"}"#
        }
        _ => "",
    }
}

const PLAIN: Setting = Setting {
    services: &[],
    wait: 0,
    idle_timeout: None,
    discovers: false,
    max_watches: None,
    registers: &[],
};

const SETTINGS: [Setting; 17] = [
    Setting { services: &["web", "api"], wait: LONGEST_WAIT / 1_000, ..PLAIN },
    Setting { services: &["web", "api"], wait: 2, registers: &[0, 2], ..PLAIN },
    Setting { services: &["web"], wait: 5, registers: &[1], ..PLAIN },
    Setting { services: &["api", "db"], wait: 1, registers: &[3], ..PLAIN },
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
    Setting { services: &["shop", "bank"], wait: 2, registers: &[4], ..PLAIN },
    Setting { services: &["web", "shop"], wait: 5, registers: &[5, 2], ..PLAIN },
    Setting { services: &["bank", "api"], wait: 10, registers: &[0], ..PLAIN },
    Setting { services: &["shop"], wait: LONGEST_WAIT / 1_000, ..PLAIN },
];

/// The longest wait of those, in milliseconds.
pub const LONGEST_WAIT: u64 = 55_000;

/// Those that find no other services, and whose sources are all watched. Some are more
/// likely than others.
pub const PLAIN_CONFIGS: [usize; 8] = [1, 1, 1, 2, 2, 3, 4, 5];
/// Those that find others, or have fewer places among the watches than sources, and some that do
/// not. In none of them Consul holds a query for long: whoever forgets a source, or gives it to a more
/// suitable VM that a name has come to, cannot call its query back.
pub const FINDING_CONFIGS: [usize; 11] = [2, 3, 3, 6, 6, 7, 8, 9, 10, 11, 12];

/// Those that probe endpoints, or whether Envoy drains, or both.
pub const PROBING_CONFIGS: [usize; 6] = [13, 13, 14, 14, 15, 16];

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

/// One that probes the endpoints of two services, and whether Envoy drains.
pub const PROBES: usize = 13;

/// The configurations, by their number.
pub fn configs() -> Vec<Config> {
    SETTINGS.iter().map(Setting::config).collect()
}

impl Setting {
    fn config(&self) -> Config {
        let service = |name: &&str| {
            let datacenters = if *name == "web" { r#","datacenters":["dc1","dc2"]"# } else { "" };
            let probed = probed(name);
            format!(r#"{{"name":"{name}","hosts":["{name}.test"]{datacenters}{probed}}}"#)
        };
        let services: Vec<String> = self.services.iter().map(service).collect();
        let services = services.join(",");
        let most = self.max_watches.map(|most| format!(r#","max_watches":{most}"#));
        let names = self.idle_timeout.map(|_| r#","dns_names":{}"#);
        let registers: Vec<_> = self.registers.iter().map(|place| REGISTRATIONS[*place]).collect();
        let registers = registers.join(",");
        let discover = r#","discover":{"host":"{service}.internal"}"#;
        let discover = if self.discovers { discover } else { "" };
        let json = format!(
            r#"{{"consul":{{"cluster":"c","wait":"{}s"{}}},"services":[{services}]{}{discover},
                "register":[{registers}]}}"#,
            self.wait,
            most.unwrap_or_default(),
            names.unwrap_or_default(),
        );
        let config = Config::parse(json.as_bytes());
        let config = config.and_then(|config| config.completed(&Surroundings::default()));
        let mut config = config.expect("a configuration");
        if let (Some(names), Some(seconds)) = (&mut config.dns_names, self.idle_timeout) {
            names.idle_timeout = Duration::from_secs(seconds);
        }
        config
    }
}
