//! Which slice of the endpoints a request goes to.

use core::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balancer::pick_context::PickContext;
use crate::balancer::pool_settings::PoolSettings;
use crate::config::{Share, VersionFallback, Versions};
use crate::model::version_pattern::VersionPattern;
use crate::util::rng::Rng;

/// The position of a slice in every level of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubsetId(pub(super) usize);

impl SubsetId {
    /// All endpoints, whatever their version.
    pub(super) const ALL: Self = Self(0);
}

/// The slices that there are, and which requests go to which.
///
/// One has all endpoints, and each share of the split one. Where a header may name a version,
/// there is one for each version that an endpoint has, and one for each major and minor version
/// (`1.x`, `1.4.x`): all that a client can name is built at install, and nothing that it sends
/// is parsed, or makes anything grow. Of very many versions only those that the most endpoints
/// have can be named, or whoever registers instances could make the tables grow without end.
#[derive(Debug)]
pub(super) struct SubsetSelectors {
    versions: Option<Versions>,
    /// Beside [`SubsetId::ALL`]; first those of the split.
    patterns: Vec<VersionPattern>,
    /// What a header may name.
    names: HashMap<Box<[u8]>, SubsetId>,
    /// The shares of the split: up to which draw each has the requests.
    split: Vec<(u32, SubsetId)>,
    /// The most versions that a header may name.
    most_named: usize,
}

/// Where a request wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedVersion {
    /// To one of these; it may be empty.
    Slice(SubsetId),
    /// To a version that nobody has.
    Unknown,
}

impl SubsetSelectors {
    /// The most versions that a header may name.
    const MOST_NAMED: usize = 64;
    /// The same where each slice has a table of a hash policy, which takes milliseconds to build,
    /// and hundreds of kilobytes.
    const MOST_NAMED_IN_TABLES: usize = 16;

    /// The slices of a service none of whose endpoints is known.
    pub(super) fn new(versions: Option<&Versions>, settings: &PoolSettings) -> Self {
        let most_named =
            if settings.hashes() { Self::MOST_NAMED_IN_TABLES } else { Self::MOST_NAMED };
        let (patterns, names, split) = (Vec::new(), HashMap::new(), Vec::new());
        let mut slices = Self { versions: versions.cloned(), patterns, names, split, most_named };
        slices.on_versions(&BTreeMap::new());
        slices
    }

    /// Makes the slices for endpoints of these versions, each with the number of its endpoints.
    /// Tells how many of the versions a header cannot name, because there are too many.
    pub(super) fn on_versions(&mut self, found: &BTreeMap<Rc<str>, usize>) -> usize {
        self.patterns.clear();
        self.names.clear();
        self.split.clear();
        let Some(versions) = self.versions.take() else {
            return 0;
        };
        let mut unnamed = 0;
        let mut upto = 0_u32;
        for Share { name, pattern, weight } in &versions.split {
            let id = self.add(name, || pattern.clone());
            upto = upto.saturating_add(*weight);
            self.split.push((upto, id));
        }
        if versions.header.is_some() {
            let mut common: Vec<_> =
                found.iter().map(|(text, count)| (Reverse(*count), text)).collect();
            common.sort_unstable();
            unnamed = common.len().saturating_sub(self.most_named);
            for (_, version) in common.into_iter().take(self.most_named) {
                self.add(version, || VersionPattern::exact(version));
                for (prefix, pattern) in wider(version) {
                    let id = self.add(&pattern, || {
                        VersionPattern::parse(&pattern)
                            .unwrap_or_else(|_| VersionPattern::exact(&pattern))
                    });
                    self.names.insert(prefix.into_bytes().into(), id);
                }
            }
        }
        self.versions = Some(versions);
        unnamed
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.patterns.len() + 1
    }

    /// The slices that endpoints of this version are in.
    pub(super) fn holding(&self, version: Option<&str>) -> Vec<SubsetId> {
        let contains = |pattern: &VersionPattern| version.is_some_and(|v| pattern.contains(v));
        let patterns = self.patterns.iter().zip((1..).map(SubsetId));
        let holding = patterns.filter(|(pattern, _)| contains(pattern)).map(|(_, id)| id);
        [SubsetId::ALL].into_iter().chain(holding).collect()
    }

    /// Whether requests of a version that nobody has go to any version.
    pub(super) fn falls_back(&self) -> bool {
        self.versions.as_ref().is_none_or(|versions| versions.fallback == VersionFallback::Any)
    }

    /// Where a request wants to go: to the version that it names, else to the share of the split
    /// that it draws, or that its hash always draws.
    pub(super) fn choose(&self, hints: &PickContext, rng: &mut Rng) -> WantedVersion {
        if let Some(name) = &hints.version {
            let found = self.names.get(name.trim_ascii());
            return found.map_or(WantedVersion::Unknown, |id| WantedVersion::Slice(*id));
        }
        let Some(&(total, _)) = self.split.last() else {
            return WantedVersion::Slice(SubsetId::ALL);
        };
        let drawn = match hints.split {
            Some(hash) => Rng::new(hash).below(total),
            None => rng.below(total),
        };
        let share = self.split.iter().find(|(upto, _)| drawn < *upto);
        WantedVersion::Slice(share.map_or(SubsetId::ALL, |(_, id)| *id))
    }

    /// The slice of a name; adds it where the name is new.
    fn add(&mut self, name: &str, pattern: impl FnOnce() -> VersionPattern) -> SubsetId {
        let after = SubsetId(self.patterns.len() + 1);
        let id = *self.names.entry_ref(name.as_bytes()).or_insert(after);
        if id == after {
            self.patterns.push(pattern());
        }
        id
    }
}

/// The prefixes that a version is named by: of `1.4.2` they are `1.x` and `1.4.x`, each with its
/// short form, `1` and `1.4`.
fn wider(version: &str) -> impl Iterator<Item = (String, String)> {
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let major = parts.next().filter(is_number);
    let minor = parts.next().filter(is_number);
    let minor = major.zip(minor).map(|(major, minor)| format!("{major}.{minor}"));
    major.map(str::to_owned).into_iter().chain(minor).map(|prefix| {
        let pattern = format!("{prefix}.x");
        (prefix, pattern)
    })
}
