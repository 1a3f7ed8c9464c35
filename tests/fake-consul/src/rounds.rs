//! What happens to checks as time goes by.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Core;
use super::check::CheckKind;

/// How often checks are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Runs checks as long as the agent is there. A stopped agent runs none.
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
        match check.course.kind.clone() {
            CheckKind::Ttl(_) => core.change(|catalog, now| catalog.expire(&check.id, now)),
            CheckKind::Probe(probe) => {
                core.change(|catalog, now| catalog.put_off(&check.id, now + probe.interval));
                let core = Arc::downgrade(core);
                tokio::task::spawn_blocking(move || {
                    let (status, output) = probe.ask();
                    if let Some(core) = core.upgrade() {
                        core.change(|catalog, now| catalog.settle(&check, status, &output, now));
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
