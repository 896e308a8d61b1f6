//! [`Actor`]: one thread.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Canceller, Context, Level, Reason, Registration};

use super::random::Random;
use super::seat::Seat;
use super::stage::Stage;
use super::waiter::Waiter;
use super::{HOUR, STEPS};

pub(super) struct Actor<'a> {
    stage: &'a Stage,
    random: Random,
    waiters: Vec<Waiter>,
    registrations: Vec<Registration>,
}

impl<'a> Actor<'a> {
    pub(super) fn new(stage: &'a Stage, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { stage, random, waiters: Vec::new(), registrations: Vec::new() }
    }

    /// Ends the whole tree before the step `ends_at`, and returns who waits still.
    pub(super) fn play(mut self, ends_at: Option<usize>) -> Vec<Waiter> {
        for step in 0..STEPS {
            if Some(step) == ends_at {
                self.stage.end();
            }
            self.step();
        }
        self.waiters
    }

    fn step(&mut self) {
        let seat = self.stage.seat(&mut self.random);
        match (self.random.below(16), seat) {
            (0..4, seat) => self.derive(seat.as_deref()),
            (4..6, Some(seat)) => self.wait(&seat.ctx, Level::Done),
            (6, Some(seat)) => self.wait(&seat.ctx, Level::Draining),
            (7, Some(seat)) => self.register(&seat.ctx),
            (8, Some(seat)) => self.cancel(&seat),
            (9, Some(seat)) => drain(&seat),
            (10, _) => self.stage.replace(&mut self.random, None),
            (11, _) => drop(pick(&mut self.random, &mut self.waiters)),
            (12, _) => drop(pick(&mut self.random, &mut self.registrations)),
            (13, _) => self.waiters.iter_mut().for_each(Waiter::turn),
            (_, Some(seat)) => seat.look(),
            (_, None) => {}
        }
    }

    /// Below `above` or, often enough to have a tree that lives, below the root.
    fn derive(&mut self, above: Option<&Seat>) {
        let above = above.filter(|_| self.random.below(3) > 0);
        let parent = above.map_or(&self.stage.root, |seat| &seat.ctx).clone();
        let ((ctx, canceller), mut parents) = self.child(parent);
        // Half of the parents are held here, and checked. The others go while they have children.
        if self.random.below(2) == 0 {
            parents.clear();
        }
        let canceller = if self.random.below(4) == 0 {
            canceller.disarm();
            None
        } else {
            Some(canceller)
        };
        let ctx = ctx.with_value(self.stage.counted());
        let seat = Seat::new(ctx, canceller, parents);
        self.stage.replace(&mut self.random, Some(Arc::new(seat)));
    }

    /// A child in one of all ways, and whom it must not be behind.
    fn child(&mut self, parent: Context) -> ((Context, Canceller), Vec<Context>) {
        let other = self.stage.seat(&mut self.random);
        let other = other.map_or_else(|| parent.clone(), |seat| seat.ctx.clone());
        match self.random.below(9) {
            0 => (parent.with_timeout(HOUR), vec![parent]),
            1 => (parent.with_timeout(Duration::ZERO), vec![parent]),
            2 => (parent.derive().label("leaf").observed().build(), vec![parent]),
            3 => (parent.merged(&other), vec![parent, other]),
            4 => (parent.shielded(HOUR), Vec::new()),
            5 => (parent.detached().child(), Vec::new()),
            _ => (parent.child(), vec![parent]),
        }
    }

    fn wait(&mut self, ctx: &Context, level: Level) {
        self.waiters.push(Waiter::new(ctx.clone(), level, self.stage.counted()));
    }

    fn register(&mut self, ctx: &Context) {
        let counted = self.stage.counted();
        self.registrations.push(ctx.on_done(move |_| drop(counted)));
    }

    fn cancel(&self, seat: &Seat) {
        let error = self.stage.counted();
        if let Some(canceller) = &seat.canceller {
            canceller.cancel_with(Reason::component_failed("stress", error));
        }
    }
}

fn drain(seat: &Seat) {
    if let Some(canceller) = &seat.canceller {
        canceller.drain(HOUR);
    }
}

fn pick<T>(random: &mut Random, from: &mut Vec<T>) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(random.below(from.len())))
}
