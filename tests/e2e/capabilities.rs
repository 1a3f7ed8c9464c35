//! What Envoy lets the module do, where its configuration restricts that.

use fake_consul::Agent;
use serde_json::json;
use serde_yaml_ng::{Mapping, Value};
use stack::fetch::EnvoyRelease;
use stack::{Bootstrap, Registry};

use crate::log::LogMark;
use crate::plugin;
use crate::testbed::{Setup, instances, root, yaml};

const HOST: &str = "web.internal";

/// The place of the restriction in each release, as docs/envoy.md shows it.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Of 1.40.
    WithinTheVm,
    /// Of 1.36 to 1.39.
    BesideTheVm,
}

impl Place {
    /// Returns the lines of the page.
    fn lines(self) -> Value {
        let page = page();
        let blocks = page.split("```yaml envoy\n").skip(1);
        let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
        let block = blocks.nth(self as usize).expect("its lines");
        serde_yaml_ng::from_str(block).expect("YAML")
    }

    /// Restricts the module of the listener `ingress` to all that it uses but this.
    fn restrict(self, bootstrap: &mut Bootstrap, forbidden: Option<&str>) {
        let (taken, allowed): (Vec<_>, Vec<_>) =
            all().into_iter().partition(|it| Some(it.as_str()) == forbidden);
        assert_eq!(taken.is_empty(), forbidden.is_none(), "{forbidden:?} is not used anyway");
        let allowed: serde_json::Map<_, _> =
            allowed.into_iter().map(|capability| (capability, json!({}))).collect();
        let plugin = plugin::of_listener(bootstrap.ingress().expect("a listener"));
        write(plugin, &self.lines()["config"], &yaml(allowed.into()));
    }
}

/// Writes these lines over what is there, with other capabilities.
fn write(into: &mut Value, lines: &Value, allowed: &Value) {
    for (name, lines) in lines.as_mapping().expect("a mapping") {
        if name == "allowed_capabilities" {
            into[name] = allowed.clone();
            continue;
        }
        if into.get(name).is_none() {
            into[name] = Value::Mapping(Mapping::new());
        }
        write(&mut into[name], lines, allowed);
    }
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/envoy.md")).expect("the page")
}

/// Lists the host calls and callbacks of the module, as docs/envoy.md has them.
fn all() -> Vec<String> {
    let page = page();
    let mut blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let list = blocks.find(|block| block.starts_with("proxy_on_")).expect("its capabilities");
    list.split_whitespace().map(str::to_owned).collect()
}

/// Restricts the module to all of them but one.
pub fn all_but(forbidden: &'static str) -> impl FnOnce(&mut Bootstrap) {
    move |bootstrap| Place::WithinTheVm.restrict(bootstrap, Some(forbidden))
}

// Promise: R-317
#[test]
fn listed_capabilities_suffice_where_they_belong() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let [oldest, .., newest] = EnvoyRelease::ALL;
    let start = |release, place: Place, forbidden| {
        let setup = Setup::recommended(agent.address()).release(release).workers(1);
        setup.edit(|bootstrap| place.restrict(bootstrap, forbidden)).start()
    };
    let learns_nothing = "add proxy_on_response_headers and proxy_on_response_trailers to the \
                          plugin's allowed_capabilities";
    for (release, place) in [(oldest, Place::BesideTheVm), (newest, Place::WithinTheVm)] {
        let bed = start(release, place, None);
        bed.await_routed(HOST, &["web-1", "web-2"]);
        agent.maintenance("web-2", true).expect("maintenance");
        bed.await_routed(HOST, &["web-1"]);
        agent.maintenance("web-2", false).expect("maintenance");
        bed.await_routed(HOST, &["web-1", "web-2"]);
        assert!(LogMark::START.lines(&bed.envoy, learns_nothing).is_empty());
        bed.assert_no_crash();
    }
    // Envoy heeds the restriction there. That it does on the newest release other tests show.
    let bed = start(oldest, Place::BesideTheVm, Some("proxy_on_response_headers"));
    bed.await_routed(HOST, &["web-1", "web-2"]);
    bed.seen(HOST, 100);
    LogMark::START.await_line(&bed.envoy, learns_nothing);
}
