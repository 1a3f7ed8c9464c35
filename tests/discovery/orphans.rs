//! Registrations that no configuration contains any more.

use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::model::registration::Id;
use consul_resolver::model::service::QueryKey;
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::registration_index::RegistrationIndex;
use consul_resolver::shared::registration_lease::RegistrationLease;
use consul_resolver::shared::source_record::{Holder, Rank, Term};
use consul_resolver::util::rng::Rng;

use crate::testkit::host::Registry;
use crate::testkit::vm::Vm;

/// An agent that notes the paths of its requests, and answers none.
#[derive(Debug, Default)]
struct Agent(Vec<String>);

impl Registry for Agent {
    fn on_request(
        &mut self,
        _: CallId,
        request: &HttpRequest,
        _: Duration,
    ) -> Result<(), CallFailure> {
        self.0.push(request.path.clone());
        Ok(())
    }
}

/// Starts a VM whose process has an orphan, of which the last VM that kept it has released the lease.
fn start() -> Vm<Agent> {
    let config = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    let config = Config::parse(config).expect("a configuration");
    let mut vm = Vm::new(&config, Agent::default(), Rng::new(1));
    let id = Id { cluster: "consul".into(), id: "edge-1".into(), namespace: None, partition: None };
    let holder = Holder { owner: VmId(7), term: Term(1), rank: Rank::RELEASED };
    let lease = RegistrationLease { holder, digest: QueryKey(1), is_kept: true };
    vm.host.write(SharedKey::RegistrationLease(id.key()), lease.encode());
    let mut index = RegistrationIndex::default();
    index.add(id);
    vm.host.write(SharedKey::RegistrationIndex, index.encode());
    vm
}

/// Returns true if the agent was asked to deregister the orphan.
fn is_deregistered(vm: &Vm<Agent>) -> bool {
    vm.host.registry.0.iter().any(|path| path.contains("deregister") || path.contains("edge-1"))
}

#[test]
fn orphan_is_left_to_other_listeners_for_five_seconds() {
    let mut vm = start();
    vm.run(5_000);
    assert!(!is_deregistered(&vm), "{:?}", vm.host.registry.0);
    vm.run(1_500);
    assert!(is_deregistered(&vm), "{:?}", vm.host.registry.0);
}
