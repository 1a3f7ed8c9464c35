//! Asks where subscriptions are answered, as an Envoy would, or as nobody should.

use std::io::{Read, Write};
use std::os::unix::net::{SocketAddr, UnixStream};

use serde_json::json;

use crate::testbed::SOON;

/// The path of the questions for endpoints.
pub const ENDPOINTS: &str = "/v3/discovery:endpoints";

/// What an Envoy of that node asks that has this version of a service's endpoints.
pub fn question(node: &str, service: &str, version: &str) -> String {
    let question = json!({
        "version_info": version,
        "node": {"id": node, "cluster": "edge"},
        "resource_names": [service],
        "type_url": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    });
    question.to_string()
}

/// Asks, and leaves the question open.
pub fn ask(socket: &SocketAddr, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect_addr(socket).expect("the socket");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: xds\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    // An answer may come before all is sent.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    stream
}

/// The status and the body of the answer.
pub fn answer(mut stream: UnixStream) -> (u16, String) {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or_else(|| panic!("{answer:?}")), body.unwrap_or_default())
}
