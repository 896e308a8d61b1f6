//! [`RabbitSource`]: one channel that consumes one queue.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, BrokerErrorKind, Event, Settled, Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use futures_util::future::{FutureExt, try_join_all};
use futures_util::stream::StreamExt;
use lapin::Consumer;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
};
use lapin::types::{FieldTable, ShortString};
use tokio::time::{Instant, sleep, timeout};

use crate::declare;
use crate::error::{cannot, consuming_ended, gave_up, lost, short};
use crate::held::Held;
use crate::letter;
use crate::link::{LOOK, Line};
use crate::options::Options;
use crate::passive;
use crate::unsettled::{Frame, Unsettled};

/// What an item of lapin's stream is.
type Item = Option<lapin::Result<lapin::message::Delivery>>;

/// How long to wait for the reason of an end that is seen already.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// In how many parts the prefetch is given out. What is quick is acknowledged part by part then,
/// and the broker sends on in time: of one that has to wait for all, nothing comes meanwhile.
const PARTS: usize = 8;
/// How many are given out at once, however few may be under way.
const LEAST: usize = 16;

pub(crate) struct RabbitSource {
    line: Line,
    queue: ShortString,
    prefetch: usize,
    /// `None` while the intake is closed.
    consumer: Option<Consumer>,
    /// What has come from the broker and was not given out.
    arrived: VecDeque<lapin::message::Delivery>,
    unsettled: Unsettled,
    held: Held,
}

impl RabbitSource {
    pub(crate) async fn open(
        line: Line,
        options: &Options,
        subscription: &Subscription,
    ) -> Result<Self, BrokerError> {
        if options.passive {
            passive::find(&line.channel, subscription).await?;
        } else {
            declare::declare(&line.channel, options, subscription).await?;
        }
        let prefetch = subscription.prefetch();
        let queue = subscription.queue();
        let mut source = Self {
            line,
            queue: short("the queue", queue, BrokerErrorKind::Configuration)?,
            prefetch: usize::from(prefetch),
            consumer: None,
            arrived: VecDeque::new(),
            unsettled: Unsettled::default(),
            held: Held::new(options.consumer_timeout_of(queue)),
        };
        source.begin().await?;
        tracing::debug!(queue, prefetch, "consuming");
        Ok(source)
    }

    /// Begins to take up to the prefetch. RabbitMQ goes by the limit that it knew when a consumer
    /// began.
    async fn begin(&mut self) -> Result<(), BrokerError> {
        let prefetch = u16::try_from(self.prefetch).unwrap_or(u16::MAX);
        let limited = self.line.channel.basic_qos(prefetch, BasicQosOptions::default()).await;
        limited.map_err(|error| cannot("limit the deliveries under way", &error))?;
        self.consumer = Some(self.consume().await?);
        Ok(())
    }

    /// Begins to consume, under a tag that the broker makes up.
    async fn consume(&self) -> Result<Consumer, BrokerError> {
        let (queue, tag) = (self.queue.clone(), ShortString::default());
        let options = BasicConsumeOptions::default();
        let consumed =
            self.line.channel.basic_consume(queue, tag, options, FieldTable::default()).await;
        consumed.map_err(|error| cannot(&format!("consume queue `{}`", self.queue), &error))
    }

    /// Ends consuming. What the broker has sent until then has arrived when this returns.
    async fn cancel(&mut self) -> Result<(), BrokerError> {
        let Some(consumer) = &mut self.consumer else { return Ok(()) };
        let cancelled =
            self.line.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        cancelled.await.map_err(|error| lost("the consumer", &error))?;
        // The broker's answer came behind the last delivery, and ends the stream.
        while let Some(item) = consumer.next().await {
            self.arrived.push_back(item.map_err(|error| lost("the consumer", &error))?);
        }
        self.consumer = None;
        Ok(())
    }

    /// Gives out a part of what is at hand, up to the prefetch. After the intake was closed and
    /// opened, the broker counts from zero while earlier deliveries may still be out.
    fn give_out(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let now = Instant::now();
        self.held.look(&self.queue, &self.unsettled, now);
        let most = events.len() + LEAST.max(self.prefetch / PARTS);
        while events.len() < most && self.has_room() {
            let delivery = match self.arrived.pop_front() {
                Some(delivery) => delivery,
                None => match self.consumer.as_mut().and_then(|it| it.next().now_or_never()) {
                    Some(Some(Ok(delivery))) => delivery,
                    Some(end) => return Err(self.ended(end)),
                    None => return Ok(()),
                },
            };
            let tag = delivery.delivery_tag;
            self.unsettled.insert(tag, now);
            events.push(Event::Delivery(letter::read(Token::new(tag), delivery)));
        }
        Ok(())
    }

    /// Waits for a delivery where one may come, and for the end of the line everywhere; no longer
    /// than [`LOOK`].
    async fn wait(&mut self) -> Result<(), BrokerError> {
        if let Err(error) = self.line.check() {
            return Err(self.last_words().await.unwrap_or(error));
        }
        let has_room = self.has_room();
        let Some(consumer) = self.consumer.as_mut().filter(|_| has_room) else {
            sleep(LOOK).await;
            return Ok(());
        };
        match timeout(LOOK, consumer.next()).await {
            Ok(Some(Ok(delivery))) => self.arrived.push_back(delivery),
            Ok(end) => return Err(self.ended(end)),
            Err(_) => {}
        }
        Ok(())
    }

    /// Why there are no more deliveries.
    fn ended(&self, end: Item) -> BrokerError {
        if let Some(Err(error)) = end {
            return consuming_ended(&self.queue, &error);
        }
        self.line.check().err().unwrap_or_else(|| {
            let queue = &self.queue;
            let words = "was cancelled: the queue was deleted or moved";
            let words = format!("the consumer of queue `{queue}` {words}");
            BrokerError::new(BrokerErrorKind::QueueGone, words)
        })
    }

    /// Why the line ended, where the broker has said so. It stands behind the deliveries that
    /// nobody has read, and comes a moment after the line is seen to be dead.
    async fn last_words(&mut self) -> Option<BrokerError> {
        self.line.check().err()?;
        let consumer = self.consumer.as_mut()?;
        let words = async {
            while let Some(item) = consumer.next().await {
                if let Err(error) = item {
                    return Some(consuming_ended(&self.queue, &error));
                }
            }
            None
        };
        timeout(LAST_WORDS, words).await.ok().flatten()
    }

    /// Also while the intake is closed, for what had arrived before.
    fn has_room(&self) -> bool {
        (self.prefetch == 0 && !self.arrived.is_empty()) || self.unsettled.len() < self.prefetch
    }

    async fn write(&self, frame: Frame) -> lapin::Result<()> {
        let Frame { verdict, tag, multiple } = frame;
        match verdict {
            Verdict::Ack => self.line.channel.basic_ack(tag, BasicAckOptions { multiple }).await,
            Verdict::Release => {
                let options = BasicNackOptions { multiple, requeue: true };
                self.line.channel.basic_nack(tag, options).await
            }
        }
    }

    /// Runs one after the other, since each settles all that is below it; then the rest at once.
    async fn write_all(&self, frames: &[Frame]) -> lapin::Result<()> {
        let runs = frames.iter().rposition(|frame| frame.multiple).map_or(0, |last| last + 1);
        let (runs, singles) = frames.split_at(runs);
        for run in runs {
            self.write(*run).await?;
        }
        try_join_all(singles.iter().map(|single| self.write(*single))).await?;
        Ok(())
    }
}

#[async_trait]
impl Source for RabbitSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let before = events.len();
        loop {
            self.give_out(events)?;
            if events.len() > before {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let (frames, too_late) = self.unsettled.settle(batch);
        let writing = async {
            let written = self.write_all(&frames).await;
            written.map_err(|error| lost("the channel of the deliveries", &error))
        };
        let written = self.line.answer(writing).await;
        if let Err(error) = written {
            return Err(self.last_words().await.unwrap_or(error));
        }
        Ok(Settled::written().with_lost(too_late))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        if self.consumer.is_some() && self.prefetch == usize::from(prefetch) {
            return Ok(());
        }
        let line = self.line.clone();
        let changing = async {
            self.cancel().await?;
            self.prefetch = usize::from(prefetch);
            if prefetch > 0 { self.begin().await } else { Ok(()) }
        };
        line.answer(changing).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        let closed = ctx.run(self.line.close()).await;
        closed.map_err(|cause| gave_up("see the last settlements arrive", cause))?
    }
}
