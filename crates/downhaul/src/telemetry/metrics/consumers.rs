//! What is measured of consumers: what an alert has to know of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use downhaul_consumer::{Link, Snapshot, State};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::Instruments;
use crate::board::Board;

const STATES: [State; 7] = [
    State::Starting,
    State::Running,
    State::Paused,
    State::Draining,
    State::Closing,
    State::Stopped,
    State::Failed,
];

/// Names and boards of apps.
type Boards = Vec<(String, Arc<Board>)>;

/// The apps of the process that run.
#[derive(Clone, Default)]
pub(super) struct Apps(Arc<Mutex<Boards>>);

/// Has the consumers and relays of an app counted until it is dropped. The app drops it, so that
/// nobody who only looks is ever the last to hold its components.
#[must_use = "dropping it ends the counting"]
pub(crate) struct Counted {
    apps: Apps,
    board: Arc<Board>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.apps.lock().retain(|(_, board)| !Arc::ptr_eq(board, &self.board));
    }
}

impl Instruments {
    /// Counts the consumers and relays of an app, too, while what is returned lives.
    pub(crate) fn count_parts(&self, app: &str, board: &Arc<Board>) -> Counted {
        self.apps.lock().push((app.to_owned(), Arc::clone(board)));
        Counted { apps: self.apps.clone(), board: Arc::clone(board) }
    }
}

/// How much there is of a consumer, by the value of an attribute.
type Look = fn(&Snapshot) -> Vec<(String, i64)>;

/// A count of something of all consumers.
struct Count {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    attribute: &'static str,
    look: Look,
}

/// A state is a sum of ones and zeros, as the conventions have it elsewhere: then those of many
/// instances can be added.
const COUNTS: [Count; 4] = [
    Count {
        name: "downhaul.consumer.state",
        unit: "{consumer}",
        about: "Number of consumers in each state",
        attribute: "downhaul.consumer.state",
        look: |seen| words(STATES.map(|state| (state, state == seen.status.state))),
    },
    Count {
        name: "downhaul.consumer.link",
        unit: "{consumer}",
        about: "Number of consumers by how things stand with the broker",
        attribute: "downhaul.consumer.link",
        look: |seen| {
            let link = match seen.status.link {
                Link::Up => "up",
                Link::Recovering { .. } => "recovering",
                _ => "closed",
            };
            words(["up", "recovering", "closed"].map(|word| (word, word == link)))
        },
    },
    Count {
        name: "downhaul.consumer.held_up",
        unit: "{consumer}",
        about: "Number of consumers whose messages wait for something besides their handlers",
        attribute: "downhaul.consumer.held_up.by",
        look: |seen| {
            let suspended = seen.status.suspended_until.is_some();
            words([("kill_switch", suspended), ("elsewhere", !seen.held_up.is_empty())])
        },
    },
    Count {
        name: "downhaul.consumer.messages",
        unit: "{message}",
        about: "Number of messages that a consumer has in hand",
        attribute: "downhaul.message.state",
        look: |seen| {
            let in_flight = seen.in_flight.len();
            let all =
                [("in_flight", in_flight), ("buffered", seen.buffered), ("waiting", seen.waiting)];
            words(all.map(|(word, count)| (word, i64::try_from(count).unwrap_or(i64::MAX))))
        },
    },
];

impl Apps {
    /// Counts, whenever somebody looks.
    pub(super) fn counted(meter: &Meter) -> Self {
        let apps = Self::default();
        for Count { name, unit, about, attribute, look } in COUNTS {
            let looked_at = apps.clone();
            let counter = meter.i64_observable_up_down_counter(name).with_unit(unit);
            counter
                .with_description(about)
                .with_callback(move |seen| looked_at.observe(attribute, look, seen))
                .build();
        }
        apps
    }

    /// Observes each consumer once. Those that share their names, also of several apps, are one:
    /// an instrument keeps the last value that it is told.
    fn observe(&self, attribute: &'static str, look: Look, seen: &dyn AsyncInstrument<i64>) {
        let mut counts = BTreeMap::new();
        for (app, board) in &*self.lock() {
            for snapshot in board.consumers().iter().map(|consumer| consumer.snapshot()) {
                for (word, count) in look(&snapshot) {
                    let key = (app.clone(), Arc::clone(&snapshot.name), word);
                    *counts.entry(key).or_default() += count;
                }
            }
        }
        for ((app, consumer, word), count) in counts {
            let app = KeyValue::new("downhaul.app.name", app);
            let consumer = KeyValue::new("downhaul.consumer.name", consumer);
            seen.observe(count, &[app, consumer, KeyValue::new(attribute, word)]);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Boards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words<const N: usize>(counts: [(impl ToString, impl Into<i64>); N]) -> Vec<(String, i64)> {
    counts.map(|(word, count)| (word.to_string(), count.into())).into()
}
