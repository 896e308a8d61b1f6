//! [`Stage`]: the tree, and what the threads share of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use downhaul_context::{Canceller, Context};

use super::counted::Counted;
use super::random::Random;
use super::seat::Seat;
use super::{HOUR, SEATS};

pub(super) struct Stage {
    pub(super) root: Context,
    canceller: Canceller,
    seats: Vec<Mutex<Option<Arc<Seat>>>>,
    live: Arc<AtomicUsize>,
}

impl Stage {
    pub(super) fn new(observed: bool) -> Self {
        let root = Context::background();
        let (root, canceller) =
            if observed { root.derive().observed().build() } else { root.child() };
        let seats = (0..SEATS).map(|_| Mutex::default()).collect();
        Self { root, canceller, seats, live: Arc::default() }
    }

    pub(super) fn counted(&self) -> Counted {
        Counted::new(&self.live)
    }

    pub(super) fn seat(&self, random: &mut Random) -> Option<Arc<Seat>> {
        self.seats[random.below(SEATS)].lock().unwrap().clone()
    }

    pub(super) fn replace(&self, random: &mut Random, seat: Option<Arc<Seat>>) {
        let place = &self.seats[random.below(SEATS)];
        let left = std::mem::replace(&mut *place.lock().unwrap(), seat);
        // Outside of the lock, because a branch may go with it.
        drop(left);
    }

    pub(super) fn end(&self) {
        self.canceller.drain(HOUR);
        self.canceller.cancel();
    }

    pub(super) fn look_in_the_quiet(&self) {
        let seats = self.seats.iter().filter_map(|seat| seat.lock().unwrap().clone());
        seats.for_each(|seat| seat.look_in_the_quiet());
    }

    /// Lets go of everything, after which nothing is left.
    pub(super) fn strike(self) {
        drop(self.seats);
        assert_eq!(self.root.snapshot().entries().len(), 1, "nodes are left below the root");
        drop((self.root, self.canceller));
        let left = self.live.load(Ordering::SeqCst);
        assert_eq!(left, 0, "values, wakers, callbacks or causes are left");
    }
}
