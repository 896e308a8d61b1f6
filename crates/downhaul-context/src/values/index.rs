//! [`Index`]: a hash table from types to the links that bind them nearest.

use std::any::TypeId;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::values::link::Link;

/// A hash table from types to the links that bind them nearest. A type whose place is taken is in
/// the next that is free.
pub(super) struct Index {
    places: Box<[Option<Entry>]>,
    is_apart: bool,
}

#[derive(Clone)]
struct Entry {
    bound: TypeId,
    link: Arc<Link>,
}

impl Index {
    /// Of `links`, nearest first.
    pub(super) fn of<'a>(links: impl Iterator<Item = &'a Arc<Link>>) -> Self {
        let mut nearest: Vec<Entry> = Vec::new();
        for link in links {
            for &bound in link.types {
                if nearest.iter().all(|entry| entry.bound != bound) {
                    nearest.push(Entry { bound, link: Arc::clone(link) });
                }
            }
        }
        // One of these is mostly wide enough for each type to have its own place.
        let least = (nearest.len() * 8).next_power_of_two();
        let mut index = Self::with(&nearest, least);
        for places in [least * 2, least * 4] {
            if !index.is_apart {
                index = Self::with(&nearest, places);
            }
        }
        index
    }

    fn with(entries: &[Entry], places: usize) -> Self {
        let mut index = Self { places: vec![None; places].into(), is_apart: true };
        for entry in entries {
            let place = index.place_of(&entry.bound);
            index.is_apart &= place == index.own_place_of(&entry.bound);
            index.places[place] = Some(entry.clone());
        }
        index
    }

    /// What is in the own place of the type. If nothing is, nothing binds the type.
    #[inline]
    pub(super) fn guess(&self, wanted: &TypeId) -> Option<(&TypeId, &Link)> {
        let Entry { bound, link } = self.places.get(self.own_place_of(wanted))?.as_ref()?;
        Some((bound, link))
    }

    /// Whether each type is in its own place.
    #[inline]
    pub(super) fn is_apart(&self) -> bool {
        self.is_apart
    }

    /// The link that binds the type nearest.
    pub(super) fn find(&self, wanted: &TypeId) -> Option<&Link> {
        Some(&self.places[self.place_of(wanted)].as_ref()?.link)
    }

    /// Where the type is or would be.
    fn place_of(&self, wanted: &TypeId) -> usize {
        let mut place = self.own_place_of(wanted);
        while self.places[place].as_ref().is_some_and(|entry| entry.bound != *wanted) {
            place = self.place(place + 1);
        }
        place
    }

    #[inline]
    fn own_place_of(&self, wanted: &TypeId) -> usize {
        self.place(hash(wanted))
    }

    /// There are as many places as a power of two.
    #[inline]
    fn place(&self, number: usize) -> usize {
        number & self.places.len().wrapping_sub(1)
    }
}

/// The id of a type is a hash already, which it gives to its hasher as one number.
#[inline]
fn hash(id: &TypeId) -> usize {
    let mut hasher = PassThrough(0);
    id.hash(&mut hasher);
    hasher.finish() as usize
}

struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
