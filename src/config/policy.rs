//! Which endpoint is picked.

use core::ops::RangeInclusive;
use core::time::Duration;

use serde_json::json;

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::hash_on::HashOn;
use super::object::{Field, Object, field};

/// Rule by which an endpoint is picked.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Policy {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// Of some at random by weight, the one with the fewest requests in flight.
    LeastRequest {
        /// Number of endpoints that are drawn.
        choice_count: u8,
        /// The exponent of Envoy's `weight / (active + 1)^bias`.
        active_request_bias: f64,
    },
    /// Of some at random by weight, the one with the least latency × (requests in flight + 1).
    PeakEwma {
        /// Number of endpoints that are drawn.
        choice_count: u8,
        /// The time in which the weight of an old latency falls to 1/e.
        decay: Duration,
    },
    /// By the hash of something in the request, on a ring.
    RingHash {
        /// Hashed part of the request, and the bound of an endpoint's load.
        hash: Hashing,
        /// The least entries of the ring.
        minimum_ring_size: u32,
        /// The most entries of the ring.
        maximum_ring_size: u32,
    },
    /// By the hash of something in the request, in a table.
    Maglev {
        /// Hashed part of the request, and the bound of an endpoint's load.
        hash: Hashing,
        /// The entries of the table, a prime.
        table_size: u32,
    },
}

impl Policy {
    /// Envoy's default of `choice_count`.
    pub const DEFAULT_CHOICE_COUNT: u8 = 2;
    /// Envoy's default of `active_request_bias`.
    pub const DEFAULT_ACTIVE_REQUEST_BIAS: f64 = 1.0;
    /// linkerd2-proxy's decay of its latencies.
    pub const DEFAULT_DECAY: Duration = Duration::from_secs(10);
    /// Envoy's default of `minimum_ring_size`.
    pub const DEFAULT_MINIMUM_RING_SIZE: u32 = 1024;
    /// Envoy's default of `maximum_ring_size`, and the most that it takes.
    pub const DEFAULT_MAXIMUM_RING_SIZE: u32 = 8 << 20;
    /// Envoy's default of Maglev's `table_size`.
    pub const DEFAULT_TABLE_SIZE: u32 = 65_537;
    /// The most `choice_count`: each one drawn is one more to look at.
    pub const MAX_CHOICE_COUNT: u8 = 16;
    /// The most `active_request_bias`.
    pub const MAX_ACTIVE_REQUEST_BIAS: u32 = 10;
    /// The shortest and the longest `decay`.
    pub const DECAY: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);
    /// The most entries of Maglev's table, as in Envoy; a prime.
    pub const MAX_TABLE_SIZE: u32 = 5_000_011;

    /// Reads the fields that belong to a policy out of an object that may have others, too.
    pub(super) fn read(object: &mut Object<'_>) -> Self {
        let mut kind = PolicyKind::default();
        object.set(
            field(
                "policy",
                "`round_robin`: in turn, by weight. `random`: at random, by weight. `least_request`: of \
                 some at random by weight, the least busy. `peak_ewma`: of some at random by weight, \
                 the one with the least latency and requests in flight. `ring_hash`, `maglev`: by the \
                 hash of something in the request.",
            ),
            &mut kind,
            |node| node.one_of("policy", PolicyKind::CHOICES),
        );
        let mut fields = FieldsOf { kind, is_known: object.are_read(&["policy"]), object };
        let hash = Hashing::read(&mut fields);
        let mut choice_count = Self::DEFAULT_CHOICE_COUNT;
        fields.set(
            &[PolicyKind::LeastRequest, PolicyKind::PeakEwma],
            field(
                "choice_count",
                "With `least_request` and `peak_ewma`: how many instances are drawn.",
            ),
            &mut choice_count,
            |node| node.byte(2..=Self::MAX_CHOICE_COUNT),
        );
        let mut active_request_bias = Self::DEFAULT_ACTIVE_REQUEST_BIAS;
        fields.set(
            &[PolicyKind::LeastRequest],
            field(
                "active_request_bias",
                "With `least_request`: how much requests in flight count; `weight / (active + 1)^bias`.",
            ),
            &mut active_request_bias,
            |node| node.number(0..=Self::MAX_ACTIVE_REQUEST_BIAS),
        );
        let mut decay = Self::DEFAULT_DECAY;
        fields.set(
            &[PolicyKind::PeakEwma],
            field(
                "decay",
                "With `peak_ewma`: the time in which the weight of an old latency falls to 1/e.",
            ),
            &mut decay,
            |node| node.duration(Self::DECAY),
        );
        let (minimum_ring_size, maximum_ring_size) = ring_sizes(&mut fields);
        let mut table_size = Self::DEFAULT_TABLE_SIZE;
        fields.set(
            &[PolicyKind::Maglev],
            field("table_size", "With `maglev`: the entries of the table, a prime."),
            &mut table_size,
            self::table_size,
        );
        match (kind, hash) {
            (PolicyKind::RoundRobin, _) => Self::RoundRobin,
            (PolicyKind::Random, _) => Self::Random,
            (PolicyKind::LeastRequest, _) => {
                Self::LeastRequest { choice_count, active_request_bias }
            }
            (PolicyKind::PeakEwma, _) => Self::PeakEwma { choice_count, decay },
            (PolicyKind::RingHash, Some(hash)) => {
                Self::RingHash { hash, minimum_ring_size, maximum_ring_size }
            }
            (PolicyKind::Maglev, Some(hash)) => Self::Maglev { hash, table_size },
            // Refused for the missing `hash_on`.
            (PolicyKind::RingHash | PolicyKind::Maglev, None) => Self::default(),
        }
    }

    /// Its name.
    pub const fn kind(&self) -> PolicyKind {
        match self {
            Self::RoundRobin => PolicyKind::RoundRobin,
            Self::Random => PolicyKind::Random,
            Self::LeastRequest { .. } => PolicyKind::LeastRequest,
            Self::PeakEwma { .. } => PolicyKind::PeakEwma,
            Self::RingHash { .. } => PolicyKind::RingHash,
            Self::Maglev { .. } => PolicyKind::Maglev,
        }
    }

    /// Tells if Envoy's policy of the same kind, or the one that stands in for it, has a slow start.
    pub const fn starts_slowly_in_envoy(&self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastRequest { .. } | Self::PeakEwma { .. })
    }

    /// Hashing of a policy that hashes.
    pub const fn hashing(&self) -> Option<&Hashing> {
        match self {
            Self::RingHash { hash, .. } | Self::Maglev { hash, .. } => Some(hash),
            _ => None,
        }
    }
}

/// A policy's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PolicyKind {
    /// [`Policy::RoundRobin`].
    #[default]
    RoundRobin,
    /// [`Policy::Random`].
    Random,
    /// [`Policy::LeastRequest`].
    LeastRequest,
    /// [`Policy::PeakEwma`].
    PeakEwma,
    /// [`Policy::RingHash`].
    RingHash,
    /// [`Policy::Maglev`].
    Maglev,
}

impl PolicyKind {
    /// The policies, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("random", Self::Random),
        ("least_request", Self::LeastRequest),
        ("peak_ewma", Self::PeakEwma),
        ("ring_hash", Self::RingHash),
        ("maglev", Self::Maglev),
    ];

    /// Name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastRequest => "least_request",
            Self::PeakEwma => "peak_ewma",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
        }
    }
}

/// Settings of a policy that hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashing {
    /// Hashed part of the request. A request that does not have it goes to any endpoint.
    pub on: HashOn,
    /// In percent of the mean: an endpoint with more requests in flight is passed over. None:
    /// never.
    pub balance_factor: Option<u32>,
}

impl Hashing {
    /// The least and the most `hash_balance_factor`; with the least, which is also Envoy's,
    /// all endpoints are equally busy.
    pub const BALANCE_FACTOR: RangeInclusive<u32> = 100..=10_000;

    /// Reads what is hashed; none where the policy hashes nothing, or what it hashes is refused.
    fn read(fields: &mut FieldsOf<'_, '_>) -> Option<Self> {
        const USERS: &[PolicyKind] = &[PolicyKind::RingHash, PolicyKind::Maglev];
        fields.object.describe(
            r##"{ "if": { "properties": { "policy": { "enum": ["ring_hash", "maglev"] } }, "required": ["policy"] },
                 "then": { "required": ["hash_on"] } }"##,
        );
        let mut on = None;
        let about = "The part of a request that is hashed, exactly one. A request without it goes to any \
                     endpoint.";
        fields.set(USERS, field("hash_on", about), &mut on, HashOn::read);
        if USERS.contains(&fields.kind) && !fields.object.has("hash_on") {
            let expected = "what the policy hashes, such as {\"header\": \"x-user\"}";
            fields.object.refuse("hash_on", FieldError::Missing { expected });
        }
        let mut balance_factor = None;
        fields.set(
            USERS,
            field(
                "hash_balance_factor",
                "With `ring_hash` and `maglev`: in percent of the mean; an instance with more requests \
                 in flight is passed over. Default: unbounded.",
            ),
            &mut balance_factor,
            |node| node.integer(Self::BALANCE_FACTOR).map(Some),
        );
        on.map(|on| Self { on, balance_factor })
    }
}

/// The fields of the configuration that not every policy uses.
struct FieldsOf<'o, 'a> {
    object: &'o mut Object<'a>,
    kind: PolicyKind,
    /// False where the policy itself is refused.
    is_known: bool,
}

impl<'a> FieldsOf<'_, 'a> {
    /// Reads a field that only some policies use, and refuses it with another one.
    fn set<T: 'static>(
        &mut self,
        users: &[PolicyKind],
        field: Field,
        slot: &mut T,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) {
        self.object.describe_with(|| {
            let names: Vec<_> = users.iter().map(|user| user.name()).collect();
            let policy =
                json!({ "properties": { "policy": { "enum": names } }, "required": ["policy"] });
            json!({ "dependentSchemas": { field.name: policy } })
        });
        if self.is_known && self.object.has(field.name) && !users.contains(&self.kind) {
            let users = users.iter().map(|user| user.name()).collect();
            let problem = FieldError::OtherPolicy { policy: self.kind.name(), users };
            self.object.refuse_known(field, problem);
            return;
        }
        self.object.set(field, slot, read);
    }
}

fn ring_sizes(fields: &mut FieldsOf<'_, '_>) -> (u32, u32) {
    const USERS: &[PolicyKind] = &[PolicyKind::RingHash];
    let size = |node: &Cursor<'_>| node.integer(1..=Policy::DEFAULT_MAXIMUM_RING_SIZE);
    let (mut least, mut most) =
        (Policy::DEFAULT_MINIMUM_RING_SIZE, Policy::DEFAULT_MAXIMUM_RING_SIZE);
    let about = "With `ring_hash`: the least entries of the ring.";
    fields.set(USERS, field("minimum_ring_size", about), &mut least, size);
    let about = "With `ring_hash`: the most entries of the ring.";
    fields.set(USERS, field("maximum_ring_size", about), &mut most, size);
    if fields.object.are_read(&["minimum_ring_size", "maximum_ring_size"]) && least > most {
        let (found, other_value) = (least.to_string(), most.to_string());
        let problem = FieldError::Above { found, other: "maximum_ring_size", most: other_value };
        fields.object.refuse("minimum_ring_size", problem);
    }
    (least, most)
}

/// Reads a prime: only then each endpoint's steps through the table reach all of it.
fn table_size(node: &Cursor<'_>) -> Result<u32, Refusals> {
    let found = node.integer(2..=Policy::MAX_TABLE_SIZE)?;
    match (found..=Policy::MAX_TABLE_SIZE).find(|candidate| is_prime(*candidate)) {
        Some(next) if next != found => Err(node.error(FieldError::NotPrime { found, next })),
        _ => Ok(found),
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn each_policy_has_the_name_that_chooses_it() {
        for (name, kind) in PolicyKind::CHOICES {
            assert_eq!(kind.name(), *name);
        }
    }

    #[test]
    fn primes_are_told_from_products() {
        let primes: Vec<u32> = (0..50).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]);
        for prime in [Policy::DEFAULT_TABLE_SIZE, Policy::MAX_TABLE_SIZE] {
            assert!(is_prime(prime) && !is_prime(prime - 2), "{prime}");
        }
    }
}
