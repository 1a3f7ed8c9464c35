//! Versions and ranges of them.
//!
//! Versions and their order are those of [Semantic Versioning](https://semver.org), the
//! ranges and what they say of pre-releases those of
//! [node-semver](https://github.com/npm/node-semver#ranges): a pre-release is in a range
//! only where the range itself names a pre-release of the same three numbers, so that
//! nobody comes to `2.0.0-beta` by asking for `>=1.2`.
//!
//! Instances are less strict with their versions than packages are. So `1.2` is the version
//! 1.2.0, a `v` may stand before the first number, and zeros may lead it (`2024.01.15`).

mod comparison;
mod limit;
mod number;
mod range;

pub use self::range::{VersionRange, VersionRangeError};
