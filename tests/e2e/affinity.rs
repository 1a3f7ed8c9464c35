//! Requests that belong together go to the same instance: by a hash, or by a cookie.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stack::{Consul, Registry, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances, who};
use crate::wire::Connection;

const NAMES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

fn start(consul: &Consul, service: Value) -> Testbed {
    let bed = Setup::recommended(consul.address()).set("services", json!([service])).start();
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
fn all_values_of_a_header_are_hashed() {
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

#[test]
fn a_client_stays_by_its_cookie_and_is_sent_elsewhere_when_its_instance_goes() {
    let Some(consul) = Consul::start_or_skip("sticky cookies") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let sticky = json!({"cookie": "at", "ttl": "1h"});
    let bed = start(&consul, json!({"name": "web", "sticky": sticky}));

    let first = bed.get("/", "any");
    let set = first.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("at=") && set.ends_with("; Path=/; Max-Age=3600; HttpOnly"), "{set}");
    let port = |name: &str| {
        let backend = backends.iter().find(|backend| backend.name() == name).expect("a backend");
        backend.address().port().to_string()
    };
    let home = who(&first);
    assert!(!set.contains(&port(&home)) && !set.contains("127.0.0.1"), "{set}");
    let cookie = set.split(';').next().expect("a pair").to_owned();
    let visit = || bed.request("GET", "/", "any").header("cookie", &cookie).send().expect("ok");
    for _ in 0..20 {
        let answer = visit();
        assert_eq!(who(&answer), home);
        assert_eq!(answer.header("set-cookie"), None, "it has its cookie");
    }

    consul.deregister(&home).expect("deregistered");
    let mut pinned = None;
    let moved = wait_until(SOON, || {
        let answer = visit();
        pinned = answer.header("set-cookie").map(str::to_owned);
        who(&answer) != home && pinned.is_some()
    });
    assert!(moved, "still at {home}");
    let cookie = pinned.expect("a cookie").split(';').next().expect("a pair").to_owned();
    let seen: BTreeSet<_> = (0..20)
        .map(|_| {
            let request = bed.request("GET", "/", "any").header("cookie", &cookie);
            who(&request.send().expect("an answer"))
        })
        .collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    bed.assert_no_crash();
}

#[test]
fn a_cookie_that_is_none_of_ours_changes_nothing() {
    let Some(consul) = Consul::start_or_skip("forged cookies") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let bed = start(&consul, json!({"name": "web", "sticky": {"cookie": "at"}}));
    for forged in ["at=127.0.0.1:1", "at=", "at=ffffffffffffffff", "x", "at=\u{e9}"] {
        let answer = bed.request("GET", "/", "any").header("cookie", forged).send().expect("ok");
        assert!(NAMES.contains(&who(&answer).as_str()), "{forged}: {}", who(&answer));
        assert!(answer.header("set-cookie").is_some(), "{forged}");
    }
    bed.assert_no_crash();
}
