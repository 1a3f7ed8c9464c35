//! The checks of the catalog: their states, and what time does to them.

use std::time::Instant;

use super::Catalog;
use crate::check::{CheckDefinition, CheckKind, CheckRow, Course};
use stack::Status;

impl Catalog {
    /// All checks, by id.
    pub fn checks(&self) -> impl Iterator<Item = &CheckRow> {
        self.checks.values()
    }

    /// Sets a check's state; nothing moves when it is the same.
    pub fn set_status(&mut self, check_id: &str, status: Status, output: &str, now: Instant) {
        let Some(check) = self.checks.get_mut(check_id) else {
            return;
        };
        output.clone_into(&mut check.output);
        let service = check.service.clone();
        let is_same = std::mem::replace(&mut check.status, status) == status;
        let is_critical = status == Status::Critical;
        check.course.critical_since =
            is_critical.then(|| check.course.critical_since.unwrap_or(now));
        self.entries.forget(service.as_ref().map(|(id, ..)| id.as_str()));
        if is_same {
            return;
        }
        let index = self.next_index();
        if let Some(check) = self.checks.get_mut(check_id) {
            check.modify_index = index;
        }
        self.touch(service.as_ref().map(|(_, name, _)| name.as_str()), index);
    }

    /// Takes a service's report on its TTL check, whose time begins anew; `false` where there is no
    /// such check.
    pub fn report(&mut self, check_id: &str, status: Status, output: &str, now: Instant) -> bool {
        let Some(check) = self.checks.get_mut(check_id) else { return false };
        let CheckKind::Ttl(ttl) = check.course.kind else { return false };
        check.course.due = Some(now + ttl);
        output.clone_into(&mut check.course.reported);
        self.set_status(check_id, status, output, now);
        true
    }

    /// Takes a probe's result, unless the check is another one by now.
    pub fn settle(&mut self, asked: &CheckRow, status: Status, output: &str, now: Instant) {
        let check = self.checks.get(&asked.id);
        if check.is_some_and(|check| check.course.kind == asked.course.kind) {
            self.set_status(&asked.id, status, output, now);
        }
    }

    /// Lets a TTL run out, unless a report has come meanwhile. That is said once; then a report is
    /// waited for.
    pub fn expire(&mut self, check_id: &str, now: Instant) {
        let check = self.checks.get_mut(check_id);
        let Some(check) = check.filter(|check| check.course.is_due(now)) else { return };
        check.course.due = None;
        let output = check.course.expired();
        self.set_status(check_id, Status::Critical, &output, now);
    }

    /// Sets when a check is to be probed again.
    pub fn put_off(&mut self, check_id: &str, due: Instant) {
        if let Some(check) = self.checks.get_mut(check_id) {
            check.course.due = Some(due);
        }
    }

    /// The checks whose time has come.
    pub fn due(&self, now: Instant) -> Vec<CheckRow> {
        self.checks().filter(|check| check.course.is_due(now)).cloned().collect()
    }

    /// The instances that were critical for so long that they are to be removed.
    pub fn expired(&self, now: Instant) -> Vec<String> {
        let expired = |check: &&CheckRow| {
            let Course { deregister_after, critical_since, .. } = check.course;
            let critical_for = critical_since.map(|since| now.saturating_duration_since(since));
            critical_for.zip(deregister_after).is_some_and(|(so_long, after)| so_long >= after)
        };
        let expired = self.checks().filter(expired);
        expired.filter_map(|check| Some(check.service.clone()?.0)).collect()
    }

    /// Begins the time of checks anew: their service was registered again.
    pub(super) fn begin_anew(&mut self, checks: &[CheckDefinition], now: Instant) {
        for check in checks {
            if let Some(row) = self.checks.get_mut(&check.id) {
                row.course = Course::begin(check, now);
            }
        }
    }

    /// Removes a check; `false` if there is none.
    pub fn deregister_check(&mut self, check_id: &str) -> bool {
        let Some(check) = self.checks.remove(check_id) else { return false };
        let service = check.service.as_ref();
        let index = self.next_index();
        self.entries.forget(service.map(|(id, ..)| id.as_str()));
        self.touch(service.map(|(_, name, _)| name.as_str()), index);
        true
    }
}
