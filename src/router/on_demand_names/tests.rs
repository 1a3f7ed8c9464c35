use super::*;
use crate::config::Config;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

fn id(n: u16) -> ServiceId {
    ServiceId::nth(n)
}

fn names_of(max_services: u32) -> OnDemandNames {
    let json = format!(
        r#"{{"consul": {{"cluster": "c"}},
            "dns_names": {{"idle_timeout": "60s", "max_services": {max_services}}}}}"#
    );
    OnDemandNames::new(Config::parse(json.as_bytes()).unwrap().dns_names.unwrap())
}

fn query(name: &[u8]) -> QueryKey {
    QueryKey::of([core::str::from_utf8(name).unwrap()])
}

fn add(names: &mut OnDemandNames, name: &[u8], service: ServiceId, now: Time) {
    names.add(query(name), name, service, false, now);
}

#[test]
fn a_name_is_kept_while_somebody_asks_for_it() {
    let mut names = names_of(9);
    add(&mut names, b"web", id(1), at(0));
    names.on_resolved(id(1), true, at(0));
    assert!(names.take_gone(at(59)).is_empty());
    assert_eq!(names.by_host(b"web", at(59)), Some(id(1)));
    assert!(names.take_gone(at(118)).is_empty());
    let told = names.by_query(query(b"web"), b"web", true, at(118));
    assert_eq!(told, Some(id(1)), "another VM has been asked");
    assert!(names.take_gone(at(177)).is_empty());
    assert_eq!(names.take_gone(at(178)), [id(1)]);
    assert_eq!(names.by_host(b"web", at(178)), None);
    assert_eq!(names.by_query(query(b"web"), b"web", true, at(178)), None);
    assert!(!names.has(id(1)) && names.hosts.is_empty());
}

#[test]
fn a_name_without_endpoints_is_forgotten_while_asked_for() {
    let mut names = names_of(9);
    add(&mut names, b"no", id(1), at(0));
    names.on_resolved(id(1), false, at(1));
    names.by_host(b"no", at(30));
    assert!(names.take_gone(at(30)).is_empty());
    assert_eq!(names.take_gone(at(31)), [id(1)]);

    add(&mut names, b"error", id(2), at(0));
    names.by_host(b"error", at(29));
    assert!(names.take_gone(at(29)).is_empty());
    assert_eq!(names.take_gone(at(30)), [id(2)], "consul has not answered");

    add(&mut names, b"web", id(3), at(40));
    names.on_resolved(id(3), true, at(40));
    names.on_resolved(id(3), false, at(41));
    assert!(names.take_gone(at(80)).is_empty(), "it was there, and may come back");
}

#[test]
fn the_longest_unused_name_goes_when_there_are_too_many() {
    let mut names = names_of(2);
    for (name, n) in [(b"a", 1), (b"b", 2)] {
        assert!(names.make_room().is_empty());
        add(&mut names, name, id(n), at(n.into()));
    }
    names.by_host(b"a", at(3));
    assert_eq!(names.make_room(), [id(2)], "of those that are not answered for");
    add(&mut names, b"c", id(3), at(4));
    for n in [1, 3] {
        names.on_resolved(id(n), true, at(5));
    }
    assert!(names.make_room().is_empty(), "those that are known have places of their own");
    add(&mut names, b"d", id(4), at(6));
    names.by_host(b"a", at(7));
    assert!(names.take_gone(at(8)).is_empty());
    names.on_resolved(id(4), true, at(8));
    assert_eq!(names.take_gone(at(8)), [id(3)]);
    assert_eq!((names.names.len(), names.hosts.len(), names.queries.len()), (2, 2, 2));
}

#[test]
fn hosts_of_one_query_are_one_name_and_bounded() {
    let mut names = names_of(9);
    add(&mut names, b"web", id(1), at(0));
    for n in 0..1_000 {
        let host = format!("web{n}").into_bytes();
        for _ in 0..2 {
            assert_eq!(names.by_query(query(b"web"), &host, false, at(0)), Some(id(1)));
        }
        assert_eq!(names.by_host(&host, at(0)), Some(id(1)));
    }
    assert_eq!((names.names.len(), names.hosts.len()), (1, MOST_HOSTS));
    assert_eq!(names.take_requested(at(20)), [(id(1), b"web"[..].into())], "by the first host");
    assert_eq!(names.take_gone(at(30)), [id(1)]);
    assert!(names.hosts.is_empty() && names.queries.is_empty());
}

#[test]
fn others_are_told_again_of_what_was_asked_for() {
    let mut names = names_of(9);
    add(&mut names, b"web", id(1), at(0));
    assert!(names.take_requested(at(20)).is_empty(), "nobody has asked since");
    names.by_host(b"web", at(19));
    assert!(names.take_requested(at(19)).is_empty(), "they were told a moment ago");
    assert_eq!(names.take_requested(at(20)), [(id(1), b"web"[..].into())]);
    assert!(names.take_requested(at(99)).is_empty());
}

#[test]
fn new_names_are_limited_in_time() {
    let mut names = names_of(1_000);
    let name = |n: u32| query(n.to_string().as_bytes());
    let taken = (0..100).filter(|n| names.admit(name(*n), false, at(100))).count();
    assert_eq!(taken, NEW.0 as usize - LEFT as usize);
    assert!(names.admit(name(99), true, at(100)), "another VM has counted it");
    let again = (0..100).filter(|n| names.admit(name(*n), false, at(100))).count();
    assert_eq!(again, LEFT as usize, "those that come again");
    assert!(!names.admit(name(99), false, at(100)));
    assert!(names.admit(name(99), false, at(101)));
}

#[test]
fn names_that_came_in_vain_leave_tokens_to_others() {
    let mut names = names_of(1_000);
    let made_up = |n: u16| n.to_string().into_bytes();
    // Each is taken in once, and is not there.
    for n in 0..100 {
        names.add(query(&made_up(n)), &made_up(n), id(n), true, at(0));
        names.on_resolved(id(n), false, at(0));
    }
    assert_eq!(names.take_gone(at(30)).len(), 100);
    // However often they come again, half of the tokens is left.
    for _ in 0..5 {
        (0..100).for_each(|n| _ = names.admit(query(&made_up(n)), false, at(100)));
    }
    assert!(!names.admit(query(b"web"), false, at(100)), "it was never refused");
    assert!(names.admit(query(b"web"), false, at(100)));
}

#[test]
fn names_with_endpoints_put_their_tokens_back() {
    let mut names = names_of(1_000);
    for n in 0..THERE.0 as u16 {
        let name = n.to_string().into_bytes();
        assert!(names.admit(query(&name), false, at(100)), "{n}");
        add(&mut names, &name, id(n), at(100));
        names.on_resolved(id(n), true, at(100));
    }
    let name = |n: u32| query(format!("new{n}").as_bytes());
    let taken = (0..100).filter(|n| names.admit(name(*n), false, at(100))).count();
    assert_eq!(taken, NEW.0 as usize - LEFT as usize);
}

/// The query of a number.
fn number(number: usize) -> QueryKey {
    QueryKey::of([number.to_string().as_str()])
}

#[test]
fn most_names_are_remembered_after_a_hundred_others() {
    let mut refused = RecentQueries::default();
    assert!(!refused.has(number(0)));
    let remembered = (0..1_000).filter(|n| {
        refused.add(number(*n));
        (0..100).for_each(|other| refused.add(number(1_000_000 + n * 100 + other)));
        refused.has(number(*n))
    });
    let remembered = remembered.count();
    assert!((960..1_000).contains(&remembered), "{remembered}");
    assert!((0..1_000).all(|n| !refused.has(number(500_000 + n))));
}
