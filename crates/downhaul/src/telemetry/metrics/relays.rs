//! What is measured of relays and their outboxes.

use std::collections::BTreeMap;

use downhaul_consumer::outbox::RelaySnapshot;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::consumers::Apps;

/// The names of an app and of the component that is a relay, and the value of an attribute.
type Key = (String, String, &'static str);

/// How much there is of each, by the value of an attribute; nothing where it is not known.
type Look<T> = fn(&RelaySnapshot) -> Vec<(&'static str, T)>;

/// Counts, whenever somebody looks.
pub(super) fn count(apps: &Apps, meter: &Meter) {
    count_messages(apps.clone(), meter);
    count_attempts(apps.clone(), meter);
    count_held_up(apps.clone(), meter);
    tell_the_oldest(apps.clone(), meter);
}

fn count_messages(apps: Apps, meter: &Meter) {
    let look: Look<i64> = |seen| {
        let Some(all) = seen.backlog else { return Vec::new() };
        let states = [("pending", all.pending), ("in_flight", all.in_flight), ("dead", all.dead)];
        states.map(|(state, count)| (state, i64::try_from(count).unwrap_or(i64::MAX))).into()
    };
    let counter = meter.i64_observable_up_down_counter("downhaul.outbox.messages");
    counter
        .with_unit("{message}")
        .with_description("Number of messages in the outbox of a relay, whoever has them in hand")
        .with_callback(move |seen| {
            for (key, count) in apps.relays(look, i64::saturating_add) {
                seen.observe(count, &attributes(key, "downhaul.message.state"));
            }
        })
        .build();
}

fn count_attempts(apps: Apps, meter: &Meter) {
    let look: Look<u64> = |seen| vec![("published", seen.published), ("failed", seen.failed)];
    let counter = meter.u64_observable_counter("downhaul.relay.attempts");
    counter
        .with_unit("{attempt}")
        .with_description("Number of attempts of a relay to publish a message")
        .with_callback(move |seen| {
            for (key, count) in apps.relays(look, u64::saturating_add) {
                seen.observe(count, &attributes(key, "downhaul.outcome"));
            }
        })
        .build();
}

fn count_held_up(apps: Apps, meter: &Meter) {
    let look: Look<i64> = |seen| {
        let (outbox, broker) = (seen.store_fault.is_some(), seen.stall.is_some());
        vec![("outbox", outbox.into()), ("broker", broker.into())]
    };
    let counter = meter.i64_observable_up_down_counter("downhaul.relay.held_up");
    counter
        .with_unit("{relay}")
        .with_description("Number of relays that get nothing from their outbox, or nothing through")
        .with_callback(move |seen| {
            for (key, count) in apps.relays(look, i64::saturating_add) {
                seen.observe(count, &attributes(key, "downhaul.relay.held_up.by"));
            }
        })
        .build();
}

fn tell_the_oldest(apps: Apps, meter: &Meter) {
    let look: Look<f64> = |seen| {
        let oldest = seen.backlog.map(|backlog| backlog.oldest.unwrap_or_default());
        oldest.map(|age| ("", age.as_secs_f64())).into_iter().collect()
    };
    let gauge = meter.f64_observable_gauge("downhaul.outbox.oldest.age");
    gauge
        .with_unit("s")
        .with_description("Age of the oldest message in the outbox of a relay that is not dead")
        .with_callback(move |seen| {
            for (key, age) in apps.relays(look, f64::max) {
                let [app, relay, _] = attributes(key, "");
                seen.observe(age, &[app, relay]);
            }
        })
        .build();
}

fn attributes((app, relay, word): Key, attribute: &'static str) -> [KeyValue; 3] {
    let app = KeyValue::new("downhaul.app.name", app);
    [app, KeyValue::new("downhaul.component.name", relay), KeyValue::new(attribute, word)]
}

impl Apps {
    /// Looks at each relay once. Those that share their names, also of several apps, are one: an
    /// instrument keeps the last value that it is told.
    fn relays<T: Copy>(&self, look: Look<T>, join: fn(T, T) -> T) -> BTreeMap<Key, T> {
        let mut all = BTreeMap::new();
        for (app, board) in &*self.lock() {
            for (name, relay) in board.relays() {
                for (word, value) in look(&relay.snapshot()) {
                    let key = (app.clone(), name.clone(), word);
                    let joined = all.get(&key).map_or(value, |other| join(*other, value));
                    all.insert(key, joined);
                }
            }
        }
        all
    }
}
