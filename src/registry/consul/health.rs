//! The health of an instance.

use crate::config::HealthThreshold;

/// The ids of the checks that Consul adds to a node or a service in maintenance, whatever their
/// status (`NodeMaint` and `ServiceMaintPrefix` in Consul's `api/health.go`).
const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// The health of a check. The health of an instance is that of its worst check. The order is
/// Consul's own, from the best to the worst (`HealthChecks.AggregatedStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Health {
    /// All is well. An instance without checks is passing.
    #[default]
    Passing,
    /// The instance works, with a complaint.
    Warning,
    /// The status is unknown, or the check is unreadable. Such an instance takes no traffic.
    Unknown,
    /// The instance does not work.
    Critical,
    /// An operator has taken the instance out of service.
    Maintenance,
}

impl Health {
    /// Returns the health of a check of a node or a service. Consul writes statuses in lower case
    /// only.
    pub fn of_check(id: &str, status: &str) -> Self {
        if id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE) {
            return Self::Maintenance;
        }
        match status {
            "passing" => Self::Passing,
            "warning" => Self::Warning,
            "critical" => Self::Critical,
            _ => Self::Unknown,
        }
    }

    /// Returns true if an instance of this health takes traffic.
    pub const fn meets(self, threshold: HealthThreshold) -> bool {
        match self {
            Self::Passing => true,
            Self::Warning => !matches!(threshold, HealthThreshold::Passing),
            Self::Unknown | Self::Critical => matches!(threshold, HealthThreshold::Any),
            Self::Maintenance => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn maintenance_is_worse_than_critical_than_warning_than_passing() {
        assert!(Health::Maintenance > Health::Critical);
        assert!(Health::Critical > Health::Warning);
        assert!(Health::Warning > Health::Passing);
    }

    #[test]
    fn a_maintenance_check_counts_by_its_id_and_not_by_its_status() {
        assert_eq!(Health::of_check("_node_maintenance", "passing"), Health::Maintenance);
        assert_eq!(Health::of_check("_service_maintenance:web-1", "critical"), Health::Maintenance);
        assert_eq!(Health::of_check("_node_maintenance_2", "passing"), Health::Passing);
        assert_eq!(Health::of_check("_service_maintenance", "passing"), Health::Passing);
    }

    #[test]
    fn an_unknown_status_takes_no_traffic() {
        for status in ["", "any", "Passing", "maintenance", "ok"] {
            let health = Health::of_check("web", status);
            assert_eq!(health, Health::Unknown, "{status}");
            assert!(!health.meets(HealthThreshold::Warning), "{status}");
        }
    }

    #[test]
    fn warning_takes_traffic_only_where_the_configuration_says_so() {
        assert!(!Health::Warning.meets(HealthThreshold::Passing));
        assert!(Health::Warning.meets(HealthThreshold::Warning));
        assert!(Health::Passing.meets(HealthThreshold::Passing));
        assert!(Health::Passing.meets(HealthThreshold::Warning));
        assert!(!Health::Critical.meets(HealthThreshold::Warning));
        assert!(!Health::Maintenance.meets(HealthThreshold::Warning));
        for health in [Health::Passing, Health::Warning, Health::Unknown, Health::Critical] {
            assert!(health.meets(HealthThreshold::Any), "{health:?}");
        }
        assert!(!Health::Maintenance.meets(HealthThreshold::Any));
    }
}
