//! [`Subscription`]: which queue a consumer reads and what flows into it.

/// A queue, the topics bound to it, and how much of it may be under way at a time.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Subscription;
///
/// let subscription = Subscription::new("inventory").topic("order.created");
/// assert_eq!(subscription.dead_letter_queue(), "inventory.dead");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    queue: String,
    topics: Vec<String>,
    prefetch: u16,
}

impl Subscription {
    /// Names the queue. On Kafka this is the consumer group.
    pub fn new(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), topics: Vec::new(), prefetch: 16 }
    }

    /// Binds the queue to one more topic.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Bounds the deliveries that are unsettled: being handled, buffered and under way. At least 1.
    ///
    /// A [`Consumer`](crate::Consumer) sets it by its concurrency.
    #[must_use]
    pub fn with_prefetch(mut self, prefetch: u16) -> Self {
        self.prefetch = prefetch.max(1);
        self
    }

    /// The queue.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The topics bound to the queue.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(String::as_str)
    }

    /// How many deliveries may be unsettled at a time.
    pub fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// The queue for messages that are given up: the name of the queue and `.dead`.
    pub fn dead_letter_queue(&self) -> String {
        format!("{}.dead", self.queue)
    }
}
