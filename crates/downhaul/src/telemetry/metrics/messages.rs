//! What is measured of messages.

use downhaul_consumer::{Meta, Processed, PublishErrorKind, Published};
use opentelemetry::KeyValue;

use super::Instruments;
use crate::telemetry::messages::{destination, error_type, failure, group};

fn operation(system: &'static str, name: &'static str, destination: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.destination.name", destination.to_owned()),
    ]
}

fn processing(meta: &Meta) -> Vec<KeyValue> {
    let mut attributes = operation(meta.system(), "process", destination(meta));
    if let Some(group) = group(meta) {
        attributes.push(KeyValue::new("messaging.consumer.group.name", group.to_owned()));
    }
    attributes
}

impl Instruments {
    /// Counts a message once a delivery: an attempt that follows another in hand is none.
    pub(in crate::telemetry) fn message_came(&self, meta: &Meta) {
        if meta.is_first_of_delivery() {
            self.consumed_messages.add(1, &processing(meta));
        }
    }

    pub(in crate::telemetry) fn message_processed(&self, attempt: &Processed<'_>) {
        let mut attributes = processing(attempt.meta);
        attributes.extend(error_type(attempt).map(|error| KeyValue::new("error.type", error)));
        self.process_duration.record(attempt.took.as_secs_f64(), &attributes);
    }

    pub(in crate::telemetry) fn message_published(&self, publish: &Published<'_>) {
        let destination = publish.outgoing.destination.name();
        let mut attributes = operation(publish.system, "publish", destination);
        let error = publish.error.map(|kind| KeyValue::new("error.type", failure(kind)));
        attributes.extend(error);
        let unsent = [PublishErrorKind::NotSent, PublishErrorKind::Refused].map(Some);
        if !unsent.contains(&publish.error) {
            self.sent_messages.add(1, &attributes);
        }
        attributes.push(KeyValue::new("messaging.operation.type", "send"));
        self.operation_duration.record(publish.took.as_secs_f64(), &attributes);
    }
}
