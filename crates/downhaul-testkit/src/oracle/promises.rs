//! [`Promises`]: what a run must keep beyond losing and inventing nothing.

/// What is promised in a run. By default: nothing is lost, nothing is handled that was not
/// published, no message comes again without a cause, and dead letters say what they are.
///
/// # Examples
///
/// ```
/// use downhaul_testkit::oracle::Promises;
///
/// let promises = Promises::default().in_flight(8).attempts(5).key_order().one_of_a_key();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Promises {
    pub(super) in_flight: Option<usize>,
    pub(super) attempts: Option<u32>,
    pub(super) key_order: bool,
    pub(super) one_of_a_key: bool,
}

impl Promises {
    /// No instance handles more than `limit` messages at a time.
    pub fn in_flight(mut self, limit: usize) -> Self {
        self.in_flight = Some(limit);
        self
    }

    /// No message is handled as an attempt above `limit`.
    pub fn attempts(mut self, limit: u32) -> Self {
        self.attempts = Some(limit);
        self
    }

    /// The first attempts at the messages of a key begin in the order in which they were published.
    pub fn key_order(mut self) -> Self {
        self.key_order = true;
        self
    }

    /// An instance handles one message of a key at a time. What was begun before the instance lost
    /// its link may be still under way when its message comes again.
    pub fn one_of_a_key(mut self) -> Self {
        self.one_of_a_key = true;
        self
    }
}
