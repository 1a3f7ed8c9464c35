//! An agent in this process as a registry: what is said here takes effect at once, and whole.

use std::net::SocketAddr;

use super::Agent;
use super::registration::Registration;
use stack::registry::{Registry, RegistryError};
use stack::{Service, Status};

impl Registry for Agent {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn register(&self, service: &Service) -> Result<(), RegistryError> {
        let registration = match &service.node {
            None => Registration::from_json(&service.to_json()),
            Some(node) => {
                let body = service.to_catalog_json(node);
                Registration::from_catalog_json(&body)
            }
        };
        let registration =
            registration.map_err(|error| refused("register", 400, error.to_string()))?;
        self.core.change(|catalog, now| catalog.register(registration, false, now));
        Ok(())
    }

    fn deregister(&self, id: &str) -> Result<(), RegistryError> {
        self.core.change(|catalog, _| catalog.deregister(id));
        Ok(())
    }

    fn deregister_check(&self, check_id: &str) -> Result<(), RegistryError> {
        self.core.change(|catalog, _| catalog.deregister_check(check_id));
        Ok(())
    }

    fn deregister_at(&self, node: &str, id: &str) -> Result<(), RegistryError> {
        self.core.change(|catalog, _| catalog.deregister_at(node, id));
        Ok(())
    }

    fn set_check(&self, check_id: &str, status: Status) -> Result<(), RegistryError> {
        let missing =
            || refused("check", 500, format!("CheckID {check_id:?} does not have associated TTL"));
        self.core.report(check_id, status, "").then_some(()).ok_or_else(missing)
    }

    fn maintenance(&self, id: &str, on: bool) -> Result<(), RegistryError> {
        self.known(id, "maintenance")?;
        self.core.change(|catalog, now| catalog.set_maintenance(Some(id), on, "", now));
        Ok(())
    }

    fn node_maintenance(&self, on: bool) -> Result<(), RegistryError> {
        self.core.change(|catalog, now| catalog.set_maintenance(None, on, "", now));
        Ok(())
    }
}

impl Agent {
    fn known(&self, id: &str, call: &str) -> Result<(), RegistryError> {
        let missing = || refused(call, 404, format!("No service registered with ID {id:?}"));
        self.core.catalog().local(id).map(|_| ()).ok_or_else(missing)
    }
}

fn refused(call: &str, status: u16, body: String) -> RegistryError {
    RegistryError::Refused { call: call.to_owned(), status, body }
}
