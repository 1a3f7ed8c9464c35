//! What passes between Envoy's subscriptions and the contexts that answer them.

use consul_resolver::host::Expect;
use consul_resolver::shared::acknowledged::{Acknowledged, Changes};
use consul_resolver::xds::request::SubscriptionRequest;
use consul_resolver::xds::resource::ResourceKind;
use consul_resolver::xds::response::SubscriptionResponse;
use serde_json::json;

use super::World;
use crate::calendar::Happening;
use crate::envoy::{Envoy, Event, State};
use crate::feed::NODE;
use crate::plan::Fault;
use crate::told::{Expected, Told};
use crate::vm::{Context, ContextId, Mail, time};

const SECOND: u64 = 1_000_000;
/// How long a connection whose VM has died is there at most: until the next byte, of which Envoy sends
/// some every half a second, and up to 15 % later.
pub(super) const LAST_BYTE: u64 = 575_000;
/// How much longer than it may be held a request is on its way at most, where nothing happens.
const WAY: u64 = 15 * SECOND;
/// The most endpoints of a service that is told at once.
const SMALL: usize = 200;
/// How long one that is larger may be put off: for its four answers that Envoy is to read in peace, on
/// the slowest clock.
const PACED: u64 = 2 * SECOND;

impl World {
    /// All subscriptions begin.
    pub(super) fn start_envoy(&mut self) {
        self.envoy = self.plan.envoy.map(Envoy::new);
        let numbers: Vec<u32> =
            self.envoy.iter().flat_map(|it| it.subscriptions.keys()).copied().collect();
        numbers.into_iter().for_each(|number| self.plan_ask(number));
    }

    /// Something happens to a subscription.
    pub(super) fn on_envoy(&mut self, event: Event) {
        match event {
            Event::Ask(number) => self.ask(number),
            Event::Told(stream, response) => self.take(stream, &response),
            Event::Timeout(stream) => self.time_out(stream),
            Event::Reset(stream) => self.end_stream(stream),
        }
    }

    /// Something goes wrong with Envoy's subscriptions.
    pub fn trouble_envoy(&mut self, fault: Fault) {
        let chosen = self.rng.next_u64() as usize;
        let Some(envoy) = &mut self.envoy else { return };
        match fault {
            Fault::Forget => {
                // A cluster that is warmed anew takes the place of the old one.
                let all: Vec<u32> = envoy.subscriptions.keys().copied().collect();
                let number = all[chosen % all.len()];
                let old = &envoy.subscriptions[&number];
                let (kind, name) = (old.kind, old.name.clone());
                if kind == ResourceKind::Endpoints {
                    let number = envoy.subscribe(kind, &name);
                    self.unsubscribe(all[chosen % all.len()]);
                    self.plan_ask(number);
                }
            }
            Fault::Reject => {
                let services = [None, None, Some("web"), Some("api"), Some("db"), Some("geo")];
                envoy.rejects = services[chosen % services.len()];
            }
            _ => self.disconnect(),
        }
    }

    /// Envoy's connection breaks; what was on its way is lost.
    fn disconnect(&mut self) {
        let Some(envoy) = &mut self.envoy else { return };
        envoy.connection = None;
        let all: Vec<u32> = envoy.streams.keys().copied().collect();
        for stream in all {
            self.give_up(stream);
        }
    }

    /// The requests that a context had are lost with it, but for those that are answered. Envoy hears of it
    /// when the connection is closed: within so long.
    pub(super) fn reset_streams(&mut self, within: u64, is_gone: impl Fn(ContextId) -> bool) {
        let Some(envoy) = &mut self.envoy else { return };
        if envoy.connection.is_some_and(&is_gone) && self.rng.below(2) == 0 {
            envoy.connection = None;
        }
        let is_lost = |state: State| state != State::Answered;
        let lost = envoy.streams.iter().filter(|(_, it)| is_gone(it.to) && is_lost(it.state));
        let lost: Vec<u32> = lost.map(|(stream, _)| *stream).collect();
        let at = self.now + u64::from(self.rng.below(within as u32 + 1));
        for stream in lost {
            self.calendar.plan(at, Happening::Envoy(Event::Reset(stream)));
        }
    }

    /// A stream ends without an answer, and its subscription asks again.
    fn end_stream(&mut self, stream: u32) {
        let Some(envoy) = &mut self.envoy else { return };
        if let Some(ended) = envoy.streams.remove(&stream)
            && let Some(subscription) = envoy.subscriptions.get_mut(&ended.subscription)
        {
            subscription.forgive();
            if ended.state == State::Answered {
                let (kind, name) = (subscription.kind, subscription.name.clone());
                envoy.lose(kind, &name, self.now);
            }
            self.plan_ask(ended.subscription);
        }
    }

    /// Envoy waits for a stream no longer, which its VM hears of; what it may say until then is lost.
    fn give_up(&mut self, stream: u32) {
        let to = self.envoy.as_ref().and_then(|envoy| envoy.streams.get(&stream)).map(|it| it.to);
        let of = self.envoy.as_mut().and_then(|envoy| envoy.of_stream(stream));
        let of = of.map(|it| (it.kind, it.name.clone()));
        self.end_stream(stream);
        let Some(envoy) = &mut self.envoy else { return };
        if let Some((kind, name)) = of {
            envoy.lose(kind, &name, self.now);
        }
        if let Some(to) = to {
            self.post(to, Mail::Gone(stream));
        }
    }

    /// A subscription ends.
    fn unsubscribe(&mut self, number: u32) {
        let Some(envoy) = &mut self.envoy else { return };
        if let Some(ended) = envoy.subscriptions.remove(&number).filter(|it| it.is_untried) {
            envoy.lose(ended.kind, &ended.name, self.now);
        }
        let streams = envoy.streams.iter().filter(|(_, it)| it.subscription == number);
        let streams: Vec<u32> = streams.map(|(stream, _)| *stream).collect();
        streams.into_iter().for_each(|stream| self.give_up(stream));
    }

    fn plan_ask(&mut self, number: u32) {
        let Some(envoy) = &self.envoy else { return };
        let delay = envoy.manner.refresh_delay;
        let delay = delay + u64::from(self.rng.below(delay as u32));
        self.calendar.plan(self.now + delay, Happening::Envoy(Event::Ask(number)));
    }

    fn time_out(&mut self, stream: u32) {
        let Some(envoy) = &self.envoy else { return };
        let Some(late) = envoy.streams.get(&stream) else { return };
        if late.state != State::Answered {
            let (since, to) = (late.since, late.to);
            let is_short = envoy.manner.request_timeout < 30 * SECOND;
            let waited = (self.now - since) / 1_000;
            assert!(is_short || self.is_excused(since), "{to:?} keeps a request for {waited} ms");
            self.give_up(stream);
        }
    }

    /// Whether something has happened since then for which anything may be late.
    fn is_excused(&self, since: u64) -> bool {
        self.disturbed >= since || !self.has_time
    }

    /// The context that Envoy's next request goes to: where its connection leads, as long as that
    /// is not to be closed; else where a new one leads, if anybody listens.
    fn connect(&mut self) -> Option<ContextId> {
        let wanted = *self.listeners.first()?;
        let is_open = |context: &Context| context.config == wanted && !context.leaves;
        let connection = self.envoy.as_ref()?.connection;
        let own = connection.filter(|id| {
            let mut contexts = self.vms[id.thread].contexts.iter();
            contexts.any(|context| context.id == *id && is_open(context))
        });
        if own.is_some() {
            return own;
        }
        let thread = match connection {
            Some(id) => id.thread,
            None => 1 + self.rng.below(self.vms.len() as u32 - 1) as usize,
        };
        if !self.vms[thread].alive {
            self.rebirth(thread);
        }
        let contexts = &self.vms[thread].contexts;
        let found = contexts.iter().find(|it| is_open(it));
        // Where the new listener is not there yet, the old one takes what comes.
        let found = found.or_else(|| contexts.iter().find(|it| !it.leaves)).map(|it| it.id);
        self.envoy.as_mut()?.connection = found;
        found
    }

    /// A subscription asks.
    fn ask(&mut self, number: u32) {
        let is_there = |world: &Self| world.envoy.as_ref()?.subscriptions.get(&number).map(|_| ());
        if is_there(self).is_none() {
            return;
        }
        let Some(id) = self.connect() else { return self.plan_ask(number) };
        let Some(envoy) = &mut self.envoy else { return };
        let stream = envoy.send(number, id, self.now);
        if let Some(subscription) = envoy.of_stream(stream)
            && subscription.asked.replace(id) != Some(id)
        {
            subscription.forgive();
        }
        let timeout = self.now + envoy.manner.request_timeout;
        self.calendar.plan(timeout, Happening::Envoy(Event::Timeout(stream)));
        self.post(id, Mail::Subscription(stream));
    }

    /// A request reaches its context.
    pub(super) fn on_subscription(&mut self, id: ContextId, stream: u32) {
        let vm = &mut self.vms[id.thread];
        vm.serving = true;
        let now = time(vm.clock.now(self.now));
        let Some(envoy) = &mut self.envoy else { return };
        // One that was given up on its way comes, and goes, like any other.
        let Some(subscription) = envoy.of_stream(stream) else { return };
        subscription.is_untried = false;
        let acknowledged = subscription.version.clone();
        let mut body = json!({ "node": { "id": NODE } });
        if !subscription.version.is_empty() {
            body["version_info"] = subscription.version.as_str().into();
        }
        if subscription.kind != ResourceKind::Clusters {
            body["resource_names"] = json!([subscription.name]);
        }
        let (path, body) = (subscription.kind.path(), body.to_string());
        if let Some(stream) = envoy.streams.get_mut(&stream) {
            stream.state = State::Held;
        }
        envoy.acknowledge(&acknowledged);
        let request =
            SubscriptionRequest { method: b"POST", path: path.as_bytes(), body: body.as_bytes() };
        if let Some(feed) = vm.context(id).and_then(|context| context.feed.as_mut()) {
            feed.on_request(stream, request, now);
        }
    }

    /// A context hears that a request has ended.
    pub(super) fn on_gone(&mut self, id: ContextId, stream: u32) {
        let vm = &mut self.vms[id.thread];
        let now = time(vm.clock.now(self.now));
        if let Some(feed) = vm.context(id).and_then(|context| context.feed.as_mut()) {
            feed.on_gone(stream, now);
        }
    }

    /// A context answers what is due.
    pub(super) fn feed(&mut self, id: ContextId) {
        let vm = &mut self.vms[id.thread];
        let now = time(vm.clock.now(self.now));
        let Some(context) = vm.contexts.iter_mut().find(|context| context.id == id) else { return };
        let Some(feed) = &mut context.feed else { return };
        let responses = feed.answer(&mut context.router, now);
        if let Some(due) = feed.due(now) {
            let at = self.now + due.max(1_000);
            if feed.planned.is_none_or(|planned| at < planned) {
                feed.planned = Some(at);
                self.calendar.plan(at, Happening::Mail(id, Mail::Due));
            }
        }
        let changes = std::mem::take(&mut feed.changes);
        if !changes.is_empty() {
            let key = feed.key.clone();
            self.acknowledge(&key, &changes);
        }
        for (stream, response) in responses {
            self.answer(id, stream, response);
        }
        self.check_held(id);
    }

    fn acknowledge(&mut self, key: &str, changes: &Changes) {
        let value = self.shared.load(key);
        let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
        let bytes = value.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut all = Acknowledged::decode(&bytes).expect("hashes");
        if changes.apply(&mut all) {
            assert!(self.shared.store(key, &all.encode(), expect), "nobody comes between");
        }
    }

    /// Whether all VMs know that Envoy has endpoints of a service.
    pub fn is_acknowledged(&self, service: &str) -> bool {
        let config = self.listeners.first().map(|config| &self.configs[*config]);
        let address = config.and_then(|config| config.xds.as_ref()).map(|xds| &xds.address);
        let value = address.and_then(|address| self.shared.load(&Acknowledged::key(address)));
        let all = value.map(|(bytes, _)| Acknowledged::decode(&bytes).expect("hashes"));
        all.is_some_and(|all| all.contains(Acknowledged::hash(service)))
    }

    /// A context answers a stream: with what it has installed, and with nothing that Envoy has.
    fn answer(&mut self, id: ContextId, number: u32, response: SubscriptionResponse) {
        let Some(envoy) = &mut self.envoy else { return };
        let Some(stream) = envoy.streams.get_mut(&number) else { return };
        assert_eq!(
            (stream.to, stream.state),
            (id, State::Held),
            "answered once, by whom was asked"
        );
        stream.state = State::Answered;
        let since = stream.since;
        let context = self.vms[id.thread].contexts.iter().find(|it| it.id == id);
        let context = context.expect("one that answers");
        let config = &self.configs[context.config];
        let hold = config.xds.as_ref().expect("one that feeds").hold.as_micros() as u64;
        let Some(subscription) = envoy.of_stream(number) else { return };
        let (kind, name) = (subscription.kind, subscription.name.clone());
        match response.status {
            304 => {
                assert!(
                    self.now >= since + hold * 4 / 5 - 1_000,
                    "{name} has nothing new too soon"
                );
                let waited = self.now - since;
                let is_late = waited > hold * 5 / 4 + WAY;
                let excused = self.disturbed >= since || !self.has_time;
                assert!(!is_late || excused, "{name} is held for {} ms", waited / 1_000);
            }
            200 => {
                let had = subscription.version.clone();
                let (version, told) = envoy.read(kind, &name, &response);
                assert_ne!(version, had, "{name} is told what it has");
                let expected = Expected::of(kind, &name, context, config);
                // Who knows nothing yet of the clusters is given those that are configured.
                let is_first = kind != ResourceKind::Endpoints && had.is_empty();
                assert!(
                    is_first || expected.may_be_told,
                    "{id:?} tells {told:?} of {name}, and does not know it"
                );
                assert!(
                    is_first || expected.has(&told) || told.len() > SMALL,
                    "{id:?} tells {told:?} of {name}, and has {expected:?}"
                );
                self.trace.note_text(&version);
                if let Some(subscription) = envoy.of_stream(number) {
                    subscription.on_told(&version, self.now, self.has_time);
                }
            }
            status => panic!("{id:?} answers {status} for {name}"),
        }
        let at = self.now + u64::from(self.rng.below(5_000));
        self.calendar.plan(at, Happening::Envoy(Event::Told(number, response)));
    }

    /// An answer reaches Envoy, which takes it or leaves it.
    fn take(&mut self, number: u32, response: &SubscriptionResponse) {
        let Some(envoy) = &mut self.envoy else { return };
        let Some(stream) = envoy.streams.remove(&number) else { return };
        let rejects = envoy.rejects;
        let Some(subscription) = envoy.subscriptions.get(&stream.subscription) else { return };
        let (kind, name) = (subscription.kind, subscription.name.clone());
        if response.status == 200 {
            let (version, told) = envoy.read(kind, &name, response);
            let subscription = envoy.subscriptions.get_mut(&stream.subscription).expect("it is");
            if rejects == Some(name.as_str()) {
                envoy.lose(kind, &name, self.now);
            } else {
                subscription.version = version;
                let before = subscription.knows.replace(told.clone());
                let (ended, begun) = envoy.on_clusters(before.as_ref(), &told);
                ended.into_iter().for_each(|number| self.unsubscribe(number));
                begun.into_iter().for_each(|number| self.plan_ask(number));
            }
        }
        self.plan_ask(stream.subscription);
    }

    /// What a context holds is what it has been asked and has not answered; and Envoy has what it has
    /// installed wherever a request is held.
    fn check_held(&self, id: ContextId) {
        let Some(envoy) = &self.envoy else { return };
        let vm = &self.vms[id.thread];
        let Some(context) = vm.contexts.iter().find(|context| context.id == id) else { return };
        let Some(feed) = &context.feed else { return };
        let held = envoy.streams.values().filter(|it| it.to == id && it.state == State::Held);
        let leaving =
            vm.inbox.iter().filter(|(to, mail)| *to == id && matches!(mail, Mail::Gone(_)));
        let count = held.clone().count();
        let most = count + leaving.count();
        assert!((count..=most).contains(&feed.held()), "{} of {count} to {most}", feed.held());
        let config = &self.configs[context.config];
        for stream in held {
            let Some(subscription) = envoy.subscriptions.get(&stream.subscription) else {
                continue;
            };
            let (kind, name) = (subscription.kind, &subscription.name);
            let expected = Expected::of(kind, name, context, config);
            let knows = subscription.knows.as_ref();
            if !expected.is_known || knows.is_some_and(|told| expected.has(told)) {
                continue;
            }
            let is_large = knows.map_or(0, Told::len).max(expected.all[0].len()) > SMALL;
            let is_paced = is_large
                && (!self.has_time || subscription.told.is_some_and(|at| self.now < at + PACED));
            assert!(
                is_paced || envoy.is_held_up(kind, name, self.now),
                "{id:?} does not tell of {name}: {knows:?} is known, {expected:?} is so"
            );
        }
    }

    /// What Envoy does not know, if anything: all that Consul has, and nothing else, but for the
    /// services that it rejects.
    pub fn untold(&self) -> Option<String> {
        let envoy = self.envoy.as_ref()?;
        let config = &self.configs[*self.listeners.first()?];
        envoy.subscriptions.values().find_map(|it| {
            let expected = Told::by_consul(it.kind, &it.name, config, &self.consul);
            let is_so = it.knows.as_ref().is_some_and(|told| told.is_like(&expected));
            let is_rejected = envoy.rejects == Some(it.name.as_str());
            let unacknowledged = || {
                let is_service = config.services.iter().any(|service| service.name == it.name);
                // What has no endpoint has none to wait for.
                let has_some = is_service && expected.len() > 0;
                has_some && !self.is_acknowledged(&it.name)
            };
            match is_so {
                _ if is_rejected => None,
                false => {
                    Some(format!("Envoy knows {:?} of {}, not {expected:?}", it.knows, it.name))
                }
                true => {
                    unacknowledged().then(|| format!("nobody knows that Envoy has {}", it.name))
                }
            }
        })
    }

    /// One more cluster has the endpoints of a service.
    pub fn subscribe(&mut self, service: &str) {
        let number =
            self.envoy.as_mut().map(|envoy| envoy.subscribe(ResourceKind::Endpoints, service));
        number.into_iter().for_each(|number| self.plan_ask(number));
    }

    /// Envoy rejects the endpoints of a service from now on.
    pub fn reject(&mut self, service: &'static str) {
        self.envoy.iter_mut().for_each(|envoy| envoy.rejects = Some(service));
    }

    /// Envoy takes everything from now on.
    pub fn stop_rejecting(&mut self) {
        self.envoy.iter_mut().for_each(|envoy| envoy.rejects = None);
    }

    /// The VM dies that Envoy's connection leads to.
    pub fn kill_answering(&mut self) {
        let connection = self.envoy.as_ref().and_then(|envoy| envoy.connection);
        if let Some(id) = connection {
            self.kill(id.thread);
        }
    }

    /// How many healthy endpoints of a service Envoy knows, by the subscription that knows fewest.
    pub fn endpoints_of(&self, service: &str) -> usize {
        let all = self.envoy.iter().flat_map(|envoy| envoy.subscriptions.values());
        let own = all.filter(|it| it.kind == ResourceKind::Endpoints && it.name == service);
        own.map(|it| it.knows.as_ref().map_or(0, Told::len)).min().unwrap_or(0)
    }

    /// How many subscriptions there are to a kind of things.
    pub fn subscriptions(&self, kind: ResourceKind) -> usize {
        let all = self.envoy.iter().flat_map(|envoy| envoy.subscriptions.values());
        all.filter(|it| it.kind == kind).count()
    }
}
