//! All endpoints of one service at one moment.

use crate::model::endpoint::Endpoint;

/// All endpoints of one service at one moment: sorted by address, no address twice.
///
/// Two answers of Consul that mean the same are equal here, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    endpoints: Vec<Endpoint>,
}

impl Snapshot {
    /// Sorts the endpoints; of those that share an address the heaviest stays.
    pub fn new(mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.sort_unstable_by_key(|e| (e.address, core::cmp::Reverse(e.weight)));
        endpoints.dedup_by_key(|e| e.address);
        Self { endpoints }
    }

    /// The endpoints, sorted by address.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// What has changed since `earlier`.
    pub fn since(&self, earlier: &Self) -> Change {
        let (mut old, mut new) =
            (earlier.endpoints.iter().peekable(), self.endpoints.iter().peekable());
        let mut change = Change::default();
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => return change,
                (Some(a), Some(b)) if a.address == b.address => {
                    change.reweighted += usize::from(a.weight != b.weight);
                    old.next();
                    new.next();
                }
                (Some(a), Some(b)) if a.address < b.address => {
                    change.removed += 1;
                    old.next();
                }
                (Some(_), None) => {
                    change.removed += 1;
                    old.next();
                }
                (_, Some(_)) => {
                    change.added += 1;
                    new.next();
                }
            }
        }
    }
}

/// How two snapshots of one service differ, in endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// In the later one only.
    pub added: usize,
    /// In the earlier one only.
    pub removed: usize,
    /// In both, with another weight.
    pub reweighted: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn endpoint(port: u16, weight: u16) -> Endpoint {
        let address = format!("10.0.0.1:{port}").parse().unwrap();
        Endpoint { address, weight: NonZeroU16::new(weight).unwrap() }
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        let one = Snapshot::new(vec![endpoint(2, 1), endpoint(1, 1), endpoint(2, 9)]);
        let two = Snapshot::new(vec![endpoint(2, 9), endpoint(2, 1), endpoint(1, 1)]);
        assert_eq!(one, two);
        assert_eq!(one.endpoints(), [endpoint(1, 1), endpoint(2, 9)]);
    }

    #[test]
    fn a_change_counts_what_came_what_went_and_what_weighs_differently() {
        let old = Snapshot::new(vec![endpoint(1, 1), endpoint(2, 1), endpoint(3, 1)]);
        let new =
            Snapshot::new(vec![endpoint(2, 5), endpoint(3, 1), endpoint(4, 1), endpoint(5, 1)]);
        assert_eq!(new.since(&old), Change { added: 2, removed: 1, reweighted: 1 });
        assert_eq!(old.since(&Snapshot::default()), Change { added: 3, removed: 0, reweighted: 0 });
        assert_eq!(old.since(&old), Change::default());
    }
}
