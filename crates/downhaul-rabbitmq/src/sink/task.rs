//! The task of a sink: publishes orders in their sequence and resolves their receipts.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{BrokerError, Outgoing, PublishOutcome, ReceiptSender};
use futures_util::future::{TryFuture, TryFutureExt};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::{closed, lost};
use crate::largest::Largest;
use crate::letter::Letter;
use crate::link::Line;
use crate::property::is_caller;
use crate::sink::inbox::Inbox;
use crate::sink::ledger::{Answer, Fate, Ledger, Returned};
use crate::sink::parking::Parking;
use crate::sink::rooms::Rooms;
use crate::sink::under_way::UnderWay;

/// How long room is kept for more of it to be given back with it. What is under way may be answered
/// late or never, such as that of a quorum queue that has lost its majority.
const KEPT: Duration = Duration::from_millis(50);
/// How old a channel is at least that is left because it was refused something.
const REFUSED: Duration = Duration::from_secs(1);

pub(super) enum Command {
    /// With who waits for the answer. It has a place in the window, which was taken for ever.
    Publish(Order, ReceiptSender),
    Close,
}

/// A message on its way out.
pub(super) struct Order {
    route: Route,
    letter: Letter,
    /// It comes back if no queue takes it.
    mandatory: bool,
}

impl Order {
    pub(super) fn new(route: Route, letter: Letter, outgoing: &Outgoing) -> Self {
        let is_answer = route.exchange.as_str().is_empty() && is_caller(route.key.as_str());
        Self { route, letter, mandatory: !outgoing.optional && !is_answer }
    }
}

/// Where a message is published.
pub(super) struct Route {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
}

/// Runs until the sink is dropped and all receipts are resolved, or until it is closed or the
/// channel dies: then what is open resolves as unknown.
///
/// It also ends if the broker has refused something and nothing is under way, so that the next
/// publish takes another channel. RabbitMQ's channels remember where the leader of a quorum queue
/// was when they first met it: if that node is gone, they refuse all for the queue, though others
/// have found its new leader long ago.
pub(super) async fn run(
    line: Line,
    parking: Arc<Parking>,
    largest: Largest,
    inbox: Inbox<Command>,
    mut rooms: Rooms,
) {
    let mut ledger = Ledger::new();
    let error = publish_all(&line, &parking, &inbox, &mut ledger, &mut rooms).await;
    rooms.close();
    let untaken = inbox.close();
    let Some(error) = error.map(Arc::new) else { return };
    tracing::debug!(error = error.chain(), "a sink has ended");
    // Before anybody tries again what was under way.
    largest.learn(&error);
    let unknown =
        |sender: ReceiptSender| sender.resolve(PublishOutcome::Unknown(Arc::clone(&error)));
    ledger.abandon().for_each(unknown);
    for command in untaken {
        if let Command::Publish(_, sender) = command {
            unknown(sender);
        }
    }
}

/// Returns why it ended, or `None` when nothing is left to do.
async fn publish_all(
    line: &Line,
    parking: &Parking,
    inbox: &Inbox<Command>,
    ledger: &mut Ledger<ReceiptSender>,
    rooms: &mut Rooms,
) -> Option<BrokerError> {
    let mut under_way = UnderWay::new();
    // lapin answers all that it knows of when a link is lost, and a publish of that very moment is
    // not always among them.
    let mut broken = pin!(line.broken());
    let mut lull = interval(KEPT);
    lull.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (opened, mut refused) = (Instant::now(), false);
    let mut more = true;
    let mut commands = Vec::new();
    while more || !under_way.is_empty() {
        let mut end = tokio::select! {
            biased;
            () = poll_fn(|cx| under_way.poll_gather(cx)), if !under_way.is_empty() => {
                resolve(ledger, under_way.answers(), rooms, &mut refused).err()
            }
            error = &mut broken => Some(error),
            goes_on = poll_fn(|cx| inbox.poll_take(&mut commands, cx)), if more => {
                more = goes_on;
                None
            }
            _ = lull.tick(), if rooms.keeps_some() => {
                rooms.give_back(false);
                None
            }
        };
        for command in commands.drain(..) {
            let Command::Publish(order, sender) = command else {
                end = end.or_else(|| Some(closed("the sink")));
                continue;
            };
            let key = ledger.open(sender);
            under_way.push(send(&line.channel, parking, order, key));
        }
        if end.is_some() {
            return end;
        }
        rooms.give_back(!under_way.is_empty());
        if refused && under_way.is_empty() && opened.elapsed() >= REFUSED && inbox.close_if_empty()
        {
            return None;
        }
        // Others have work, too, and here is always some while many publish.
        consume_budget().await;
    }
    None
}

/// Publishes one message, and returns when that is written, with the future of the broker's answer.
async fn send(
    channel: &Channel,
    parking: &Parking,
    order: Order,
    key: u64,
) -> lapin::Result<impl TryFuture<Ok = Answer, Error = lapin::Error> + Unpin> {
    let Order { route, letter, mandatory } = order;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    // AMQP 0.9.1 keeps this property for nobody, and RabbitMQ carries it unread.
    let properties = letter.properties().with_cluster_id(key.to_string().into());
    let (exchange, routing_key, payload) = (route.exchange, route.key, letter.payload());
    let sent = channel.basic_publish(exchange, routing_key, options, payload, properties).await;
    Ok(sent?.map_ok(move |confirmation| answer(confirmation, parking, key)))
}

fn answer(confirmation: Confirmation, parking: &Parking, key: u64) -> Answer {
    let confirmed = !confirmation.is_nack();
    let carried = confirmation.take_message().map(|message| {
        parking.forget(message.routing_key.as_str());
        returned(&message, key)
    });
    Answer { key, confirmed, carried }
}

fn returned(message: &BasicReturnMessage, carrier: u64) -> Returned {
    let key = message.properties.cluster_id().as_ref().and_then(|id| id.as_str().parse().ok());
    let (code, text, queue) = (message.reply_code, &message.reply_text, &message.routing_key);
    let words = format!("{code} {text} for `{queue}`");
    Returned { key: key.unwrap_or(carrier), words }
}

/// Resolves what is final by these answers. An error is the end of the channel, for all of them.
fn resolve(
    ledger: &mut Ledger<ReceiptSender>,
    answers: impl Iterator<Item = lapin::Result<Answer>>,
    rooms: &mut Rooms,
    refused: &mut bool,
) -> Result<(), BrokerError> {
    let mut error = None;
    let known = answers.filter_map(|answer| answer.map_err(|cause| error = Some(cause)).ok());
    ledger.settle(known, |sender, fate| {
        *refused |= fate == Fate::Nacked;
        sender.resolve(match fate {
            Fate::Confirmed => PublishOutcome::Confirmed,
            Fate::Nacked => PublishOutcome::Nacked,
            Fate::Returned(words) => PublishOutcome::Returned(words),
        });
        rooms.add_one();
    });
    error.map_or(Ok(()), |error| Err(lost("the channel", &error)))
}
