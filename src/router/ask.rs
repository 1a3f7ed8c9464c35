//! Names of Consul's DNS, at their first use.

use std::rc::Rc;

use crate::consul::dns_name::DnsName;
use crate::consul::query::Query;
use crate::model::service::{QueryKey, ServiceId};
use crate::router::Router;
use crate::router::change::Origin;
use crate::router::found::text;
use crate::router::host_name::HostName;
use crate::router::reply::Reply;
use crate::time::Time;

/// What a host is that no known service serves.
#[derive(Debug)]
pub enum Ask {
    /// A name that is to be resolved now.
    New(ServiceId),
    /// A name; it is not resolved, and the request answered like this.
    Refused(Rc<Reply>),
    /// No name, or names are not resolved at all.
    Nothing,
}

impl Router {
    /// Whether [`Router::ask`] can find anything.
    pub fn takes_names(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.demand.is_some())
    }

    /// Whether the service was found by a name that a client has sent.
    pub fn is_named(&self, service: ServiceId) -> bool {
        let demand = || self.found.as_ref()?.demand.as_ref();
        demand().is_some_and(|demand| demand.has(service))
    }

    /// Takes in the name that a request has for its host, if it is a name of Consul's DNS.
    pub fn ask(&mut self, authority: Option<&[u8]>) -> Ask {
        let now = self.now;
        let host = authority.and_then(HostName::of);
        host.map_or(Ask::Nothing, |host| self.take_in(host.as_bytes(), None, now))
    }

    /// Takes in the name that another VM has a request for. One that would be asked for in
    /// another way here is another configuration's.
    pub fn on_wanted(&mut self, query: QueryKey, host: &str, now: Time) {
        if let Some(host) = HostName::of(host.as_bytes()) {
            self.take_in(host.as_bytes(), Some(query), now);
        }
    }

    /// Takes a name in, of which another VM has told if there is a key.
    fn take_in(&mut self, host: &[u8], told: Option<QueryKey>, now: Time) -> Ask {
        let Some(mut found) = self.found.take() else {
            return Ask::Nothing;
        };
        let Some(demand) = &mut found.demand else {
            self.found = Some(found);
            return Ask::Nothing;
        };
        let like = &demand.settings.service;
        let name = DnsName::parse(host, &demand.settings.domain);
        let service = name.and_then(|name| name.service(like)).map(|(mut service, datacenter)| {
            service.datacenters.extend(datacenter);
            service
        });
        let config = &found.config;
        let is_meant = |key: QueryKey| {
            let datacenter = |service| config.datacenters(service).next().flatten();
            service
                .as_ref()
                .is_some_and(|its| Query::new(config, its, datacenter(its)).key() == key)
        };
        let is_known = told.is_some() && demand.on_told(host, now);
        let ask = match service {
            Some(_) if told.is_none() && demand.by_host(host, now).is_some() => {
                demand.by_host(host, now).map_or(Ask::Nothing, Ask::New)
            }
            Some(_) if is_known || told.is_some_and(|key| !is_meant(key)) => Ask::Nothing,
            None => Ask::Nothing,
            Some(service) => match demand.admit(told.is_some(), now) {
                Err(_) => Ask::Refused(Rc::clone(&found.too_many_names)),
                Ok(()) => match self.add(&service) {
                    None => Ask::Refused(Rc::clone(&found.too_many_names)),
                    Some(id) => {
                        demand.add(host, id, now);
                        let origin = match told {
                            Some(_) => Origin::OtherVm,
                            None => Origin::Request(text(host)),
                        };
                        found.add(id, &service, origin);
                        Ask::New(id)
                    }
                },
            },
        };
        self.found = Some(found);
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::service::SourceId;
    use crate::model::snapshot::Snapshot;
    use crate::rng::Rng;
    use crate::router::change::Change;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn router(service: &str) -> Router {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"}}, "dns_names": {{"idle_timeout": "60s", "service": {service}}}}}"#
        );
        Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1))
    }

    fn new(ask: Ask) -> ServiceId {
        match ask {
            Ask::New(service) => service,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_taken_in_at_its_first_use_and_dropped_when_nobody_asks() {
        let mut router = router("{}");
        assert!(router.takes_names() && router.needs_authority());
        assert_eq!(router.service_by_host(Some(b"web.service.consul")), None);
        let web = new(router.ask(Some(b"Web.Service.Consul.:80")));
        let Some(Change::Added(added)) = router.poll_change() else { panic!() };
        assert_eq!((added.service, added.subjects.len()), (web, 1));
        assert_eq!(added.origin, Origin::Request("web.service.consul".into()));
        assert_eq!(router.service_by_host(Some(b"web.service.consul")), Some(web));

        router.attach(web, 0, SourceId::nth(0));
        router.on_tick(at(20), |_, _| {});
        let Some(Change::Wanted { sources, host }) = router.poll_change() else { panic!() };
        assert_eq!((sources, &*host), (vec![SourceId::nth(0)], "web.service.consul"));
        router.on_tick(at(60), |_, _| {});
        assert!(!router.has(web));
        assert!(matches!(router.poll_change(), Some(Change::Removed { .. })));
    }

    #[test]
    fn a_host_that_is_no_name_is_nothing() {
        let mut router = router("{}");
        for host in ["web.test", "web.node.consul", "consul", "[::1]"] {
            assert!(matches!(router.ask(Some(host.as_bytes())), Ask::Nothing), "{host}");
        }
        assert!(matches!(router.ask(None), Ask::Nothing));
        assert!(router.poll_change().is_none());
    }

    #[test]
    fn what_another_vm_wants_is_taken_in_once_and_only_where_it_means_the_same() {
        let (mut here, mut there) = (router("{}"), router(r#"{"tags": ["x"]}"#));
        new(here.ask(Some(b"web.service.consul")));
        let Some(Change::Added(added)) = here.poll_change() else { panic!() };
        let key = added.subjects[0].query.key();
        there.on_wanted(key, "web.service.consul", at(0));
        assert!(there.poll_change().is_none(), "another configuration");
        let mut same = router("{}");
        for _ in 0..2 {
            same.on_wanted(key, "web.service.consul", at(0));
        }
        let Some(Change::Added(added)) = same.poll_change() else { panic!() };
        assert_eq!(added.origin, Origin::OtherVm);
        assert!(same.poll_change().is_none());
    }

    #[test]
    fn a_flood_of_names_is_refused_and_leaves_nothing_behind() {
        let mut router = router("{}");
        let hosts: Vec<String> = (0..1_000).map(|n| format!("a{n}.service.consul")).collect();
        let asks: Vec<Ask> = hosts.iter().map(|host| router.ask(Some(host.as_bytes()))).collect();
        let taken = asks.iter().filter(|ask| matches!(ask, Ask::New(_))).count();
        assert!(taken <= 20 && taken == router.routes.len(), "{taken}");
        assert!(matches!(asks.last(), Some(Ask::Refused(_))));
        while let Some(Change::Added(added)) = router.poll_change() {
            let source = SourceId::nth(u16::try_from(router.routes.len()).unwrap());
            router.attach(added.service, 0, source);
            router.install(source, &Snapshot::default(), at(1));
        }
        router.on_tick(at(31), |_, _| {});
        assert_eq!(router.routes.len(), 0);
    }
}
