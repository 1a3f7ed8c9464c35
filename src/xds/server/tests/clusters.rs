//! An Envoy that rejects clusters, all of a response for one.

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SERVICES: &str = r#"{"name": "api", "hosts": ["a"], "cluster": {"connect_timeout": "2s"}},
    {"name": "bad", "hosts": ["b"], "cluster": {"connect_timeout": "3s"}}, {"name": "web", "hosts": ["w"]}"#;

/// An Envoy that rejects clusters with this timeout.
struct Envoy {
    script: Script,
    rejects: &'static str,
    version: String,
    is_asking: bool,
    /// The clusters that it has, with their timeouts.
    clusters: Vec<[String; 2]>,
}

impl Envoy {
    fn new(rejects: &'static str) -> Self {
        let xds = r#", "xds": {"cluster": "xds", "address": "@xds", "clusters": {}}"#;
        let script = Script::of(SERVICES, xds);
        Self { script, rejects, version: String::new(), is_asking: false, clusters: Vec::new() }
    }

    /// Asks again 20 ms after each response, for so many times 20 ms.
    fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.script.after(20);
            if !core::mem::replace(&mut self.is_asking, true) {
                self.script.ask(Kind::Clusters, &[], &self.version);
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

    fn names(&self) -> Vec<&str> {
        self.clusters.iter().map(|[name, _]| name.as_str()).collect()
    }
}

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

#[test]
fn an_earlier_cluster_stays_where_the_new_one_is_rejected() {
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
fn what_all_clusters_have_is_told_as_rejected_without_a_name() {
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
    let kept = kept.filter(|event| matches!(event, Event::ClusterTaken { .. }));
    let kept: Vec<_> = kept.map(|event| event.to_string()).collect();
    assert_eq!(kept, ["api", "bad"].map(|name| format!("Envoy knows the cluster of {name}")));
}
