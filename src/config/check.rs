//! How Consul learns whether a registered service is healthy.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::health_check::{HealthCheck, Probe, headers};
use super::object::{Field, Object, field};
use crate::util::excerpt::Excerpt;

/// One check of a registered service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name that Consul shows; none: Consul makes one of the target.
    pub name: Option<String>,
    /// Target of the check, and who runs it.
    pub kind: CheckKind,
    /// Time in the critical state after which Consul removes the service; none: never.
    pub deregister_after: Option<Duration>,
}

/// Target of the check, and who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// This proxy reports: it lives, and so does what it probes.
    Ttl {
        /// Consul takes the service for dead after so long without a report.
        ttl: Duration,
        /// Probe whose result is reported; none: the proxy only reports that it lives.
        probe: Option<Probe>,
    },
    /// Consul sends requests.
    Run(RunByConsul),
}

/// A check that Consul runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunByConsul {
    /// Target of the requests.
    pub target: CheckTarget,
    /// Time from one request to the next.
    pub interval: Duration,
    /// Longest time of an answer.
    pub timeout: Duration,
    /// So many successes in a row make it pass (Consul 1.7 and later).
    pub success_before_passing: u32,
    /// So many failures in a row make it critical (Consul 1.7 and later).
    pub failures_before_critical: u32,
}

/// Target of a check that Consul runs.
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
        /// Accepts any certificate.
        tls_skip_verify: bool,
    },
    /// An address and a port that are to take connections.
    Tcp(String),
    /// An address and a port, perhaps with a service behind a `/`, by gRPC's health checking
    /// protocol.
    Grpc {
        /// Address with a port, perhaps with a service behind a `/`.
        target: String,
        /// Uses TLS.
        tls: bool,
        /// Accepts any certificate.
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
    /// The shortest and the longest `interval` of a check that Consul runs: below a second it
    /// takes a second.
    pub const INTERVAL: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(86_400);
    /// The most `timeout`; the default is Consul's own.
    pub const TIMEOUT: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);
    /// The most bytes of a URL, a body, and of an address.
    pub const MAX_TEXT_BYTES: usize = 4096;
    /// The most bytes of a name.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The methods of `http`.
    pub const METHODS: &[(&str, &str)] = HealthCheck::METHODS;
    /// The fields that say what is checked, of which one is given.
    const KINDS: &[&str] = &["ttl", "http", "tcp", "grpc"];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("check")?;
        object.describe(
            r#"{ "oneOf": [{ "required": ["ttl"] }, { "required": ["http"] }, { "required": ["tcp"] },
                 { "required": ["grpc"] }] }"#,
        );
        let mut given = Self::KINDS.iter().filter(|kind| object.has(kind));
        let found = given.clone().count();
        let kind = given.next_back().copied().filter(|_| found == 1);
        if found != 1 {
            object.refuse_whole(FieldError::NotOne { fields: Self::KINDS, found });
        }
        let mut fields = FieldsOf { kind, object };
        let (mut ttl, mut probe) = (None, None);
        fields.object.set_some(
            field(
                "ttl",
                "Consul takes the service for dead after so long without a report; this proxy reports \
                 three times as often.",
            ),
            &mut ttl,
            |node| node.duration(Self::TTL),
        );
        fields.set(
            &["ttl"],
            field(
                "probe",
                "With `ttl`: what this proxy asks of the service, and reports. Default: it only reports \
                 that it lives.",
            ),
            &mut probe,
            |node| Probe::read(node).map(Some),
        );
        let run = RunByConsul::read(&mut fields);
        let mut object = fields.object;
        let mut name = None;
        object.set_some(field("name", "The name of the check in Consul."), &mut name, |node| {
            node.single_line(Self::MAX_NAME_BYTES).map(str::to_owned)
        });
        let mut after = Duration::from_secs(600);
        object.set(
            field(
                "deregister_critical_service_after",
                "The time for which the check may be critical before Consul removes the service; `0s` is never.",
            ),
            &mut after,
            |node| node.duration_or_zero(Self::DEREGISTER_AFTER),
        );
        let kind = match ttl {
            Some(ttl) => CheckKind::Ttl { ttl, probe },
            None => CheckKind::Run(run),
        };
        let deregister_after = Some(after).filter(|after| !after.is_zero());
        object.finish(Self { name, kind, deregister_after })
    }
}

/// The fields of a check that only some kinds have.
struct FieldsOf<'a> {
    object: Object<'a>,
    /// The kind, where it is known.
    kind: Option<&'static str>,
}

impl<'a> FieldsOf<'a> {
    /// Reads a field that only checks of some kinds have, and refuses it of another kind.
    fn set<T: 'static>(
        &mut self,
        kinds: &'static [&'static str],
        field: Field,
        slot: &mut T,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) {
        let is_foreign = self.kind.is_some_and(|kind| !kinds.contains(&kind));
        if is_foreign && self.object.has(field.name) {
            let other = match kinds {
                ["http", "grpc"] => "http or grpc",
                ["http", ..] if kinds.len() > 1 => "http, tcp or grpc",
                [only, ..] => only,
                [] => "another kind",
            };
            return self.object.refuse_known(field, FieldError::Needs { other });
        }
        self.object.set(field, slot, read);
    }
}

impl RunByConsul {
    fn read(fields: &mut FieldsOf<'_>) -> Self {
        const KINDS: &[&str] = &["http", "tcp", "grpc"];
        let mut found = Self {
            target: CheckTarget::read(fields),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            success_before_passing: 0,
            failures_before_critical: 0,
        };
        fields.set(
            KINDS,
            field("interval", "The interval between checks by Consul."),
            &mut found.interval,
            |node| node.duration(Check::INTERVAL),
        );
        fields.set(
            KINDS,
            field("timeout", "The timeout of a response."),
            &mut found.timeout,
            |node| node.duration(Check::TIMEOUT),
        );
        let count = |node: &Cursor<'_>| node.integer(0..=HealthCheck::MAX_THRESHOLD);
        fields.set(
            KINDS,
            field(
                "success_before_passing",
                "So many successes in a row make the check pass (Consul 1.7, over its API since 1.8.1).",
            ),
            &mut found.success_before_passing,
            count,
        );
        fields.set(
            KINDS,
            field(
                "failures_before_critical",
                "So many failures in a row make it critical (Consul 1.7, over its API since 1.8.1).",
            ),
            &mut found.failures_before_critical,
            count,
        );
        found
    }
}

impl CheckTarget {
    fn read(fields: &mut FieldsOf<'_>) -> Self {
        let (mut http, mut tcp, mut grpc) = (None, None, None);
        fields.object.set_some(
            field("http", "A URL that Consul asks: 2xx passes, 429 warns, all else is critical."),
            &mut http,
            url,
        );
        fields.object.set_some(
            field("tcp", "An address and a port that Consul connects to."),
            &mut tcp,
            |node| target(node, false),
        );
        fields.object.set_some(
            field(
                "grpc",
                "An address and a port, perhaps with a service behind a `/`, that Consul asks by gRPC's \
                 health checking protocol.",
            ),
            &mut grpc,
            |node| target(node, true),
        );
        let (mut method, mut headers, mut body) = ("GET", Vec::new(), None);
        fields.set(&["http"], field("method", "With `http`: the method."), &mut method, |node| {
            node.one_of("method", Check::METHODS)
        });
        fields.set(
            &["http"],
            field("headers", "With `http`: headers by their names."),
            &mut headers,
            self::headers,
        );
        fields.set(&["http"], field("body", "With `http`: the body."), &mut body, |node| {
            let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
            let expected = "no control characters but line ends and tabs";
            node.text(Check::MAX_TEXT_BYTES, is_allowed, expected).map(|body| Some(body.to_owned()))
        });
        let (mut tls, mut tls_skip_verify) = (false, false);
        fields.set(
            &["grpc"],
            field("grpc_use_tls", "With `grpc`: whether by TLS."),
            &mut tls,
            Cursor::boolean,
        );
        fields.set(
            &["http", "grpc"],
            field("tls_skip_verify", "With `http` or `grpc`: whether any certificate will do."),
            &mut tls_skip_verify,
            Cursor::boolean,
        );
        match (http, grpc) {
            (Some(url), _) => Self::Http { url, method, headers, body, tls_skip_verify },
            (None, Some(target)) => Self::Grpc { target, tls, tls_skip_verify },
            (None, None) => Self::Tcp(tcp.unwrap_or_default()),
        }
    }
}

fn url(node: &Cursor<'_>) -> Result<String, Refusals> {
    let expected = "only visible ASCII characters";
    node.describe(r#"{ "pattern": "^https?://[!-~]+$" }"#);
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
fn target(node: &Cursor<'_>, may_name_service: bool) -> Result<String, Refusals> {
    let expected = "only visible ASCII characters";
    node.describe(r#"{ "pattern": "^[!-~]+:[0-9]{1,5}(/[!-~]*)?$" }"#);
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
