//! The metrics of services that are found while running.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::proxy::host::{self, MetricId};
use crate::proxy::metrics::{ServiceMetrics, service_prefix};
use crate::proxy::source_metrics::SourceMetrics;
use crate::registry::error::ErrorKind;
use crate::telemetry::{FoundService, FoundSource};

/// How many services that were found have metrics of their own, in the life of this VM.
///
/// Envoy keeps whatever was ever defined, so there must be an end to it. Names come from Consul's
/// catalog, never from a client.
const MOST: usize = 1_000;

/// Those that were defined, by the name of the service, for when it comes back.
#[derive(Debug, Default)]
pub(super) struct FoundMetrics {
    own: HashMap<String, Defined>,
    /// Those of all that came too late.
    others: Option<Rc<ServiceMetrics>>,
    /// Those of all names that clients have sent, which never become names of metrics.
    named: Option<Rc<ServiceMetrics>>,
    /// The answers that were given for such names, and the calls that failed.
    calls: Option<[Option<MetricId>; 2]>,
}

type Defined = (Rc<ServiceMetrics>, Vec<Rc<SourceMetrics>>);

impl FoundMetrics {
    /// Counts a call for a name that a client has sent, and that has not shown yet to be there: it
    /// says nothing of Consul.
    pub(super) fn on_called(&mut self, called: Result<(), ErrorKind>) {
        let [ok, failed] = *self.calls.get_or_insert_with(|| {
            ["ok", "failed"].map(|what| {
                host::define_counter(&format!("consul_resolver.dns_names.consul_calls.{what}"))
            })
        });
        host::add(if called.is_ok() { ok } else { failed }, 1);
    }

    /// The metrics of a service with so many sources: its own, or what it shares with all that
    /// came too late for some.
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

/// What several services share.
fn shared(prefix: &str) -> Rc<ServiceMetrics> {
    Rc::new(ServiceMetrics::define(prefix))
}
