//! What Envoy lets the module do, where its configuration restricts that.

use stack::Bootstrap;

use crate::testbed::{root, yaml};

/// What the module calls, and what it is called for, as the README has it.
fn all() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let mut blocks = readme.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let list = blocks.find(|block| block.starts_with("proxy_on_")).expect("its capabilities");
    list.split_whitespace().map(str::to_owned).collect()
}

/// Restricts the module to all of them but one.
pub fn all_but(forbidden: &'static str) -> impl FnOnce(&mut Bootstrap) {
    move |bootstrap| {
        let (taken, allowed): (Vec<_>, Vec<_>) = all().into_iter().partition(|it| it == forbidden);
        assert!(!taken.is_empty(), "{forbidden} is not used anyway");
        let allowed: serde_json::Map<_, _> =
            allowed.into_iter().map(|capability| (capability, serde_json::json!({}))).collect();
        let vm =
            &mut crate::plugin::of_listener(bootstrap.ingress().expect("a listener"))["vm_config"];
        vm["capability_restriction_config"] =
            yaml(serde_json::json!({"allowed_capabilities": allowed}));
    }
}
