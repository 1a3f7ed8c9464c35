//! Names of Consul's DNS that requests have asked for.

use core::cell::Cell;
use core::time::Duration;

use hashbrown::HashMap;

use crate::config::DnsNames;
use crate::model::service::{QueryKey, ServiceId};
use crate::router::refused::Refused;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// How long it is remembered that Consul has no healthy instance of a name that never had one.
pub(super) const UNKNOWN: Duration = Duration::from_secs(30);
/// New names at once, and then the time for each: what one worker may ask for in vain.
const NEW: (u32, Duration) = (40, Duration::from_millis(500));
/// How many of these are left to names that were refused before.
const LEFT: u32 = 20;
/// Names that are there, at once and then the time for each, which count no more as new.
const THERE: (u32, Duration) = (100, Duration::from_millis(50));
/// The most hosts of one name that are remembered; the others are read at each request.
const MOST_HOSTS: usize = 8;

/// Names of Consul's DNS that requests have asked for, here or in another VM.
///
/// A client may ask for whatever it likes, so everything has a limit: new names by a token
/// bucket, names by their number, and apart from these, lest they take the places, those that
/// Consul does not know, or has not answered for. Where there are too many, the one goes that was
/// not asked for for longest. Hosts that ask the same of Consul are one name.
///
/// The bucket is for names that do not turn out to be there: those that do put back what they took.
/// Half of it is left to names that come again after they were refused, as what clients make up
/// seldom does.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) settings: DnsNames,
    names: HashMap<ServiceId, Asked>,
    queries: HashMap<QueryKey, ServiceId>,
    /// By the host in lower case.
    hosts: HashMap<Box<[u8]>, ServiceId>,
    new: TokenBucket,
    there: TokenBucket,
    refused: Refused,
}

#[derive(Debug)]
struct Asked {
    query: QueryKey,
    /// The hosts that it is found by. The first one is what the other VMs are told.
    hosts: Vec<Box<[u8]>>,
    state: State,
    /// Whether it has taken a token here, which it puts back if it turns out well.
    is_charged: bool,
    /// When a request came for it last, or another VM said that one had.
    used: Cell<Time>,
    /// Whether a request has come here since the other VMs were told.
    is_news: Cell<bool>,
    /// When the other VMs were told last.
    told: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Consul has not answered yet. It may have answered with an error, and go on to do so.
    Resolving { until: Time },
    /// There was an endpoint.
    Known,
    /// There never was one; it is forgotten then.
    Unknown { until: Time },
}

impl Demand {
    /// Nobody has asked yet.
    pub(super) fn new(settings: DnsNames) -> Self {
        let bucket = |(burst, interval)| TokenBucket::new(burst, interval);
        Self {
            settings,
            names: HashMap::new(),
            queries: HashMap::new(),
            hosts: HashMap::new(),
            new: bucket(NEW),
            there: bucket(THERE),
            refused: Refused::default(),
        }
    }

    /// The service of a host, for which a request has come.
    pub(super) fn by_host(&self, host: &[u8], now: Time) -> Option<ServiceId> {
        let service = self.hosts.get(host)?;
        let asked = self.names.get(service)?;
        asked.used.set(now);
        asked.is_news.set(true);
        Some(*service)
    }

    /// The service of a host by what it asks of Consul, where that is known: another VM has told of
    /// it, or a request has come. Then it is found by this host, too, from now on.
    pub(super) fn by_query(
        &mut self,
        query: QueryKey,
        host: &[u8],
        is_told: bool,
        now: Time,
    ) -> Option<ServiceId> {
        let service = *self.queries.get(&query)?;
        let asked = self.names.get_mut(&service)?;
        asked.used.set(now);
        if is_told {
            if let State::Resolving { until } | State::Unknown { until } = &mut asked.state {
                *until = (*until).max(now + UNKNOWN);
            }
            return Some(service);
        }
        asked.is_news.set(true);
        if !self.hosts.contains_key(host) {
            if asked.hosts.len() >= MOST_HOSTS {
                self.hosts.remove(&asked.hosts.remove(1));
            }
            asked.hosts.push(host.into());
            self.hosts.insert(host.into(), service);
        }
        Some(service)
    }

    /// Whether the service is one of a name.
    pub(super) fn has(&self, service: ServiceId) -> bool {
        self.names.contains_key(&service)
    }

    /// Whether another name may be taken in now. One that another VM has told of has passed its
    /// bucket.
    pub(super) fn admit(&mut self, query: QueryKey, is_told: bool, now: Time) -> bool {
        let left = if self.refused.has(query) { 0 } else { LEFT };
        let is_admitted = is_told || self.new.take_beyond(left, now);
        if !is_admitted {
            self.refused.add(query);
        }
        is_admitted
    }

    /// Takes out what must go so that another name can be taken in.
    pub(super) fn make_room(&mut self) -> Vec<ServiceId> {
        let most = self.settings.max_services as usize;
        let too_many = |found: usize| (found + 1).saturating_sub(most);
        self.take_longest_unused(|state| state != State::Known, too_many)
    }

    /// Takes a name in, of which another VM has told or which has taken a token here.
    pub(super) fn add(
        &mut self,
        query: QueryKey,
        host: &[u8],
        service: ServiceId,
        is_told: bool,
        now: Time,
    ) {
        let asked = Asked {
            query,
            hosts: vec![host.into()],
            state: State::Resolving { until: now + UNKNOWN },
            is_charged: !is_told,
            used: Cell::new(now),
            is_news: Cell::new(false),
            told: now,
        };
        self.names.insert(service, asked);
        self.queries.insert(query, service);
        self.hosts.insert(host.into(), service);
    }

    /// Learns whether a service that is resolved has endpoints. One of another kind is ignored.
    pub(super) fn on_resolved(&mut self, service: ServiceId, has_endpoints: bool, now: Time) {
        let Some(asked) = self.names.get_mut(&service) else {
            return;
        };
        match asked.state {
            State::Resolving { .. } | State::Unknown { .. } if has_endpoints => {
                asked.state = State::Known;
                // Whoever asked for it has waited until now.
                asked.used.set(now);
                if asked.is_charged && self.there.take_now(now) {
                    self.new.put_back(now);
                }
            }
            State::Resolving { .. } => asked.state = State::Unknown { until: now + UNKNOWN },
            State::Known | State::Unknown { .. } => {}
        }
    }

    /// Takes out the names that nobody has asked for, those that Consul did not know, and those
    /// that are too many, in the order of their places.
    pub(super) fn take_gone(&mut self, now: Time) -> Vec<ServiceId> {
        let idle = self.settings.idle_timeout;
        let is_gone = |asked: &Asked| match asked.state {
            State::Resolving { until } | State::Unknown { until } => now >= until,
            State::Known => now.since(asked.used.get()) >= idle,
        };
        let gone = self.names.iter().filter(|(_, asked)| is_gone(asked));
        let mut gone: Vec<_> = gone.map(|(service, _)| *service).collect();
        gone.iter().for_each(|service| self.forget(*service));
        let most = self.settings.max_services as usize;
        let too_many = |found: usize| found.saturating_sub(most);
        gone.extend(self.take_longest_unused(|state| state == State::Known, too_many));
        gone.sort_unstable();
        gone
    }

    /// The names that requests have come for, and that the other VMs are to be told of again, in the
    /// order of their places.
    pub(super) fn take_news(&mut self, now: Time) -> Vec<(ServiceId, Box<[u8]>)> {
        let interval = self.settings.idle_timeout / 3;
        let is_due = |asked: &Asked| asked.is_news.get() && now.since(asked.told) >= interval;
        let due = self.names.iter_mut().filter(|(_, asked)| is_due(asked));
        let mut news: Vec<_> = due
            .filter_map(|(service, asked)| {
                asked.told = now;
                asked.is_news.set(false);
                Some((*service, asked.hosts.first()?.clone()))
            })
            .collect();
        news.sort_unstable();
        news
    }

    /// Takes out the names in these states that were not asked for for longest; `count` says how
    /// many, of how many there are.
    fn take_longest_unused(
        &mut self,
        is_meant: impl Fn(State) -> bool,
        count: impl Fn(usize) -> usize,
    ) -> Vec<ServiceId> {
        let meant = || self.names.iter().filter(|(_, asked)| is_meant(asked.state));
        let count = count(meant().count());
        if count == 0 {
            return Vec::new();
        }
        let mut meant: Vec<_> =
            meant().map(|(service, asked)| (asked.used.get(), *service)).collect();
        meant.sort_unstable();
        let gone: Vec<_> = meant.into_iter().take(count).map(|(_, service)| service).collect();
        gone.iter().for_each(|service| self.forget(*service));
        gone
    }

    fn forget(&mut self, service: ServiceId) {
        if let Some(asked) = self.names.remove(&service) {
            self.queries.remove(&asked.query);
            for host in &asked.hosts {
                self.hosts.remove(host);
            }
        }
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

    fn query(name: &[u8]) -> QueryKey {
        QueryKey::of([core::str::from_utf8(name).unwrap()])
    }

    fn add(demand: &mut Demand, name: &[u8], service: ServiceId, now: Time) {
        demand.add(query(name), name, service, false, now);
    }

    #[test]
    fn a_name_is_kept_while_somebody_asks_for_it() {
        let mut demand = demand(9);
        add(&mut demand, b"web", id(1), at(0));
        demand.on_resolved(id(1), true, at(0));
        assert!(demand.take_gone(at(59)).is_empty());
        assert_eq!(demand.by_host(b"web", at(59)), Some(id(1)));
        assert!(demand.take_gone(at(118)).is_empty());
        let told = demand.by_query(query(b"web"), b"web", true, at(118));
        assert_eq!(told, Some(id(1)), "another VM has been asked");
        assert!(demand.take_gone(at(177)).is_empty());
        assert_eq!(demand.take_gone(at(178)), [id(1)]);
        assert_eq!(demand.by_host(b"web", at(178)), None);
        assert_eq!(demand.by_query(query(b"web"), b"web", true, at(178)), None);
        assert!(!demand.has(id(1)) && demand.hosts.is_empty());
    }

    #[test]
    fn a_name_without_endpoints_is_forgotten_while_asked_for() {
        let mut demand = demand(9);
        add(&mut demand, b"no", id(1), at(0));
        demand.on_resolved(id(1), false, at(1));
        demand.by_host(b"no", at(30));
        assert!(demand.take_gone(at(30)).is_empty());
        assert_eq!(demand.take_gone(at(31)), [id(1)]);

        add(&mut demand, b"error", id(2), at(0));
        demand.by_host(b"error", at(29));
        assert!(demand.take_gone(at(29)).is_empty());
        assert_eq!(demand.take_gone(at(30)), [id(2)], "consul has not answered");

        add(&mut demand, b"web", id(3), at(40));
        demand.on_resolved(id(3), true, at(40));
        demand.on_resolved(id(3), false, at(41));
        assert!(demand.take_gone(at(80)).is_empty(), "it was there, and may come back");
    }

    #[test]
    fn the_longest_unused_name_goes_when_there_are_too_many() {
        let mut demand = demand(2);
        for (name, n) in [(b"a", 1), (b"b", 2)] {
            assert!(demand.make_room().is_empty());
            add(&mut demand, name, id(n), at(n.into()));
        }
        demand.by_host(b"a", at(3));
        assert_eq!(demand.make_room(), [id(2)], "of those that are not answered for");
        add(&mut demand, b"c", id(3), at(4));
        for n in [1, 3] {
            demand.on_resolved(id(n), true, at(5));
        }
        assert!(demand.make_room().is_empty(), "those that are known have places of their own");
        add(&mut demand, b"d", id(4), at(6));
        demand.by_host(b"a", at(7));
        assert!(demand.take_gone(at(8)).is_empty());
        demand.on_resolved(id(4), true, at(8));
        assert_eq!(demand.take_gone(at(8)), [id(3)]);
        assert_eq!((demand.names.len(), demand.hosts.len(), demand.queries.len()), (2, 2, 2));
    }

    #[test]
    fn hosts_of_one_query_are_one_name_and_bounded() {
        let mut demand = demand(9);
        add(&mut demand, b"web", id(1), at(0));
        for n in 0..1_000 {
            let host = format!("web{n}").into_bytes();
            for _ in 0..2 {
                assert_eq!(demand.by_query(query(b"web"), &host, false, at(0)), Some(id(1)));
            }
            assert_eq!(demand.by_host(&host, at(0)), Some(id(1)));
        }
        assert_eq!((demand.names.len(), demand.hosts.len()), (1, MOST_HOSTS));
        assert_eq!(demand.take_news(at(20)), [(id(1), b"web"[..].into())], "by the first host");
        assert_eq!(demand.take_gone(at(30)), [id(1)]);
        assert!(demand.hosts.is_empty() && demand.queries.is_empty());
    }

    #[test]
    fn others_are_told_again_of_what_was_asked_for() {
        let mut demand = demand(9);
        add(&mut demand, b"web", id(1), at(0));
        assert!(demand.take_news(at(20)).is_empty(), "nobody has asked since");
        demand.by_host(b"web", at(19));
        assert!(demand.take_news(at(19)).is_empty(), "they were told a moment ago");
        assert_eq!(demand.take_news(at(20)), [(id(1), b"web"[..].into())]);
        assert!(demand.take_news(at(99)).is_empty());
    }

    #[test]
    fn new_names_are_limited_in_time() {
        let mut demand = demand(1_000);
        let name = |n: u32| query(n.to_string().as_bytes());
        let taken = (0..100).filter(|n| demand.admit(name(*n), false, at(100))).count();
        assert_eq!(taken, NEW.0 as usize - LEFT as usize);
        assert!(demand.admit(name(99), true, at(100)), "another VM has counted it");
        let again = (0..100).filter(|n| demand.admit(name(*n), false, at(100))).count();
        assert_eq!(again, LEFT as usize, "those that come again");
        assert!(!demand.admit(name(99), false, at(100)));
        assert!(demand.admit(name(99), false, at(101)));
    }

    #[test]
    fn names_with_endpoints_put_their_tokens_back() {
        let mut demand = demand(1_000);
        for n in 0..THERE.0 as u16 {
            let name = n.to_string().into_bytes();
            assert!(demand.admit(query(&name), false, at(100)), "{n}");
            add(&mut demand, &name, id(n), at(100));
            demand.on_resolved(id(n), true, at(100));
        }
        let name = |n: u32| query(format!("new{n}").as_bytes());
        let taken = (0..100).filter(|n| demand.admit(name(*n), false, at(100))).count();
        assert_eq!(taken, NEW.0 as usize - LEFT as usize);
    }
}
