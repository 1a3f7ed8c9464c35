//! How Consul learns whether a registered service is healthy.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::health_check::{HealthCheck, headers};
use super::probe::Probe;

/// One check of a registered service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What Consul shows as its name; none: it is made of what is checked.
    pub name: Option<String>,
    /// What is checked, and by whom.
    pub kind: CheckKind,
    /// How long the check may be critical before Consul removes the service; none: for ever.
    pub deregister_after: Option<Duration>,
}

/// What is checked, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// This proxy reports: it lives, and so does what it probes.
    Ttl {
        /// Consul takes the service for dead after so long without a report.
        ttl: Duration,
        /// What is probed; none: the proxy only says that it lives.
        probe: Option<Probe>,
    },
    /// Consul sends requests.
    Run(RunByConsul),
}

/// A check that Consul runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunByConsul {
    /// What it asks.
    pub target: CheckTarget,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many successes in a row make it pass (Consul 1.7 and later).
    pub success_before_passing: u32,
    /// So many failures in a row make it critical (Consul 1.7 and later).
    pub failures_before_critical: u32,
}

/// What a check that Consul runs asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckTarget {
    /// A URL: 2xx passes, 429 warns, all else is critical.
    Http {
        /// The URL.
        url: String,
        /// The method.
        method: &'static str,
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its body; none: it has none.
        body: Option<String>,
        /// Whether any certificate will do.
        tls_skip_verify: bool,
    },
    /// An address and a port that are to take connections.
    Tcp(String),
    /// An address and a port, perhaps with a service behind a `/`, by gRPC's health checking
    /// protocol.
    Grpc {
        /// Where.
        target: String,
        /// Whether by TLS.
        tls: bool,
        /// Whether any certificate will do.
        tls_skip_verify: bool,
    },
}

impl Check {
    /// The shortest and the longest `ttl`: another VM takes over from one that has died within
    /// some seconds, and is to be in time.
    pub const TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);
    /// The shortest and the longest `deregister_critical_service_after`: Consul takes a minute
    /// where it is told less.
    pub const DEREGISTER_AFTER: RangeInclusive<Duration> =
        Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);
    /// The `deregister_critical_service_after` where none is given.
    pub const DEFAULT_DEREGISTER_AFTER: Duration = Duration::from_secs(600);
    /// The shortest and the longest `interval` of a check that Consul runs: below a second it
    /// takes a second.
    pub const INTERVAL: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(86_400);
    /// The `interval` where none is given.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
    /// The most `timeout`; the default is Consul's own.
    pub const TIMEOUT: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);
    /// The `timeout` where none is given.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The most bytes of a URL, a body, and of an address.
    pub const MAX_TEXT_BYTES: usize = 4096;
    /// The most bytes of a name.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The methods of `http`.
    pub const METHODS: &[(&str, &str)] = HealthCheck::METHODS;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "ttl",
        "probe",
        "http",
        "tcp",
        "grpc",
        "name",
        "method",
        "headers",
        "body",
        "grpc_use_tls",
        "tls_skip_verify",
        "interval",
        "timeout",
        "deregister_critical_service_after",
        "success_before_passing",
        "failures_before_critical",
    ];
    /// The fields that say what is checked, of which one is given.
    pub const KINDS: &[&str] = &["ttl", "http", "tcp", "grpc"];
    /// The fields that only some kinds have, with these.
    const OF_SOME: &[(&str, &[&str], &str)] = &[
        ("probe", &["ttl"], "ttl"),
        ("method", &["http"], "http"),
        ("headers", &["http"], "http"),
        ("body", &["http"], "http"),
        ("grpc_use_tls", &["grpc"], "grpc"),
        ("tls_skip_verify", &["http", "grpc"], "http or grpc"),
        ("interval", &["http", "tcp", "grpc"], "http, tcp or grpc"),
        ("timeout", &["http", "tcp", "grpc"], "http, tcp or grpc"),
        ("success_before_passing", &["http", "tcp", "grpc"], "http, tcp or grpc"),
        ("failures_before_critical", &["http", "tcp", "grpc"], "http, tcp or grpc"),
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut given = Self::KINDS.iter().filter(|kind| object.has(kind));
        let found = given.clone().count();
        let Some(kind) = given.next_back().filter(|_| found == 1) else {
            return Err(node.error(FieldError::NotOne { fields: Self::KINDS, found }));
        };
        let foreign = Self::OF_SOME
            .iter()
            .find(|(field, kinds, _)| object.has(field) && !kinds.contains(kind));
        if let Some((field, _, other)) = foreign {
            return Err(object.error_at(field, FieldError::Needs { other }));
        }
        let ttl = object.optional("ttl", |node| node.duration(Self::TTL))?;
        let kind = match ttl {
            Some(ttl) => CheckKind::Ttl { ttl, probe: object.optional("probe", Probe::read)? },
            None => CheckKind::Run(RunByConsul::read(&object)?),
        };
        let after = object.optional("deregister_critical_service_after", |node| {
            node.duration_or_zero(Self::DEREGISTER_AFTER)
        })?;
        let after = after.unwrap_or(Self::DEFAULT_DEREGISTER_AFTER);
        Ok(Self {
            name: object.optional("name", |node| {
                node.single_line(Self::MAX_NAME_BYTES).map(str::to_owned)
            })?,
            kind,
            deregister_after: Some(after).filter(|after| !after.is_zero()),
        })
    }
}

impl RunByConsul {
    fn read(object: &Object<'_>) -> Result<Self, ConfigError> {
        let count = |name| {
            let count = object.optional(name, |node| node.integer(0..=HealthCheck::MAX_THRESHOLD));
            count.map(Option::unwrap_or_default)
        };
        Ok(Self {
            target: CheckTarget::read(object)?,
            interval: object
                .optional("interval", |node| node.duration(Check::INTERVAL))?
                .unwrap_or(Check::DEFAULT_INTERVAL),
            timeout: object
                .optional("timeout", |node| node.duration(Check::TIMEOUT))?
                .unwrap_or(Check::DEFAULT_TIMEOUT),
            success_before_passing: count("success_before_passing")?,
            failures_before_critical: count("failures_before_critical")?,
        })
    }
}

impl CheckTarget {
    fn read(object: &Object<'_>) -> Result<Self, ConfigError> {
        let tls_skip_verify = object.optional("tls_skip_verify", Cursor::boolean)?.unwrap_or(false);
        if let Some(url) = object.optional("http", url)? {
            return Ok(Self::Http {
                url,
                method: object
                    .optional("method", |node| node.one_of("method", Check::METHODS))?
                    .unwrap_or("GET"),
                headers: object.optional("headers", headers)?.unwrap_or_default(),
                body: object.optional("body", |node| {
                    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
                    let expected = "no control characters but line ends and tabs";
                    node.text(Check::MAX_TEXT_BYTES, is_allowed, expected).map(str::to_owned)
                })?,
                tls_skip_verify,
            });
        }
        if let Some(target) = object.optional("grpc", |node| target(node, true))? {
            let tls = object.optional("grpc_use_tls", Cursor::boolean)?.unwrap_or(false);
            return Ok(Self::Grpc { target, tls, tls_skip_verify });
        }
        let tcp = object.required("tcp", "an address and a port", |node| target(node, false));
        tcp.map(Self::Tcp)
    }
}

fn url(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let expected = "only visible ASCII characters";
    let url = node.text(Check::MAX_TEXT_BYTES, |c| c.is_ascii_graphic(), expected)?;
    let has_host = ["http://", "https://"]
        .into_iter()
        .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !has_host {
        let expected = "a URL, such as \"http://10.0.0.5:8080/live\"";
        return Err(node.error(FieldError::Malformed { text: Excerpt::of(url), expected }));
    }
    Ok(url.to_owned())
}

/// Reads a host and a port; behind a `/` a service may follow, where that may be.
fn target(node: &Cursor<'_>, may_name_service: bool) -> Result<String, ConfigError> {
    let expected = "only visible ASCII characters";
    let text = node.text(Check::MAX_TEXT_BYTES, |c| c.is_ascii_graphic(), expected)?;
    let address = match text.split_once('/') {
        Some((address, _)) if may_name_service => address,
        _ => text,
    };
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port != 0);
    if port.is_none() {
        let expected = "an address with a port, such as \"10.0.0.5:8080\"";
        return Err(node.error(FieldError::Malformed { text: Excerpt::of(text), expected }));
    }
    Ok(text.to_owned())
}
