//! What follows from what the agent says.

use super::{ATTEMPTS, AUDIT, AUDIT_WITHOUT_REPORTS, Keeper, Stage};
use crate::consul::registration::{
    Difference, FoundCheck, FoundService, RegistrationError, Report, Reported, Status,
};
use crate::registration::notice::Notice;
use crate::registration::ttl_check::TtlCheck;
use crate::rng::Rng;
use crate::time::Time;

impl Keeper {
    pub(super) fn on_found(&mut self, found: Option<FoundService>, notices: &mut Vec<Notice>) {
        let Stage::Looking { registered } = self.stage else { return };
        let Some(found) = found else {
            return self.on_difference(Difference::Absent, registered, notices);
        };
        if self.definition.is_elsewhere(&found) {
            let found = found.datacenter.unwrap_or_default();
            return self.undo(RegistrationError::Elsewhere { found }, notices);
        }
        match self.definition.difference(&found) {
            Some(difference) => self.on_difference(difference, registered, notices),
            None => self.stage = Stage::LookingAtChecks { registered },
        }
        self.tags = self.definition.has_tag_override().then_some(found.tags);
    }

    pub(super) fn on_found_checks(
        &mut self,
        found: &[FoundCheck],
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<Notice>,
    ) {
        let Stage::LookingAtChecks { registered } = self.stage else { return };
        self.has_looked = true;
        if let Some(difference) = self.definition.missing_check(found) {
            return self.on_difference(difference, registered, notices);
        }
        for check in &mut self.checks {
            let id = self.definition.checks().get(check.position);
            let found = found.iter().find(|found| Some(&found.id) == id);
            if let Some(status) = found.and_then(|found| found.status).filter(|_| !registered) {
                check.adopt(status, now);
            }
        }
        let audit = if self.checks.is_empty() { AUDIT_WITHOUT_REPORTS } else { AUDIT };
        self.stage = Stage::Standing { until: now + rng.about(audit) };
        self.attempts = 0;
        let is_news = !self.stands || self.failing.is_some();
        self.stands = true;
        self.failing = None;
        if is_news {
            notices.push(Notice::Standing);
        }
    }

    pub(super) fn on_reported(
        &mut self,
        position: usize,
        status: Option<Status>,
        reported: Reported,
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<Notice>,
    ) {
        let id = self.definition.checks().get(position).cloned().unwrap_or_default();
        if reported == Reported::Unknown {
            self.unknown = self.unknown.saturating_add(1);
            if self.unknown > 1 {
                self.rest = now + self.backoff.on_failure(rng);
            }
            return self.on_difference(Difference::Check(id), false, notices);
        }
        self.unknown = 0;
        let report = self.state(position).filter(|report| Some(report.status) == status);
        let check = self.checks.iter_mut().find(|check| check.position == position);
        let (Some(check), Some(status)) = (check, status) else { return };
        if check.on_reported(status, now, rng) {
            let output = report.map(|report| report.output).unwrap_or_default();
            notices.push(Notice::Reported { check: id, report: Report { status, output } });
        }
        let health = self.checks.iter().filter_map(TtlCheck::reported).min();
        if health != self.told {
            self.told = health;
            notices.extend(health.map(Notice::Health));
        }
    }

    /// The agent has it otherwise: after it was registered just now, or as it was found.
    fn on_difference(
        &mut self,
        difference: Difference,
        registered: bool,
        notices: &mut Vec<Notice>,
    ) {
        if core::mem::take(&mut self.stands) {
            notices.push(Notice::Drifted(difference.clone()));
        }
        self.stage = Stage::Registering;
        self.has_looked = true;
        self.attempts = if registered { self.attempts.saturating_add(1) } else { 0 };
        if self.attempts >= ATTEMPTS {
            self.undo(RegistrationError::InPart(difference), notices);
        }
    }

    fn undo(&mut self, error: RegistrationError, notices: &mut Vec<Notice>) {
        self.stands = false;
        self.stage = Stage::Undoing;
        self.tell(error, notices);
    }

    pub(super) fn tell(&mut self, error: RegistrationError, notices: &mut Vec<Notice>) {
        let is_same = self.failing.as_ref().is_some_and(|last| {
            core::mem::discriminant(last) == core::mem::discriminant(&error)
                && last.kind() == error.kind()
        });
        if !is_same {
            notices.push(Notice::Failing(error.clone()));
            self.failing = Some(error);
        }
    }
}
