//! Envoy's subscriptions: what it asks for, and what it makes of the answers.

use std::collections::{BTreeMap, VecDeque};

use consul_resolver::xds::resource::ResourceKind;
use consul_resolver::xds::response::SubscriptionResponse;
use serde_json::Value;

use crate::told::Told;
use crate::vm::ContextId;

const MINUTE: u64 = 60_000_000;
/// How often the same may be told within a minute to one subscription that nothing has happened to:
/// twice, or nine times where it has nothing yet, and after one, two, four, eight, sixteen, thirty-two and
/// sixty seconds, on the fastest clock.
const MOST_REPEATS: usize = 16;
/// The same where clocks stand still: a hundred first answers, and as many once more.
const MOST_REPEATS_WITHOUT_TIME: usize = 210;

/// How Envoy is configured.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How long it pauses between an answer and its next question, and up to twice that.
    pub refresh_delay: u64,
    /// How long it waits for an answer.
    pub request_timeout: u64,
    /// Whether it has its clusters by CDS and its routes by RDS, too.
    pub by_clusters: bool,
}

impl Manner {
    /// As the shipped files have it.
    pub const USUAL: Self =
        Self { refresh_delay: 20_000, request_timeout: 60_000_000, by_clusters: false };
}

/// Something that happens to a subscription.
#[derive(Debug)]
pub enum Event {
    /// The subscription of that number asks.
    Ask(u32),
    /// A stream is answered.
    Told(u32, SubscriptionResponse),
    /// A stream has waited for long enough.
    Timeout(u32),
    /// The connection of a stream is closed.
    Reset(u32),
}

/// Envoy, as one that subscribes.
pub struct Envoy {
    /// See there.
    pub manner: Manner,
    /// By their numbers, none of which is used again.
    pub subscriptions: BTreeMap<u32, Subscription>,
    /// Its requests.
    pub streams: BTreeMap<u32, Stream>,
    /// The context that its connection leads to.
    pub connection: Option<ContextId>,
    /// The service whose endpoints it rejects.
    pub rejects: Option<&'static str>,
    /// When an answer of some name was lost or rejected last.
    lost: BTreeMap<(ResourceKind, String), u64>,
    count: u32,
    /// What each version stands for, and the other way round.
    contents: BTreeMap<(ResourceKind, String), String>,
    versions: BTreeMap<(ResourceKind, String), String>,
}

/// A subscription.
#[derive(Debug)]
pub struct Subscription {
    /// To what.
    pub kind: ResourceKind,
    /// Its name; empty of all clusters.
    pub name: String,
    /// The version of what it has taken; empty: nothing.
    pub version: String,
    /// What that is.
    pub knows: Option<Told>,
    /// Whether it has not asked since it was told something.
    pub is_untried: bool,
    /// Whom it has asked last.
    pub asked: Option<ContextId>,
    /// When it was answered last.
    pub told: Option<u64>,
    repeated: String,
    repeats: VecDeque<u64>,
}

/// A request.
#[derive(Debug)]
pub struct Stream {
    /// The subscription that has sent it, and may be no more.
    pub subscription: u32,
    /// Whom it was sent to.
    pub to: ContextId,
    /// When.
    pub since: u64,
    /// Where it is.
    pub state: State,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Sent,
    /// With the filter.
    Held,
    /// Its answer is on its way.
    Answered,
}

impl Envoy {
    /// One that has only the first subscriptions, without answers.
    pub fn new(manner: Manner) -> Self {
        const FIXED: [(ResourceKind, &str); 6] = [
            (ResourceKind::Endpoints, "web"),
            (ResourceKind::Endpoints, "web"),
            (ResourceKind::Endpoints, "api"),
            (ResourceKind::Endpoints, "db"),
            (ResourceKind::Endpoints, "geo"),
            (ResourceKind::Endpoints, "cache"),
        ];
        const FIRST: [(ResourceKind, &str); 2] =
            [(ResourceKind::Clusters, ""), (ResourceKind::Routes, "consul_resolver")];
        let mut envoy = Self {
            manner,
            subscriptions: BTreeMap::new(),
            streams: BTreeMap::new(),
            connection: None,
            rejects: None,
            lost: BTreeMap::new(),
            count: 0,
            contents: BTreeMap::new(),
            versions: BTreeMap::new(),
        };
        let all: &[_] = if manner.by_clusters { &FIRST } else { &FIXED };
        for (kind, name) in all {
            envoy.subscribe(*kind, name);
        }
        envoy
    }

    /// A subscription begins; it is to ask.
    pub fn subscribe(&mut self, kind: ResourceKind, name: &str) -> u32 {
        self.count += 1;
        let subscription = Subscription {
            kind,
            name: name.to_owned(),
            version: String::new(),
            knows: None,
            is_untried: false,
            asked: None,
            told: None,
            repeated: String::new(),
            repeats: VecDeque::new(),
        };
        self.subscriptions.insert(self.count, subscription);
        self.count
    }

    /// A subscription sends a request; the answer is its stream.
    pub fn send(&mut self, subscription: u32, to: ContextId, since: u64) -> u32 {
        self.count += 1;
        self.streams.insert(self.count, Stream { subscription, to, since, state: State::Sent });
        self.count
    }

    /// The subscription of a stream.
    pub fn of_stream(&mut self, stream: u32) -> Option<&mut Subscription> {
        let subscription = self.streams.get(&stream)?.subscription;
        self.subscriptions.get_mut(&subscription)
    }

    /// An answer of that name was lost, rejected, or forgotten before anybody asked again.
    pub fn lose(&mut self, kind: ResourceKind, name: &str, now: u64) {
        self.lost.insert((kind, name.to_owned()), now);
    }

    /// Whether that was so lately: what is told next may be held up for a minute.
    pub fn is_held_up(&self, kind: ResourceKind, name: &str, now: u64) -> bool {
        let lost = self.lost.get(&(kind, name.to_owned()));
        lost.is_some_and(|lost| now < lost + MINUTE * 5 / 4 + 5_000_000)
    }

    /// A subscription has this version: who was told the same and rejects it begins anew.
    pub fn acknowledge(&mut self, version: &str) {
        let all = self.subscriptions.values_mut();
        all.filter(|it| it.repeated == version).for_each(Subscription::forgive);
    }

    /// Reads what a subscription is told, and checks that a version stands for what is told: one
    /// content has one version in every VM, and another content has another one.
    pub fn read(
        &mut self,
        kind: ResourceKind,
        name: &str,
        response: &SubscriptionResponse,
    ) -> (String, Told) {
        let body: Value = serde_json::from_slice(&response.body).expect("JSON");
        let version = body["version_info"].as_str().expect("a version").to_owned();
        let resources = body["resources"].as_array().expect("resources");
        let content = format!("{name}: {}", body["resources"]);
        let known = self.contents.entry((kind, version.clone())).or_insert(content.clone());
        assert_eq!(*known, content, "version {version} has one content");
        let known = self.versions.entry((kind, content)).or_insert(version.clone());
        assert_eq!(*known, version, "a content of {name} has one version");
        (version, Told::read(kind, resources))
    }

    /// The clusters that Envoy has were changed to these: those that are new or others ask anew, and
    /// the subscriptions of those that have gone end. Tells which end, and which begin.
    pub fn on_clusters(&mut self, before: Option<&Told>, after: &Told) -> (Vec<u32>, Vec<u32>) {
        let Told::Clusters(after) = after else { return Default::default() };
        let none = BTreeMap::new();
        let before = if let Some(Told::Clusters(before)) = before { before } else { &none };
        let is_other = |name: &String| before.get(name) != after.get(name);
        let ended = self.subscriptions.iter().filter(|(_, it)| it.kind == ResourceKind::Endpoints);
        let ended = ended.filter(|(_, it)| is_other(&it.name)).map(|(number, _)| *number).collect();
        let begun: Vec<_> = after.keys().filter(|name| is_other(name)).cloned().collect();
        let begun =
            begun.iter().map(|name| self.subscribe(ResourceKind::Endpoints, name)).collect();
        (ended, begun)
    }
}

impl Subscription {
    /// It is told a version: not the same without an end.
    pub fn on_told(&mut self, version: &str, now: u64, has_time: bool) {
        (self.told, self.is_untried) = (Some(now), true);
        if self.repeated != version {
            self.forgive();
            version.clone_into(&mut self.repeated);
        }
        self.repeats.push_back(now);
        while self.repeats.front().is_some_and(|first| first + MINUTE < now) {
            self.repeats.pop_front();
        }
        let most = if has_time { MOST_REPEATS } else { MOST_REPEATS_WITHOUT_TIME };
        let times = self.repeats.len();
        assert!(times <= most, "{} is told the same {times} times a minute", self.name);
    }

    /// Something has happened for which it may be told the same once more.
    pub fn forgive(&mut self) {
        self.repeats.clear();
        self.repeated.clear();
    }
}
