//! Where this proxy is.

use super::cursor::Cursor;
use super::error::ConfigError;

/// The zone of this proxy, and where instances say theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locality {
    /// The zone; none: the one of Envoy's node.
    pub zone: Option<String>,
    /// The metadata key of a service or its node that names the zone, where Consul itself
    /// does not know it (`Locality`, Consul 1.17).
    pub key: String,
    /// With fewer endpoints zones make no difference.
    pub min_cluster_size: u32,
}

impl Locality {
    /// The `key` where none is given.
    pub const DEFAULT_KEY: &str = "zone";
    /// Envoy's default of `min_cluster_size`.
    pub const DEFAULT_MIN_CLUSTER_SIZE: u32 = 6;
    /// The most `min_cluster_size`: no answer has more instances.
    pub const MAX_MIN_CLUSTER_SIZE: u32 = 65_536;
    /// The most bytes of a zone or a key.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["zone", "key", "min_cluster_size"];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let name = |node: &Cursor<'_>| node.single_line(Self::MAX_NAME_BYTES).map(str::to_owned);
        let most = Self::MAX_MIN_CLUSTER_SIZE;
        Ok(Self {
            zone: object.optional("zone", name)?,
            key: object.optional("key", name)?.unwrap_or_else(|| Self::DEFAULT_KEY.to_owned()),
            min_cluster_size: object
                .optional("min_cluster_size", |node| node.integer(1..=most))?
                .unwrap_or(Self::DEFAULT_MIN_CLUSTER_SIZE),
        })
    }
}
