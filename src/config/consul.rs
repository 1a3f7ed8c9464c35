//! Where Consul is and how it is asked.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::consistency::Consistency;
use super::cursor::Cursor;
use super::duration::Spelled;
use super::error::ConfigError;
use super::field_error::FieldError;

/// Where Consul is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consul {
    /// The Envoy cluster of the Consul agent or servers.
    pub cluster: String,
    /// The `Host` header of the queries.
    pub authority: String,
    /// The datacenter to ask for; none is the agent's own.
    pub datacenter: Option<String>,
    /// The namespace to ask in (Consul Enterprise); none is the token's own.
    pub namespace: Option<String>,
    /// The admin partition to ask in (Consul Enterprise); none is the agent's own.
    pub partition: Option<String>,
    /// How fresh an answer must be.
    pub consistency: Consistency,
    /// How long Consul may hold a blocking query, before the jitter that it adds.
    pub wait: Duration,
    /// The environment variable of the VM that holds the ACL token.
    pub token_env: Option<String>,
    /// When Consul is left alone.
    pub breaker: BreakerConfig,
    /// How many calls may follow a failure.
    pub retry_budget: RetryBudgetConfig,
    /// The most blocking queries that are out at once.
    pub max_watches: u32,
    /// How often each service is read afresh, whatever its blocking queries say; 0: never.
    pub resync: Duration,
}

impl Consul {
    /// The shortest and the longest `wait`; Consul itself cuts at 10 minutes.
    pub const WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
    /// The `wait` where none is given: below the minute after which proxies and load
    /// balancers like to cut idle connections.
    pub const DEFAULT_WAIT: Duration = Duration::from_secs(55);
    /// The most bytes of `cluster`, `authority` and `token_env`.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The most bytes of `datacenter`, `namespace` and `partition`.
    pub const MAX_SCOPE_BYTES: usize = 64;
    /// The most `max_watches`.
    pub const MAX_WATCHES: u32 = 65_535;
    /// The `max_watches` where none is given: Consul allows an address 200 connections
    /// (`http_max_conns_per_client`), and an updated listener has two contexts for a while.
    pub const DEFAULT_MAX_WATCHES: u32 = 100;
    /// The shortest and the longest `resync` that is not 0.
    pub const RESYNC: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_secs(86_400);
    /// The `resync` where none is given.
    pub const DEFAULT_RESYNC: Duration = Duration::from_secs(600);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "cluster",
        "authority",
        "datacenter",
        "namespace",
        "partition",
        "consistency",
        "max_stale",
        "cached",
        "wait",
        "token_env",
        "breaker",
        "retry_budget",
        "max_watches",
        "resync",
    ];

    /// Asks through this Envoy cluster, and leaves all else at its default.
    pub fn new(cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        Self {
            authority: cluster.clone(),
            cluster,
            datacenter: None,
            namespace: None,
            partition: None,
            consistency: Consistency::default(),
            wait: Self::DEFAULT_WAIT,
            token_env: None,
            breaker: BreakerConfig::default(),
            retry_budget: RetryBudgetConfig::default(),
            max_watches: Self::DEFAULT_MAX_WATCHES,
            resync: Self::DEFAULT_RESYNC,
        }
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let cluster =
            object.required("cluster", "the name of Consul's cluster in Envoy", |node| {
                node.single_line(Self::MAX_NAME_BYTES)
            })?;
        let defaults = Self::new(cluster);
        let authority = match object.optional("authority", authority)? {
            Some(authority) => authority,
            None => match cluster.chars().find(|c| !is_host_character(*c)) {
                Some(found) => {
                    let problem = FieldError::ClusterIsNoAuthority { found };
                    return Err(object.error_at("authority", problem));
                }
                None => defaults.authority,
            },
        };
        Ok(Self {
            cluster: defaults.cluster,
            authority,
            datacenter: object.optional("datacenter", scope)?,
            namespace: object.optional("namespace", scope)?,
            partition: object.optional("partition", scope)?,
            consistency: Consistency::read(&object)?,
            wait: object
                .optional("wait", |node| node.duration(Self::WAIT))?
                .unwrap_or(defaults.wait),
            token_env: object.optional("token_env", variable)?,
            breaker: object.optional("breaker", BreakerConfig::read)?.unwrap_or(defaults.breaker),
            retry_budget: object
                .optional("retry_budget", RetryBudgetConfig::read)?
                .unwrap_or(defaults.retry_budget),
            max_watches: object
                .optional("max_watches", |node| node.integer(1..=Self::MAX_WATCHES))?
                .unwrap_or(defaults.max_watches),
            resync: object
                .optional("resync", |node| node.duration_or_zero(Self::RESYNC))?
                .unwrap_or(defaults.resync),
        })
    }
}

fn authority(node: &Cursor<'_>) -> Result<String, ConfigError> {
    node.text(
        Consul::MAX_NAME_BYTES,
        is_host_character,
        "only the characters of a URL's host and port",
    )
    .map(str::to_owned)
}

/// Tells whether a `Host` header may have it (RFC 3986, section 3.2.2); the HTTP server of
/// Go, in which Consul is written, answers 400 to all others.
fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%:[]".contains(c)
}

pub(super) fn scope(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    node.text(Consul::MAX_SCOPE_BYTES, is_allowed, "only ASCII letters, digits, \"-\" and \"_\"")
        .map(str::to_owned)
}

/// Reads the name of an environment variable (POSIX). A wrong text is not quoted in the
/// error, because the likeliest one is the token.
fn variable(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let text = node.string()?;
    if looks_like_token(text) {
        return Err(node.error(FieldError::TokenInConfiguration));
    }
    let is_name = (1..=Consul::MAX_NAME_BYTES).contains(&text.len())
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        return Err(node.error(FieldError::NotAVariable));
    }
    Ok(text.to_owned())
}

/// Tells whether it is a UUID, which Consul's tokens are; the hyphens may be missing.
fn looks_like_token(text: &str) -> bool {
    let mut digits = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'-' => {}
            _ if byte.is_ascii_hexdigit() => digits += 1,
            _ => return false,
        }
    }
    digits == 32
}

/// When the circuit breaker towards Consul opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// It opens after so many failed calls in a row; 0: never for that.
    pub consecutive_failures: u32,
    /// It opens where so many percent of the calls of the last 30 seconds have failed; 0: never
    /// for that.
    pub failure_percent: u8,
    /// The fewest calls of the last 30 seconds whose percentage says anything.
    pub minimum_calls: u32,
    /// How long it stays open at most, the first time; twice as long each further time.
    pub base_open_time: Duration,
    /// How long it stays open at most.
    pub max_open_time: Duration,
}

impl BreakerConfig {
    /// The most of what is counted.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The shortest and the longest of its times.
    pub const TIMES: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "consecutive_failures",
        "failure_percent",
        "minimum_calls",
        "base_open_time",
        "max_open_time",
    ];

    /// Reads what differs from the defaults. `max_open_time` must not be below
    /// `base_open_time`; where it is left out it is at least that.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut found = Self::default();
        object.set("consecutive_failures", &mut found.consecutive_failures, |node| {
            node.integer(0..=Self::MAX_COUNT)
        })?;
        object.set("failure_percent", &mut found.failure_percent, Cursor::percent)?;
        object.set("minimum_calls", &mut found.minimum_calls, |node| {
            node.integer(1..=Self::MAX_COUNT)
        })?;
        for (name, slot) in [
            ("base_open_time", &mut found.base_open_time),
            ("max_open_time", &mut found.max_open_time),
        ] {
            object.set(name, slot, |node| node.duration(Self::TIMES))?;
        }
        let (base, most) = (found.base_open_time, found.max_open_time);
        if base > most && object.has("max_open_time") {
            let (found, most) = (Spelled(base).to_string(), Spelled(most).to_string());
            let problem = FieldError::Above { found, other: "max_open_time", most };
            return Err(object.error_at("base_open_time", problem));
        }
        Ok(Self { max_open_time: most.max(base), ..found })
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            minimum_calls: 20,
            base_open_time: Duration::from_secs(1),
            max_open_time: Duration::from_secs(30),
        }
    }
}

/// How many calls to Consul may follow a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudgetConfig {
    /// In percent of the calls of the last seconds that were answered well.
    pub percent: u8,
    /// So many a second whatever the percentage.
    pub min_per_second: u32,
}

impl RetryBudgetConfig {
    /// The most `min_per_second`.
    pub const MAX_MIN_PER_SECOND: u32 = 100_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["percent", "min_per_second"];

    /// Reads a budget. A floor of 0 is refused: with it a service that has failed while no other
    /// succeeds would never be asked for again.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut budget = Self::default();
        object.set("percent", &mut budget.percent, Cursor::percent)?;
        object.set("min_per_second", &mut budget.min_per_second, |node| {
            node.integer(1..=Self::MAX_MIN_PER_SECOND)
        })?;
        Ok(budget)
    }
}

/// A hundred services are read again at once after an outage, and a thousand within two minutes.
impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_uuid_is_taken_for_a_token_and_a_variable_is_not() {
        assert!(looks_like_token("b1a8c7d6-0e4f-4a5b-9c3d-2e1f0a9b8c7d"));
        assert!(looks_like_token("b1a8c7d60e4f4a5b9c3d2e1f0a9b8c7d"));
        for text in ["", "CONSUL_HTTP_TOKEN", "DEADBEEF", "-"] {
            assert!(!looks_like_token(text), "{text}");
        }
    }

    #[test]
    fn the_default_authority_is_the_name_of_the_cluster() {
        assert_eq!(Consul::new("consul").authority, "consul");
    }
}
