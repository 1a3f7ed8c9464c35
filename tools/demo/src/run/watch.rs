//! The demo's live lines: instances that come, go and change their state.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use stack::Status;
use stack::client::Request;

use super::{LOOK, Parts, SERVICE};
use crate::Failure;
use crate::signal::End;
use crate::style::{self, BAD, DIM, DOUBTFUL, GOOD, RESET};

/// An instance as Consul sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    address: String,
    /// The worst of its checks.
    status: Status,
    maintenance: bool,
}

impl Instance {
    /// Its state in colour.
    fn state(&self) -> String {
        let style = style::of(self.status);
        if self.maintenance {
            return format!("{DOUBTFUL}maintenance{RESET}");
        }
        format!("{style}{}{RESET}", self.status)
    }
}

/// All instances by id; `None` while Consul gives no answer.
type View = Option<BTreeMap<String, Instance>>;

/// Prints what changes until a signal comes.
///
/// # Errors
/// Envoy or Consul has ended by itself.
pub fn until(end: &End, parts: &Parts) -> Result<(), Failure> {
    let views = watch(parts.registry.as_dyn().address());
    let mut shown = Some(BTreeMap::new());
    let mut ended = HashSet::new();
    while !end.has_come() {
        match views.recv_timeout(LOOK) {
            Ok(view) => {
                show_changes(&shown, &view);
                // What was there before an outage is what to compare with after it.
                shown = view.or(shown);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the watch of Consul has ended".into());
            }
        }
        for backend in parts.backends.iter().map(stack::BackendProcess::process) {
            let Some(status) = backend.exit_status().filter(|_| !ended.contains(&backend.pid()))
            else {
                continue;
            };
            ended.insert(backend.pid());
            say(
                backend.name(),
                &format!("pid {}", backend.pid()),
                &format!("{DIM}process ended ({status}){RESET}"),
            );
        }
        if let Some(status) = parts.envoy.process().exit_status() {
            return Err(
                format!("Envoy ended ({status}):\n{}", parts.envoy.process().log_tail(20)).into()
            );
        }
        if let Some(log) = parts.registry.ended() {
            return Err(format!("Consul ended:\n{log}").into());
        }
    }
    Ok(())
}

/// Follows the service with blocking queries, on a thread that ends with the receiver.
fn watch(consul: SocketAddr) -> Receiver<View> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut index = 0;
        loop {
            let path = format!("/v1/health/service/{SERVICE}?index={index}&wait=30s");
            let answer = Request::new("GET", consul, &path).timeout(Duration::from_secs(40)).send();
            let read = answer.ok().filter(|answer| answer.status == 200).and_then(|answer| {
                let index: u64 = answer.header("x-consul-index")?.parse().ok()?;
                Some((index, instances(&answer.json())))
            });
            let pause =
                if read.is_some() { Duration::from_millis(50) } else { Duration::from_secs(1) };
            // An index that went back begins anew.
            index = read.as_ref().map_or(0, |(new, _)| if *new < index { 0 } else { *new });
            if sender.send(read.map(|(_, view)| view)).is_err() {
                return;
            }
            std::thread::sleep(pause);
        }
    });
    receiver
}

fn instances(entries: &Value) -> BTreeMap<String, Instance> {
    let read = |entry: &Value| {
        let service = &entry["Service"];
        let checks = entry["Checks"].as_array()?;
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let states = checks.iter().filter_map(|check| Status::from_word(&text(check, "Status")));
        let instance = Instance {
            address: format!("{}:{}", service["Address"].as_str()?, service["Port"]),
            status: states.max().unwrap_or(Status::Passing),
            maintenance: checks.iter().any(|check| text(check, "CheckID").contains("_maintenance")),
        };
        Some((service["ID"].as_str()?.to_owned(), instance))
    };
    entries.as_array().into_iter().flatten().filter_map(read).collect()
}

fn show_changes(old: &View, new: &View) {
    let empty = BTreeMap::new();
    let old = old.as_ref().unwrap_or(&empty);
    let Some(new) = new else {
        say("Consul", "", &format!("{BAD}gives no answer{RESET}"));
        return;
    };
    for (id, instance) in new.iter().filter(|(id, instance)| old.get(*id) != Some(instance)) {
        let is_new = !old.is_empty() && !old.contains_key(id);
        let news = if is_new { format!(" {GOOD}(new){RESET}") } else { String::new() };
        say(id, &instance.address, &format!("{}{news}", instance.state()));
    }
    for (id, instance) in old.iter().filter(|(id, _)| !new.contains_key(*id)) {
        say(id, &instance.address, &format!("{DIM}gone{RESET}"));
    }
}

fn say(who: &str, address: &str, what: &str) {
    let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    anstream::println!("{DIM}{now}{RESET}  {who:<8} {address:<22} {what}");
}
