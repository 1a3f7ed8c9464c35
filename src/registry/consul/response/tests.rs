use std::borrow::Cow;

use super::*;
use crate::config::{self, CacheAges, PreparedQuery};
use crate::registry::consul::fixtures;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::{Header, Refusal};
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ONE: &[u8] = br#"[{"Service": {"Address": "10.0.0.1", "Port": 80}}]"#;

fn query(token_env: Option<&str>) -> ConsulQuery {
    let consul = config::Consul { token_env: token_env.map(str::to_owned), ..fixtures::consul() };
    let config = config::Config { consul, ..fixtures::config() };
    ConsulQuery::new(&config, &fixtures::service("web"), None)
}

fn response(status: u16, body: &[u8]) -> HttpResponse<'_> {
    HttpResponse {
        status,
        from_envoy: false,
        headers: &[(INDEX_HEADER, Cow::Borrowed(b"7"))],
        body,
    }
}

fn header<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
    (name, Cow::Borrowed(value))
}

/// An index and another header.
fn and<'a>(name: &'a str, value: &'a [u8]) -> [Header<'a>; 2] {
    [header(INDEX_HEADER, b"7"), header(name, value)]
}

const fn seven() -> Resume {
    Resume::Consul(ConsulIndex::new(7))
}

fn error(response: HttpResponse<'_>) -> (ErrorKind, String) {
    let error = query(Some("CONSUL_HTTP_TOKEN")).read(Ok(response)).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_whole_answer_is_an_index_and_endpoints() {
    let answer = query(None).read(Ok(response(200, ONE))).unwrap();
    assert_eq!((answer.resume, answer.decoded.snapshot.len()), (seven(), 1));
    let zero = [header(INDEX_HEADER, b"0")];
    let empty = query(None).read(Ok(HttpResponse { headers: &zero, ..response(200, b"[]") }));
    let empty = empty.unwrap();
    let one = Resume::Consul(ConsulIndex::ONE);
    assert_eq!((empty.resume, empty.decoded.snapshot.len()), (one, 0));
}

#[test]
fn a_call_without_a_response_says_what_to_look_at() {
    let failed = |failure| {
        let error = query(None).read(Err(failure)).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = failed(CallFailure::Refused(Refusal::UnknownCluster));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("\"consul\"") && text.contains("consul.cluster"), "{text}");
    let (kind, text) = failed(CallFailure::Refused(Refusal::NoCapacity));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("circuit breakers"), "{text}");
    assert_eq!(failed(CallFailure::NoAnswer).0, ErrorKind::NoAnswer);
    assert_eq!(failed(CallFailure::Lost).0, ErrorKind::Timeout);
}

#[test]
fn a_local_reply_of_envoy_is_not_taken_for_consuls() {
    let body = b"upstream connect error or disconnect/reset before headers. reset reason: \
                 connection failure";
    let local = |status| HttpResponse { from_envoy: true, headers: &[], ..response(status, body) };
    let (kind, text) = error(local(503));
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("connection failure"), "{text}");
    assert_eq!(error(local(504)).0, ErrorKind::Timeout);
    assert_eq!(error(local(403)).0, ErrorKind::Unreachable);
    assert_eq!(error(local(200)).0, ErrorKind::BadIndex);
    assert_eq!(error(response(503, body)).0, ErrorKind::ServerError);
}

#[test]
fn a_refused_token_is_named_by_its_variable() {
    let (kind, text) = error(response(403, b"Permission denied\n"));
    assert_eq!(kind, ErrorKind::Denied);
    let expected = "consul refused the read (403 Permission denied): the token in \
                    CONSUL_HTTP_TOKEN needs service:read and node:read";
    assert_eq!(text, expected);
    let anonymous = query(None).read(Ok(response(403, b"ACL not found"))).unwrap_err();
    assert!(anonymous.to_string().contains("consul.token_env"), "{anonymous}");
}

#[test]
fn each_status_has_its_kind() {
    for (status, kind) in [
        (400, ErrorKind::ClientError),
        (404, ErrorKind::ClientError),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::ServerError),
        (503, ErrorKind::ServerError),
        (301, ErrorKind::ClientError),
        (204, ErrorKind::ClientError),
        (0, ErrorKind::ClientError),
    ] {
        let (found, text) = error(response(status, b"No cluster leader"));
        assert_eq!(found, kind, "{status}");
        assert!(text.contains(&format!("{status} No cluster leader")), "{text}");
    }
}

#[test]
fn a_filtered_answer_says_so_and_may_be_refused() {
    let query = query(Some("CONSUL_HTTP_TOKEN"));
    let whole = query.read(Ok(response(200, ONE))).unwrap();
    assert!(!whole.is_partial);
    assert_eq!(query.reject_filtered(whole.clone()), Ok(whole));

    let filtered = query
        .read(Ok(HttpResponse { headers: &and(FILTERED_HEADER, b"True"), ..response(200, ONE) }));
    let filtered = filtered.unwrap();
    assert!(filtered.is_partial);
    let error = query.reject_filtered(filtered).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Filtered);
    assert!(error.to_string().contains("CONSUL_HTTP_TOKEN"), "{error}");
}

#[test]
fn the_last_contact_with_the_leader_is_told_where_it_can_be_read() {
    let read = |header: &[u8]| {
        let headers = and(LAST_CONTACT_HEADER, header);
        query(None).read(Ok(HttpResponse { headers: &headers, ..response(200, ONE) })).unwrap().age
    };
    assert_eq!(read(b"0"), Some(Duration::ZERO));
    assert_eq!(read(b"1500"), Some(Duration::from_millis(1_500)));
    assert_eq!(read(b"18446744073709551615"), Some(Duration::from_millis(u64::MAX)));
    let bad: [&[u8]; 7] =
        [b"", b"+1", b" 1", b"1.5", b"\xff", b"18446744073709551616", &[b'0'; 21]];
    for header in bad {
        assert_eq!(read(header), None, "{header:?}");
    }
}

#[test]
fn an_answer_older_than_the_configuration_admits_says_so() {
    let seconds = |n| Some(Duration::from_secs(n));
    let is_too_old = |consistency,
                      last_contact: Option<&'static [u8]>,
                      age: Option<&'static [u8]>| {
        let consul = config::Consul { consistency, ..fixtures::consul() };
        let config = config::Config { consul, ..fixtures::config() };
        let query = ConsulQuery::new(&config, &fixtures::service("web"), None);
        let ages = [(LAST_CONTACT_HEADER, last_contact), (AGE_HEADER, age)];
        let ages = ages.into_iter().filter_map(|(name, value)| Some(header(name, value?)));
        let headers: Vec<_> = ages.chain([header(INDEX_HEADER, b"7")]).collect();
        query.read(Ok(HttpResponse { headers: &headers, ..response(200, ONE) })).unwrap().is_too_old
    };
    let contact = |max_stale, header| {
        is_too_old(Consistency::Stale { max_stale }, Some(header), Some(b"99".as_slice()))
    };
    assert!(contact(seconds(2), b"2001"));
    assert!(!contact(seconds(2), b"2000"));
    assert!(!contact(seconds(2), b"soon"));
    assert!(!contact(None, b"99999"));
    assert!(!is_too_old(Consistency::Stale { max_stale: seconds(2) }, None, None));

    let age = |max_age, stale_if_error, header| {
        let ages = CacheAges { max_age, stale_if_error };
        is_too_old(Consistency::Cached(ages), Some(b"99999".as_slice()), Some(header))
    };
    assert!(age(seconds(2), None, b"3"));
    assert!(!age(seconds(2), None, b"2"));
    assert!(!age(seconds(2), seconds(60), b"60"));
    assert!(age(seconds(2), seconds(60), b"61"));
    assert!(!age(None, None, b"99999"));
    assert!(!is_too_old(Consistency::Default, Some(b"99999"), Some(b"99999")));
}

#[test]
fn a_prepared_query_is_read_and_one_that_is_not_there_is_named() {
    let prepared = PreparedQuery { name: "geo".into(), near: None, limit: None };
    let service = config::Service { query: Some(prepared), ..fixtures::service("web") };
    let query = ConsulQuery::new(&fixtures::config(), &service, None);
    let body = format!("{{\"Nodes\": {}}}", String::from_utf8_lossy(ONE));
    let answer = query.read(Ok(response(200, body.as_bytes()))).unwrap();
    assert_eq!((answer.resume, answer.decoded.snapshot.len()), (seven(), 1));
    assert_eq!(query.read(Ok(response(200, ONE))).unwrap_err().kind(), ErrorKind::BadBody);
    let unknown = query.read(Ok(response(404, b"ConsulQuery not found"))).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::ClientError);
    assert!(unknown.to_string().contains("prepared query \"geo\""), "{unknown}");
    let other = query.read(Ok(response(404, b"404 page not found"))).unwrap_err();
    assert!(!other.to_string().contains("prepared query"), "{other}");
    assert!(
        ConsulQuery::unknown_is_empty(unknown).is_ok()
            && ConsulQuery::unknown_is_empty(other).is_err()
    );
}

#[test]
fn an_answer_without_a_usable_index_is_an_error() {
    assert_eq!(error(HttpResponse { headers: &[], ..response(200, ONE) }).0, ErrorKind::BadIndex);
    let bad = [header(INDEX_HEADER, b"\xff")];
    let bad = HttpResponse { headers: &bad, ..response(200, ONE) };
    assert_eq!(error(bad).0, ErrorKind::BadIndex);
}

#[test]
fn a_body_that_cannot_be_decoded_is_an_error_with_its_cause() {
    let truncated = query(None).read(Ok(response(200, b"[{"))).unwrap_err();
    assert_eq!(truncated.kind(), ErrorKind::BadBody);
    assert!(core::error::Error::source(&truncated).is_some());
}
