//! What the agent asks to find out a check's state.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use super::registration::{RegistrationError, field, text, time};
use stack::Status;
use stack::client::Request;

/// How long an answer may take where a check does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP request that is sent again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    url: String,
    method: String,
    headers: Vec<(String, String)>,
    body: String,
    pub interval: Duration,
    timeout: Duration,
}

impl Probe {
    /// Reads it from a check; `None` where the check has none.
    pub fn from_json(check: &Value) -> Result<Option<Self>, RegistrationError> {
        let filled = |key| Ok(Some(text(check, key, "check")?).filter(|text| !text.is_empty()));
        let (interval, timeout) = (time(check, "Interval")?, time(check, "Timeout")?);
        let interval = interval.filter(|interval| !interval.is_zero());
        let is_other = ["GRPC", "TCP"].into_iter().any(|key| field(check, key).is_some());
        let Some(url) = filled("HTTP")? else {
            return if is_other { Err(RegistrationError::OnlyHttp) } else { Ok(None) };
        };
        Ok(Some(Self {
            url,
            method: filled("Method")?.unwrap_or_else(|| "GET".to_owned()),
            headers: headers(check)?,
            body: text(check, "Body", "check")?,
            interval: interval.ok_or(RegistrationError::MissingInterval)?,
            timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
        }))
    }

    /// Asks once, and blocks until there is an answer: 2xx passes, 429 warns, all else is critical.
    pub fn ask(&self) -> (Status, String) {
        let Self { url, method, .. } = self;
        let request = Request::to_url(method, url).body(self.body.as_str()).timeout(self.timeout);
        let headers = self.headers.iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use stack::Backend;

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
}
