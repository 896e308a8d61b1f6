//! [`Rooms`]: places in the window that are free again.

use tokio::sync::OwnedSemaphorePermit;

/// Which part of the window is given back at once.
const PART: usize = 16;

/// Places that are free again and not given back yet. Whoever waits for room is woken by each that
/// is given back, so that one at a time would cost a wake for every publish.
#[derive(Debug)]
pub(super) struct Rooms {
    free: Option<OwnedSemaphorePermit>,
    least: usize,
}

impl Rooms {
    /// None yet, in a window of this size.
    pub(super) fn of(window: usize) -> Self {
        Self { free: None, least: window.div_ceil(PART) }
    }

    pub(super) fn add(&mut self, room: OwnedSemaphorePermit) {
        match &mut self.free {
            Some(free) => free.merge(room),
            None => self.free = Some(room),
        }
    }

    /// Gives them back if they are many, or if there are no others under way that could be added
    /// to them.
    pub(super) fn give_back(&mut self, others: bool) {
        if !others || self.free.as_ref().is_some_and(|free| free.num_permits() >= self.least) {
            self.free = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn room_is_given_back_by_the_part_of_a_window_and_at_once_if_nothing_is_under_way() {
        let window = Arc::new(Semaphore::new(32));
        let room = || Arc::clone(&window).try_acquire_owned().unwrap();
        let mut rooms = Rooms::of(32);
        rooms.add(room());
        rooms.give_back(true);
        assert_eq!(window.available_permits(), 31, "kept, for another will come");
        rooms.give_back(false);
        assert_eq!(window.available_permits(), 32, "no other will come");
        rooms.add(room());
        rooms.add(room());
        rooms.give_back(true);
        assert_eq!(window.available_permits(), 32, "a sixteenth");
    }

    #[test]
    fn a_window_of_one_is_given_back_at_once() {
        let window = Arc::new(Semaphore::new(1));
        let mut rooms = Rooms::of(1);
        rooms.add(Arc::clone(&window).try_acquire_owned().unwrap());
        rooms.give_back(true);
        assert_eq!(window.available_permits(), 1);
    }
}
