//! The services whose endpoints Envoy has acknowledged, in shared data.

use crate::host::Expect;
use crate::proxy::host;
use crate::shared::acknowledged::{Acknowledged, Changes};

/// Reads the acknowledged services. Returns `None` if Envoy has never acknowledged any, and no
/// service if the value is unreadable.
pub(super) fn read(key: &str) -> Option<Acknowledged> {
    host::load(key).map(|(bytes, _)| Acknowledged::decode(&bytes).unwrap_or_default())
}

/// Writes the changes for all VMs. Returns false if other VMs were faster several times.
pub(super) fn write(key: &str, changes: &Changes) -> bool {
    const TRIALS: usize = 4;
    (0..TRIALS).any(|_| {
        let value = host::load(key);
        let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
        let bytes = value.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut all = Acknowledged::decode(&bytes).unwrap_or_default();
        !changes.apply(&mut all) || host::store(key, &all.encode(), expect)
    })
}

/// Reads the cluster of a service that Envoy has taken last from the responses of an address.
pub(super) fn read_cluster(address: &str, service: &str) -> Option<String> {
    let (bytes, _) = host::load(&Acknowledged::cluster_key(address, service))?;
    String::from_utf8(bytes).ok()
}

/// Keeps the cluster of a service that Envoy has taken, for a configuration whose own cluster is
/// rejected. If another VM was faster, its cluster is as good.
pub(super) fn keep_cluster(address: &str, service: &str, cluster: &str) {
    let key = Acknowledged::cluster_key(address, service);
    let value = host::load(&key);
    let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
    if value.is_none_or(|(bytes, _)| bytes != cluster.as_bytes()) {
        host::store(&key, cluster.as_bytes(), expect);
    }
}
