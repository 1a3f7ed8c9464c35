//! Things that come and go, each by an id that is never given twice.
//!
//! An id is a place in a list and the number of things that had the place before. Whoever
//! holds the id of something that has gone finds nothing, even where something else has
//! taken its place since: a request in flight to a removed service neither counts nor
//! teaches for its successor.

use core::marker::PhantomData;

/// A place, and which of its holders is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    index: u16,
    generation: u32,
}

impl SlotKey {
    /// The first holder of the place of that number: what a new arena gives to the thing that
    /// it takes in after so many others.
    pub const fn nth(index: u16) -> Self {
        Self { index, generation: 0 }
    }

    const fn index(self) -> usize {
        self.index as usize
    }
}

/// Things by their ids. Finding one is an index and a comparison.
#[derive(Debug)]
pub struct SlotMap<I, T> {
    places: Vec<Place<T>>,
    free: Vec<u16>,
    ids: PhantomData<fn() -> I>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    thing: Option<T>,
}

impl<I: From<SlotKey> + Into<SlotKey>, T> SlotMap<I, T> {
    /// The most things at a time.
    pub const MOST: usize = u16::MAX as usize;

    /// Starts empty.
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), ids: PhantomData }
    }

    /// Takes a thing in, made with its id; `None` where there are [`Self::MOST`] already.
    pub fn add(&mut self, make: impl FnOnce(I) -> T) -> Option<I> {
        if let Some(index) = self.free.pop() {
            let place = self.places.get_mut(usize::from(index))?;
            let slot = SlotKey { index, generation: place.generation };
            place.thing = Some(make(slot.into()));
            return Some(slot.into());
        }
        let index = u16::try_from(self.places.len()).ok().filter(|index| *index < u16::MAX)?;
        let slot = SlotKey::nth(index);
        self.places.push(Place { generation: slot.generation, thing: Some(make(slot.into())) });
        Some(slot.into())
    }

    /// Takes a thing out; its id finds nothing from now on.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let slot = id.into();
        let place = self.places.get_mut(slot.index())?;
        if place.generation != slot.generation {
            return None;
        }
        let thing = place.thing.take()?;
        // A place whose numbers are used up is left alone from now on.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot.index);
        }
        Some(thing)
    }

    /// The thing of that id, while it is here.
    pub fn get(&self, id: I) -> Option<&T> {
        let slot = id.into();
        let place = self.places.get(slot.index())?;
        place.thing.as_ref().filter(|_| place.generation == slot.generation)
    }

    /// The thing of that id, while it is here.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let slot = id.into();
        let place = self.places.get_mut(slot.index())?;
        place.thing.as_mut().filter(|_| place.generation == slot.generation)
    }

    /// All things, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.places.iter().zip(0..u16::MAX).filter_map(|(place, index)| {
            let slot = SlotKey { index, generation: place.generation };
            place.thing.as_ref().map(|thing| (slot.into(), thing))
        })
    }

    /// All things, in the order of their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.places.iter_mut().zip(0..u16::MAX).filter_map(|(place, index)| {
            let slot = SlotKey { index, generation: place.generation };
            place.thing.as_mut().map(|thing| (slot.into(), thing))
        })
    }

    /// All things, in the order of their places.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.thing.as_ref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
}

impl<I: From<SlotKey> + Into<SlotKey>, T> Default for SlotMap<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What belongs to things that another arena holds: the same ids, kept apart.
#[derive(Debug)]
pub struct SecondaryMap<I, T>(Vec<Option<(I, T)>>);

impl<I: Copy + PartialEq + Into<SlotKey>, T> SecondaryMap<I, T> {
    /// Starts empty.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps what belongs to a thing. What belonged to an earlier holder of its place is dropped.
    pub fn insert(&mut self, id: I, value: T) {
        let index = id.into().index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = Some((id, value));
        }
    }

    /// What belongs to that thing.
    pub fn get(&self, id: I) -> Option<&T> {
        match self.0.get(id.into().index()) {
            Some(Some((its, value))) if *its == id => Some(value),
            _ => None,
        }
    }

    /// What belongs to that thing.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        match self.0.get_mut(id.into().index()) {
            Some(Some((its, value))) if *its == id => Some(value),
            _ => None,
        }
    }

    /// Takes out what belongs to that thing.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let place = self.0.get_mut(id.into().index())?;
        place.take_if(|(its, _)| *its == id).map(|(_, value)| value)
    }

    /// All that is kept, in the order of the places.
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

    fn arena(things: &[u32]) -> (SlotMap<ServiceId, u32>, Vec<ServiceId>) {
        let mut arena = SlotMap::new();
        let ids = things.iter().filter_map(|thing| arena.add(|_| *thing)).collect();
        (arena, ids)
    }

    #[test]
    fn a_new_arena_gives_places_in_their_order() {
        let (arena, ids) = arena(&[7, 8]);
        assert_eq!(ids, [ServiceId::nth(0), ServiceId::nth(1)]);
        assert_eq!(arena.iter().collect::<Vec<_>>(), [(ids[0], &7), (ids[1], &8)]);
        assert_eq!((arena.len(), arena.is_empty()), (2, false));
    }

    #[test]
    fn an_id_finds_nothing_once_its_thing_has_gone_whoever_took_the_place() {
        let (mut arena, ids) = arena(&[7, 8]);
        assert_eq!((arena.remove(ids[0]), arena.remove(ids[0])), (Some(7), None));
        let successor = arena.add(|_| 9).unwrap();
        assert_ne!(successor, ids[0]);
        assert_eq!(arena.get(ids[0]), None);
        assert_eq!(arena.get_mut(ids[0]), None);
        assert_eq!(arena.remove(ids[0]), None);
        assert_eq!(arena.get(successor), Some(&9));
        assert_eq!(arena.iter().next(), Some((successor, &9)), "the place is used again");
        assert_eq!(arena.len(), 2);
    }

    #[test]
    fn a_thing_is_made_with_its_own_id() {
        let mut arena: SlotMap<ServiceId, ServiceId> = SlotMap::new();
        for _ in 0..3 {
            let id = arena.add(|id| id).unwrap();
            assert_eq!(arena.remove(id), Some(id));
        }
    }

    #[test]
    fn a_full_arena_takes_nothing_in() {
        let (mut arena, ids) = arena(&vec![0; SlotMap::<ServiceId, u32>::MOST]);
        assert_eq!((ids.len(), arena.add(|_| 1)), (SlotMap::<ServiceId, u32>::MOST, None));
        arena.remove(ids[5]);
        assert!(arena.add(|_| 1).is_some());
    }

    #[test]
    fn what_is_kept_beside_goes_by_the_id_too() {
        let (mut arena, ids) = arena(&[7, 8]);
        let mut beside: SecondaryMap<ServiceId, &str> = [(ids[1], "eight")].into_iter().collect();
        assert_eq!((beside.get(ids[0]), beside.get(ids[1])), (None, Some(&"eight")));
        arena.remove(ids[1]);
        let successor = arena.add(|_| 9).unwrap();
        assert_eq!(beside.get(successor), None);
        assert_eq!(beside.remove(successor), None);
        beside.insert(successor, "nine");
        assert_eq!(beside.get(ids[1]), None);
        assert_eq!(beside.get_mut(ids[1]), None);
        assert_eq!(beside.values().collect::<Vec<_>>(), [&"nine"]);
        assert_eq!(beside.remove(successor), Some("nine"));
    }
}
