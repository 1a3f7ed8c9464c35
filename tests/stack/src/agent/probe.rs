//! What happens to checks as time goes by.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Core;
use super::check::{CheckKind, CheckRow};
use crate::client::Request;
use crate::service::Status;

/// How often checks are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Runs checks as long as the agent is there. A stopped or frozen agent runs none.
pub async fn run(core: Weak<Core>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(core) = core.upgrade() else { return };
        if core.is_active() {
            turn(&core);
        }
    }
}

fn turn(core: &Arc<Core>) {
    let now = Instant::now();
    let (due, expired) = {
        let catalog = core.catalog();
        (catalog.due(now), catalog.expired(now))
    };
    for check in due {
        match check.kind.clone() {
            CheckKind::Ttl(ttl) => core.change(|catalog, now| {
                catalog.put_off(&check.id, now + ttl);
                catalog.set_status(&check.id, Status::Critical, "TTL expired", now);
            }),
            CheckKind::Http { url, interval, timeout } => {
                core.change(|catalog, now| catalog.put_off(&check.id, now + interval));
                let core = Arc::downgrade(core);
                tokio::task::spawn_blocking(move || {
                    let (status, output) = ask(&url, timeout);
                    if let Some(core) = core.upgrade() {
                        settle(&core, &check, status, &output);
                    }
                });
            }
            CheckKind::Maintenance | CheckKind::Node => {}
        }
    }
    for id in expired {
        core.change(|catalog, _| catalog.deregister(&id));
    }
}

fn ask(url: &str, timeout: Duration) -> (Status, String) {
    let answer = match Request::to_url("GET", url).timeout(timeout).send() {
        Ok(answer) => answer,
        Err(error) => return (Status::Critical, error.to_string()),
    };
    let status = match answer.status {
        200..300 => Status::Passing,
        429 => Status::Warning,
        _ => Status::Critical,
    };
    (status, format!("HTTP GET {url}: {} Output: {}", answer.status, answer.text()))
}

/// Takes a probe's result, unless the check is another one by now.
fn settle(core: &Core, asked: &CheckRow, status: Status, output: &str) {
    core.change(|catalog, now| {
        if catalog.check(&asked.id).is_some_and(|check| check.kind == asked.kind) {
            catalog.set_status(&asked.id, status, output, now);
        }
    });
}
