//! [`DeadLetters`]: what was given up, to be looked at and put back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Cause, Context};

use crate::broker::{Broker, Delivery, Event, Source, Token, Verdict};
use crate::error::{BrokerError, PublishError};
use crate::message::{Message, headers};
use crate::publish::Outgoing;
use crate::publisher::Publisher;
use crate::subscription::Subscription;

/// How many letters are held at most while others are looked for.
const MOST_HELD: u16 = 1_000;
/// How many times longer than the others the first letter is waited for: a group of Kafka takes
/// three seconds to share its partitions (`group.initial.rebalance.delay.ms`).
const FIRST_WAIT_FACTOR: u32 = 5;

/// The dead letters of one queue.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{DeadLetters, MemoryBroker, Message};
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let letters = DeadLetters::of("inventory", Arc::new(MemoryBroker::new()));
/// let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(60));
///
/// // The shop was down: try those of today again, a hundred at most.
/// let of_the_shop = |letter: &Message| letter.headers().get("shop").is_some();
/// let replayed = letters.replay(&ctx, 100, of_the_shop).await?;
/// println!("{} put back, {} left alone", replayed.put_back, replayed.left);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters {
    queue: String,
    broker: Arc<dyn Broker>,
    publisher: Publisher,
    quiet: Duration,
}

/// What became of the letters that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Back in their queue, for a first attempt.
    pub put_back: usize,
    /// Looked at, not put back, and still dead letters.
    pub left: usize,
    /// Put back, and met as dead letters once more before this was over: what made them so is not
    /// mended, or they were there twice. They were not put back a second time.
    pub failed_again: usize,
}

/// Why no more letters were put back. Those that were stay so; the others are still dead letters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The dead letters cannot be read.
    #[error("the dead letters cannot be read")]
    Source(#[from] BrokerError),
    /// A letter cannot be published to its queue.
    #[error("a dead letter cannot be put back")]
    Publish(#[from] PublishError),
    /// The context ended.
    #[error("the end came before the last letter")]
    Ended(#[source] Cause),
}

impl DeadLetters {
    /// Those of a queue: in the queue of its name and `.dead`.
    pub fn of(queue: impl Into<String>, broker: Arc<dyn Broker>) -> Self {
        let publisher = Publisher::new(Arc::clone(&broker));
        Self { queue: queue.into(), broker, publisher, quiet: Duration::from_secs(1) }
    }

    /// How long nothing must have come before these count as all the letters there are. Default
    /// 1 s. The first is waited for five times as long: a broker may take its time to begin.
    #[must_use]
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// Puts the letters that `wanted` says back into the queue that they come from, at most `limit`
    /// of them, without what made them dead letters: they begin with their first attempt. One that
    /// is a dead letter again before this returns is not put back a second time, but counted as
    /// such: see [`failed_again`](Replayed::failed_again).
    ///
    /// Each is confirmed in its queue before it is acknowledged, so that none is lost; one may be
    /// in both, if the end comes in between, and so may those behind one that is left at a broker
    /// that keeps a place rather than each letter, which is logged. The others are given back. At
    /// most 1,000 of those are looked at.
    ///
    /// # Errors
    ///
    /// A [`ReplayError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, no letter is lost; see above.
    pub async fn replay(
        &self,
        ctx: &Context,
        limit: usize,
        mut wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Replayed, ReplayError> {
        let letters = Subscription::dead_letters_of(&*self.queue).with_prefetch(MOST_HELD);
        let mut source = self.broker.source(ctx, &letters).await?;
        let (mut replayed, mut held) = (Replayed::default(), Vec::new());
        // One that fails again at once would go in circles.
        let mut ids = HashSet::new();
        while replayed.put_back < limit && held.len() < usize::from(MOST_HELD) {
            let is_first = replayed.put_back + held.len() == 0;
            let quiet =
                if is_first { self.quiet.saturating_mul(FIRST_WAIT_FACTOR) } else { self.quiet };
            let letters = next(ctx, &mut *source, quiet).await?;
            if letters.is_empty() {
                break;
            }
            for letter in letters {
                let was_put_back = ids.contains(letter.message.id());
                if !was_put_back && replayed.put_back < limit && wanted(&letter.message) {
                    ids.insert(letter.message.id().to_owned());
                    self.put_back(ctx, &mut *source, letter).await?;
                    replayed.put_back += 1;
                } else {
                    replayed.failed_again += usize::from(was_put_back);
                    held.push((letter.token, Verdict::Release));
                }
            }
        }
        replayed.left = held.len() - replayed.failed_again;
        source.settle(&held).await?;
        // They are back in their queue all the same.
        if let Err(error) = source.close(ctx).await {
            let error = error.chain();
            tracing::warn!(error, "letters that were put back may be dead letters as well");
        }
        Ok(replayed)
    }

    async fn put_back(
        &self,
        ctx: &Context,
        source: &mut dyn Source,
        letter: Delivery,
    ) -> Result<(), ReplayError> {
        let Delivery { token, mut message, .. } = letter;
        let queue = message.headers().get(headers::ORIGIN_QUEUE).unwrap_or(&self.queue).to_owned();
        message.headers_mut().remove(headers::ORIGIN_QUEUE);
        let marks = [
            headers::ATTEMPT,
            headers::DEAD_ERROR,
            headers::DEAD_REASON,
            headers::DEADLINE,
            headers::FIRST_FAILED,
        ];
        for mark in marks {
            message.headers_mut().remove(mark);
        }
        // As it came, lest it is too large with what would be added to it.
        let letter = Outgoing { is_complete: true, ..Outgoing::to_queue(queue, message) };
        self.publisher.publish(ctx, letter).await?;
        let acknowledged: [(Token, Verdict); 1] = [(token, Verdict::Ack)];
        source.settle(&acknowledged).await?;
        Ok(())
    }
}

/// The next letters; none when it has been quiet for long enough. What else a source has to
/// tell, such as the lanes that it got, says that letters may be on their way.
async fn next(
    ctx: &Context,
    source: &mut dyn Source,
    quiet: Duration,
) -> Result<Vec<Delivery>, ReplayError> {
    let mut events = Vec::new();
    loop {
        let next = tokio::time::timeout(quiet, source.next(&mut events));
        match ctx.run(next).await.map_err(ReplayError::Ended)? {
            Ok(arrived) => arrived?,
            Err(_) => return Ok(Vec::new()),
        }
        let letters: Vec<_> = events.drain(..).filter_map(Event::into_delivery).collect();
        if !letters.is_empty() {
            return Ok(letters);
        }
    }
}
