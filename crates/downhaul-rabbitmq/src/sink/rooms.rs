//! [`Rooms`]: places in the window that are free again.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Which part of the window is given back at once.
const PART: usize = 16;

/// Places that are free again and not given back yet. Whoever waits for room is woken by each that
/// is given back, so that one at a time would cost a wake for every publish.
#[derive(Debug)]
pub(super) struct Rooms {
    window: Arc<Semaphore>,
    free: usize,
    least: usize,
}

impl Rooms {
    /// Of a window, all of which is free yet.
    pub(super) fn of(window: Arc<Semaphore>) -> Self {
        let least = window.available_permits().div_ceil(PART);
        Self { window, free: 0, least }
    }

    /// Takes one back that was taken for ever.
    pub(super) fn add_one(&mut self) {
        self.free += 1;
    }

    /// Whether some are kept for others to be added to them. The others may never come.
    pub(super) fn keeps_some(&self) -> bool {
        self.free > 0
    }

    /// Gives them back if they are many, or if there are no others under way that could be added
    /// to them.
    pub(super) fn give_back(&mut self, others: bool) {
        if self.free > 0 && (!others || self.free >= self.least) {
            self.window.add_permits(std::mem::take(&mut self.free));
        }
    }

    /// Nobody gets room any more, and whoever waits for it hears of that.
    pub(super) fn close(&self) {
        self.window.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(size: usize) -> (Arc<Semaphore>, Rooms) {
        let window = Arc::new(Semaphore::new(size));
        (Arc::clone(&window), Rooms::of(window))
    }

    #[test]
    fn room_is_given_back_by_the_part_of_a_window_and_at_once_if_nothing_is_under_way() {
        let (window, mut rooms) = window(32);
        (0..3).for_each(|_| window.try_acquire().unwrap().forget());
        rooms.add_one();
        rooms.give_back(true);
        assert!(rooms.keeps_some());
        assert_eq!(window.available_permits(), 29, "kept, for another will come");
        rooms.give_back(false);
        assert!(!rooms.keeps_some());
        assert_eq!(window.available_permits(), 30, "no other will come");
        rooms.add_one();
        rooms.add_one();
        rooms.give_back(true);
        assert_eq!(window.available_permits(), 32, "a sixteenth");
    }

    #[test]
    fn a_window_of_one_is_given_back_at_once() {
        let (window, mut rooms) = window(1);
        window.try_acquire().unwrap().forget();
        rooms.add_one();
        rooms.give_back(true);
        assert_eq!(window.available_permits(), 1);
    }
}
