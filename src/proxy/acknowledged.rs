//! Which services Envoy's own clusters have endpoints of, in shared data.

use crate::discovery::event::Expect;
use crate::proxy::host;
use crate::shared::acknowledged::Acknowledged;

/// Reads which services Envoy has acknowledged; none are, where that cannot be read.
pub(super) fn read() -> Acknowledged {
    let value = host::load(&Acknowledged::key());
    value.and_then(|(bytes, _)| Acknowledged::decode(&bytes).ok()).unwrap_or_default()
}

/// Lets all VMs know that Envoy has acknowledged these; false where others were faster several times.
pub(super) fn add(hashes: &[u64]) -> bool {
    const TRIALS: usize = 4;
    let key = Acknowledged::key();
    (0..TRIALS).any(|_| {
        let value = host::load(&key);
        let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
        let bytes = value.map(|(bytes, _)| bytes).unwrap_or_default();
        let mut all = Acknowledged::decode(&bytes).unwrap_or_default();
        let added = hashes.iter().filter(|hash| all.add(**hash)).count();
        added == 0 || host::store(&key, &all.encode(), expect)
    })
}

/// Reads the cluster of a service that Envoy has taken last.
pub(super) fn read_cluster(hash: u64) -> Option<String> {
    let (bytes, _) = host::load(&Acknowledged::cluster_key(hash))?;
    String::from_utf8(bytes).ok()
}

/// Keeps the cluster of a service that Envoy has taken, for a configuration whose own it rejects. Where
/// another VM was faster, its own is as good.
pub(super) fn keep_cluster(hash: u64, cluster: &str) {
    let key = Acknowledged::cluster_key(hash);
    let value = host::load(&key);
    let expect = value.as_ref().map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(*cas));
    if value.is_none_or(|(bytes, _)| bytes != cluster.as_bytes()) {
        host::store(&key, cluster.as_bytes(), expect);
    }
}
