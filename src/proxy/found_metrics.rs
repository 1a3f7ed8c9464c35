//! The metrics of services that are found while running.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::proxy::host::{self, MetricId};
use crate::proxy::service_metrics::{ServiceMetrics, service_prefix};
use crate::proxy::source_metrics::SourceMetrics;
use crate::registry::error::ErrorKind;
use crate::telemetry::{FoundService, FoundSource};

/// The maximum number of found services with metrics of their own, in the life of this VM.
///
/// Envoy keeps every definition, so there must be a limit. Names come from Consul's catalog, never
/// from a client.
const MOST: usize = 1_000;

/// The metrics of found services, by the name of the service. A service that comes back gets its
/// metrics again.
#[derive(Debug, Default)]
pub(super) struct FoundMetrics {
    own: HashMap<String, Defined>,
    /// The shared metrics of all services beyond the limit.
    others: Option<Rc<ServiceMetrics>>,
    /// The shared metrics of all names that clients have sent, which never become names of metrics.
    named: Option<Rc<ServiceMetrics>>,
    /// The counters of successful and failed calls for such names.
    calls: Option<[Option<MetricId>; 2]>,
}

type Defined = (Rc<ServiceMetrics>, Vec<Rc<SourceMetrics>>);

impl FoundMetrics {
    /// Counts a call for a name that a client has sent and that has had no endpoint yet. Such a
    /// call says nothing about Consul.
    pub(super) fn on_called(&mut self, called: Result<(), ErrorKind>) {
        let [ok, failed] = *self.calls.get_or_insert_with(|| {
            ["ok", "failed"].map(|what| {
                host::define_counter(&format!("consul_resolver.dns_names.consul_calls.{what}"))
            })
        });
        host::add(if called.is_ok() { ok } else { failed }, 1);
    }

    /// Returns the metrics of a service and of its sources. A service beyond the limit gets the
    /// shared ones and none for its sources.
    pub(super) fn of(&mut self, found: &FoundService) -> Defined {
        if found.is_on_demand {
            let named = self.named.get_or_insert_with(|| shared("consul_resolver.dns_names"));
            return (Rc::clone(named), Vec::new());
        }
        if let Some(defined) = self.own.get(&found.name) {
            return defined.clone();
        }
        if self.own.len() >= MOST {
            let others =
                self.others.get_or_insert_with(|| shared("consul_resolver.other_services"));
            return (Rc::clone(others), Vec::new());
        }
        let prefix = service_prefix(&found.name);
        let source = |it: &FoundSource| {
            let datacenter = it.datacenter.as_ref().map(|dc| format!(".datacenter.{dc}"));
            let prefix = format!("{prefix}{}", datacenter.unwrap_or_default());
            Rc::new(SourceMetrics::define(&prefix, it.query))
        };
        let sources = found.sources.iter().map(source).collect();
        let defined = (Rc::new(ServiceMetrics::define(&prefix)), sources);
        self.own.insert(found.name.clone(), defined.clone());
        defined
    }
}

/// Defines metrics that several services share.
fn shared(prefix: &str) -> Rc<ServiceMetrics> {
    Rc::new(ServiceMetrics::define(prefix))
}
