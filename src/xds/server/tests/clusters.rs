//! An Envoy that rejects clusters, all of a response for one.

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SERVICES: &str = r#"{"name": "api", "hosts": ["a"], "cluster": {"connect_timeout": "2s"}},
    {"name": "bad", "hosts": ["b"], "cluster": {"connect_timeout": "3s"}}, {"name": "web", "hosts": ["w"]}"#;

const TOLD: &str =
    "Envoy rejects what it is told by CDS of bad (rejection 1 in a row; its own log says why)";

/// An Envoy that rejects clusters with this timeout.
struct Envoy {
    script: Script,
    rejects: &'static str,
    version: String,
    is_asking: bool,
    /// The clusters that it has, with their timeouts.
    clusters: Vec<[String; 2]>,
    /// Those that it has taken before, as all workers know them.
    kept: Vec<(Rc<str>, Box<str>)>,
}

impl Envoy {
    fn new(rejects: &'static str) -> Self {
        let xds = r#", "xds": {"cluster": "xds", "address": "@xds", "clusters": {}}"#;
        let script = Script::of(SERVICES, xds);
        let (version, clusters, kept) = (String::new(), Vec::new(), Vec::new());
        Self { script, rejects, version, is_asking: false, clusters, kept }
    }

    /// Asks again 20 ms after each response, for so many times 20 ms.
    fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.script.after(20);
            if !core::mem::replace(&mut self.is_asking, true) {
                self.script.ask(ResourceKind::Clusters, &[], &self.version);
                for service in self.script.server.poll_left_out() {
                    let kept = self.kept.iter().find(|(name, _)| *name == service);
                    if let Some((_, cluster)) = kept {
                        self.script.server.on_earlier(&service, cluster);
                    }
                }
            }
            let Some(Told { version, resources, status, .. }) = self.script.told().pop() else {
                continue;
            };
            self.is_asking = false;
            let field = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
            let cluster = |it: &Value| ["name", "connect_timeout"].map(|name| field(it, name));
            let clusters: Vec<_> = resources.iter().map(cluster).collect();
            if status == 200 && clusters.iter().all(|[_, timeout]| timeout != self.rejects) {
                (self.version, self.clusters) = (version, clusters);
            }
        }
    }

    /// The clusters that are known to be taken.
    fn kept(&mut self) -> Vec<(Rc<str>, Box<str>)> {
        let events = core::iter::from_fn(|| self.script.server.poll_event());
        let taken = events.filter_map(|event| match event {
            SubscriptionEvent::ClusterTaken { service, cluster } => Some((service, cluster)),
            _ => None,
        });
        taken.collect()
    }

    fn names(&self) -> Vec<&str> {
        self.clusters.iter().map(|[name, _]| name.as_str()).collect()
    }
}

// Promise: R-306
#[test]
fn a_rejected_cluster_keeps_no_other_one_back() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    assert_eq!(envoy.names(), ["api", "web"]);
    let events = envoy.script.events();
    let told =
        "Envoy rejects what it is told by CDS of bad (rejection 1 in a row; its own log says why)";
    assert!(events.iter().any(|event| event == told), "{events:?}");
    assert!(events.iter().all(|event| !event.contains("CDS (")), "{events:?}");
    for n in 0..20 {
        let service = Service::new(format!("web-{n}"));
        envoy.script.server.on_update(Update::Added(Rc::new(service)), envoy.script.now);
        // Also while the rejected one is being offered again, as it is now and then.
        envoy.ask(8);
        assert!(envoy.names().contains(&&*format!("web-{n}")), "{:?}", envoy.clusters);
    }
    assert!(envoy.script.server.counts().rejected < 8);
}

#[test]
fn a_rejected_cluster_comes_as_soon_as_envoy_takes_it() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    envoy.rejects = "";
    assert_eq!(envoy.names(), ["api", "web"]);
    envoy.script.after(1_000);
    envoy.ask(3);
    assert_eq!(envoy.names(), ["api", "bad", "web"]);
}

// Promise: R-306
#[test]
fn earlier_cluster_stays_when_the_new_one_is_rejected() {
    let mut envoy = Envoy::new("3s");
    envoy.script.server.on_earlier("bad", r#"{"name":"bad","connect_timeout":"1s"}"#);
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
fn rejection_has_no_name_when_all_clusters_are_to_blame() {
    let mut envoy = Envoy::new("1s");
    envoy.ask(40);
    assert!(envoy.clusters.is_empty());
    let events = envoy.script.events();
    let told = "Envoy rejects what it is told by CDS (rejection 2 in a row; its own log says why)";
    assert!(events.iter().any(|event| event == told), "{events:?}");
}

#[test]
fn clusters_with_settings_that_were_taken_are_kept_for_later() {
    let mut envoy = Envoy::new("");
    envoy.ask(2);
    let kept = core::iter::from_fn(|| envoy.script.server.poll_event());
    let kept = kept.filter(|event| matches!(event, SubscriptionEvent::ClusterTaken { .. }));
    let kept: Vec<_> = kept.map(|event| event.to_string()).collect();
    assert_eq!(kept, ["api", "bad"].map(|name| format!("Envoy knows the cluster of {name}")));
}

// Promise: R-306
#[test]
fn clusters_stay_when_another_worker_learns_of_a_rejected_one() {
    let mut envoy = Envoy::new("3s");
    envoy.ask(40);
    assert_eq!(envoy.names(), ["api", "web"]);
    let kept = envoy.kept();
    let Envoy { version, clusters, .. } = envoy;
    // It was made when the first one was, and its questions come later.
    let mut envoy = Envoy { version, clusters, kept, ..Envoy::new("3s") };
    for _ in 0..400 {
        envoy.ask(1);
        assert_eq!(envoy.names(), ["api", "web"]);
    }
    assert!(envoy.script.events().iter().any(|event| event == TOLD));
}

#[test]
fn rejected_cluster_is_named_when_others_are_as_before() {
    let mut before = Envoy::new("");
    before.ask(3);
    let mut envoy = Envoy { kept: before.kept(), ..Envoy::new("3s") };
    envoy.kept.retain(|(service, _)| &**service == "api");
    envoy.ask(40);
    assert_eq!(envoy.names(), ["api", "web"]);
    assert!(envoy.script.events().iter().any(|event| event == TOLD));
}

#[test]
fn changed_cluster_comes_at_once_when_another_is_rejected() {
    let mut envoy = Envoy::new("3s");
    let earlier = |name: &str| format!(r#"{{"name":"{name}","connect_timeout":"1s"}}"#);
    envoy.kept = ["api", "bad"].map(|name| (name.into(), earlier(name).into())).to_vec();
    // What Envoy has is what it is told where all changes are left out.
    let mut before = Envoy { kept: envoy.kept.clone(), ..Envoy::new("3s") };
    while before.clusters.iter().all(|[_, timeout]| timeout != "1s") {
        before.ask(1);
    }
    (envoy.version, envoy.clusters) = (before.version, before.clusters);
    envoy.ask(100);
    assert_eq!(envoy.clusters.iter().map(|it| &*it[1]).collect::<Vec<_>>(), ["2s", "1s", "1s"]);
}

#[test]
fn a_rejected_cluster_is_found_when_there_are_many() {
    let mut before = Envoy::new("");
    before.ask(3);
    let mut envoy = Envoy { kept: before.kept(), ..Envoy::new("3s") };
    envoy.kept.retain(|(service, _)| &**service == "api");
    for n in 0..250 {
        let service = Service::new(format!("web-{n}"));
        envoy.script.server.on_update(Update::Added(Rc::new(service)), envoy.script.now);
    }
    envoy.ask(100);
    assert!(envoy.names().contains(&"api") && envoy.clusters.len() == 252);
    assert!(envoy.script.events().iter().any(|event| event == TOLD));
}
