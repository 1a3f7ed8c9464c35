//! The probes of the reconciler, and gaps in its time.

use super::{Reconciler, STANDSTILL};
use crate::health_check::verdict::ProbeReason;
use crate::host::ProbeTarget;
use crate::registration::drain::Drain;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registration::ttl_check::TtlCheck;
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

impl Reconciler {
    /// Returns a probe that must be sent now.
    pub fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        self.on_time(now);
        if let Some(drain) = &mut self.drain
            && let Some(probing) = drain.poll_probe(now, rng)
        {
            return Some(probing);
        }
        let checks = self.checks.iter_mut().filter(|_| self.has_looked);
        checks.into_iter().find_map(|check| {
            let target = ProbeTarget::Check(check.position);
            check
                .poll_probe(now, rng)
                .map(|(number, probe)| OutgoingProbe::new(target, number, probe))
        })
    }

    /// Takes the result of a probe.
    pub fn on_probed(
        &mut self,
        probed: &ProbeResult<'_>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        self.on_time(now);
        self.report_missing_cluster(probed, events);
        match probed.target {
            ProbeTarget::Drain => {
                if let Some(drain) = &mut self.drain {
                    drain.on_probed(probed, now, rng);
                }
            }
            ProbeTarget::Check(position) => {
                let check = self.checks.iter_mut().find(|check| check.position == position);
                if let Some(check) = check {
                    check.on_probed(probed.number, |probe| probed.verdict(&probe.check), now, rng);
                }
            }
        }
    }

    /// Notes the time of an event. After a standstill the known states are as old as the gap, and
    /// responses to calls that are out may not have been read yet.
    pub(super) fn on_time(&mut self, now: Time) {
        let gap = now.since(core::mem::replace(&mut self.seen, now));
        if gap < STANDSTILL {
            return;
        }
        self.calls.extend(gap);
        self.reports.extend(gap);
        // The state that another VM has handed over is as old.
        self.is_handed_over = false;
        self.checks.iter_mut().for_each(|check| check.on_gap(gap, now));
        if let Some(drain) = &mut self.drain {
            drain.on_gap(now);
        }
    }

    /// Reports once that Envoy does not have a cluster, and once that it has the cluster again.
    fn report_missing_cluster(
        &mut self,
        probed: &ProbeResult<'_>,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let checks = self.checks.iter();
        let cluster = match probed.target {
            ProbeTarget::Drain => self.drain.as_ref().map(Drain::cluster),
            ProbeTarget::Check(position) => {
                checks.filter(|check| check.position == position).find_map(TtlCheck::cluster)
            }
        };
        let Some(cluster) = cluster else { return };
        let known = self.missing.iter().position(|missing| missing == cluster);
        match (known, &probed.response) {
            (None, Err(ProbeReason::UnknownCluster)) => {
                events.push(RegistrationEvent::NoCluster(cluster.to_owned()));
                self.missing.push(cluster.to_owned());
            }
            (Some(_), Err(ProbeReason::UnknownCluster)) | (None, _) => {}
            (Some(known), _) => {
                events.push(RegistrationEvent::ClusterFound(self.missing.swap_remove(known)))
            }
        }
    }
}
