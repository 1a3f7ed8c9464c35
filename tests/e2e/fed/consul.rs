//! The real Consul stands still, is killed, and comes back without its memory: Envoy's hosts stay.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use super::{Hosts, await_hosts, hosts, plain};
use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances};

const WEB: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

/// How long it is not believed that a service has no instance any more.
const HOLD: Duration = Duration::from_secs(3);

/// Of `web` it is not believed for half a minute, which no part of the test takes.
fn services() -> Value {
    json!([
        {"name": "web", "hosts": ["web.internal"]},
        {"name": "gone", "hosts": ["gone.internal"], "shrink_guard": {"hold": "3s"}},
        {"name": "edge"},
    ])
}

fn start(setup: Setup) -> Testbed {
    let bed = setup
        // A poll that is not answered is given up after six seconds.
        .set("consul", json!({"cluster": "consul", "wait": "1s"}))
        .set("services", services())
        .start();
    bed.await_routed("web.internal", &WEB);
    bed.await_routed("gone.internal", &["gone-1"]);
    bed
}

fn await_more(bed: &Testbed, stat: &str, than: u64) {
    let counted = wait_until(2 * SOON, || bed.stat(stat) > than);
    assert!(counted, "{stat}: {}", bed.stat(stat));
}

/// One Envoy under load, whose hosts of `web` are looked at.
struct Watched {
    bed: Testbed,
    load: Load,
}

impl Watched {
    fn assert_stays(&self, expected: &Hosts, what: &str) {
        self.load.go_on(100);
        assert_eq!(&hosts(&self.bed, "web"), expected, "{what}");
    }

    /// Waits until it has these hosts: Consul is asked again at a growing distance.
    fn await_again(&self, expected: &Hosts) {
        let is_so = wait_until(2 * SOON, || hosts(&self.bed, "web") == *expected);
        assert!(is_so, "{:?}, not {expected:?}", hosts(&self.bed, "web"));
    }
}

fn plain_hosts<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Hosts {
    backends.into_iter().map(|backend| plain(backend.address())).collect()
}

// Promise: R-105
#[test]
fn no_get_fails_when_consul_is_frozen_killed_or_emptied() {
    let Some(consul) = Consul::start_or_skip("consul frozen, killed and emptied") else { return };
    let web = instances(&consul, "web", &WEB);
    let gone = instances(&consul, "gone", &["gone-1"]);
    let watched = [Setup::recommended, Setup::native].map(|setup| {
        let bed = start(setup(consul.address()));
        let load = Load::light(bed.ingress, "web.internal");
        Watched { bed, load }
    });
    let all = plain_hosts(&web);

    consul.stop();
    for it in &watched {
        await_more(&it.bed, "consul_calls.timeout", 0);
        it.assert_stays(&all, "frozen");
    }
    consul.cont();
    let more = instances(&consul, "web", &["web-5"]);
    let five = plain_hosts(web.iter().chain(&more));
    watched.iter().for_each(|it| it.await_again(&five));
    consul.deregister("web-5").expect("deregistered");
    consul.await_passing("web", &WEB).expect("passing");
    watched.iter().for_each(|it| await_hosts(&it.bed, "web", all.clone()));

    let before = watched.each_ref().map(|it| it.bed.stat("consul_calls.unreachable"));
    consul.kill();
    for (it, before) in watched.iter().zip(before) {
        await_more(&it.bed, "consul_calls.unreachable", before + 3);
        it.assert_stays(&all, "killed");
    }

    consul.restart(true).expect("an empty consul");
    // Each asks again when it will, and doubts for three seconds.
    let assert_doubts = &|it: &Watched| {
        let is_doubted = wait_until(2 * SOON, || it.bed.stat("service.gone.held_answers") == 1);
        assert!(is_doubted, "nobody has heard that there is nothing");
        // What Consul has lost is not taken away at its first word.
        assert_eq!(hosts(&it.bed, "gone"), plain_hosts(&gone));
    };
    std::thread::scope(|scope| {
        watched.iter().for_each(|it| drop(scope.spawn(move || assert_doubts(it))));
    });
    watched.iter().for_each(|it| it.assert_stays(&all, "emptied"));
    for it in &watched {
        // It is believed in the end.
        let is_empty = wait_until(HOLD + SOON, || hosts(&it.bed, "gone").is_empty());
        assert!(is_empty, "{:?}", hosts(&it.bed, "gone"));
        it.assert_stays(&all, "emptied for a while");
    }
    // Each comes back by and by, and another one that was not there before.
    let new = Backend::start("web-6").expect("a backend");
    for instance in web.iter().chain([&new]) {
        let service = Service::new("web", instance.name()).at(instance.address());
        consul.register(&service.with_status(Status::Passing)).expect("registered");
        std::thread::sleep(Duration::from_millis(200));
    }
    let five = plain_hosts(web.iter().chain([&new]));
    watched.iter().for_each(|it| it.await_again(&five));
    consul.deregister("web-1").expect("deregistered");
    consul.await_passing("web", &["web-2", "web-3", "web-4", "web-6"]).expect("passing");
    let four = plain_hosts(web[1..].iter().chain([&new]));
    watched.iter().for_each(|it| await_hosts(&it.bed, "web", four.clone()));
    // native.yaml has registered itself again.
    let is_registered = || consul.health("edge", "passing").expect("health").ids().len() == 1;
    assert!(wait_until(2 * SOON, is_registered), "native.yaml is not registered");
    for Watched { bed, load } in watched {
        load.go_on(100);
        load.end_without_failure(&[&WEB[..], &["web-5", "web-6"]].concat());
        bed.assert_no_crash();
    }
}
