//! Names of Consul's DNS that requests have asked for.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::config::DnsNames;
use crate::model::service::{QueryKey, ServiceId};
use crate::router::reply::Reply;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// The time for which a name stays unknown after Consul had no healthy instance, if it never had one.
const UNKNOWN: Duration = Duration::from_secs(30);
/// The burst of new names, and the interval of one more: the limit of a worker for names that may not exist.
const NEW: (u32, Duration) = (40, Duration::from_millis(500));
/// The part of the burst that is left to names that were refused before.
const LEFT: u32 = 20;
/// The burst of names that turn out to exist, and the interval of one more. They no longer count as new.
const THERE: (u32, Duration) = (100, Duration::from_millis(50));
/// The limit of remembered hosts for one name; further hosts are read at each request.
const MOST_HOSTS: usize = 8;

/// The result of a lookup of a host that no known service serves.
#[derive(Debug)]
pub enum Lookup {
    /// The host is a name. It is to be resolved now, or is another host of a known name.
    New(ServiceId),
    /// The host is a name that is not resolved. The filter replies.
    Refused(Rc<Reply>),
    /// The host is no name, or names are not resolved at all.
    Nothing,
}

/// Names of Consul's DNS that requests have asked for, here or in another VM.
///
/// A client may ask for anything, so everything has a limit. New names are rate-limited by a token bucket.
/// Known names and unresolved names are capped separately, so that invented names cannot push out real ones.
/// Beyond a cap, the name that was not asked for for longest goes. Hosts with the same query are one name.
///
/// A name that turns out to exist puts its token back. Half of the bucket is left to names that come again
/// after a refusal, as invented names seldom do. A name that did not exist before has no part in that half.
#[derive(Debug)]
pub(super) struct OnDemandNames {
    pub(super) settings: DnsNames,
    names: HashMap<ServiceId, Name>,
    queries: HashMap<QueryKey, ServiceId>,
    /// By the host in lower case.
    hosts: HashMap<Box<[u8]>, ServiceId>,
    new: TokenBucket,
    there: TokenBucket,
    refused: RecentQueries,
    /// The names that turned out not to exist.
    nonexistent: RecentQueries,
}

/// A name that requests have asked for.
#[derive(Debug)]
struct Name {
    query: QueryKey,
    /// The hosts that lead to the name. The other VMs are told the first one.
    hosts: Vec<Box<[u8]>>,
    state: State,
    /// True if the name has taken a token here, which it puts back if it exists.
    has_token: bool,
    /// The time of the last request for the name, here or in another VM.
    used: Cell<Time>,
    /// True if a request has come here since the other VMs were told.
    is_requested: Cell<bool>,
    /// The time at which the other VMs were told last.
    told: Time,
}

/// The knowledge of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Consul has not responded yet, or with errors only.
    Resolving { until: Time },
    /// There was an endpoint.
    Known,
    /// There never was an endpoint. The name is forgotten then.
    Unknown { until: Time },
}

impl OnDemandNames {
    /// Returns no names.
    pub(super) fn new(settings: DnsNames) -> Self {
        let bucket = |(burst, interval)| TokenBucket::new(burst, interval);
        Self {
            settings,
            names: HashMap::new(),
            queries: HashMap::new(),
            hosts: HashMap::new(),
            new: bucket(NEW),
            there: bucket(THERE),
            refused: RecentQueries::default(),
            nonexistent: RecentQueries::default(),
        }
    }

    /// Returns the service of a host in a request.
    pub(super) fn by_host(&self, host: &[u8], now: Time) -> Option<ServiceId> {
        let service = self.hosts.get(host)?;
        let name = self.names.get(service)?;
        name.used.set(now);
        name.is_requested.set(true);
        Some(*service)
    }

    /// Returns the service of a query, if there is one. `is_told` says that another VM has told the host.
    /// The host of a request here leads to the service from then on.
    pub(super) fn by_query(
        &mut self,
        query: QueryKey,
        host: &[u8],
        is_told: bool,
        now: Time,
    ) -> Option<ServiceId> {
        let service = *self.queries.get(&query)?;
        let name = self.names.get_mut(&service)?;
        name.used.set(now);
        if is_told {
            if let State::Resolving { until } | State::Unknown { until } = &mut name.state {
                *until = (*until).max(now + UNKNOWN);
            }
            return Some(service);
        }
        name.is_requested.set(true);
        if !self.hosts.contains_key(host) {
            if name.hosts.len() >= MOST_HOSTS {
                self.hosts.remove(&name.hosts.remove(1));
            }
            name.hosts.push(host.into());
            self.hosts.insert(host.into(), service);
        }
        Some(service)
    }

    /// Returns true if the service is that of a name.
    pub(super) fn has(&self, service: ServiceId) -> bool {
        self.names.contains_key(&service)
    }

    /// Returns true if another name may be added now. A name that another VM has told has passed that VM's
    /// bucket.
    pub(super) fn admit(&mut self, query: QueryKey, is_told: bool, now: Time) -> bool {
        let has_come_again = self.refused.has(query) && !self.nonexistent.has(query);
        let left = if has_come_again { 0 } else { LEFT };
        let is_admitted = is_told || self.new.take_beyond(left, now);
        if !is_admitted {
            self.refused.add(query);
        }
        is_admitted
    }

    /// Removes unresolved names until another one has a place, and returns their services.
    pub(super) fn make_room(&mut self) -> Vec<ServiceId> {
        let most = self.settings.max_services as usize;
        let too_many = |found: usize| (found + 1).saturating_sub(most);
        self.take_longest_unused(|state| state != State::Known, too_many)
    }

    /// Adds a name, which has taken a token here unless another VM has told it.
    pub(super) fn add(
        &mut self,
        query: QueryKey,
        host: &[u8],
        service: ServiceId,
        is_told: bool,
        now: Time,
    ) {
        let name = Name {
            query,
            hosts: vec![host.into()],
            state: State::Resolving { until: now + UNKNOWN },
            has_token: !is_told,
            used: Cell::new(now),
            is_requested: Cell::new(false),
            told: now,
        };
        self.names.insert(service, name);
        self.queries.insert(query, service);
        self.hosts.insert(host.into(), service);
    }

    /// Updates a name when its service is resolved. Ignores a service of another kind.
    pub(super) fn on_resolved(&mut self, service: ServiceId, has_endpoints: bool, now: Time) {
        let Some(name) = self.names.get_mut(&service) else {
            return;
        };
        match name.state {
            State::Resolving { .. } | State::Unknown { .. } if has_endpoints => {
                name.state = State::Known;
                // Its requests have waited until now.
                name.used.set(now);
                if name.has_token && self.there.take_now(now) {
                    self.new.put_back(now);
                }
            }
            State::Resolving { .. } => name.state = State::Unknown { until: now + UNKNOWN },
            State::Known | State::Unknown { .. } => {}
        }
    }

    /// Removes unused names, names that Consul did not know, and names beyond the cap. Returns their services
    /// in order.
    pub(super) fn take_gone(&mut self, now: Time) -> Vec<ServiceId> {
        let idle = self.settings.idle_timeout;
        let is_gone = |name: &Name| match name.state {
            State::Resolving { until } | State::Unknown { until } => now >= until,
            State::Known => now.since(name.used.get()) >= idle,
        };
        let gone = self.names.iter().filter(|(_, name)| is_gone(name));
        let mut gone: Vec<_> = gone.map(|(service, _)| *service).collect();
        gone.iter().for_each(|service| self.forget(*service));
        let most = self.settings.max_services as usize;
        let too_many = |found: usize| found.saturating_sub(most);
        gone.extend(self.take_longest_unused(|state| state == State::Known, too_many));
        gone.sort_unstable();
        gone
    }

    /// Returns the services and first hosts of names that requests have asked for, if the other VMs are to be
    /// told again. They are in order.
    pub(super) fn take_requested(&mut self, now: Time) -> Vec<(ServiceId, Box<[u8]>)> {
        let interval = self.settings.idle_timeout / 3;
        let is_due = |name: &Name| name.is_requested.get() && now.since(name.told) >= interval;
        let due = self.names.iter_mut().filter(|(_, name)| is_due(name));
        let mut requested: Vec<_> = due
            .filter_map(|(service, name)| {
                name.told = now;
                name.is_requested.set(false);
                Some((*service, name.hosts.first()?.clone()))
            })
            .collect();
        requested.sort_unstable();
        requested
    }

    /// Removes the names in these states that were not asked for for longest, and returns their services.
    /// `count` computes how many from the number that there is.
    fn take_longest_unused(
        &mut self,
        is_in_state: impl Fn(State) -> bool,
        count: impl Fn(usize) -> usize,
    ) -> Vec<ServiceId> {
        let all = || self.names.iter().filter(|(_, name)| is_in_state(name.state));
        let count = count(all().count());
        if count == 0 {
            return Vec::new();
        }
        let mut all: Vec<_> = all().map(|(service, name)| (name.used.get(), *service)).collect();
        all.sort_unstable();
        let gone: Vec<_> = all.into_iter().take(count).map(|(_, service)| service).collect();
        gone.iter().for_each(|service| self.forget(*service));
        gone
    }

    fn forget(&mut self, service: ServiceId) {
        if let Some(name) = self.names.remove(&service) {
            self.queries.remove(&name.query);
            if name.state != State::Known {
                self.nonexistent.add(name.query);
            }
            for host in &name.hosts {
                self.hosts.remove(host);
            }
        }
    }
}

/// The number of places; the index of a place has that many bits.
const PLACES: usize = 4_096;

/// The queries of recent names, lossy.
///
/// Invented names come once, real names come again. Each query has one place, and the next query with the
/// same place replaces it: 16 KiB, however many come. Of a hundred new names a second, 98 % are still
/// remembered after a second, when a client is to try again.
#[derive(Debug, Default)]
struct RecentQueries(Vec<u32>);

impl RecentQueries {
    /// Adds a query.
    fn add(&mut self, query: QueryKey) {
        self.0.resize(PLACES, 0);
        let (index, mark) = place(query);
        if let Some(place) = self.0.get_mut(index) {
            *place = mark;
        }
    }

    /// Returns true if the query is remembered.
    fn has(&self, query: QueryKey) -> bool {
        let (index, mark) = place(query);
        self.0.get(index) == Some(&mark)
    }
}

/// Returns the place of a query, and its mark there: never 0, which stands for nothing.
fn place(query: QueryKey) -> (usize, u32) {
    let [a, b, c, d, e, f, ..] = query.0.to_le_bytes();
    let index = usize::from(u16::from_le_bytes([a, b])) % PLACES;
    (index, u32::from_le_bytes([c, d, e, f]).max(1))
}

#[cfg(test)]
mod tests;
