//! The subset of the hosts for a request.

use core::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balancer::pick_context::PickContext;
use crate::config::{Share, VersionFallback, Versions};
use crate::model::version_pattern::VersionPattern;
use crate::util::rng::Rng;

/// The position of a subset in every host set of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubsetId(pub(super) usize);

impl SubsetId {
    /// The subset of all hosts.
    pub(super) const ALL: Self = Self(0);
}

/// The subsets of a pool, by the requests that go to them.
///
/// One subset has all hosts, and each share of the split has a subset. If a header may name a version,
/// each version of a host has a subset, and each major and minor version (`1.x`, `1.4.x`). All names
/// are built at install, so a header is neither parsed nor makes anything grow. Of very many versions
/// only those of the most hosts can be named: else registrations could make the tables grow without
/// end.
#[derive(Debug)]
pub(super) struct SubsetSelectors {
    versions: Option<Versions>,
    /// Beside [`SubsetId::ALL`]; first those of the split.
    patterns: Vec<VersionPattern>,
    /// The names that a header may have.
    names: HashMap<Box<[u8]>, SubsetId>,
    /// The shares of the split: the draws below the number go to the subset.
    split: Vec<(u32, SubsetId)>,
    /// The most versions that a header may name.
    most_named: usize,
}

/// The version that a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedVersion {
    /// The hosts of a subset, which may be empty.
    Subset(SubsetId),
    /// A version that no host has.
    Unknown,
}

impl SubsetSelectors {
    /// The most versions that a header may name.
    const MOST_NAMED: usize = 64;
    /// The limit for a hash policy, whose table of each subset takes milliseconds to build, and hundreds
    /// of kilobytes.
    const MOST_NAMED_IN_TABLES: usize = 16;

    /// Creates the subsets of a service without a host. `has_tables`: each subset has a table of a hash
    /// policy.
    pub(super) fn new(versions: Option<&Versions>, has_tables: bool) -> Self {
        let most_named = if has_tables { Self::MOST_NAMED_IN_TABLES } else { Self::MOST_NAMED };
        let (patterns, names, split) = (Vec::new(), HashMap::new(), Vec::new());
        let mut selectors =
            Self { versions: versions.cloned(), patterns, names, split, most_named };
        selectors.on_versions(&BTreeMap::new());
        selectors
    }

    /// Builds the subsets for hosts of these versions, each with the number of its hosts. Returns the
    /// number of versions that a header cannot name, because there are too many.
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

    /// The number of subsets.
    pub(super) const fn len(&self) -> usize {
        self.patterns.len() + 1
    }

    /// Returns the subsets of a host with this version.
    pub(super) fn holding(&self, version: Option<&str>) -> Vec<SubsetId> {
        let contains = |pattern: &VersionPattern| version.is_some_and(|v| pattern.contains(v));
        let patterns = self.patterns.iter().zip((1..).map(SubsetId));
        let holding = patterns.filter(|(pattern, _)| contains(pattern)).map(|(_, id)| id);
        [SubsetId::ALL].into_iter().chain(holding).collect()
    }

    /// Returns true if requests for a version that no host has go to any version.
    pub(super) fn falls_back(&self) -> bool {
        self.versions.as_ref().is_none_or(|versions| versions.fallback == VersionFallback::Any)
    }

    /// Chooses the subset for a request: the version that it names, or else a share of the split. The
    /// share is drawn, by the hash of the request if it has one.
    pub(super) fn choose(&self, context: &PickContext, rng: &mut Rng) -> WantedVersion {
        if let Some(name) = &context.version {
            let found = self.names.get(name.trim_ascii());
            return found.map_or(WantedVersion::Unknown, |id| WantedVersion::Subset(*id));
        }
        let Some(&(total, _)) = self.split.last() else {
            return WantedVersion::Subset(SubsetId::ALL);
        };
        let drawn = match context.split {
            Some(hash) => Rng::new(hash).below(total),
            None => rng.below(total),
        };
        let share = self.split.iter().find(|(upto, _)| drawn < *upto);
        WantedVersion::Subset(share.map_or(SubsetId::ALL, |(_, id)| *id))
    }

    /// Returns the subset of a name; adds a new name.
    fn add(&mut self, name: &str, pattern: impl FnOnce() -> VersionPattern) -> SubsetId {
        let after = SubsetId(self.patterns.len() + 1);
        let id = *self.names.entry_ref(name.as_bytes()).or_insert(after);
        if id == after {
            self.patterns.push(pattern());
        }
        id
    }
}

/// Returns the prefixes that name a version: for `1.4.2` these are `1.x` and `1.4.x`, each after its
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
