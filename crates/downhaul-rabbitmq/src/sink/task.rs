//! The task of a sink: publishes orders in their sequence and resolves their receipts.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use downhaul_consumer::{BrokerError, PublishOutcome, ReceiptSender};
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::Channel;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::{closed, lost};
use crate::letter::Letter;
use crate::link::Line;
use crate::sink::ledger::{Answer, Fate, Ledger, Returned};

pub(super) enum Command {
    Publish(Box<Order>),
    Close,
}

/// A message on its way out.
pub(super) struct Order {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) letter: Letter,
    pub(super) sender: ReceiptSender,
    /// Its place in the window, free again when the receipt is resolved.
    pub(super) room: OwnedSemaphorePermit,
}

type Waiting = (ReceiptSender, OwnedSemaphorePermit);
type Answers = Vec<lapin::Result<Answer>>;

/// Runs until the sink is dropped and all receipts are resolved, or until it is closed or the
/// channel dies: then what is open resolves as unknown.
pub(super) async fn run(
    line: Line,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    window: Arc<Semaphore>,
) {
    let mut ledger = Ledger::new();
    let error = publish_all(&line, &mut inbox, &mut ledger).await;
    window.close();
    inbox.close();
    let Some(error) = error.map(Arc::new) else { return };
    tracing::debug!(error = error.chain(), "a sink has ended");
    let unknown =
        |sender: ReceiptSender| sender.resolve(PublishOutcome::Unknown(Arc::clone(&error)));
    ledger.abandon().for_each(|(sender, _room)| unknown(sender));
    while let Ok(command) = inbox.try_recv() {
        if let Command::Publish(order) = command {
            unknown(order.sender);
        }
    }
}

/// Returns why it ended, or `None` when nothing is left to do.
async fn publish_all(
    line: &Line,
    inbox: &mut mpsc::UnboundedReceiver<Command>,
    ledger: &mut Ledger<Waiting>,
) -> Option<BrokerError> {
    let mut under_way = FuturesUnordered::new();
    // lapin answers all that it knows of when a link is lost, and a publish of that very moment is
    // not always among them.
    let mut broken = pin!(line.broken());
    let (mut number, mut more) = (0_u64, true);
    while more || !under_way.is_empty() {
        tokio::select! {
            // Answers first: so each publish reaches lapin before the next is taken.
            biased;
            answers = poll_fn(|cx| poll_answers(&mut under_way, cx)), if !under_way.is_empty() => {
                if let Err(error) = resolve(ledger, answers) {
                    return Some(lost("the channel", &error));
                }
            }
            error = &mut broken => return Some(error),
            command = inbox.recv(), if more => match command {
                Some(Command::Publish(order)) => {
                    let Order { exchange, key, letter, sender, room } = *order;
                    number += 1;
                    ledger.insert(number, (sender, room));
                    under_way.push(publish(&line.channel, exchange, key, letter, number));
                }
                Some(Command::Close) => return Some(closed("the sink")),
                None => more = false,
            },
        }
    }
    None
}

/// Publishes one message and waits for the broker's answer.
async fn publish(
    channel: &Channel,
    exchange: ShortString,
    key: ShortString,
    letter: Letter,
    number: u64,
) -> lapin::Result<Answer> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    // AMQP 0.9.1 keeps this property for nobody, and RabbitMQ carries it unread.
    let properties = letter.properties.with_cluster_id(number.to_string().into());
    let sent = channel.basic_publish(exchange, key, options, &letter.payload, properties).await;
    drop(letter.payload);
    let confirmation = sent?.await?;
    let confirmed = !confirmation.is_nack();
    let carried = confirmation.take_message().map(|message| returned(&message, number));
    Ok(Answer { key: number, confirmed, carried })
}

fn returned(message: &BasicReturnMessage, carrier: u64) -> Returned {
    let number = message.properties.cluster_id().as_ref().and_then(|id| id.as_str().parse().ok());
    let words = format!("{} {}", message.reply_code, message.reply_text);
    Returned { key: number.unwrap_or(carrier), words }
}

/// Resolves what is final by these answers. An error is the end of the channel, for all of them.
fn resolve(ledger: &mut Ledger<Waiting>, answers: Answers) -> lapin::Result<()> {
    let mut error = None;
    let answers = answers.into_iter().filter_map(|answer| answer.map_err(|e| error = Some(e)).ok());
    let answers = answers.collect();
    for ((sender, _room), fate) in ledger.settle(answers) {
        sender.resolve(match fate {
            Fate::Confirmed => PublishOutcome::Confirmed,
            Fate::Nacked => PublishOutcome::Nacked,
            Fate::Returned(words) => PublishOutcome::Returned(words),
        });
    }
    error.map_or(Ok(()), Err)
}

/// All answers that are there. The ledger relies on getting every one that was completed before any
/// that it gets, and a `FuturesUnordered` may say `Pending` and wake itself while some are ready.
fn poll_answers<F>(under_way: &mut FuturesUnordered<F>, cx: &mut Context<'_>) -> Poll<Answers>
where
    F: Future<Output = lapin::Result<Answer>>,
{
    let mut answers = Answers::new();
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), waker: cx.waker().clone() });
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        match under_way.poll_next_unpin(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(answer)) => answers.push(answer),
            Poll::Pending if bell.rung.swap(false, Ordering::AcqRel) => {}
            Poll::Ready(None) | Poll::Pending if answers.is_empty() => return Poll::Pending,
            Poll::Ready(None) | Poll::Pending => return Poll::Ready(answers),
        }
    }
}

/// A waker that remembers that it was used.
struct Bell {
    rung: AtomicBool,
    waker: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}
