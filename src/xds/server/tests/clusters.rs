//! An Envoy that rejects clusters, all of a response for one.

use std::collections::BTreeMap;

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SERVICES: &str = r#"{"name": "api", "hosts": ["a"], "cluster": {"connect_timeout": "2s"}},
    {"name": "bad", "hosts": ["b"], "cluster": {"connect_timeout": "3s"}}, {"name": "web", "hosts": ["w"]}"#;

/// An Envoy that rejects clusters with this timeout, and two VMs.
struct Envoy {
    vms: [Script; 2],
    /// Which of them is asked.
    vm: usize,
    rejects: &'static str,
    version: String,
    is_asking: bool,
    /// The clusters that it has, with their timeouts.
    clusters: Vec<[String; 2]>,
    /// What the VMs keep for each other.
    kept: BTreeMap<String, Box<str>>,
    events: Vec<String>,
}

impl Envoy {
    fn new(rejects: &'static str) -> Self {
        let xds = r#", "xds": {"cluster": "xds", "address": "@xds", "clusters": {}}"#;
        Self {
            vms: [(); 2].map(|()| Script::of(SERVICES, xds)),
            vm: 0,
            rejects,
            version: String::new(),
            is_asking: false,
            clusters: Vec::new(),
            kept: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Asks again 20 ms after each response, for so many times 20 ms.
    fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.vms.iter_mut().for_each(|vm| drop(vm.after(20)));
            let vm = &mut self.vms[self.vm];
            if !core::mem::replace(&mut self.is_asking, true) {
                let suspects: Vec<_> = vm.server.suspects().cloned().collect();
                for (service, kept) in
                    suspects.iter().filter_map(|it| self.kept.get_key_value(&**it))
                {
                    vm.server.on_earlier(service, kept);
                }
                vm.ask(Kind::Clusters, &[], &self.version);
            }
            let told = vm.told().pop();
            while let Some(event) = vm.server.poll_event() {
                match event {
                    Event::ClusterTaken { service, cluster } => {
                        self.kept.insert((*service).to_owned(), cluster);
                    }
                    Event::ClustersTold => {}
                    event => self.events.push(event.to_string()),
                }
            }
            let Some(Told { version, resources, status, .. }) = told else { continue };
            self.is_asking = false;
            let field = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
            let cluster = |it: &Value| ["name", "connect_timeout"].map(|name| field(it, name));
            let clusters: Vec<_> = resources.iter().map(cluster).collect();
            if status == 200 && clusters.iter().all(|[_, timeout]| timeout != self.rejects) {
                (self.version, self.clusters) = (version, clusters);
            }
        }
    }

    /// Gets to the other VM, as its connection has ended.
    fn change(&mut self) {
        (self.vm, self.is_asking) = (1 - self.vm, false);
    }

    fn names(&self) -> Vec<&str> {
        self.clusters.iter().map(|[name, _]| name.as_str()).collect()
    }
}

#[test]
fn a_rejected_cluster_keeps_no_other_one_back() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    assert_eq!(envoy.names(), ["api", "web"]);
    let events = core::mem::take(&mut envoy.events);
    let told =
        "Envoy rejects what it is told by CDS of bad (rejection 1 in a row; its own log says why)";
    assert!(events.iter().any(|event| event == told), "{events:?}");
    assert!(events.iter().all(|event| !event.contains("CDS (")), "{events:?}");
    for n in 0..20 {
        let service = Service::new(format!("web-{n}"));
        let [vm, _] = &mut envoy.vms;
        vm.server.on_update(Update::Added(Rc::new(service)), vm.now);
        // Also while the rejected one is being offered again, as it is now and then.
        envoy.ask(8);
        assert!(envoy.names().contains(&&*format!("web-{n}")), "{:?}", envoy.clusters);
    }
    assert!(envoy.vms[0].server.counts().rejected < 8);
}

#[test]
fn a_rejected_cluster_comes_as_soon_as_envoy_takes_it() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    envoy.rejects = "";
    assert_eq!(envoy.names(), ["api", "web"]);
    envoy.vms.iter_mut().for_each(|vm| drop(vm.after(1_000)));
    envoy.ask(3);
    assert_eq!(envoy.names(), ["api", "bad", "web"]);
}

#[test]
fn an_earlier_cluster_stays_where_the_new_one_is_rejected() {
    let mut envoy = Envoy::new("3s");
    envoy.kept.insert("bad".to_owned(), r#"{"name":"bad","connect_timeout":"1s"}"#.into());
    envoy.version = "00000000000000aa".to_owned();
    for _ in 0..200 {
        envoy.ask(1);
        assert!(envoy.clusters.is_empty() || envoy.names().contains(&"bad"));
    }
    assert_eq!(envoy.names(), ["api", "bad", "web"]);
    assert_eq!(envoy.clusters[1][1], "1s");
    assert_eq!(envoy.clusters[0][1], "2s");
}

#[test]
fn what_all_clusters_have_is_told_as_rejected_without_a_name() {
    let mut envoy = Envoy::new("1s");
    envoy.ask(40);
    assert!(envoy.clusters.is_empty());
    let events = envoy.events;
    let told = "Envoy rejects what it is told by CDS (rejection 2 in a row; its own log says why)";
    assert!(events.iter().any(|event| event == told), "{events:?}");
}

#[test]
fn clusters_with_settings_that_were_taken_are_kept_for_later() {
    let mut envoy = Envoy::new("");
    envoy.ask(2);
    assert_eq!(envoy.kept.into_keys().collect::<Vec<_>>(), ["api", "bad"]);
}

#[test]
fn no_cluster_goes_when_envoy_gets_to_a_vm_that_knows_of_no_rejection() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    for _ in 0..20 {
        envoy.change();
        for _ in 0..100 {
            envoy.ask(1);
            assert_eq!(envoy.names(), ["api", "web"]);
        }
    }
    assert!(envoy.events.iter().all(|event| event.contains("CDS of bad")), "{:?}", envoy.events);
}
