//! What is measured of consumers: what an alert has to know of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use downhaul_consumer::{HeldLane, Link, Snapshot, State};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

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

/// Names of attributes, and their values.
type Labels = Vec<(&'static str, String)>;

/// How much there is of a consumer, by attributes.
type Look = fn(&Snapshot) -> Vec<(Labels, i64)>;

/// A count of something of all consumers.
struct Count {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    look: Look,
}

/// A state is a sum of ones and zeros, as the conventions have it elsewhere: then those of many
/// instances can be added.
const COUNTS: [Count; 6] = [
    Count {
        name: "downhaul.consumer.state",
        unit: "{consumer}",
        about: "Number of consumers in each state",
        look: |seen| {
            words(
                "downhaul.consumer.state",
                STATES.map(|state| (state, state == seen.status.state)),
            )
        },
    },
    Count {
        name: "downhaul.consumer.link",
        unit: "{consumer}",
        about: "Number of consumers by how things stand with the broker",
        look: |seen| {
            let link = match seen.status.link {
                Link::Up => "up",
                Link::Recovering { .. } => "recovering",
                _ => "closed",
            };
            words(
                "downhaul.consumer.link",
                ["up", "recovering", "closed"].map(|word| (word, word == link)),
            )
        },
    },
    Count {
        name: "downhaul.consumer.held_up",
        unit: "{consumer}",
        about: "Number of consumers whose messages wait for something besides their handlers",
        look: |seen| {
            let suspended = seen.status.suspended_until.is_some();
            words(
                "downhaul.consumer.held_up.by",
                [("kill_switch", suspended), ("elsewhere", !seen.held_up.is_empty())],
            )
        },
    },
    Count {
        name: "downhaul.consumer.messages",
        unit: "{message}",
        about: "Number of messages that a consumer has in hand",
        look: |seen| {
            let in_flight = seen.in_flight.len();
            let all =
                [("in_flight", in_flight), ("buffered", seen.buffered), ("waiting", seen.waiting)];
            words("downhaul.message.state", all.map(|(word, count)| (word, capped(count))))
        },
    },
    Count {
        name: "downhaul.consumer.lanes",
        unit: "{lane}",
        about: "Number of lanes that a consumer has: partitions of topics",
        look: |seen| seen.lanes.iter().map(|lane| (labels(lane), 1)).collect(),
    },
    Count {
        name: "downhaul.consumer.lag",
        unit: "{message}",
        about: "Number of messages of a lane that are not finished, as far as the broker has told",
        look: |seen| {
            let known = seen.lanes.iter().filter_map(|lane| Some((labels(lane), lane.lag?)));
            known.map(|(labels, lag)| (labels, capped(lag))).collect()
        },
    },
];

/// What became of messages. Only grows while the consumer is there.
const OUTCOMES: Count = Count {
    name: "downhaul.consumer.outcomes",
    unit: "{message}",
    about: "Number of messages by what became of them",
    look: |seen| {
        let tally = seen.tally;
        let all = [
            ("processed", tally.acked),
            ("retried", tally.retried),
            ("dead_lettered", tally.dead_lettered),
            ("dropped", tally.dropped),
            ("duplicate", tally.duplicates),
            ("released", tally.released),
            ("lost", tally.lost),
            ("abandoned", tally.abandoned),
        ];
        words("downhaul.message.outcome", all.map(|(word, count)| (word, capped(count))))
    },
};

fn labels(lane: &HeldLane) -> Labels {
    vec![
        ("messaging.destination.name", lane.topic.to_string()),
        ("messaging.destination.partition.id", lane.partition.to_string()),
    ]
}

fn capped(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

impl Apps {
    /// Counts, whenever somebody looks.
    pub(super) fn counted(meter: &Meter) -> Self {
        let apps = Self::default();
        for Count { name, unit, about, look } in COUNTS {
            let looked_at = apps.clone();
            let counter = meter.i64_observable_up_down_counter(name).with_unit(unit);
            counter
                .with_description(about)
                .with_callback(move |seen| {
                    looked_at.observe(look, |count, labels| seen.observe(count, labels));
                })
                .build();
        }
        let (Count { name, unit, about, look }, looked_at) = (OUTCOMES, apps.clone());
        let counter = meter.u64_observable_counter(name).with_unit(unit);
        counter
            .with_description(about)
            .with_callback(move |seen| {
                let count = |count: i64| u64::try_from(count).unwrap_or(0);
                looked_at.observe(look, |sum, labels| seen.observe(count(sum), labels));
            })
            .build();
        apps
    }

    /// Observes each consumer once. Those that share their names, also of several apps, are one:
    /// an instrument keeps the last value that it is told.
    fn observe(&self, look: Look, observe: impl Fn(i64, &[KeyValue])) {
        let mut counts = BTreeMap::new();
        for (app, board) in &*self.lock() {
            for snapshot in board.consumers().iter().map(|consumer| consumer.snapshot()) {
                for (labels, count) in look(&snapshot) {
                    let key = (app.clone(), Arc::clone(&snapshot.name), labels);
                    *counts.entry(key).or_default() += count;
                }
            }
        }
        for ((app, consumer, labels), count) in counts {
            let app = KeyValue::new("downhaul.app.name", app);
            let consumer = KeyValue::new("downhaul.consumer.name", consumer);
            let labels = labels.into_iter().map(|(name, value)| KeyValue::new(name, value));
            observe(count, &[app, consumer].into_iter().chain(labels).collect::<Vec<_>>());
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Boards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words<const N: usize>(
    attribute: &'static str,
    counts: [(impl ToString, impl Into<i64>); N],
) -> Vec<(Labels, i64)> {
    counts.map(|(word, count)| (vec![(attribute, word.to_string())], count.into())).into()
}
