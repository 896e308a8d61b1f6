//! [`Capabilities`]: what a broker can do that not every broker can.

/// What a broker can do that not every broker can.
///
/// The engine needs none of them; it does without what is missing. The conformance suite asks more
/// of a broker that has one, and prints a skip for one that has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// A message can be held back, so that a long retry holds no place at the consumer.
    pub delay: bool,
    /// It counts how often a message was delivered.
    pub counts_deliveries: bool,
    /// Messages of one key are delivered in the order in which they were published.
    pub ordered: bool,
    /// Sources have lanes that move between the consumers of a queue. Of each lane one position is
    /// kept, the first message that is not finished, so that what is finished behind it comes again
    /// with it. Before a lane goes, the engine finishes what would make others come again.
    pub lanes: bool,
    /// A queue that is made later gets what was published before.
    pub replay: bool,
    /// [Outcomes](crate::Outgoing::outcome_of) of a delivery become visible together with its
    /// settlement, or neither does. Then a consumer cannot [dedupe](crate::Consumer::dedupe): a
    /// message may be marked as done before its outcomes are visible, and nothing would bring them
    /// back.
    pub transactions: bool,
}

impl Capabilities {
    /// None of them.
    pub const NONE: Self = Self {
        delay: false,
        counts_deliveries: false,
        ordered: false,
        lanes: false,
        replay: false,
        transactions: false,
    };

    /// With delays.
    #[must_use]
    pub const fn with_delay(mut self) -> Self {
        self.delay = true;
        self
    }

    /// With counted deliveries.
    #[must_use]
    pub const fn with_counted_deliveries(mut self) -> Self {
        self.counts_deliveries = true;
        self
    }

    /// With messages of a key in the order in which they were published.
    #[must_use]
    pub const fn with_order(mut self) -> Self {
        self.ordered = true;
        self
    }

    /// With lanes that move.
    #[must_use]
    pub const fn with_lanes(mut self) -> Self {
        self.lanes = true;
        self
    }

    /// With what was published before a queue was made.
    #[must_use]
    pub const fn with_replay(mut self) -> Self {
        self.replay = true;
        self
    }

    /// With outcomes that are visible together with their settlement.
    #[must_use]
    pub const fn with_transactions(mut self) -> Self {
        self.transactions = true;
        self
    }
}
