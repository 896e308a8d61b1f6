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
    has_dead_letters: bool,
}

/// Ends the names of queues for dead letters.
const DEAD: &str = ".dead";

impl Subscription {
    /// Names the queue. On Kafka this is the consumer group.
    pub fn new(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), topics: Vec::new(), prefetch: 16, has_dead_letters: true }
    }

    /// Names the queue of the dead letters of `queue`, for those who look at them and give none of
    /// them up in turn.
    pub fn dead_letters_of(queue: impl Into<String>) -> Self {
        let letters = Self::new(queue).dead_letter_queue();
        Self { has_dead_letters: false, ..Self::new(letters) }
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
        format!("{}{DEAD}", self.queue)
    }

    /// Whether what it reads may be given up, so that the queue for that has to be there.
    pub fn has_dead_letters(&self) -> bool {
        self.has_dead_letters
    }

    /// Whether a queue is one for dead letters, by its name.
    pub fn is_dead_letter_queue(queue: &str) -> bool {
        queue.ends_with(DEAD)
    }
}
