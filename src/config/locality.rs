//! Where this proxy is.

use super::cursor::Cursor;
use super::error::Refusals;
use super::object::field;

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
    /// The most `min_cluster_size`: no answer has more instances.
    pub const MAX_MIN_CLUSTER_SIZE: u32 = 65_536;
    /// The most bytes of a zone or a key.
    pub const MAX_NAME_BYTES: usize = 255;

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("locality")?;
        let name = |node: &Cursor<'_>| node.single_line(Self::MAX_NAME_BYTES).map(str::to_owned);
        // Six is Envoy's default of it.
        let mut found = Self { zone: None, key: "zone".to_owned(), min_cluster_size: 6 };
        object.set_some(
            field("zone", "The zone of this Envoy. Default: that of Envoy's node."),
            &mut found.zone,
            name,
        );
        object.set(
            field(
                "key",
                "The metadata key of a service or its node that names the zone, where Consul itself \
                 does not know it.",
            ),
            &mut found.key,
            name,
        );
        object.set(
            field("min_cluster_size", "With fewer instances zones make no difference."),
            &mut found.min_cluster_size,
            |node| node.integer(1..=Self::MAX_MIN_CLUSTER_SIZE),
        );
        object.finish(found)
    }
}
