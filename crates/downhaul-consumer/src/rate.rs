//! [`Rate`]: how many messages may begin in a time.

use std::time::Duration;

use crate::later::EVER;

/// So many messages in such a time, evenly; unused ones may follow each other at once, up to the
/// whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    messages: u32,
    per: Duration,
}

impl Rate {
    /// So many messages `per` this time, at most thirty years. At least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::Rate;
    /// use std::time::Duration;
    ///
    /// let limit_of_the_api = Rate::new(100, Duration::from_secs(60));
    /// assert_eq!(limit_of_the_api.messages(), 100);
    /// ```
    pub fn new(messages: u32, per: Duration) -> Self {
        Self { messages: messages.max(1), per: per.min(EVER) }
    }

    /// How many.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// In which time.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// From one message to the next, at an even pace.
    pub(crate) fn interval(self) -> Duration {
        self.per / self.messages
    }
}
