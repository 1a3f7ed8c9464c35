//! The checks of a registration that this proxy reports on.

use core::time::Duration;

use crate::config;
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::ProbeReason;
use crate::host::ProbeTarget;
use crate::registration::agent_call::{AgentCall, CallSlot, Effects};
use crate::registration::drain::Drain;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registration::ttl_check::TtlCheck;
use crate::registry::consul::registration::{
    ActualCheck, CheckStatus, Definition, Drift, RegistrationError, Report,
};
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The number of attempts in a row at a registration that the agent takes only in part.
pub(super) const ATTEMPTS: u32 = 3;
/// The wait after the rollback of a partial registration.
pub(super) const PAUSE: Duration = Duration::from_secs(60);
/// The time for which this VM may stand still before calls that are out get more time.
pub(super) const STANDSTILL: Duration = Duration::from_secs(2);
/// The number of parts of a TTL of which one report may take one. A lost report is repeated within
/// the others.
const PARTS: u32 = 4;
/// The longest wait after failed reports, if no TTL is shorter.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The wait if the agent knows a check only intermittently.
const RETRY: Duration = Duration::from_secs(1);

/// The TTL checks of a registration, and all that their reports tell: the health of the service,
/// whether Envoy drains, and the dependencies that are down.
#[derive(Debug)]
pub(super) struct TtlChecks {
    checks: Vec<TtlCheck>,
    drain: Option<Drain>,
    /// The services to warn of, which have been down for a while.
    down: Vec<String>,
    at_agent: AtAgent,
    /// True if another VM of this Envoy has kept exactly this registration until now.
    is_handed_over: bool,
    /// The slot of reports, which are due in time whatever other call is out.
    pub(super) reports: CallSlot,
    /// The number of times in a row that the agent did not know a check which it had.
    unknown: u32,
    /// The last reported health: the worst of all reports.
    health: Option<CheckStatus>,
    /// The clusters to probe that Envoy does not have.
    missing_clusters: Vec<String>,
    /// The time of the last event.
    seen: Time,
}

/// The checks that the agent has, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtAgent {
    /// The agent was not read yet. No probe is sent, so that one bad response does not overrule the
    /// earlier state.
    Unread,
    /// The agent lacks a check. None is reported on.
    Incomplete,
    /// The agent has all checks.
    Complete,
}

impl TtlChecks {
    /// Starts without knowing what the agent has. `last` is the number of the last probe of earlier
    /// terms.
    pub(super) fn new(
        definition: &Definition,
        last: ProbeNumber,
        is_handed_over: bool,
        now: Time,
    ) -> Self {
        let config::Registration { checks, drain, .. } = definition.service();
        let drain = drain.as_ref().map(|probe| Drain::new(probe.clone(), last, now));
        let checks = checks.iter().zip(definition.checks()).enumerate();
        let checks = checks
            .filter_map(|(position, (check, id))| TtlCheck::of(position, id, check, last, now));
        // One report may be lost, and the next is in time.
        let ttl = definition.service().least_ttl().unwrap_or_default();
        let reports = CallSlot::new((ttl / 6).min(MAX_BACKOFF), ttl / 3).bounded(ttl / PARTS);
        Self {
            checks: checks.collect(),
            drain,
            down: Vec::new(),
            at_agent: AtAgent::Unread,
            is_handed_over,
            reports,
            unknown: 0,
            health: None,
            missing_clusters: Vec::new(),
            seen: now,
        }
    }

    /// Returns true if this proxy reports on no check.
    pub(super) const fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Sets the services to warn of.
    pub(super) fn on_dependencies_down(&mut self, down: &[String]) {
        if self.down != down {
            self.down = down.to_vec();
        }
    }

    /// Returns the report that is due. Of several checks the longest unreported comes first.
    pub(super) fn next_report(&self, now: Time) -> Option<AgentCall> {
        if self.at_agent != AtAgent::Complete || !self.reports.is_free(now) {
            return None;
        }
        let due = self.checks.iter().filter_map(|check| {
            let status = self.report(check)?.status;
            check.is_due(status, now).then_some((check, status))
        });
        let (check, status) = due.min_by_key(|(check, _)| check.sent)?;
        Some(AgentCall::Report { check: check.position, status })
    }

    /// Starts a report. Returns the id of its check and the text.
    pub(super) fn start_report(
        &mut self,
        position: usize,
        status: CheckStatus,
        now: Time,
    ) -> (&str, Report) {
        let output = self.report_of(position).map(|report| report.output).unwrap_or_default();
        let check = self.checks.iter_mut().find(|check| check.position == position);
        let id = check.map_or("", |check| {
            check.sent = now;
            check.id.as_str()
        });
        (id, Report { status, output })
    }

    /// Returns the report on the check at a position, if its state is known.
    pub(super) fn report_of(&self, position: usize) -> Option<Report> {
        self.report(self.checks.iter().find(|check| check.position == position)?)
    }

    fn report(&self, check: &TtlCheck) -> Option<Report> {
        match self.drain.as_ref().map(Drain::is_draining) {
            // Envoy's state is not known yet.
            Some(None) => return None,
            Some(Some(true)) => {
                let output = "Envoy drains".to_owned();
                return Some(Report { status: CheckStatus::Critical, output });
            }
            Some(Some(false)) | None => {}
        }
        let report = check.report()?;
        if self.down.is_empty() || report.status != CheckStatus::Passing {
            return Some(report);
        }
        let output = format!("no healthy endpoint of {}", self.down.join(", "));
        Some(Report { status: CheckStatus::Warning, output })
    }

    /// Takes the checks that the agent has.
    pub(super) fn on_found(&mut self, found: &[ActualCheck], is_complete: bool, now: Time) {
        for check in &mut self.checks {
            let found = found.iter().find(|found| found.id == check.id);
            if let Some(status) = found.and_then(|found| found.status) {
                check.on_found(status, self.is_handed_over, now);
            }
        }
        self.at_agent = if is_complete { AtAgent::Complete } else { AtAgent::Incomplete };
    }

    /// Stops reports until the agent has all checks again.
    pub(super) const fn stop_reports(&mut self) {
        self.at_agent = AtAgent::Incomplete;
    }

    /// Notes that the service was registered again.
    pub(super) fn on_registered(&mut self) {
        self.checks.iter_mut().for_each(TtlCheck::on_registered);
    }

    /// Takes a report on a check that the agent does not have. Returns the drift, unless it is known
    /// already.
    pub(super) fn on_unknown(
        &mut self,
        position: usize,
        effects: &mut Effects<'_>,
    ) -> Option<Drift> {
        if core::mem::replace(&mut self.at_agent, AtAgent::Incomplete) != AtAgent::Complete {
            return None;
        }
        let check = self.checks.iter().find(|check| check.position == position);
        let drift = Drift::Check(check.map(|check| check.id.clone()).unwrap_or_default());
        self.unknown = self.unknown.saturating_add(1);
        if self.unknown > ATTEMPTS {
            self.reports.not_before(effects.pause(PAUSE));
            effects.report_error(RegistrationError::InPart(drift.clone()));
        } else if self.unknown > 1 {
            self.reports.not_before(effects.pause(RETRY));
        }
        Some(drift)
    }

    /// Takes a report that the agent has taken.
    pub(super) fn on_reported(
        &mut self,
        position: usize,
        status: CheckStatus,
        effects: &mut Effects<'_>,
    ) {
        self.unknown = 0;
        let report = self.report_of(position).filter(|report| report.status == status);
        let check = self.checks.iter_mut().find(|check| check.position == position);
        let Some(check) = check else { return };
        if check.on_reported(status, effects.now, effects.rng) {
            let output = report.map(|report| report.output).unwrap_or_default();
            let (check, report) = (check.id.clone(), Report { status, output });
            effects.emit(RegistrationEvent::Reported { check, report });
        }
        let health = self.checks.iter().filter_map(TtlCheck::reported).min();
        if health != self.health {
            self.health = health;
            effects.events.extend(health.map(RegistrationEvent::Health));
        }
    }

    /// Returns a probe that must be sent now.
    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        if let Some(drain) = &mut self.drain
            && let Some(probe) = drain.poll_probe(now, rng)
        {
            return Some(probe);
        }
        if self.at_agent == AtAgent::Unread {
            return None;
        }
        self.checks.iter_mut().find_map(|check| {
            let target = ProbeTarget::Check(check.position);
            let (number, probe) = check.poll_probe(now, rng)?;
            Some(crate::registration::probe::OutgoingProbe::new(target, number, probe))
        })
    }

    /// Takes the result of a probe.
    pub(super) fn on_probed(
        &mut self,
        probed: &ProbeResult<'_>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        match probed.target {
            ProbeTarget::Drain => {
                if let Some(drain) = &mut self.drain {
                    drain.on_probed(probed, now, rng);
                    let cluster = Some(drain.cluster());
                    report_missing(&mut self.missing_clusters, cluster, probed, events);
                }
            }
            ProbeTarget::Check(position) => {
                let check = self.checks.iter_mut().find(|check| check.position == position);
                if let Some(check) = check {
                    check.on_probed(probed.number, |probe| probed.verdict(&probe.check), now, rng);
                    let cluster = check.cluster();
                    report_missing(&mut self.missing_clusters, cluster, probed, events);
                }
            }
        }
    }

    /// Notes the time of an event. Returns the gap after a standstill of this VM: the known states
    /// are as old as the gap, and responses to calls that are out may not have been read yet.
    pub(super) fn on_time(&mut self, now: Time) -> Option<Duration> {
        let gap = now.since(core::mem::replace(&mut self.seen, now));
        if gap < STANDSTILL {
            return None;
        }
        self.reports.extend(gap);
        // The state that another VM has handed over is as old.
        self.is_handed_over = false;
        self.checks.iter_mut().for_each(|check| check.on_gap(gap, now));
        if let Some(drain) = &mut self.drain {
            drain.on_gap(now);
        }
        Some(gap)
    }
}

/// Reports once that Envoy does not have a cluster, and once that it has the cluster again.
fn report_missing(
    missing: &mut Vec<String>,
    cluster: Option<&str>,
    probed: &ProbeResult<'_>,
    events: &mut Vec<RegistrationEvent>,
) {
    let Some(cluster) = cluster else { return };
    let known = missing.iter().position(|missing| missing == cluster);
    match (known, &probed.response) {
        (None, Err(ProbeReason::UnknownCluster)) => {
            events.push(RegistrationEvent::NoCluster(cluster.to_owned()));
            missing.push(cluster.to_owned());
        }
        (Some(_), Err(ProbeReason::UnknownCluster)) | (None, _) => {}
        (Some(known), _) => {
            events.push(RegistrationEvent::ClusterFound(missing.swap_remove(known)));
        }
    }
}
