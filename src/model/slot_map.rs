//! A map whose keys are never reused.
//!
//! A key is a slot of a list and the number of values that had the slot before. The key of a removed
//! value finds nothing, even if another value has taken the slot since: a request in flight to a
//! removed service does not count for the service's successor.

use core::marker::PhantomData;

/// The key of a value: a slot, and the generation of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    index: u16,
    generation: u32,
}

impl SlotKey {
    /// Returns the key that a new map gives to the value at this position.
    pub const fn nth(index: u16) -> Self {
        Self { index, generation: 0 }
    }

    const fn index(self) -> usize {
        self.index as usize
    }
}

/// Values by their keys. A lookup is an index and a comparison.
#[derive(Debug)]
pub struct SlotMap<I, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    ids: PhantomData<fn() -> I>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<I: From<SlotKey> + Into<SlotKey>, T> SlotMap<I, T> {
    /// The most values at a time.
    pub const MOST: usize = u16::MAX as usize;

    /// Creates an empty map.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ids: PhantomData }
    }

    /// Adds a value, which `make` builds with its key. Returns none if there are [`Self::MOST`] values.
    pub fn add(&mut self, make: impl FnOnce(I) -> T) -> Option<I> {
        if let Some(index) = self.free.pop() {
            let slot = self.slots.get_mut(usize::from(index))?;
            let key = SlotKey { index, generation: slot.generation };
            slot.value = Some(make(key.into()));
            return Some(key.into());
        }
        let index = u16::try_from(self.slots.len()).ok().filter(|index| *index < u16::MAX)?;
        let key = SlotKey::nth(index);
        self.slots.push(Slot { generation: key.generation, value: Some(make(key.into())) });
        Some(key.into())
    }

    /// Removes a value. Its key finds nothing from now on.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let key = id.into();
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        // A slot whose generations are used up stays empty.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(key.index);
        }
        Some(value)
    }

    /// Returns the value of the key, unless it is removed.
    pub fn get(&self, id: I) -> Option<&T> {
        let key = id.into();
        let slot = self.slots.get(key.index())?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    /// Returns the value of the key, unless it is removed.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let key = id.into();
        let slot = self.slots.get_mut(key.index())?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Iterates over all values, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.slots.iter().zip(0..u16::MAX).filter_map(|(slot, index)| {
            let key = SlotKey { index, generation: slot.generation };
            slot.value.as_ref().map(|value| (key.into(), value))
        })
    }

    /// Iterates over all values, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.slots.iter_mut().zip(0..u16::MAX).filter_map(|(slot, index)| {
            let key = SlotKey { index, generation: slot.generation };
            slot.value.as_mut().map(|value| (key.into(), value))
        })
    }

    /// Iterates over all values, in the order of their slots.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values().count()
    }

    /// Returns true if there is no value.
    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
}

impl<I: From<SlotKey> + Into<SlotKey>, T> Default for SlotMap<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Further data by the keys of a [`SlotMap`].
#[derive(Debug)]
pub struct SecondaryMap<I, T>(Vec<Option<(I, T)>>);

impl<I: Copy + PartialEq + Into<SlotKey>, T> SecondaryMap<I, T> {
    /// Creates an empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Inserts the data of a key. Data of an earlier generation of the slot is dropped.
    pub fn insert(&mut self, id: I, value: T) {
        let index = id.into().index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.0.get_mut(index) {
            *slot = Some((id, value));
        }
    }

    /// Returns the data of the key.
    pub fn get(&self, id: I) -> Option<&T> {
        match self.0.get(id.into().index()) {
            Some(Some((its, value))) if *its == id => Some(value),
            _ => None,
        }
    }

    /// Returns the data of the key.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        match self.0.get_mut(id.into().index()) {
            Some(Some((its, value))) if *its == id => Some(value),
            _ => None,
        }
    }

    /// Removes the data of the key.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let slot = self.0.get_mut(id.into().index())?;
        slot.take_if(|(its, _)| *its == id).map(|(_, value)| value)
    }

    /// Iterates over all data, in the order of the slots.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().map(|(_, value)| value)
    }
}

impl<I: Copy + PartialEq + Into<SlotKey>, T> Default for SecondaryMap<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Copy + PartialEq + Into<SlotKey>, T> FromIterator<(I, T)> for SecondaryMap<I, T> {
    fn from_iter<A: IntoIterator<Item = (I, T)>>(all: A) -> Self {
        let mut beside = Self::new();
        all.into_iter().for_each(|(id, value)| beside.insert(id, value));
        beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::ServiceId;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn map_of(values: &[u32]) -> (SlotMap<ServiceId, u32>, Vec<ServiceId>) {
        let mut map = SlotMap::new();
        let ids = values.iter().filter_map(|value| map.add(|_| *value)).collect();
        (map, ids)
    }

    #[test]
    fn new_map_gives_slots_in_their_order() {
        let (map, ids) = map_of(&[7, 8]);
        assert_eq!(ids, [ServiceId::nth(0), ServiceId::nth(1)]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(ids[0], &7), (ids[1], &8)]);
        assert_eq!((map.len(), map.is_empty()), (2, false));
    }

    #[test]
    fn key_finds_nothing_when_its_value_is_removed() {
        let (mut map, ids) = map_of(&[7, 8]);
        assert_eq!((map.remove(ids[0]), map.remove(ids[0])), (Some(7), None));
        let successor = map.add(|_| 9).unwrap();
        assert_ne!(successor, ids[0]);
        assert_eq!(map.get(ids[0]), None);
        assert_eq!(map.get_mut(ids[0]), None);
        assert_eq!(map.remove(ids[0]), None);
        assert_eq!(map.get(successor), Some(&9));
        assert_eq!(map.iter().next(), Some((successor, &9)), "the slot is used again");
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn value_is_made_with_its_own_key() {
        let mut map: SlotMap<ServiceId, ServiceId> = SlotMap::new();
        for _ in 0..3 {
            let id = map.add(|id| id).unwrap();
            assert_eq!(map.remove(id), Some(id));
        }
    }

    #[test]
    fn full_map_takes_no_value() {
        let (mut map, ids) = map_of(&vec![0; SlotMap::<ServiceId, u32>::MOST]);
        assert_eq!((ids.len(), map.add(|_| 1)), (SlotMap::<ServiceId, u32>::MOST, None));
        map.remove(ids[5]);
        assert!(map.add(|_| 1).is_some());
    }

    #[test]
    fn secondary_data_goes_by_the_key() {
        let (mut map, ids) = map_of(&[7, 8]);
        let mut beside: SecondaryMap<ServiceId, &str> = [(ids[1], "eight")].into_iter().collect();
        assert_eq!((beside.get(ids[0]), beside.get(ids[1])), (None, Some(&"eight")));
        map.remove(ids[1]);
        let successor = map.add(|_| 9).unwrap();
        assert_eq!(beside.get(successor), None);
        assert_eq!(beside.remove(successor), None);
        beside.insert(successor, "nine");
        assert_eq!(beside.get(ids[1]), None);
        assert_eq!(beside.get_mut(ids[1]), None);
        assert_eq!(beside.values().collect::<Vec<_>>(), [&"nine"]);
        assert_eq!(beside.remove(successor), Some("nine"));
    }
}
