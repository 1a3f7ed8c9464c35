//! What a backend answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Shared;

/// Counts a request in flight, also when its client goes away.
struct InFlight<'a>(&'a Shared);

impl<'a> InFlight<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn reply<B: Body>(request: Request<B>, shared: &Shared) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/health" {
        shared.health_checks.fetch_add(1, Ordering::Relaxed);
        let healthy = shared.healthy.load(Ordering::Relaxed);
        let status = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        let body = if healthy { "{\"healthy\":true}" } else { "{\"healthy\":false}" };
        return response(shared, status, Bytes::from_static(body.as_bytes()));
    }
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let _in_flight = InFlight::begin(shared);
    let query = request.uri().query().unwrap_or_default();
    let mut delay = shared.delay_ms.load(Ordering::Relaxed);
    let mut status = shared.trouble().next_status().unwrap_or(200);
    match path {
        "/slow" => delay = number(query, "ms").unwrap_or(delay),
        "/status" => {
            status =
                number(query, "code").and_then(|code| u16::try_from(code).ok()).unwrap_or(status)
        }
        _ => {}
    }
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if let ("/redirect", Some(place)) = (path, query.strip_prefix("to=")) {
        let mut redirect = response(shared, StatusCode::FOUND, Bytes::new());
        if let Ok(place) = HeaderValue::from_str(place) {
            redirect.headers_mut().insert(LOCATION, place);
        }
        return redirect;
    }
    if path == "/echo" {
        // A body that is cut off has no answer that could be mistaken for a whole one.
        return match request.into_body().collect().await {
            Ok(body) => response(shared, StatusCode::OK, body.to_bytes()),
            Err(_) => response(shared, StatusCode::BAD_REQUEST, Bytes::new()),
        };
    }
    let body = if path == "/headers" {
        let headers = headers(request.headers());
        json!({"instance": shared.name, "path": path, "headers": headers}).to_string()
    } else {
        let whole = request.uri().path_and_query().map_or(path, |whole| whole.as_str());
        format!(
            "{{\"instance\":{},\"path\":{}}}\n",
            Value::from(shared.name.as_str()),
            Value::from(whole)
        )
    };
    response(shared, StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Bytes::from(body))
}

/// A number in a query string.
fn number(query: &str, key: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

/// All headers; several of one name are joined with `, `, odd bytes replaced.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let joined = |name| {
        let values =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(", ")
    };
    headers.keys().map(|name| (name.to_string(), Value::from(joined(name)))).collect()
}

fn response(shared: &Shared, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(name) = HeaderValue::from_str(&shared.name) {
        headers.insert("x-instance", name);
    }
    response
}
