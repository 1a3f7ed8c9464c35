//! The metrics of registrations.

use crate::config::Config;
use crate::model::registration::RegistrationId;
use crate::model::slot_map::SecondaryMap;
use crate::proxy::host::{self, MetricId};
use crate::registry::consul::registration::CheckStatus;
use crate::telemetry::RegistrationEvent;

/// The metrics of all registrations of the configuration.
#[derive(Debug)]
pub(super) struct RegistrationMetrics(SecondaryMap<RegistrationId, OfOne>);

#[derive(Debug)]
struct OfOne {
    /// The gauge that is 1 while the agent has the registration as configured.
    registered: Option<MetricId>,
    /// The gauge of the reported health: 0 critical, 1 warning, 2 passing.
    health: Option<MetricId>,
    /// The counter of the times at which the registration had changed at the agent.
    drifts: Option<MetricId>,
}

impl RegistrationMetrics {
    /// Defines the metrics. Their names contain the service's name, and the id if several
    /// registrations have that name.
    pub(super) fn define(config: &Config) -> Self {
        let registrations = &config.registrations;
        let of_one = registrations.iter().map(|registration| {
            let name = &registration.name;
            let is_only = registrations.iter().filter(|it| it.name == *name).count() == 1;
            let prefix = format!("consul_resolver.registration.{name}");
            OfOne::define(&if is_only { prefix } else { format!("{prefix}.{}", registration.id) })
        });
        Self((0..=u16::MAX).map(RegistrationId::nth).zip(of_one).collect())
    }

    /// Counts and shows an event of a registration.
    pub(super) fn on_event(&self, registration: RegistrationId, event: &RegistrationEvent) {
        let Some(metrics) = self.0.get(registration) else { return };
        match event {
            RegistrationEvent::Standing => host::record(metrics.registered, 1),
            RegistrationEvent::Drifted(_) => {
                host::add(metrics.drifts, 1);
                host::record(metrics.registered, 0);
            }
            RegistrationEvent::Keeping
            | RegistrationEvent::GivenUp
            | RegistrationEvent::Failing(_) => {
                host::record(metrics.registered, 0);
            }
            RegistrationEvent::Health(status) => host::record(
                metrics.health,
                match status {
                    CheckStatus::Critical => 0,
                    CheckStatus::Warning => 1,
                    CheckStatus::Passing => 2,
                },
            ),
            RegistrationEvent::Orphaned { .. }
            | RegistrationEvent::Left
            | RegistrationEvent::Superseded
            | RegistrationEvent::Called(_)
            | RegistrationEvent::Reported { .. }
            | RegistrationEvent::NoCluster(_)
            | RegistrationEvent::ClusterFound(_)
            | RegistrationEvent::Removed
            | RegistrationEvent::Remains(_) => {}
        }
    }
}

impl OfOne {
    fn define(prefix: &str) -> Self {
        Self {
            registered: host::define_gauge(&format!("{prefix}.registered")),
            health: host::define_gauge(&format!("{prefix}.health")),
            drifts: host::define_counter(&format!("{prefix}.drifts")),
        }
    }
}
