//! [`Held`]: deliveries that are held back, each with those of its key behind it.

use tokio::time::Instant;

use crate::broker::{Delivery, Lane};
use crate::message::Key;

#[derive(Debug, Default)]
pub(super) struct Held {
    groups: Vec<Group>,
}

/// A delivery and all that came of its key since.
#[derive(Debug)]
struct Group {
    due: Instant,
    /// Comes as soon as another delivery has passed.
    overtaken: bool,
    deliveries: Vec<Delivery>,
}

impl Held {
    pub(super) fn hold(&mut self, delivery: Delivery, due: Instant, overtaken: bool) {
        self.groups.push(Group { due, overtaken, deliveries: vec![delivery] });
    }

    /// Puts a delivery behind one of its key that is held back. Gives it back if there is none.
    pub(super) fn behind_its_key(&mut self, delivery: Delivery) -> Option<Delivery> {
        let is_its = |group: &&mut Group| {
            let first = group.deliveries.first();
            first.is_some_and(|first| {
                first.message.own_key().is_some()
                    && first.message.own_key() == delivery.message.own_key()
            })
        };
        match self.groups.iter_mut().find(is_its) {
            Some(group) => group.deliveries.push(delivery),
            None => return Some(delivery),
        }
        None
    }

    /// Notes that another delivery has passed those that wait for that.
    pub(super) fn overtake(&mut self, now: Instant) {
        for group in self.groups.iter_mut().filter(|group| group.overtaken) {
            group.due = now;
        }
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Delivery> {
        self.take_out(|group| group.due <= now)
    }

    /// Takes out what is of these lanes.
    pub(super) fn of_lanes(&mut self, lanes: &[Lane]) -> Vec<Delivery> {
        self.take_out(|group| group.deliveries.iter().any(|one| lanes.contains(&one.lane)))
    }

    /// Takes out what stands behind this key.
    pub(super) fn of_key(&mut self, key: &Key) -> Vec<Delivery> {
        self.take_out(|group| group.deliveries.iter().any(|one| one.message.own_key() == Some(key)))
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.groups.iter().map(|group| group.due).min()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.deliveries).map(|one| one.message.id())
    }

    fn take_out(&mut self, leaves: impl Fn(&Group) -> bool) -> Vec<Delivery> {
        let left = self.groups.extract_if(.., |group| leaves(group));
        left.flat_map(|group| group.deliveries).collect()
    }
}
