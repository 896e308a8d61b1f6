//! [`RabbitSink`]: one channel with publisher confirms.
//!
//! [`send`](Sink::send) puts an order into a line and returns. One task takes the orders in their
//! sequence, hands them to lapin and resolves their receipts; it ends with the sink, or with the
//! channel, whichever is first.

mod bell;
mod ledger;
mod parking;
mod rooms;
mod task;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, BrokerErrorKind, Destination, Outgoing, PublishOutcome, Receipt, Sink,
};
use downhaul_context::Context;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use tokio::sync::{Semaphore, mpsc};

use crate::declare;
use crate::error::{cannot, closed, refused, short};
use crate::letter::Letter;
use crate::link::Line;
use crate::options::Options;
use crate::sink::parking::Parking;
use crate::sink::rooms::Rooms;
use crate::sink::task::{Command, Order};

pub(crate) struct RabbitSink {
    line: Line,
    exchange: ShortString,
    parking: Parking,
    /// Closed when the task ends.
    window: Arc<Semaphore>,
    commands: mpsc::UnboundedSender<Command>,
}

/// Where a message is published, or why it need not be.
enum Route {
    To { exchange: ShortString, key: ShortString },
    Nowhere(String),
}

impl RabbitSink {
    pub(crate) async fn open(line: Line, options: &Options) -> Result<Self, BrokerError> {
        declare::declare_all(&line.channel, options).await?;
        let confirming = line.channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirming.map_err(|error| cannot("ask for publisher confirms", &error))?;
        let exchange = short("the exchange", &options.exchange, BrokerErrorKind::Configuration)?;
        let window = Arc::new(Semaphore::new(options.window));
        let (commands, inbox) = mpsc::unbounded_channel();
        let rooms = Rooms::of(options.window);
        tokio::spawn(task::run(line.clone(), inbox, Arc::clone(&window), rooms));
        tracing::debug!(exchange = options.exchange, "publishing");
        Ok(Self { line, exchange, parking: Parking::new(options.queue_type), window, commands })
    }

    async fn route(&self, outgoing: &Outgoing) -> Result<Route, BrokerError> {
        let name = outgoing.destination.name();
        let key = |what, name| short(what, name, BrokerErrorKind::Message);
        match &outgoing.destination {
            Destination::Topic(_) if !outgoing.delay.is_zero() => {
                Err(refused("a delay needs a queue as its destination, and this is a topic"))
            }
            Destination::Topic(_) => {
                Ok(Route::To { exchange: self.exchange.clone(), key: key("the topic", name)? })
            }
            Destination::Queue(_) if outgoing.delay.is_zero() => {
                Ok(Route::To { exchange: ShortString::default(), key: key("the queue", name)? })
            }
            Destination::Queue(_) => {
                // It is rare, and would make every other publish allocate as much.
                match Box::pin(self.parking.place(&self.line, name, outgoing.delay)).await? {
                    Some(place) => Ok(Route::To {
                        exchange: ShortString::default(),
                        key: key("the queue", &place)?,
                    }),
                    None => Ok(Route::Nowhere(format!("there is no queue `{name}`"))),
                }
            }
        }
    }
}

#[async_trait]
impl Sink for RabbitSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let letter = Letter::new(&outgoing.message, self.line.frame_max())?;
        let room = Arc::clone(&self.window).acquire_owned().await;
        let room =
            room.map_err(|_| self.line.check().err().unwrap_or_else(|| closed("the sink")))?;
        self.line.unblocked().await?;
        let (exchange, key) = match self.route(outgoing).await? {
            Route::To { exchange, key } => (exchange, key),
            Route::Nowhere(words) => return Ok(Receipt::resolved(PublishOutcome::Returned(words))),
        };
        let (sender, receipt) = Receipt::pending();
        let order = Box::new(Order { exchange, key, letter });
        let taken = self.commands.send(Command::Publish(order, (sender, room)));
        taken.map_err(|_| closed("the sink"))?;
        Ok(receipt)
    }

    async fn close(&self, ctx: &Context) {
        // If the task has ended, the channel is all there is to close.
        let _ = self.commands.send(Command::Close);
        let _ = ctx.run(self.line.close()).await;
    }
}

impl fmt::Debug for RabbitSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = self.window.available_permits();
        f.debug_struct("RabbitSink").field("line", &self.line).field("room", &room).finish()
    }
}
