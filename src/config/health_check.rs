//! How it is found out by a request whether something is healthy.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::consul::Consul;
use super::cursor::Cursor;
use super::duration::Spelled;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::{Object, field};
use crate::util::excerpt::Excerpt;

/// A request, the answers that are good ones, and how often it is made. Names and meanings are those of
/// [Envoy's `HealthCheck`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto),
/// but that `unhealthy_threshold` holds for answers with another status, too, and
/// `unhealthy_interval` from the first bad answer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path of the request, with its parameters.
    pub path: String,
    /// The `Host` header; none: what is asked says what it is.
    pub host: Option<String>,
    /// The method.
    pub method: &'static str,
    /// Headers beside those that every request has; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// The statuses of good answers.
    pub expected_statuses: Vec<RangeInclusive<u16>>,
    /// The statuses of answers that give a warning.
    pub warning_statuses: Vec<RangeInclusive<u16>>,
    /// Text that the body of a good answer contains; none: any body.
    pub expected_body: Option<String>,
    /// The time from one request to the next.
    pub interval: Duration,
    /// The same after an answer that was not a good one, and while it is unhealthy.
    pub unhealthy_interval: Duration,
    /// Most time that is added to each interval by chance.
    pub interval_jitter: Duration,
    /// Longest time of an answer.
    pub timeout: Duration,
    /// So many good answers in a row make it healthy.
    pub healthy_threshold: u32,
    /// So many others in a row make it unhealthy.
    pub unhealthy_threshold: u32,
}

impl HealthCheck {
    /// The most bytes of `path`, of a header's value and of `expected_body`.
    pub const MAX_TEXT_BYTES: usize = 1024;
    /// The most bytes of a header's name.
    pub const MAX_HEADER_BYTES: usize = 128;
    /// So much of an answer's body is searched for `expected_body`.
    pub const MAX_BODY_BYTES: usize = 64 * 1024;
    /// The most headers.
    pub const MAX_HEADERS: usize = 32;
    /// The most ranges of statuses.
    pub const MAX_STATUSES: usize = 32;
    /// The most of a threshold.
    pub const MAX_THRESHOLD: u32 = 100;
    /// The shortest and the longest interval.
    pub const INTERVAL: RangeInclusive<Duration> =
        Duration::from_millis(250)..=Duration::from_secs(3600);
    /// The shortest and the longest timeout.
    pub const TIMEOUT: RangeInclusive<Duration> =
        Duration::from_millis(10)..=Duration::from_secs(60);
    /// The methods.
    pub const METHODS: &[(&str, &str)] = &[
        ("GET", "GET"),
        ("HEAD", "HEAD"),
        ("OPTIONS", "OPTIONS"),
        ("POST", "POST"),
        ("PUT", "PUT"),
    ];

    /// Reads what differs from the defaults. The object may have further fields.
    ///
    /// A timeout must not be above the interval: there is one request at a time. Above
    /// `unhealthy_interval` the next one waits for it.
    fn read(object: &mut Object<'_>, defaults: Self) -> Self {
        let mut found = defaults;
        object.set(
            field("path", "The path of the request, with its parameters."),
            &mut found.path,
            path,
        );
        object.set_some(
            field("host", "The `Host` header. Default: the cluster's name."),
            &mut found.host,
            host,
        );
        object.set(field("method", "The method."), &mut found.method, |node| {
            node.one_of("method", Self::METHODS)
        });
        object.set(
            field("headers", "Further headers by their names."),
            &mut found.headers,
            headers,
        );
        object.set(
            field(
                "expected_statuses",
                "The statuses of good answers, and ranges such as `200-299`.",
            ),
            &mut found.expected_statuses,
            |node| {
                node.describe(r#"{ "default": [200] }"#);
                statuses(node)
            },
        );
        object.set(
            field("warning_statuses", "The statuses of answers that give a warning."),
            &mut found.warning_statuses,
            statuses,
        );
        object.set_some(
            field(
                "expected_body",
                "A text that a good answer has in the first 64 KiB of its body.",
            ),
            &mut found.expected_body,
            |node| {
                let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
                let expected = "no control characters but line ends and tabs";
                node.text(Self::MAX_TEXT_BYTES, is_allowed, expected).map(str::to_owned)
            },
        );
        object.set(
            field("interval", "The time from one request to the next."),
            &mut found.interval,
            |node| node.duration(Self::INTERVAL),
        );
        let mut unhealthy_interval = None;
        object.set_some(
            field(
                "unhealthy_interval",
                "The same after an answer that was not a good one, and while the service is unhealthy. \
                 Default: `interval`.",
            ),
            &mut unhealthy_interval,
            |node| node.duration(Self::INTERVAL),
        );
        found.unhealthy_interval = unhealthy_interval.unwrap_or(found.interval);
        object.set(
            field("interval_jitter", "The longest random addition to each interval."),
            &mut found.interval_jitter,
            |node| node.duration(Duration::ZERO..=*Self::INTERVAL.end()),
        );
        object.set(
            field("timeout", "The timeout of a response, at most the interval."),
            &mut found.timeout,
            |node| node.duration(Self::TIMEOUT),
        );
        object.set(
            field(
                "healthy_threshold",
                "So many good answers in a row make the service healthy; the first answer of all \
                 decides alone.",
            ),
            &mut found.healthy_threshold,
            |node| node.integer(1..=Self::MAX_THRESHOLD),
        );
        object.set(
            field("unhealthy_threshold", "So many other answers in a row make it unhealthy."),
            &mut found.unhealthy_threshold,
            |node| node.integer(1..=Self::MAX_THRESHOLD),
        );
        if !object.has("timeout") {
            found.timeout = found.timeout.min(found.interval);
        }
        if object.are_read(&["timeout", "interval"]) && found.timeout > found.interval {
            let [timeout, most] = [found.timeout, found.interval].map(|it| Spelled(it).to_string());
            let problem = FieldError::Above { found: timeout, other: "interval", most };
            object.refuse("timeout", problem);
        }
        if found.expected_body.is_some() && found.method == "HEAD" {
            let problem = FieldError::Needs { other: "a method whose answers have a body" };
            object.refuse("expected_body", problem);
        }
        found
    }
}

/// `GET /`, every 5 s, which is to be answered with 200 within a second; one good answer makes it
/// healthy, two bad ones unhealthy.
impl Default for HealthCheck {
    fn default() -> Self {
        let interval = Duration::from_secs(5);
        Self {
            path: "/".to_owned(),
            host: None,
            method: "GET",
            headers: Vec::new(),
            expected_statuses: vec![200..=200],
            warning_statuses: Vec::new(),
            expected_body: None,
            interval,
            unhealthy_interval: interval,
            interval_jitter: Duration::ZERO,
            timeout: Duration::from_secs(1),
            healthy_threshold: 1,
            unhealthy_threshold: 2,
        }
    }
}

/// A request of this proxy to one of its clusters, such as that of the local service, by which it
/// finds out whether that is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The Envoy cluster that is asked.
    pub cluster: String,
    /// Request, and its interval.
    pub check: HealthCheck,
}

impl Probe {
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        Self::read_from(node, HealthCheck::default())
    }

    /// Reads how it is found out whether this Envoy drains: at `/ready`, every second, and the first
    /// answer decides, unless something else is said.
    pub(super) fn read_drain(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let interval = Duration::from_secs(1);
        let defaults = HealthCheck {
            path: "/ready".to_owned(),
            interval,
            unhealthy_interval: interval,
            unhealthy_threshold: 1,
            ..HealthCheck::default()
        };
        Self::read_from(node, defaults)
    }

    fn read_from(node: &Cursor<'_>, defaults: HealthCheck) -> Result<Self, Refusals> {
        let mut object = node.object("probe")?;
        let mut cluster = String::new();
        object.require(
            field("cluster", "The Envoy cluster that is asked."),
            "the name of a cluster in Envoy",
            &mut cluster,
            |node| node.single_line(Consul::MAX_NAME_BYTES).map(str::to_owned),
        );
        let check = HealthCheck::read(&mut object, defaults);
        object.finish(Self { cluster, check })
    }
}

/// Reads a path, with parameters where it has some.
fn path(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_graphic() && c != '#';
    let expected = "only visible ASCII characters, without \"#\"";
    node.describe(r#"{ "pattern": "^/[!-\"$-~]*$" }"#);
    let path = node.text(HealthCheck::MAX_TEXT_BYTES, is_allowed, expected)?;
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => {
            let (text, expected) = (Excerpt::of(path), "a path: that begins with \"/\"");
            Err(node.error(FieldError::Malformed { text, expected }))
        }
    }
}

fn host(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | ',');
    let expected = "only the characters of a URL's host and port";
    node.text(HealthCheck::MAX_HEADER_BYTES, is_allowed, expected).map(str::to_owned)
}

/// Reads headers. Those that Envoy makes itself cannot be set.
pub(super) fn headers(node: &Cursor<'_>) -> Result<Vec<(String, String)>, Refusals> {
    node.entries(HealthCheck::MAX_HEADERS, |name, node| {
        let most = HealthCheck::MAX_HEADER_BYTES;
        let name = node.key(name, most, Cursor::is_of_token, Cursor::TOKEN)?.to_ascii_lowercase();
        if matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection") {
            let expected = "a header to set: Envoy makes it, that of the host by the field host";
            let text = Excerpt::of(&name);
            return Err(node.error(FieldError::Malformed { text, expected }));
        }
        let is_allowed = |c: char| c.is_ascii_graphic() || c == ' ';
        let expected = "only visible ASCII characters and blanks";
        let value = node.text(HealthCheck::MAX_TEXT_BYTES, is_allowed, expected)?;
        Ok((name, value.to_owned()))
    })
}

/// Reads statuses: whole numbers, and ranges such as `"200-299"`.
fn statuses(node: &Cursor<'_>) -> Result<Vec<RangeInclusive<u16>>, Refusals> {
    node.describe(r#"{ "minItems": 1 }"#);
    let found = node.array(HealthCheck::MAX_STATUSES, status)?;
    match found.is_empty() {
        true => Err(node.error(FieldError::Empty { expected: "statuses such as 200" })),
        false => Ok(found),
    }
}

fn status(node: &Cursor<'_>) -> Result<RangeInclusive<u16>, Refusals> {
    node.string_or(status_range, |node| {
        let status = node.integer(100..=599)? as u16;
        Ok(status..=status)
    })
}

fn status_range(node: &Cursor<'_>) -> Result<RangeInclusive<u16>, Refusals> {
    const STATUSES: RangeInclusive<u16> = 100..=599;
    node.describe(r#"{ "pattern": "^[1-5][0-9]{2}-[1-5][0-9]{2}$" }"#);
    let text = node.string()?;
    let number = |text: &str| text.parse().ok().filter(|status| STATUSES.contains(status));
    let ends = text.split_once('-').map(|(first, last)| (number(first), number(last)));
    match ends {
        Some((Some(first), Some(last))) if first <= last => Ok(first..=last),
        _ => {
            let expected = "a range of statuses, such as \"200-299\"";
            Err(node.error(FieldError::Malformed { text: Excerpt::of(text), expected }))
        }
    }
}
