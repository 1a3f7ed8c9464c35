//! What a registry answered, without what legitimately differs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::client::{Answer, Request};
use stack::{Registry, wait_until};

/// A registry under test, and what it answered.
pub struct Transcript<'a> {
    pub registry: &'a dyn Registry,
    lines: Vec<String>,
}

impl<'a> Transcript<'a> {
    pub fn new(registry: &'a dyn Registry) -> Self {
        Self { registry, lines: Vec::new() }
    }

    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Sends a request and writes down status, headers and body.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.ask(method, path, body);
        self.write(&format!("{method} {path} {body}"), &answer);
        answer
    }

    /// Sends a request and writes down status and headers only: the texts are the registry's own.
    pub fn call_without_body(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.ask(method, path, body);
        let quiet = Answer { body: Vec::new(), ..answer.clone() };
        self.write(&format!("{method} {path} {body}"), &quiet);
        answer
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, "")
    }

    /// A `GET` that is not written down.
    pub fn registry_answer(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    pub fn put(&mut self, path: &str, body: &str) -> Answer {
        self.call("PUT", path, body)
    }

    /// Registers, and waits until the catalog has exactly these instances of the service.
    pub fn register(&mut self, body: &Value, then: &[&str]) {
        let answer = self.put("/v1/agent/service/register", &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.settle(body["Name"].as_str().expect("a name"), then);
    }

    /// Waits until the catalog has exactly these instances of the service, in any state.
    pub fn settle(&self, service: &str, ids: &[&str]) {
        let ids: BTreeSet<String> = ids.iter().map(|&id| id.to_owned()).collect();
        self.until(&format!("{service} is {ids:?}"), || {
            self.registry.health(service, "").is_ok_and(|health| health.ids() == ids)
        });
    }

    /// Waits until the checks of an instance are in these states, in the order of their ids.
    pub fn settle_checks(&self, service: &str, id: &str, states: &[(&str, &str)]) {
        self.until(&format!("{id} has {states:?}"), || {
            let health = self.registry.health(service, "").expect("health");
            let Some(entry) = health.entry(id) else {
                return false;
            };
            let checks = entry["Checks"].as_array().expect("checks").iter();
            let found: BTreeSet<(&str, &str)> = checks
                .map(|check| {
                    (
                        check["CheckID"].as_str().expect("id"),
                        check["Status"].as_str().expect("status"),
                    )
                })
                .collect();
            found == states.iter().copied().chain([("serfHealth", "passing")]).collect()
        });
    }

    fn until(&self, what: &str, ask: impl FnMut() -> bool) {
        assert!(wait_until(Duration::from_secs(10), ask), "never: {what}");
    }

    /// Waits until the agent itself knows the checks of an instance in these states.
    pub fn settle_local_checks(&self, id: &str, states: &[(&str, &str)]) {
        let states: BTreeSet<(&str, &str)> = states.iter().copied().collect();
        self.until(&format!("the agent's {id} has {states:?}"), || {
            let checks = self.registry.local_checks(id).expect("checks");
            let found = checks.iter().map(|(id, check)| (id.as_str(), check.status.as_str()));
            found.collect::<BTreeSet<_>>() == states
        });
    }

    /// A service's index.
    pub fn index(&self, service: &str) -> u64 {
        self.registry.health(service, "").expect("health").index
    }

    /// Asks a blocking query in the background; gives the answer and the time it took.
    pub fn block(&self, path: &str) -> impl FnOnce() -> (Answer, Duration) + use<> {
        let request = Request::new("GET", self.registry.address(), path);
        let waiting = std::thread::spawn(move || {
            let begin = Instant::now();
            (request.send().expect("an answer"), begin.elapsed())
        });
        // Time to arrive: a query that is not there yet cannot be woken.
        std::thread::sleep(Duration::from_millis(150));
        move || waiting.join().expect("the asking thread")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::new(method, self.registry.address(), path).body(body);
        request.send().unwrap_or_else(|error| panic!("{error}"))
    }

    fn write(&mut self, call: &str, answer: &Answer) {
        const DIFFER: [&str; 4] = ["date", "content-length", "transfer-encoding", "vary"];
        const NUMBERS: [&str; 3] = ["x-consul-index", "x-consul-contenthash", "age"];
        let headers: BTreeSet<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| !DIFFER.contains(&name.as_str()))
            .map(|(name, value)| {
                if NUMBERS.contains(&name.as_str()) {
                    format!("{name}: #")
                } else {
                    format!("{name}: {value}")
                }
            })
            .collect();
        let mut body = answer.json();
        if call.contains("/v1/catalog/services") {
            sort_tags(&mut body);
        }
        let body = if body.is_null() {
            answer.text()
        } else {
            normalise(&mut body);
            format!("{body:#}")
        };
        self.lines.push(format!("{call}\n{} {headers:#?}\n{body}", answer.status));
    }
}

/// Sorts the tags in a list of services, which Consul gives in random order.
fn sort_tags(services: &mut Value) {
    for tags in services.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        if let Value::Array(tags) = tags {
            tags.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
}

/// Blanks what differs from one registry to the next, but keeps that it is there.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // The texts of probes that fail are each client's own.
            let probed = ["http", "tcp", "grpc"].map(|kind| Some(json!(kind)));
            if probed.contains(&map.get("Type").cloned()) {
                map.insert("Output".to_owned(), json!("#"));
            }
            let is_node = map.contains_key("Datacenter");
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "CreateIndex" | "ModifyIndex" | "ContentHash" => *value = json!("#"),
                    "ID" if is_node => *value = json!("#"),
                    _ => normalise(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}
