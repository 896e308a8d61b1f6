//! [`Publisher`]: hands messages to a broker and says what became of each.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use downhaul_context::wire::{self, Names};
use downhaul_context::{Cause, Context, TraceContext};
use tokio::sync::Mutex;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use crate::broker::{Broker, Sink, Token};
use crate::error::{BrokerError, PublishError, PublishErrorKind};
use crate::message::Message;
use crate::message::headers;
use crate::observer::{MessageObserver, Published};
use crate::publish::{Awaited, Destination, Outgoing, Place, Receipt, Window};
use crate::retry::Backoff;

/// The delays between attempts to open a sink, or to send what may have come through.
const REOPEN: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(2));

/// How much may be sent and not answered: messages, and bytes of payload and headers.
const WINDOW: (usize, usize) = (10_000, 64 << 20);

/// Publishes to one broker. Clones share one sink, which is opened when first used and again when
/// its link is lost.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{MemoryBroker, Message, Outgoing, Publisher, PublishErrorKind};
/// use downhaul_context::Context;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let publisher = Publisher::new(Arc::new(MemoryBroker::new()));
/// let ctx = Context::background();
///
/// // Nobody listens to this topic, and a publisher hears of that.
/// let error = publisher
///     .publish(&ctx, Outgoing::to_topic("order.created", Message::new("7")))
///     .await
///     .unwrap_err();
/// assert_eq!(error.kind(), PublishErrorKind::Returned);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: Arc<dyn Broker>,
    observer: Option<Arc<dyn MessageObserver>>,
    sink: RwLock<Option<Arc<dyn Sink>>>,
    /// Held while a sink is opened, so that it is opened once for all who wait.
    opening: Mutex<()>,
    /// What was sent and is not answered yet.
    window: Window,
}

impl Publisher {
    /// Makes a publisher. Nothing is opened before the first message. It makes no spans: see
    /// [`with_observer`](Self::with_observer).
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self::made_of(broker, None, Window::new(WINDOW.0, WINDOW.1))
    }

    /// Makes a publisher whose spans are made by `observer`.
    pub fn with_observer(broker: Arc<dyn Broker>, observer: Arc<dyn MessageObserver>) -> Self {
        Self::made_of(broker, Some(observer), Window::new(WINDOW.0, WINDOW.1))
    }

    /// Makes a publisher of this one that has at most so many messages, and so many bytes of
    /// payload and headers, sent and not answered yet: [`send`](Self::send) waits for room. Default
    /// 10,000 messages and 64 MiB. A message that is larger than that is sent alone. More than
    /// a semaphore can count is taken for what it can: four billion, or 500 million where addresses
    /// have 32 bits.
    #[must_use]
    pub fn with_window(self, messages: usize, bytes: usize) -> Self {
        let Shared { broker, observer, .. } = &*self.shared;
        Self::made_of(Arc::clone(broker), observer.clone(), Window::new(messages, bytes))
    }

    fn made_of(
        broker: Arc<dyn Broker>,
        observer: Option<Arc<dyn MessageObserver>>,
        window: Window,
    ) -> Self {
        let (sink, opening) = (RwLock::new(None), Mutex::new(()));
        Self { shared: Arc::new(Shared { broker, observer, sink, opening, window }) }
    }

    /// Publishes a message and waits until the broker has it.
    ///
    /// The request id and the trace of `ctx` travel with it, and its values that
    /// [opted in](downhaul_context::WireValue), unless the message's headers have their own. Its
    /// deadline does not; see [`Message::with_deadline_of`]. A message that had attempts elsewhere
    /// begins with its first at the queues of a topic.
    /// While the broker cannot be reached, it is tried again until `ctx` ends: give the context a
    /// deadline.
    ///
    /// # Errors
    ///
    /// A [`PublishError`] whose kind tells what is known of the message: it is in no queue, or
    /// [`Unknown`](PublishErrorKind::Unknown).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it unknown whether the message was sent.
    pub async fn publish(&self, ctx: &Context, mut outgoing: Outgoing) -> Result<(), PublishError> {
        let Some(observer) = &self.shared.observer else {
            return self.confirm(ctx, &mut outgoing).await;
        };
        let (begun, span, ctx) = self.begin(observer, ctx, &outgoing);
        async {
            let result = self.confirm(&ctx, &mut outgoing).await;
            self.tell(observer, begun, &outgoing, result.as_ref().err());
            result
        }
        .instrument(span)
        .await
    }

    /// Publishes a message, again and with the same id while its outcome is unknown, after pauses
    /// that grow, until the broker has it or `ctx` ends.
    ///
    /// For messages whose consumers tell duplicates by their id: it may arrive more than once.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish). After a try whose outcome is unknown, every error is
    /// [`Unknown`](PublishErrorKind::Unknown), with what was said of the last try as its source.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it unknown whether the message was sent.
    pub async fn publish_until_known(
        &self,
        ctx: &Context,
        outgoing: Outgoing,
    ) -> Result<(), PublishError> {
        let mut doubts = 0_u32;
        loop {
            match self.publish(ctx, outgoing.clone()).await {
                Err(error) if error.kind() == PublishErrorKind::Unknown => {
                    doubts = doubts.saturating_add(1);
                    // What loses the link with its answer may do so at once, and every time.
                    let pause = sleep(REOPEN.after(doubts));
                    if ctx.run(pause).await.is_err() {
                        return Err(error);
                    }
                }
                // It tells of the last try. An earlier one may have come through.
                Err(error) if doubts > 0 => {
                    return Err(PublishError::caused(PublishErrorKind::Unknown, error));
                }
                known => return known,
            }
        }
    }

    /// Sends a message and returns the receipt for the broker's answer, so that many can be under
    /// way at a time. Waits while the window is full of messages that are not answered.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish), as far as it is known before the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it unknown whether the message was sent.
    pub async fn send(
        &self,
        ctx: &Context,
        mut outgoing: Outgoing,
    ) -> Result<Receipt, PublishError> {
        let place = self.enter(ctx, outgoing.message.size()).await?;
        let receipt = match &self.shared.observer {
            None => self.hand_over(ctx, &mut outgoing).await?,
            Some(observer) => {
                let (begun, span, ctx) = self.begin(observer, ctx, &outgoing);
                let handing_over = async {
                    let result = self.hand_over(&ctx, &mut outgoing).await;
                    self.tell(observer, begun, &outgoing, result.as_ref().err());
                    result
                };
                handing_over.instrument(span).await?
            }
        };
        place.into_iter().for_each(|place| receipt.occupy(place));
        Ok(receipt)
    }

    async fn enter(&self, ctx: &Context, bytes: usize) -> Result<Option<Place>, PublishError> {
        if let Some(place) = self.shared.window.try_enter(bytes) {
            // Who sends without a pause lets others work in between.
            consume_budget().await;
            return Ok(Some(place));
        }
        let entered = ctx.run(self.shared.window.enter(bytes)).await;
        entered.map_err(|cause| not_sent(cause, self.shared.hindrance()))
    }

    /// Waits until all that was [sent](Self::send) before is answered for, whoever holds the
    /// receipts; they tell what the answers are.
    ///
    /// # Errors
    ///
    /// The end of `ctx`, if that comes first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn flush(&self, ctx: &Context) -> Result<(), Cause> {
        ctx.run(self.shared.window.empty()).await
    }

    /// Publishes messages, all under way at a time, and waits until the broker has them all.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`] there is, once every message that was sent is answered for. The
    /// others may be in their queues.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it unknown which messages were sent.
    pub async fn publish_all(
        &self,
        ctx: &Context,
        messages: impl IntoIterator<Item = Outgoing>,
    ) -> Result<(), PublishError> {
        let mut awaited = Awaited::default();
        for outgoing in messages {
            match self.send(ctx, outgoing).await {
                Ok(receipt) => awaited.add(receipt),
                Err(error) => {
                    awaited.fail(error);
                    break;
                }
            }
        }
        awaited.all(ctx, |cause| self.shared.unanswered(cause)).await
    }

    /// Closes the sink. A publish after this opens a new one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the sink to close by itself.
    pub async fn close(&self, ctx: &Context) {
        let sink = self.shared.sink.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sink) = sink {
            sink.close(ctx).await;
        }
    }

    /// Takes back what was published as an outcome of a delivery, where that can be done.
    pub(crate) fn retract(&self, delivery: Token) {
        self.shared.broker.retract(delivery);
    }

    /// Begins a publish that the observer hears of.
    fn begin(
        &self,
        observer: &Arc<dyn MessageObserver>,
        ctx: &Context,
        outgoing: &Outgoing,
    ) -> (Instant, Span, Context) {
        let begun = Instant::now();
        let (ctx, span) = observer.publish(ctx.clone(), outgoing, self.shared.broker.system());
        (begun, span, ctx)
    }

    /// Tells the observer how it ended.
    fn tell(
        &self,
        observer: &Arc<dyn MessageObserver>,
        begun: Instant,
        outgoing: &Outgoing,
        error: Option<&PublishError>,
    ) {
        let (system, took) = (self.shared.broker.system(), begun.elapsed());
        let error = error.map(PublishError::kind);
        observer.published(&Published { outgoing, system, error, took });
    }

    async fn confirm(&self, ctx: &Context, outgoing: &mut Outgoing) -> Result<(), PublishError> {
        let outcome = match self.hand_over(ctx, outgoing).await?.known() {
            Ok(outcome) => outcome,
            Err(receipt) => {
                let answered = ctx.run(receipt).await;
                answered.map_err(|cause| self.shared.unanswered(cause))?
            }
        };
        outcome.confirmed()
    }

    async fn hand_over(
        &self,
        ctx: &Context,
        outgoing: &mut Outgoing,
    ) -> Result<Receipt, PublishError> {
        let receipt = self.hand_over_as_is(ctx, outgoing).await?;
        Ok(receipt.optional(outgoing.optional))
    }

    async fn hand_over_as_is(
        &self,
        ctx: &Context,
        outgoing: &mut Outgoing,
    ) -> Result<Receipt, PublishError> {
        if !outgoing.is_complete {
            inject(ctx, &mut outgoing.message);
        }
        begin_anew(outgoing);
        if let Some(receipt) = self.shared.send_now(ctx, outgoing) {
            return Ok(receipt);
        }
        let (mut last, mut failures) = (None, 0_u32);
        loop {
            let opened = ctx.run(self.shared.sink(ctx)).await;
            let error = match opened.map_err(|cause| not_sent(cause, last.take()))? {
                Ok(sink) => match self.shared.send(ctx, &sink, outgoing).await? {
                    Ok(receipt) => return Ok(receipt),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if error.is_permanent() {
                return Err(PublishError::caused(PublishErrorKind::Refused, error));
            }
            failures = failures.saturating_add(1);
            let pause = sleep(REOPEN.after(failures));
            if let Err(cause) = ctx.run(pause).await {
                return Err(not_sent(cause, Some(error)));
            }
            last = Some(error);
        }
    }
}

impl Shared {
    /// The open sink, or one opened now.
    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        if let Some(sink) = self.open_sink() {
            return Ok(sink);
        }
        let _opening = self.opening.lock().await;
        if let Some(sink) = self.open_sink() {
            return Ok(sink);
        }
        let sink = self.broker.sink(ctx).await?;
        *self.sink.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&sink));
        Ok(sink)
    }

    fn open_sink(&self) -> Option<Arc<dyn Sink>> {
        self.sink.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a message if there is a sink that can do so without waiting. If it is not sent, for
    /// whatever reason, the long way may still be taken.
    fn send_now(&self, ctx: &Context, outgoing: &Outgoing) -> Option<Receipt> {
        if ctx.is_done() {
            return None;
        }
        let sink = self.sink.read().unwrap_or_else(PoisonError::into_inner);
        sink.as_ref()?.try_send(outgoing)?.ok()
    }

    async fn send(
        &self,
        ctx: &Context,
        sink: &Arc<dyn Sink>,
        outgoing: &Outgoing,
    ) -> Result<Result<Receipt, BrokerError>, PublishError> {
        match ctx.run(sink.send(outgoing)).await {
            Ok(Ok(receipt)) => Ok(Ok(receipt)),
            Ok(Err(error)) => {
                if !error.is_permanent() {
                    self.forget(sink);
                }
                Ok(Err(error))
            }
            // A sink that was dropped while it waited for room has sent nothing.
            Err(cause) => Err(not_sent(cause, sink.hindrance())),
        }
    }

    /// The context ended before the broker's answer came.
    fn unanswered(&self, cause: Cause) -> PublishError {
        ended(PublishErrorKind::Unknown, cause, self.hindrance())
    }

    /// Why the broker takes no messages now, if it has said so.
    fn hindrance(&self) -> Option<BrokerError> {
        self.open_sink()?.hindrance()
    }

    /// Forgets a dead sink, unless another has taken its place already.
    fn forget(&self, dead: &Arc<dyn Sink>) {
        let mut sink = self.sink.write().unwrap_or_else(PoisonError::into_inner);
        if sink.as_ref().is_some_and(|open| Arc::ptr_eq(open, dead)) {
            *sink = None;
        }
    }
}

fn not_sent(cause: Cause, why: Option<BrokerError>) -> PublishError {
    ended(PublishErrorKind::NotSent, cause, why)
}

/// The broker's error says more than the end of the context that it led to.
fn ended(kind: PublishErrorKind, cause: Cause, why: Option<BrokerError>) -> PublishError {
    match why {
        Some(error) => PublishError::caused(kind, error),
        None => PublishError::caused(kind, cause),
    }
}

/// What goes to a topic begins there, whatever came before where a handler sends on what it was
/// given.
fn begin_anew(outgoing: &mut Outgoing) {
    let Destination::Topic(_) = outgoing.destination else { return };
    for mark in headers::OF_WHAT_WAS_BEFORE {
        if outgoing.message.headers().get(mark).is_some() {
            outgoing.message.headers_mut().remove(mark);
        }
    }
}

/// Writes what travels with every message into its headers, where it has none of its own.
pub(crate) fn inject(ctx: &Context, message: &mut Message) {
    let (pairs, trace) =
        (wire::inject(ctx, &Names::MESSAGE, Duration::ZERO), ctx.value::<TraceContext>());
    if pairs.is_empty() && trace.is_none() {
        return;
    }
    let headers = message.headers_mut();
    for (name, text) in pairs {
        // A message is handled also when the request that it came from is over.
        if name != Names::MESSAGE.budget && headers.get(&name).is_none() {
            headers.set(name, text);
        }
    }
    if let Some(trace) = trace
        && headers.get(headers::TRACEPARENT).is_none()
    {
        headers.set(headers::TRACEPARENT, trace.traceparent());
        if let Some(state) = trace.tracestate() {
            headers.set(headers::TRACESTATE, state);
        }
    }
}
