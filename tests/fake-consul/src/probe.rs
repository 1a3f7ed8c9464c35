//! What the agent asks to find out a check's state.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::registration::{RegistrationError, field, text, time};
use stack::Status;
use stack::client::Request;
use stack::runtime;

/// How long an answer may take where a check does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Http {
        url: String,
        method: String,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Passes as soon as a connection is there.
    Tcp(String),
    /// `host:port/service`, without TLS; the service may be left out.
    Grpc(String),
}

/// A question that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub target: Target,
    pub interval: Duration,
    timeout: Duration,
}

impl Probe {
    /// Reads it from a check; `None` where the check has none.
    pub fn from_json(check: &Value) -> Result<Option<Self>, RegistrationError> {
        let filled = |key| Ok(Some(text(check, key, "check")?).filter(|text| !text.is_empty()));
        let target = if let Some(target) = filled("GRPC")? {
            Target::Grpc(target)
        } else if let Some(url) = filled("HTTP")? {
            let method = filled("Method")?.unwrap_or_else(|| "GET".to_owned());
            let body = text(check, "Body", "check")?;
            Target::Http { url, method, headers: headers(check)?, body }
        } else if let Some(address) = filled("TCP")? {
            Target::Tcp(address)
        } else {
            return Ok(None);
        };
        let (interval, timeout) = (time(check, "Interval")?, time(check, "Timeout")?);
        let interval = interval.filter(|interval| !interval.is_zero());
        Ok(Some(Self {
            target,
            interval: interval.ok_or(RegistrationError::MissingInterval)?,
            timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
        }))
    }

    /// Consul's word in `Type`.
    pub fn as_str(&self) -> &'static str {
        match self.target {
            Target::Http { .. } => "http",
            Target::Tcp(_) => "tcp",
            Target::Grpc(_) => "grpc",
        }
    }

    /// Asks once, and blocks until there is an answer.
    pub fn ask(&self) -> (Status, String) {
        match &self.target {
            Target::Http { url, method, headers, body } => {
                let request = Request::to_url(method, url).body(body.as_str());
                let request =
                    headers.iter().fold(request, |r, (name, value)| r.header(name, value));
                ask_http(&request.timeout(self.timeout), method, url)
            }
            Target::Tcp(address) => match connect(address, self.timeout) {
                Ok(()) => (Status::Passing, format!("TCP connect {address}: Success")),
                Err(error) => (Status::Critical, format!("dial tcp {address}: {error}")),
            },
            Target::Grpc(target) => match ask_grpc(target, self.timeout) {
                Ok(()) => (Status::Passing, format!("gRPC check {target}: success")),
                Err(text) => (Status::Critical, text),
            },
        }
    }
}

fn headers(check: &Value) -> Result<Vec<(String, String)>, RegistrationError> {
    let malformed = || RegistrationError::Malformed { field: "Header" };
    let mut headers = Vec::new();
    for (name, values) in field(check, "Header").and_then(Value::as_object).into_iter().flatten() {
        for value in values.as_array().ok_or_else(malformed)? {
            headers.push((name.clone(), value.as_str().ok_or_else(malformed)?.to_owned()));
        }
    }
    Ok(headers)
}

/// 2xx passes, 429 warns, all else is critical.
fn ask_http(request: &Request, method: &str, url: &str) -> (Status, String) {
    let answer = match request.send() {
        Ok(answer) => answer,
        Err(error) => return (Status::Critical, error.to_string()),
    };
    let status = match answer.status {
        200..300 => Status::Passing,
        429 => Status::Warning,
        _ => Status::Critical,
    };
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|s| s.canonical_reason());
    let line = format!("{} {}", answer.status, reason.unwrap_or_default());
    (status, format!("HTTP {method} {url}: {line} Output: {}", answer.text()))
}

fn connect(address: &str, timeout: Duration) -> io::Result<()> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn ask_grpc(target: &str, timeout: Duration) -> Result<(), String> {
    let (address, service) = target.split_once('/').unwrap_or((target, ""));
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?.timeout(timeout);
    let request = HealthCheckRequest { service: service.to_owned() };
    let asked = runtime::handle().block_on(async {
        let channel = endpoint.connect_timeout(timeout).connect().await;
        let mut client = HealthClient::new(channel.map_err(|error| error.to_string())?);
        let answer = client.check(request).await.map_err(|status| status.to_string())?;
        Ok::<_, String>(answer.into_inner().status())
    });
    match asked? {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("gRPC {target} serving status: {}", other.as_str_name())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use serde_json::json;

    use super::*;
    use stack::{Backend, Conduct, GrpcBackend};

    fn ask(check: Value) -> (Status, String) {
        let mut check = check;
        check["Interval"] = json!("1s");
        check["Timeout"] = json!("2s");
        Probe::from_json(&check).expect("valid").expect("a probe").ask()
    }

    #[test]
    fn an_http_probe_asks_with_its_method_headers_and_body() {
        let backend = Backend::start("web-1").expect("backend");
        let url = format!("http://{}/headers", backend.address());
        let header = json!({"X-Test": ["one"]});
        let (status, output) = ask(json!({"HTTP": url, "Method": "POST", "Header": header}));
        assert_eq!(status, Status::Passing);
        assert!(output.starts_with(&format!("HTTP POST {url}: 200 OK Output: ")), "{output}");
        assert!(output.contains(r#""x-test":"one""#), "{output}");
        backend.set_status(429);
        assert_eq!(ask(json!({"HTTP": url})).0, Status::Warning);
        backend.set_status(302);
        assert_eq!(ask(json!({"HTTP": url})).0, Status::Critical);
    }

    #[test]
    fn a_tcp_probe_passes_where_something_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("address").to_string();
        let success = format!("TCP connect {address}: Success");
        assert_eq!(ask(json!({"TCP": address})), (Status::Passing, success));
        drop(listener);
        assert_eq!(ask(json!({"TCP": address})).0, Status::Critical);
    }

    #[test]
    fn a_grpc_probe_asks_the_health_service() {
        let backend = GrpcBackend::start("grpc-1").expect("backend");
        let target = format!("{}/web", backend.address());
        let success = format!("gRPC check {target}: success");
        assert_eq!(ask(json!({"GRPC": target})), (Status::Passing, success));
        backend.set_conduct(Conduct::Refuse(tonic::Code::Unavailable));
        assert_eq!(ask(json!({"GRPC": target})).0, Status::Critical);
    }
}
