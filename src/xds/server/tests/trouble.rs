//! What goes wrong between a server and its Envoy.

use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The old version of an Envoy that has rejected what it was told since.
const OLD: &str = "00000000000000aa";

// Promise: R-303
#[test]
fn a_rejected_response_is_counted_and_repeated_less_often() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    for _ in 0..2 {
        let stream = script.after(20).eds("web", OLD);
        script.version(stream);
    }
    assert!(script.events().is_empty(), "it may have been lost");
    let mut waits = Vec::new();
    for _ in 0..8 {
        script.after(20).eds("web", OLD);
        let asked = script.now;
        loop {
            assert_eq!(script.server.due().is_some(), script.server.held() > 0);
            script.now = script.server.due().unwrap();
            let told = script.told();
            match told.first().map(|told| told.status) {
                Some(200) => break waits.push(script.now.since(asked).as_secs()),
                Some(304) => drop(script.eds("web", OLD)),
                _ => {}
            }
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(script.server.counts().rejected, 8);
    let events = script.events();
    assert_eq!(events.len(), 4, "the 1st, the 2nd, the 4th, the 8th");
    assert!(events[0].starts_with("Envoy rejects what it is told by EDS of web (rejection 1 in"));
}

// Promise: R-303
#[test]
fn a_rejection_delays_no_other_service_and_no_other_content() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    script.assign("api", of([2]));
    for told in [1, 1, 0] {
        script.after(20).eds("web", OLD);
        assert_eq!(script.told().len(), told);
    }
    assert_eq!(script.server.counts().rejected, 1);
    let api = script.eds("api", OLD);
    script.version(api);
    script.assign("web", of([3]));
    assert_eq!(script.told()[0].resources[0]["cluster_name"], "web");
}

// Promise: R-305
#[test]
fn a_large_service_is_told_at_envoys_pace_and_the_newest_last() {
    let mut script = Script::new("");
    script.assign("web", many(10_000));
    let stream = script.eds("web", "");
    let mut version = script.version(stream);
    for n in 1..=10 {
        script.after(100).assign("web", many(10_000 - n));
        if n == 1 {
            script.eds("web", &version);
        }
        assert!(script.is_quiet(), "{n}");
    }
    assert_eq!(script.server.due(), Some(Time::from_start(Duration::from_millis(2_400))));
    script.after(1_400);
    let told = script.told().remove(0);
    let localities = told.resources[0]["endpoints"].as_array().unwrap();
    assert_eq!(localities[0]["lb_endpoints"].as_array().unwrap().len(), 9_990);
    version = told.version;
    script.eds("web", &version);
    assert!(script.after(24_000).is_quiet());
    // A small one beside it is told of every change.
    script.assign("api", of([1]));
    let mut version = String::new();
    for octet in 2..5 {
        script.assign("api", of([octet]));
        let stream = script.eds("api", &version);
        version = script.version(stream);
    }
}

#[test]
fn requests_that_are_no_subscriptions_cost_nothing() {
    let mut script = Script::new("");
    let own = r#"{"node":{"id":"me"},"resource_names":["web"]}"#;
    let other = r#"{"node":{"id":"you"},"resource_names":["web"]}"#;
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(SubscriptionRequest::MAX_BODY_BYTES));
    let eds = ResourceKind::Endpoints.path();
    for (path, body, status) in [
        ("/", own, 404),
        ("/v3/discovery:listeners", own, 404),
        (eds, "", 400),
        (eds, r#"{"node":{"id":"me"}}"#, 400),
        (eds, &large, 413),
        (eds, other, 404),
        (eds, "{}", 404),
    ] {
        let stream = script.send(path, body);
        let told = script.told();
        assert_eq!((told[0].stream, told[0].status), (stream, status), "{path} {body:.40}");
    }
    let request = SubscriptionRequest { method: b"GET", path: eds.as_bytes(), body: b"" };
    script.server.on_request(StreamId(77), request, script.now);
    assert_eq!(script.told()[0].status, 405);
    let counts = script.server.counts();
    assert_eq!((script.server.held(), counts.malformed, counts.foreign), (0, 6, 2));
    assert_eq!(script.events().len(), 3 + 2, "the 1st, the 2nd, the 4th");
}

#[test]
fn resource_is_refused_and_logged_once_when_not_configured() {
    let mut script = Script::new("");
    (script.server.routes, script.server.has_clusters) = (None, false);
    for _ in 0..3 {
        script.ask(ResourceKind::Clusters, &[], "");
        script.ask(ResourceKind::Routes, &["all"], "");
    }
    assert!(script.told().iter().all(|told| told.status == 404));
    assert_eq!(script.events().len(), 2);
}

// Promise: R-904
#[test]
fn the_oldest_request_gives_way_when_all_places_are_held() {
    let mut script = Script::new("");
    let most = Server::MAX_HELD as u32;
    let envoys = script.eds("web", "");
    script.after(1);
    for _ in 1..most {
        script.eds("web", "");
        script.told();
    }
    script.after(1);
    let beyond = script.eds("api", "");
    let told = script.told();
    assert_eq!((told[0].stream, told[0].status, told.len()), (envoys, 304, 1));
    let counts = script.server.counts();
    assert_eq!((counts.too_many, counts.unchanged), (1, 1));
    let events = script.events();
    assert!(events.len() == 1 && events[0].contains("the oldest is answered"), "{events:?}");
    script.server.on_gone(StreamId(2), script.now);
    script.eds("api", "");
    assert!(script.is_quiet(), "there was a place");
    assert_eq!(script.server.held() as u32, most);
    script.assign("api", of([1]));
    assert_eq!(script.told().iter().filter(|it| it.stream == beyond).count(), 1);
}

// Promise: R-904
#[test]
fn envoy_is_told_all_news_when_another_takes_every_place() {
    let mut script = Script::new("");
    let mut held = script.eds("web", "");
    let mut news = 0;
    for octet in 1..4 {
        script.assign("web", of([octet]));
        let mut told = script.told();
        for _ in 0..=Server::MAX_HELD {
            script.eds("api", "");
            told.extend(script.told());
        }
        // Envoy asks again when it was answered.
        while let Some(answer) = told.iter().find(|it| it.stream == held) {
            news += u32::from(answer.status == 200);
            let version = answer.version.clone();
            held = script.after(20).eds("web", &version);
            told = script.told();
        }
    }
    assert_eq!(news, 3);
}

#[test]
fn unknown_names_are_told_up_to_a_bound() {
    let mut script = Script::new("");
    for n in 0..200 {
        let stream = script.eds(&format!("no-{n}"), "");
        script.version(stream);
    }
    assert_eq!((script.events().len(), script.server.counts().unknown), (64, 200));
}

#[test]
fn stream_is_not_answered_when_it_has_gone() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    let [gone, kept] = [script.eds("api", ""), script.eds("api", "")];
    let ready = script.eds("/", "");
    assert_eq!(script.told()[0].stream, ready);
    script.server.on_gone(StreamId(gone), script.now);
    script.assign("api", of([1]));
    script.version(kept);
    assert_eq!((script.server.counts().ended_early, script.server.held()), (1, 0));
}

// Promise: R-304
#[test]
fn early_ends_are_told_once_when_they_repeat() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    let stream = script.eds("web", "");
    let mut version = script.version(stream);
    let end = |script: &mut Script, version: &str| {
        let streams = [script.eds("web", version), script.eds("web", version)];
        script.after(15_000);
        for stream in streams {
            script.server.on_gone(StreamId(stream), script.now);
        }
        let is_told = |event: &String| {
            event.contains("ends its subscriptions after 15000 ms: set request_timeout")
        };
        script.events().iter().filter(|event| is_told(event)).count()
    };
    for octet in 2..5 {
        // They may be of clusters that Envoy has taken away.
        assert_eq!(end(&mut script, &version), 0);
        script.assign("web", of([octet]));
        let stream = script.eds("web", &version);
        version = script.version(stream);
    }
    assert_eq!([(); 4].map(|()| end(&mut script, &version)), [0, 1, 0, 0]);
    assert_eq!(script.server.counts().ended_early, 2 * (3 + 4));
}

// Promise: R-303
#[test]
fn workers_in_turn_repeat_a_rejected_response_seldom() {
    const HOUR: Duration = Duration::from_secs(3_600);
    const REFRESH: Duration = Duration::from_millis(20);
    // A connection carries new questions for so long, and the next one may be another worker's.
    const CONNECTION: Duration = Duration::from_secs(10);
    let mut workers = [(); 4].map(|()| Script::new(""));
    workers.iter_mut().for_each(|worker| worker.assign("web", of([1])));
    let (mut now, mut connected, mut at, mut repeated) = (Time::ZERO, Time::ZERO, 0, 0);
    while now.since(Time::ZERO) < HOUR {
        now = now + REFRESH;
        for worker in &mut workers {
            worker.now = now;
            assert!(worker.is_quiet());
        }
        if now.since(connected) >= CONNECTION {
            (connected, at) = (now, (at + 1) % workers.len());
        }
        let worker = &mut workers[at];
        worker.eds("web", OLD);
        let told = loop {
            match worker.told().pop() {
                Some(told) => break told,
                None => worker.now = worker.server.due().unwrap(),
            }
        };
        now = worker.now;
        repeated += usize::from(told.status == 200);
    }
    // Once in each time that a question is held, and some more until each has backed off.
    assert!((100..200).contains(&repeated), "{repeated} times in an hour");
}

#[test]
fn responses_go_on_when_the_clock_is_set_back() {
    let mut script = Script::new("");
    script.after(1_000_000).assign("web", many(10_000));
    let stream = script.eds("web", "");
    let version = script.version(stream);
    script.eds("web", &version);
    script.now = Time::ZERO;
    script.assign("web", many(9_000));
    assert!(script.is_quiet());
    assert_eq!(script.server.due(), Some(Time::from_start(Duration::from_millis(2_400))));
    assert_eq!(script.after(2_400).told().len(), 1);
    script.after(u64::MAX);
    script.eds("web", "");
    assert_eq!(script.told().len(), 1);
}

#[test]
fn host_names_are_counted_and_told_once_of_each_service() {
    let mut script = Script::new("");
    let named = |n: u16| {
        let endpoint = |n| Endpoint::new(Address::Name("db.internal".into(), n));
        [Snapshot::new((1..=n).map(endpoint).collect())]
    };
    for (n, counted) in [(1, 1), (2, 3), (3, 6)] {
        script.assign("web", named(n));
        script.eds("web", "");
        script.told();
        assert_eq!(script.server.counts().host_names, counted, "with each answer");
    }
    let events = script.events();
    assert!(events.len() == 1 && events[0].starts_with("1 endpoints of web"), "{events:?}");
}
