//! Names of Consul's DNS that requests have asked for.

use core::cell::Cell;
use core::time::Duration;

use hashbrown::HashMap;

use crate::config::DnsNames;
use crate::model::service::ServiceId;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// How long it is remembered that Consul has no healthy instance of a name that never had one.
pub(super) const UNKNOWN: Duration = Duration::from_secs(30);
/// New names at once, and then the time for each: what one worker may ask for.
const NEW: (u32, Duration) = (20, Duration::from_millis(500));

/// Names of Consul's DNS that requests have asked for, here or in another VM.
///
/// A client may ask for whatever it likes, so everything has a limit: new names by a token
/// bucket, names by their number, and apart from these, lest they take the places, those that
/// Consul does not know, or has not answered for.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) settings: DnsNames,
    /// By the host in lower case.
    names: HashMap<Box<[u8]>, Asked>,
    hosts: HashMap<ServiceId, Box<[u8]>>,
    new: TokenBucket,
}

#[derive(Debug)]
struct Asked {
    service: ServiceId,
    state: State,
    /// When a request came for it last, or another VM said that one had.
    used: Cell<Time>,
    /// Whether a request has come here since the other VMs were told.
    is_news: Cell<bool>,
    /// When the other VMs were told last.
    told: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Consul has not answered yet.
    Resolving,
    /// There was an endpoint.
    Known,
    /// There never was one; it is forgotten then.
    Unknown { until: Time },
}

/// Why a name is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many as there may be.
    Full,
    /// Too many new ones come.
    TooFast,
}

impl Demand {
    /// Nobody has asked yet.
    pub(super) fn new(settings: DnsNames) -> Self {
        let (burst, interval) = NEW;
        let new = TokenBucket::new(burst, interval);
        Self { settings, names: HashMap::new(), hosts: HashMap::new(), new }
    }

    /// The service of a host, for which a request has come.
    pub(super) fn by_host(&self, host: &[u8], now: Time) -> Option<ServiceId> {
        let asked = self.names.get(host)?;
        asked.used.set(now);
        asked.is_news.set(true);
        Some(asked.service)
    }

    /// Whether the service is one of a name.
    pub(super) fn has(&self, service: ServiceId) -> bool {
        self.hosts.contains_key(&service)
    }

    /// Whether another name may be taken in. One that another VM has told of has passed its
    /// bucket.
    pub(super) fn admit(&mut self, is_told: bool, now: Time) -> Result<(), Refusal> {
        let is_unknown = |asked: &&Asked| asked.state != State::Known;
        let unknown = self.names.values().filter(is_unknown).count();
        let most = self.settings.max_services as usize;
        if self.names.len() - unknown >= most || unknown >= most {
            return Err(Refusal::Full);
        }
        if is_told || self.new.take_now(now) { Ok(()) } else { Err(Refusal::TooFast) }
    }

    /// Takes a name in.
    pub(super) fn add(&mut self, host: &[u8], service: ServiceId, now: Time) {
        let asked = Asked {
            service,
            state: State::Resolving,
            used: Cell::new(now),
            is_news: Cell::new(false),
            told: now,
        };
        self.names.insert(host.into(), asked);
        self.hosts.insert(service, host.into());
    }

    /// Learns that another VM has had requests for a name; whether it is here.
    pub(super) fn on_told(&mut self, host: &[u8], now: Time) -> bool {
        let Some(asked) = self.names.get_mut(host) else {
            return false;
        };
        asked.used.set(now);
        if let State::Unknown { until } = &mut asked.state {
            *until = (*until).max(now + UNKNOWN);
        }
        true
    }

    /// Learns whether a service that is resolved has endpoints. One of another kind is ignored.
    pub(super) fn on_resolved(&mut self, service: ServiceId, has_endpoints: bool, now: Time) {
        let host = self.hosts.get(&service);
        let Some(asked) = host.and_then(|host| self.names.get_mut(host)) else {
            return;
        };
        asked.state = match asked.state {
            _ if has_endpoints => State::Known,
            State::Resolving => State::Unknown { until: now + UNKNOWN },
            state => state,
        };
    }

    /// Takes out the names that nobody has asked for, and those that Consul did not know, in the
    /// order of their places.
    pub(super) fn take_gone(&mut self, now: Time) -> Vec<ServiceId> {
        let idle = self.settings.idle_timeout;
        let is_gone = |asked: &Asked| match asked.state {
            State::Unknown { until } => now >= until,
            // Consul may have answered with an error, and may go on to do so.
            State::Resolving => now.since(asked.used.get()) >= UNKNOWN.min(idle),
            State::Known => now.since(asked.used.get()) >= idle,
        };
        let gone = self.names.extract_if(|_, asked| is_gone(asked));
        let mut gone: Vec<_> = gone.map(|(_, asked)| asked.service).collect();
        gone.sort_unstable();
        for service in &gone {
            self.hosts.remove(service);
        }
        gone
    }

    /// The names that requests have come for, and that the other VMs are to be told of again, in the
    /// order of their places.
    pub(super) fn take_news(&mut self, now: Time) -> Vec<(ServiceId, Box<[u8]>)> {
        let interval = self.settings.idle_timeout / 3;
        let is_due = |asked: &Asked| asked.is_news.get() && now.since(asked.told) >= interval;
        let due = self.names.iter_mut().filter(|(_, asked)| is_due(asked));
        let mut news: Vec<_> = due
            .map(|(host, asked)| {
                asked.told = now;
                asked.is_news.set(false);
                (asked.service, host.clone())
            })
            .collect();
        news.sort_unstable();
        news
    }
}

#[cfg(test)]
mod tests {
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

    fn demand(max_services: u32) -> Demand {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"}},
                "dns_names": {{"idle_timeout": "60s", "max_services": {max_services}}}}}"#
        );
        Demand::new(Config::parse(json.as_bytes()).unwrap().dns_names.unwrap())
    }

    #[test]
    fn a_name_is_kept_while_somebody_asks_for_it() {
        let mut demand = demand(9);
        demand.add(b"web", id(1), at(0));
        demand.on_resolved(id(1), true, at(0));
        assert!(demand.take_gone(at(59)).is_empty());
        assert_eq!(demand.by_host(b"web", at(59)), Some(id(1)));
        assert!(demand.take_gone(at(118)).is_empty());
        assert!(demand.on_told(b"web", at(118)), "another VM has been asked");
        assert!(demand.take_gone(at(177)).is_empty());
        assert_eq!(demand.take_gone(at(178)), [id(1)]);
        assert_eq!(demand.by_host(b"web", at(178)), None);
        assert!(!demand.on_told(b"web", at(178)) && demand.hosts.is_empty());
    }

    #[test]
    fn one_that_consul_does_not_know_is_forgotten_soon_though_it_is_asked_for() {
        let mut demand = demand(9);
        demand.add(b"no", id(1), at(0));
        demand.on_resolved(id(1), false, at(1));
        demand.by_host(b"no", at(30));
        assert!(demand.take_gone(at(30)).is_empty());
        assert_eq!(demand.take_gone(at(31)), [id(1)]);

        demand.add(b"web", id(2), at(40));
        demand.on_resolved(id(2), true, at(40));
        demand.on_resolved(id(2), false, at(41));
        assert!(demand.take_gone(at(80)).is_empty(), "it was there, and may come back");
    }

    #[test]
    fn one_that_consul_does_not_answer_for_takes_no_place_of_those_that_are_known() {
        let mut demand = demand(2);
        demand.add(b"web", id(1), at(0));
        demand.on_resolved(id(1), true, at(0));
        demand.add(b"x.query", id(2), at(0));
        demand.add(b"y.query", id(3), at(0));
        assert_eq!(demand.admit(false, at(1)), Err(Refusal::Full), "two are not answered for");
        assert_eq!(demand.take_gone(at(30)).len(), 2, "nobody has asked for them since");
        assert_eq!(demand.admit(false, at(30)), Ok(()));
    }

    #[test]
    fn others_are_told_again_of_what_was_asked_for() {
        let mut demand = demand(9);
        demand.add(b"web", id(1), at(0));
        assert!(demand.take_news(at(20)).is_empty(), "nobody has asked since");
        demand.by_host(b"web", at(19));
        assert!(demand.take_news(at(19)).is_empty(), "they were told a moment ago");
        assert_eq!(demand.take_news(at(20)), [(id(1), b"web"[..].into())]);
        assert!(demand.take_news(at(99)).is_empty());
    }

    #[test]
    fn new_names_are_limited_in_number_and_in_time() {
        let mut demand = demand(3);
        for n in 0..3 {
            assert_eq!(demand.admit(false, at(0)), Ok(()));
            demand.add(&[b'a' + n], id(u16::from(n)), at(0));
        }
        assert_eq!(demand.admit(false, at(0)), Err(Refusal::Full));
        // Those that are unknown leave room for others, but not for as many as one likes.
        for n in 0..3 {
            demand.on_resolved(id(n), false, at(0));
        }
        assert_eq!(demand.admit(false, at(0)), Err(Refusal::Full));
        assert_eq!(demand.take_gone(at(30)).len(), 3);

        let mut demand = self::demand(1_000);
        let (burst, _) = NEW;
        assert!((0..burst).all(|_| demand.admit(false, at(100)).is_ok()));
        assert_eq!(demand.admit(false, at(100)), Err(Refusal::TooFast));
        assert_eq!(demand.admit(true, at(100)), Ok(()), "another VM has counted it");
        assert_eq!(demand.admit(false, at(101)), Ok(()));
    }
}
