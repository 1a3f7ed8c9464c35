//! Where Consul is and how it is asked.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::consistency::Consistency;
use super::cursor::Cursor;
use super::duration::Spelled;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::field;

/// Access to Consul: the cluster, and the settings of all queries.
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
    /// Freshness of answers.
    pub consistency: Consistency,
    /// Longest time of a blocking query, before the jitter that Consul adds.
    pub wait: Duration,
    /// The environment variable of the VM that holds the ACL token.
    pub token_env: Option<String>,
    /// Circuit breaker towards Consul.
    pub breaker: BreakerConfig,
    /// Budget of calls that follow a failure.
    pub retry_budget: RetryBudgetConfig,
    /// The most blocking queries that are out at once.
    pub max_watches: u32,
    /// Time after which a service is read afresh, whatever its blocking queries say; 0: never.
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
    /// The shortest and the longest `resync` that is not 0.
    pub const RESYNC: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_secs(86_400);
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
            // Consul allows an address 200 connections (`http_max_conns_per_client`), and an updated
            // listener has two contexts for a while.
            max_watches: 100,
            resync: Duration::from_secs(600),
        }
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("consul")?;
        let mut found = Self::new("");
        object.require(
            field("cluster", "The Envoy cluster of the Consul agent or servers."),
            "the name of Consul's cluster in Envoy",
            &mut found.cluster,
            |node| node.single_line(Self::MAX_NAME_BYTES).map(str::to_owned),
        );
        found.authority.clone_from(&found.cluster);
        object.set(
            field("authority", "The `Host` header of the queries. Default: the cluster's name."),
            &mut found.authority,
            authority,
        );
        if !object.has("authority")
            && let Some(found) = found.cluster.chars().find(|c| !is_host_character(*c))
        {
            object.refuse("authority", FieldError::ClusterIsNoAuthority { found });
        }
        object.set_some(
            field("datacenter", "The datacenter to ask for. Default: the agent's own."),
            &mut found.datacenter,
            scope,
        );
        object.set_some(
            field(
                "namespace",
                "The namespace to ask in (Consul Enterprise). Default: the token's own.",
            ),
            &mut found.namespace,
            scope,
        );
        object.set_some(
            field(
                "partition",
                "The admin partition to ask in (Consul Enterprise). Default: the agent's own.",
            ),
            &mut found.partition,
            scope,
        );
        found.consistency = Consistency::read(&mut object);
        object.set(
            field("wait", "The longest time for which Consul holds a blocking query."),
            &mut found.wait,
            |node| node.duration(Self::WAIT),
        );
        object.set_some(
            field(
                "token_env",
                "The name of the VM's environment variable that holds the ACL token, such as \
                 `CONSUL_HTTP_TOKEN`; never the token itself.",
            ),
            &mut found.token_env,
            variable,
        );
        object.set(
            field("breaker", "A circuit breaker for each datacenter."),
            &mut found.breaker,
            BreakerConfig::read,
        );
        object.set(
            field(
                "retry_budget",
                "The calls to Consul that may follow a failure of their service, in ten seconds. \
                 Registrations and names of `dns_names` have a budget of their own.",
            ),
            &mut found.retry_budget,
            RetryBudgetConfig::read,
        );
        object.set(
            field(
                "max_watches",
                "The most blocking queries that are out at once. Consul allows an address 200 \
                 connections; services beyond the limit are read in turn.",
            ),
            &mut found.max_watches,
            |node| node.integer(1..=Self::MAX_WATCHES),
        );
        object.set(
            field(
                "resync",
                "The interval between fresh reads of each service from the leader, whatever its blocking queries \
                 say, give or take a tenth; `0s` is never.",
            ),
            &mut found.resync,
            |node| node.duration_or_zero(Self::RESYNC),
        );
        object.finish(found)
    }
}

fn authority(node: &Cursor<'_>) -> Result<String, Refusals> {
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

pub(super) fn scope(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    node.text(Consul::MAX_SCOPE_BYTES, is_allowed, "only ASCII letters, digits, \"-\" and \"_\"")
        .map(str::to_owned)
}

/// Reads the name of an environment variable (POSIX). A wrong text is not quoted in the
/// error, because the likeliest one is the token.
fn variable(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(r#"{ "maxLength": 255, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }"#);
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

/// Circuit breaker towards Consul: the failures that open it, and the time that it stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// It opens after so many failed calls in a row; 0: never for that.
    pub consecutive_failures: u32,
    /// It opens where so many percent of the calls of the last 30 seconds have failed; 0: never
    /// for that.
    pub failure_percent: u8,
    /// The fewest calls of the last 30 seconds whose percentage says anything.
    pub minimum_calls: u32,
    /// Longest time that it stays open at first; twice as long each further time.
    pub base_open_time: Duration,
    /// Longest time that it stays open.
    pub max_open_time: Duration,
}

impl BreakerConfig {
    /// The most of what is counted.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The shortest and the longest of its times.
    pub const TIMES: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);

    /// Reads what differs from the defaults. `max_open_time` must not be below
    /// `base_open_time`; where it is left out it is at least that.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("breaker")?;
        let mut found = Self::default();
        object.set(
            field(
                "consecutive_failures",
                "The breaker opens after so many failed calls in a row; 0: never for that.",
            ),
            &mut found.consecutive_failures,
            |node| node.integer(0..=Self::MAX_COUNT),
        );
        object.set(
            field(
                "failure_percent",
                "The breaker opens where so many percent of the calls of the last 30 seconds have \
                 failed; 0: never for that.",
            ),
            &mut found.failure_percent,
            Cursor::percent,
        );
        object.set(
            field(
                "minimum_calls",
                "The fewest calls of the last 30 seconds whose percentage says anything.",
            ),
            &mut found.minimum_calls,
            |node| node.integer(1..=Self::MAX_COUNT),
        );
        object.set(
            field(
                "base_open_time",
                "The longest time for which the breaker stays open at first; it doubles each further time.",
            ),
            &mut found.base_open_time,
            |node| node.duration(Self::TIMES),
        );
        object.set(
            field(
                "max_open_time",
                "The longest time for which the breaker stays open, at least `base_open_time`.",
            ),
            &mut found.max_open_time,
            |node| node.duration(Self::TIMES),
        );
        let (base, most) = (found.base_open_time, found.max_open_time);
        if object.are_read(&["base_open_time", "max_open_time"])
            && base > most
            && object.has("max_open_time")
        {
            let (found, most) = (Spelled(base).to_string(), Spelled(most).to_string());
            let problem = FieldError::Above { found, other: "max_open_time", most };
            object.refuse("base_open_time", problem);
        }
        object.finish(Self { max_open_time: most.max(base), ..found })
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

/// Budget of calls to Consul that follow a failure.
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

    /// Reads a budget. A floor of 0 is refused: with it a service that has failed while no other
    /// succeeds would never be asked for again.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("retry_budget")?;
        let mut budget = Self::default();
        object.set(
            field("percent", "In percent of the good calls of the last ten seconds."),
            &mut budget.percent,
            Cursor::percent,
        );
        object.set(
            field("min_per_second", "So many a second, whatever the percentage."),
            &mut budget.min_per_second,
            |node| node.integer(1..=Self::MAX_MIN_PER_SECOND),
        );
        object.finish(budget)
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
