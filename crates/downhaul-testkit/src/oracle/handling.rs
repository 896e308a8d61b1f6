//! [`Handling`]: from the beginning of a handler to its end, whatever that is.

use super::Oracle;
use super::record::{End, Record};

/// A handling under way, made by [`Oracle::begin`].
#[derive(Debug)]
#[must_use = "dropping it says that the handling was cut"]
pub struct Handling {
    oracle: Oracle,
    instance: String,
    number: u64,
    id: String,
    end: Option<End>,
}

impl Handling {
    pub(super) fn new(oracle: Oracle, instance: &str, number: u64, id: &str) -> Self {
        let (instance, id) = (instance.to_owned(), id.to_owned());
        Self { oracle, instance, number, id, end: None }
    }

    /// Logs how it ended.
    pub fn end(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let unsaid = if std::thread::panicking() { End::Panicked } else { End::Cut };
        let end = self.end.unwrap_or(unsaid);
        let (instance, id) = (std::mem::take(&mut self.instance), std::mem::take(&mut self.id));
        self.oracle.record(Record::Ended { instance, number: self.number, id, end });
        if end.is_final() {
            self.oracle.0.done.send_modify(|done| *done += 1);
        }
    }
}
