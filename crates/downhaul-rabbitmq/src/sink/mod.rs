//! [`RabbitSink`]: one channel with publisher confirms.
//!
//! [`send`](Sink::send) puts an order into a line and returns. One task takes the orders in their
//! sequence, hands them to lapin and resolves their receipts; it ends with the sink, or with the
//! channel, whichever is first.

mod bell;
mod exchange;
mod inbox;
mod ledger;
mod parking;
mod rooms;
mod task;
mod under_way;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, BrokerErrorKind, Destination, Outgoing, PublishOutcome, Receipt, Sink,
};
use downhaul_context::Context;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::declare;
use crate::error::{cannot, closed, short, short_of_room, unsendable};
use crate::largest::Largest;
use crate::letter::Letter;
use crate::link::Line;
use crate::options::Options;
use crate::sink::exchange::Exchange;
use crate::sink::inbox::{Slot, inbox};
use crate::sink::parking::Parking;
use crate::sink::rooms::Rooms;
use crate::sink::task::{Command, Order, Route};

pub(crate) struct RabbitSink {
    line: Line,
    exchange: Exchange,
    /// Nothing is declared.
    passive: bool,
    parking: Arc<Parking>,
    largest: Largest,
    /// Closed when the task ends.
    window: Arc<Semaphore>,
    commands: Slot<Command>,
}

impl RabbitSink {
    pub(crate) async fn open(line: Line, options: &Options) -> Result<Self, BrokerError> {
        if !options.passive {
            declare::declare_all(&line.channel, options).await?;
        }
        let confirming = line.channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirming.map_err(|error| cannot("ask for publisher confirms", &error))?;
        let exchange = short("the exchange", &options.exchange, BrokerErrorKind::Configuration)?;
        let (window, largest) = (Arc::new(Semaphore::new(options.window)), options.largest.clone());
        let (commands, inbox) = inbox();
        let rooms = Rooms::of(Arc::clone(&window));
        let parking = Arc::new(Parking::new(options.queue_type));
        tokio::spawn(task::run(line.clone(), Arc::clone(&parking), largest.clone(), inbox, rooms));
        tracing::debug!(exchange = options.exchange, "publishing");
        let passive = options.passive;
        let exchange = Exchange::new(exchange, passive);
        Ok(Self { line, exchange, passive, parking, largest, window, commands })
    }

    fn letter(&self, outgoing: &Outgoing) -> Result<Letter, BrokerError> {
        Letter::new(&outgoing.message, self.line.frame_max(), self.largest.bytes())
    }

    /// Where a message goes, if that is known to be there: `None` for one that waits in a queue of
    /// its delay, and for one to an exchange that nobody has seen yet.
    fn direct(&self, outgoing: &Outgoing) -> Result<Option<Route>, BrokerError> {
        let name = outgoing.destination.name();
        let (exchange, what) = match &outgoing.destination {
            Destination::Topic(_) if !outgoing.delay.is_zero() => {
                let words = "a delay needs a queue as its destination, and this is a topic";
                return Err(unsendable(words));
            }
            Destination::Topic(_) => match self.exchange.found() {
                Some(exchange) => (exchange, "the topic"),
                None => return Ok(None),
            },
            Destination::Queue(_) if outgoing.delay.is_zero() => {
                (ShortString::default(), "the queue")
            }
            Destination::Queue(_) if self.passive => {
                let words = "a delay needs queues to wait in, and nothing is declared here";
                return Err(unsendable(words));
            }
            Destination::Queue(_) => return Ok(None),
        };
        Ok(Some(Route { exchange, key: short(what, name, BrokerErrorKind::Message)? }))
    }

    /// Where a message goes, once that is there; `None` if there is no queue to wait for.
    async fn route(&self, outgoing: &Outgoing) -> Result<Option<Route>, BrokerError> {
        if let Some(route) = self.direct(outgoing)? {
            return Ok(Some(route));
        }
        match outgoing.destination {
            Destination::Queue(_) => self.parked(outgoing).await,
            Destination::Topic(_) => {
                self.line.answer(self.exchange.find(&self.line)).await?;
                self.direct(outgoing)
            }
        }
    }

    /// The queue in which a message waits for its time; `None` if there is no queue to wait for.
    async fn parked(&self, outgoing: &Outgoing) -> Result<Option<Route>, BrokerError> {
        let name = outgoing.destination.name();
        let placing = self.parking.place(&self.line, name, outgoing.delay);
        let Some(place) = self.line.answer(placing).await? else { return Ok(None) };
        let key = short("the queue", &place, BrokerErrorKind::Message)?;
        Ok(Some(Route { exchange: ShortString::default(), key }))
    }

    fn post(&self, order: Order, room: SemaphorePermit<'_>) -> Result<Receipt, BrokerError> {
        let (sender, receipt) = Receipt::pending();
        let taken = self.commands.put(Command::Publish(order, sender));
        taken.map_err(|_| closed("the sink"))?;
        // The task gives it back.
        room.forget();
        Ok(receipt)
    }
}

#[async_trait]
impl Sink for RabbitSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let letter = self.letter(outgoing)?;
        let room = self.window.acquire().await;
        let room =
            room.map_err(|_| self.line.check().err().unwrap_or_else(|| closed("the sink")))?;
        self.line.unblocked().await?;
        let Some(route) = self.route(outgoing).await? else {
            let words = format!("there is no queue `{}`", outgoing.destination.name());
            return Ok(Receipt::resolved(PublishOutcome::Returned(words)));
        };
        self.post(Order::new(route, letter, outgoing), room)
    }

    fn try_send(&self, outgoing: &Outgoing) -> Option<Result<Receipt, BrokerError>> {
        let room = self.window.try_acquire().ok()?;
        if self.line.check().is_err() || self.line.is_blocked() {
            return None;
        }
        self.line.tell_open();
        let order = || {
            let letter = self.letter(outgoing)?;
            let route = self.direct(outgoing)?;
            Ok(route.map(|route| Order::new(route, letter, outgoing)))
        };
        order().transpose().map(|order| self.post(order?, room))
    }

    fn hindrance(&self) -> Option<BrokerError> {
        self.line.is_blocked().then(short_of_room)
    }

    async fn close(&self, ctx: &Context) {
        // If the task has ended, the channel is all there is to close.
        let _ = self.commands.put(Command::Close);
        let _ = ctx.run(self.line.leave()).await;
    }
}

impl fmt::Debug for RabbitSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = self.window.available_permits();
        f.debug_struct("RabbitSink").field("line", &self.line).field("room", &room).finish()
    }
}
