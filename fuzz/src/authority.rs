//! A request's `:authority`, which is whatever a client has sent.

use std::net::Ipv6Addr;

use consul_resolver::config::{Config, HostPattern};
use consul_resolver::model::service::ServiceId;
use consul_resolver::router::Router;
use consul_resolver::util::rng::Rng;
use serde_json::json;

/// The longest host that is looked for.
const LONGEST: usize = 255;

/// Reads the first line as the hosts of services, with blanks between them, one service each;
/// what follows is an authority. Looks for its service, and compares with the rules as
/// docs/configuration.md words them.
pub fn check(input: &[u8]) {
    let (patterns, authority) = super::line(input);
    let patterns = patterns_of(patterns);
    let Some(router) = router(&patterns) else { return };
    let found = router.service_by_host(Some(authority));
    let expected = host(authority).and_then(|host| expected(&patterns, &host));
    assert_eq!(found, expected, "{patterns:?} and {:?}", authority.escape_ascii().to_string());
    let louder = authority.to_ascii_uppercase();
    assert_eq!(router.service_by_host(Some(&louder)), found, "in upper case");
}

/// The patterns that the configuration would take, none of them twice.
fn patterns_of(line: &[u8]) -> Vec<HostPattern> {
    let words = str::from_utf8(line).unwrap_or_default().split(' ').take(8);
    let mut patterns = Vec::new();
    for word in words {
        match word.parse::<HostPattern>() {
            Ok(pattern) => {
                assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern), "{word:?}");
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
            Err(error) => super::check_error(&error, 400),
        }
    }
    patterns
}

fn router(patterns: &[HostPattern]) -> Option<Router> {
    if patterns.is_empty() {
        return None;
    }
    let service = |(n, pattern): (usize, &HostPattern)| json!({ "name": format!("s{n}"), "hosts": [pattern.to_string()] });
    let services: Vec<_> = patterns.iter().enumerate().map(service).collect();
    let config = json!({ "consul": { "cluster": "c" }, "services": services }).to_string();
    let config = Config::parse(config.as_bytes()).expect("patterns that were read once");
    Some(Router::new(&config, &mut Rng::new(1)))
}

/// The host of an authority, written down a second time and the slow way.
fn host(authority: &[u8]) -> Option<String> {
    let text = str::from_utf8(authority).ok()?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        let address: Ipv6Addr = address.parse().ok().filter(|_| is_whole)?;
        return Some(format!("[{address}]"));
    }
    let host = match text.split_once(':') {
        Some((host, port)) => Some(host).filter(|_| is_port(port))?,
        None => text,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    Some(host).filter(|host| (1..=LONGEST).contains(&host.len()))
}

/// An exact host first, then the longest of the wildcards.
fn expected(patterns: &[HostPattern], host: &str) -> Option<ServiceId> {
    let is_exact = |pattern: &HostPattern| *pattern == HostPattern::Exact(host.to_owned());
    let exact = patterns.iter().position(is_exact);
    let longest = || {
        let length = |pattern: &HostPattern| match pattern {
            HostPattern::Suffix(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => {
                Some(suffix.len())
            }
            _ => None,
        };
        let lengths = patterns.iter().enumerate().filter_map(|(n, p)| Some((length(p)?, n)));
        lengths.max().map(|(_, n)| n)
    };
    exact.or_else(longest).map(|n| ServiceId::nth(u16::try_from(n).expect("few patterns")))
}
