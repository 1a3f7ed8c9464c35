//! Names of Consul's DNS that requests have asked for.

use core::cell::Cell;
use core::time::Duration;

use hashbrown::HashMap;

use crate::config::DnsNames;
use crate::model::service::{QueryKey, ServiceId};
use crate::router::refused::Refused;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

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
/// seldom does; not to those that were asked for in vain before.
#[derive(Debug)]
pub(super) struct OnDemandNames {
    pub(super) settings: DnsNames,
    names: HashMap<ServiceId, Asked>,
    queries: HashMap<QueryKey, ServiceId>,
    /// By the host in lower case.
    hosts: HashMap<Box<[u8]>, ServiceId>,
    new: TokenBucket,
    there: TokenBucket,
    refused: Refused,
    /// Those that turned out not to be there.
    in_vain: Refused,
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

impl OnDemandNames {
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
            in_vain: Refused::default(),
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
        let is_meant = self.refused.has(query) && !self.in_vain.has(query);
        let left = if is_meant { 0 } else { LEFT };
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
            if asked.state != State::Known {
                self.in_vain.add(asked.query);
            }
            for host in &asked.hosts {
                self.hosts.remove(host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
