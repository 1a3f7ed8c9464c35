//! A VM that fetches a second time tells again what it had told the first time: the metrics
//! began anew with it.

use std::collections::VecDeque;
use std::time::Duration;

use consul_resolver::calls::scheduler::CallScheduler;
use consul_resolver::config::{Config, Consul};
use consul_resolver::consul::response::Response;
use consul_resolver::discovery::context::Context;
use consul_resolver::discovery::event::{CallId, Command};
use consul_resolver::discovery::source_event::SourceEvent;
use consul_resolver::discovery::source_spec::SourceSpec;
use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::election::lease;
use consul_resolver::model::service::SourceId;
use consul_resolver::shared::key::{Cas, VmId};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

const RANK: Rank = Rank { serving: false, born: 5 };
/// One instance that can be reached, and one whose port is none.
const BODY: &[u8] = br#"[
    {"Node": {"Address": "10.0.0.1"}, "Service": {"Port": 80}},
    {"Node": {"Address": "10.0.0.2"}, "Service": {"Port": 0}}
]"#;

/// Does something with a tracker, and gives the commands that follow.
fn after(now: Duration, act: impl FnOnce(&mut Context<'_>)) -> Vec<Command> {
    let (mut rng, mut out, mut post) = (Rng::new(1), VecDeque::new(), Vec::new());
    let now = Time::from_start(now);
    let mut gate = CallScheduler::new(&Consul::new("consul"));
    act(&mut Context {
        now,
        awake: now,
        gate: &mut gate,
        rng: &mut rng,
        out: &mut out,
        post: &mut post,
    });
    out.into()
}

/// Shows the tracker this head at a tick.
fn tick(tracker: &mut TrackedSource, head: Option<(&[u8], Cas)>, now: Duration) {
    after(now, |scope| tracker.on_tick(RANK, scope));
    after(now, |scope| tracker.on_head(head, scope));
}

/// Lets the tracker win its claim, and answers its first query; tells whether it says that an
/// instance is left out.
fn fetches_and_tells(tracker: &mut TrackedSource, now: Duration) -> bool {
    let elected = after(now, |scope| tracker.on_head_stored(true, scope));
    let call: CallId = elected
        .iter()
        .find_map(|command| match command {
            Command::Call { call, .. } => Some(*call),
            _ => None,
        })
        .expect("it asks at once");
    let response = Response {
        status: 200,
        from_envoy: false,
        index: Some(b"7"),
        filtered_by_acls: false,
        last_contact: None,
        age: None,
        body: BODY,
    };
    let CallId::Query { query, .. } = call else { panic!("{call:?}") };
    let told = after(now, |scope| tracker.on_response(query, Ok(response), scope));
    let is_dropped = |command: &Command| {
        matches!(command, Command::Notice { notice: SourceEvent::Dropped(_), .. })
    };
    told.iter().any(is_dropped)
}

#[test]
fn a_fetcher_that_comes_back_tells_again_what_is_left_out() {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    let config = Config::parse(json).unwrap();
    let subject = SourceSpec::new(&config, config.sources().next().unwrap());
    let mut tracker = TrackedSource::new(VmId(1), SourceId::nth(0), subject, &config.consul);
    tick(&mut tracker, None, Duration::ZERO);
    assert!(fetches_and_tells(&mut tracker, Duration::ZERO));

    let other = SourceRecord {
        owner: VmId(2),
        term: Term(9),
        rank: Rank { serving: false, born: 1 },
        published: None,
        age: Duration::ZERO,
        listed: 0,
    }
    .encode();
    let theirs = Some((other.as_slice(), Cas(4)));
    tick(&mut tracker, theirs, Duration::from_secs(1));
    assert!(!tracker.is_fetcher());

    tick(&mut tracker, theirs, Duration::from_secs(2));
    tick(&mut tracker, theirs, Duration::from_secs(2) + lease::PERIOD);
    assert!(fetches_and_tells(&mut tracker, Duration::from_secs(2) + lease::PERIOD));
}
