//! Which of many moments come next: a hierarchical timing wheel that knows no clock.
//!
//! # Invariants
//!
//! 1. Every waiting entry is in one list: that of a slot, `MOVING` or `RIPE`. One that has fired is
//!    in none, and keeps its key until it is removed.
//! 2. An entry in a slot of level `n` agrees with `elapsed` in all digits to base 64 above the
//!    `n`th, and its own `n`th digit, which is the slot's number, is larger. So nothing in a lower
//!    level or slot is due later than anything in a higher one.
//! 3. No entry in a slot is due before the slot's `earliest`, which is in the slot itself. Removing
//!    an entry does not raise it.
//! 4. `elapsed` never falls, and nothing in a slot is due at or before it.

use std::array;

use slab::Slab;

/// Names an entry until it is removed.
pub(super) type Key = u32;

/// 64 slots each; 11 digits of 6 bits hold any `u64`.
const LEVELS: usize = 11;
const DIGIT: usize = 6;
const SLOTS: usize = 1 << DIGIT;

/// What was taken out of a slot that time has come into, and is still to be placed anew.
const MOVING: usize = LEVELS * SLOTS;
/// What is due.
const RIPE: usize = MOVING + 1;
const LISTS: usize = RIPE + 1;

/// Tells the number of a list from an entry's key.
const LIST: Key = 1 << 31;

/// How many entries are touched in one go, which is how long others may have to wait for the wheel.
const BATCH: usize = if cfg!(test) { 3 } else { 128 };

/// Moments are numbers; what they count is the caller's business.
pub(super) struct Wheel<T> {
    elapsed: u64,
    /// By level: a bit for each slot that is not empty.
    occupied: [u64; LEVELS],
    lists: [List; LISTS],
    entries: Slab<Entry<T>>,
}

struct List {
    links: Links,
    earliest: u64,
}

struct Entry<T> {
    links: Links,
    due: u64,
    /// None once it has fired.
    what: Option<T>,
}

/// A list is a ring through its `List`, so that neither end is a special case.
#[derive(Clone, Copy)]
struct Links {
    previous: Key,
    next: Key,
}

impl<T> Wheel<T> {
    pub(super) fn new(elapsed: u64) -> Self {
        let empty = |list| List { links: Links::of_empty(list), earliest: 0 };
        Self { elapsed, occupied: [0; LEVELS], lists: array::from_fn(empty), entries: Slab::new() }
    }

    /// How far time has come.
    pub(super) fn elapsed(&self) -> u64 {
        self.elapsed
    }

    /// # Errors
    ///
    /// Gives `what` back if `due` has come already.
    pub(super) fn insert(&mut self, due: u64, what: T) -> Result<Key, T> {
        if due <= self.elapsed {
            return Err(what);
        }
        let list = self.list_for(due);
        let (links, what) = (Links::of_empty(list), Some(what));
        let key = self.entries.insert(Entry { links, due, what }) as Key;
        assert!(key < LIST, "no memory holds this many timers");
        self.append(list, key, due);
        Ok(key)
    }

    /// Returns the moment it was inserted for, and what was inserted unless that has fired.
    pub(super) fn remove(&mut self, key: Key) -> (u64, Option<T>) {
        let entry = self.entries.remove(key as usize);
        if entry.what.is_some() {
            self.unlink(entry.links);
        }
        (entry.due, entry.what)
    }

    /// What waits for `due` by this key; None if it waits for another moment or has fired.
    pub(super) fn waiting(&mut self, key: Key, due: u64) -> Option<&mut T> {
        let entry = &mut self.entries[key as usize];
        entry.what.as_mut().filter(|_| entry.due == due)
    }

    /// A moment before which nothing is due: the very next one, unless that was removed. Ask when
    /// `expire` has nothing left to do.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.first().map(|list| self.lists[list].earliest)
    }

    /// Makes `next_due` exact, by looking at all that share its slot.
    pub(super) fn tighten(&mut self) {
        let Some(list) = self.first() else { return };
        let mut earliest = u64::MAX;
        let mut at = self.lists[list].links.next;
        while at & LIST == 0 {
            let entry = &self.entries[at as usize];
            earliest = earliest.min(entry.due);
            at = entry.links.next;
        }
        self.lists[list].earliest = earliest;
    }

    /// Moves time on to `now` and takes out what is due: the earliest first, of equals the one that
    /// came first. Returns whether there is more to do: call it again then, at your leisure.
    pub(super) fn expire(&mut self, now: u64, due: &mut Vec<T>) -> bool {
        for _ in 0..BATCH {
            if let Some(key) = self.pop(MOVING) {
                self.place(key);
            } else if let Some(key) = self.pop(RIPE) {
                due.extend(self.entries[key as usize].what.take());
            } else if !self.enter_next_slot(now) {
                self.elapsed = self.elapsed.max(now);
                return false;
            }
        }
        true
    }

    /// Moves time into the next slot, if that begins by `now`, and empties it.
    fn enter_next_slot(&mut self, now: u64) -> bool {
        let Some(slot) = self.first() else { return false };
        let earliest = self.lists[slot].earliest;
        if first_of_slot(slot, earliest) > now {
            return false;
        }
        // Invariants 3 and 4: nothing was due before, and what is left over will be placed below.
        self.elapsed = earliest.min(now);
        self.move_all(slot);
        true
    }

    fn place(&mut self, key: Key) {
        let due = self.entries[key as usize].due;
        let list = if due <= self.elapsed { RIPE } else { self.list_for(due) };
        self.append(list, key, due);
    }

    /// Invariant 2, for what is due after `elapsed`.
    fn list_for(&self, due: u64) -> usize {
        let level = (due ^ self.elapsed).ilog2() as usize / DIGIT;
        level * SLOTS + (due >> (level * DIGIT)) as usize % SLOTS
    }

    /// The slot in which the next due entry is.
    fn first(&self) -> Option<usize> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some(level * SLOTS + self.occupied[level].trailing_zeros() as usize)
    }

    fn append(&mut self, list: usize, key: Key, due: u64) {
        let header = list as Key | LIST;
        let was_empty = self.is_empty(list);
        let List { links, earliest } = &mut self.lists[list];
        *earliest = if was_empty { due } else { due.min(*earliest) };
        let last = links.previous;
        links.previous = key;
        self.links(last).next = key;
        self.entries[key as usize].links = Links { previous: last, next: header };
        if let Some(slots) = self.occupied.get_mut(list / SLOTS) {
            *slots |= 1 << (list % SLOTS);
        }
    }

    fn unlink(&mut self, Links { previous, next }: Links) {
        self.links(previous).next = next;
        self.links(next).previous = previous;
        if previous == next && next & LIST != 0 {
            self.mark_empty((next ^ LIST) as usize);
        }
    }

    fn pop(&mut self, list: usize) -> Option<Key> {
        let key = self.lists[list].links.next;
        let entry = self.entries.get(key as usize).filter(|_| key & LIST == 0)?;
        self.unlink(entry.links);
        Some(key)
    }

    /// To the list `MOVING`, which is empty.
    fn move_all(&mut self, slot: usize) {
        let Links { previous: last, next: first } = self.lists[slot].links;
        self.lists[MOVING].links = Links { previous: last, next: first };
        self.links(last).next = MOVING as Key | LIST;
        self.links(first).previous = MOVING as Key | LIST;
        self.lists[slot].links = Links::of_empty(slot);
        self.mark_empty(slot);
    }

    fn mark_empty(&mut self, list: usize) {
        if let Some(slots) = self.occupied.get_mut(list / SLOTS) {
            *slots &= !(1 << (list % SLOTS));
        }
    }

    fn is_empty(&self, list: usize) -> bool {
        self.lists[list].links.next & LIST != 0
    }

    fn links(&mut self, at: Key) -> &mut Links {
        match at & LIST {
            0 => &mut self.entries[at as usize].links,
            _ => &mut self.lists[(at ^ LIST) as usize].links,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Links {
    fn of_empty(list: usize) -> Self {
        let header = list as Key | LIST;
        Self { previous: header, next: header }
    }
}

/// The first moment of the slot that `moment` is in.
fn first_of_slot(slot: usize, moment: u64) -> u64 {
    let bits = slot / SLOTS * DIGIT;
    moment >> bits << bits
}
