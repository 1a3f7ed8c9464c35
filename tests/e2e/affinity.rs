//! Requests that belong together go to the same instance, by a hash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stack::{Consul, Registry};

use crate::testbed::{Setup, Testbed, instances, who};
use crate::wire::Connection;

const NAMES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

fn start(consul: &Consul, service: Value) -> Testbed {
    let bed = Setup::headers(consul.address()).set("services", json!([service])).start();
    bed.await_routed("any", &NAMES);
    bed
}

fn by_user(bed: &Testbed, user: u32) -> String {
    let request = bed.request("GET", "/", "any").header("x-user", &user.to_string());
    who(&request.send().expect("an answer"))
}

/// Where each of some users goes, which is the same from every worker.
fn homes(bed: &Testbed) -> BTreeMap<u32, String> {
    let home = |user| {
        let seen: BTreeSet<_> = (0..6).map(|_| by_user(bed, user)).collect();
        assert_eq!(seen.len(), 1, "user {user} goes to {seen:?}");
        (user, seen.into_iter().next().expect("one"))
    };
    (0..40).map(home).collect()
}

fn a_key_keeps_its_instance(policy: &str) {
    let Some(consul) = Consul::start_or_skip(&format!("{policy}: keys and instances")) else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let balancing = json!({"policy": policy, "hash_on": {"header": "x-user"}});
    let bed = start(&consul, json!({"name": "web", "load_balancing": balancing}));
    let before = homes(&bed);
    let used: BTreeSet<_> = before.values().collect();
    assert_eq!(used.len(), NAMES.len(), "{used:?}");

    consul.deregister("web-3").expect("deregistered");
    bed.await_routed("any", &["web-1", "web-2", "web-4"]);
    let after = homes(&bed);
    let mut moved = 0;
    for (user, home) in &before {
        moved += u32::from(home != "web-3" && after[user] != *home);
    }
    // Maglev moves a few more than those whose instance has gone.
    let most = if policy == "maglev" { 6 } else { 0 };
    assert!(moved <= most, "{moved} users were moved though their instance is there");
    bed.assert_no_crash();
}

#[test]
fn a_key_keeps_its_instance_with_ring_hash() {
    a_key_keeps_its_instance("ring_hash");
}

#[test]
fn a_key_keeps_its_instance_with_maglev() {
    a_key_keeps_its_instance("maglev");
}

/// Who answers a request with these lines in its header.
fn by_lines(bed: &Testbed, lines: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: any\r\n{lines}\r\n\r\n");
    let mut client = Connection::open(bed.ingress).expect("a connection");
    client.send(request.as_bytes()).expect("sent");
    client.answer().expect("an answer").who()
}

#[test]
fn header_is_hashed_whole_when_it_has_several_values() {
    let Some(consul) = Consul::start_or_skip("headers of several values") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let balancing = json!({"policy": "maglev", "hash_on": {"header": "x-user"}});
    let bed = start(&consul, json!({"name": "web", "load_balancing": balancing}));
    let homes: BTreeSet<_> = (0..40)
        .map(|user| {
            let lines = format!("x-user: of-all\r\nx-user: {user}");
            let home = by_lines(&bed, &lines);
            assert_eq!(by_lines(&bed, &lines), home, "user {user}");
            home
        })
        .collect();
    assert_eq!(homes.len(), NAMES.len(), "{homes:?}");
    bed.assert_no_crash();
}

#[test]
fn a_cookie_is_found_in_any_field() {
    let Some(consul) = Consul::start_or_skip("cookies in several fields") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let balancing = json!({"policy": "maglev", "hash_on": {"cookie": "id"}});
    let bed = start(&consul, json!({"name": "web", "load_balancing": balancing}));
    for user in 0..10 {
        let home = by_lines(&bed, &format!("cookie: id={user}"));
        for lines in ["cookie: a=1\r\ncookie: id=", "cookie: a=1; b=2\r\ncookie: c=3; id="] {
            let lines = format!("{lines}{user}");
            assert_eq!(by_lines(&bed, &lines), home, "{lines:?}");
        }
    }
    bed.assert_no_crash();
}
