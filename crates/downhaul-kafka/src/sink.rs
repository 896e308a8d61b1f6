//! [`KafkaSink`]: publishing, with as many messages under way as librdkafka takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, BrokerErrorKind, Outgoing, PublishOutcome, Receipt, ReceiptSender, Sink,
};
use downhaul_context::Context;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::blocking::blocking;
use crate::client;
use crate::delivery::is_concluded;
use crate::error::{cannot, closed, is_unknown_place, kind, unreachable};
use crate::options::Options;
use crate::places::Places;
use crate::record::{headers, outgoing_record};

/// How long a sink that closes waits for answers, unless its context ends before.
const FLUSH: Duration = Duration::from_secs(30);
/// Said of a message that librdkafka would call written.
const SKIPPED: &str = "cannot tell whether it was published: the broker has refused it once and \
                       then written a later message of its partition";
/// How long a message waits for room before it is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(5);

pub(crate) struct KafkaSink {
    producer: Arc<ThreadedProducer<Deliveries>>,
    places: Places,
    /// Ends when the broker is closed.
    life: Context,
}

/// What librdkafka says to a producer.
#[derive(Debug)]
struct Deliveries {
    /// Rung when there is room again.
    room: Notify,
    /// Whether the broker says what it has written.
    is_answered: bool,
}

type Record<'a> = BaseRecord<'a, [u8], [u8], Box<ReceiptSender>>;

/// A message as it is handed over, and its receipt.
fn record<'a>(
    topic: &'a str,
    outgoing: &'a Outgoing,
) -> Result<(Record<'a>, Receipt), BrokerError> {
    let headers = headers(outgoing)?;
    let (sender, receipt) = Receipt::pending();
    Ok((outgoing_record(topic, &outgoing.message, headers, Box::new(sender)), receipt))
}

impl KafkaSink {
    /// Makes the client, which connects by itself.
    pub(crate) fn open(options: &Options, life: &Context) -> Result<Self, BrokerError> {
        let config = options.producer()?;
        let is_answered = Options::is_answered(&config);
        let deliveries = Deliveries { room: Notify::new(), is_answered };
        let producer = ThreadedProducer::from_config_and_context(&config, deliveries);
        let producer = producer.map_err(|error| cannot("make a client of Kafka", &error))?;
        Ok(Self { producer: Arc::new(producer), places: Places::new(options), life: life.clone() })
    }

    /// Hands a record over, as soon as there is room.
    async fn hand_over(&self, mut record: Record<'_>) -> Result<(), BrokerError> {
        loop {
            record = match self.try_hand_over(record)? {
                None => return Ok(()),
                Some(back) => back,
            };
            let room = self.producer.context().room.notified();
            tokio::pin!(room);
            // Heard from now on, so that what comes before the next look is not missed.
            room.as_mut().enable();
            match self.try_hand_over(record)? {
                None => return Ok(()),
                Some(back) => record = back,
            }
            // Room is made just after it is told of, and perhaps after the next try.
            let _ = timeout(TRY_AGAIN, room).await;
        }
    }

    /// Returns the record if there is no room for it.
    fn try_hand_over<'a>(&self, record: Record<'a>) -> Result<Option<Record<'a>>, BrokerError> {
        match self.producer.send(record) {
            Ok(()) => Ok(None),
            Err((error, record)) if is_full(&error) => Ok(Some(record)),
            Err((error, _)) => Err(self.not_sent(&error)),
        }
    }

    fn not_sent(&self, error: &KafkaError) -> BrokerError {
        match self.producer.client().fatal_error() {
            Some((code, reason)) => {
                unreachable(format!("cannot publish any more: {code}: {reason}"))
            }
            None => cannot("publish", error),
        }
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(Code::QueueFull)
}

#[async_trait]
impl Sink for KafkaSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        if self.life.is_done() {
            return Err(closed());
        }
        let topic = self.places.topic(outgoing)?;
        let (record, receipt) = record(&topic, outgoing)?;
        if let Some(returned) = self.places.returned(&topic).await? {
            return Ok(returned);
        }
        self.hand_over(record).await?;
        Ok(receipt)
    }

    fn try_send(&self, outgoing: &Outgoing) -> Option<Result<Receipt, BrokerError>> {
        let topic = self.places.topic(outgoing).ok()?;
        if self.life.is_done() || !self.places.knows(&topic) {
            return None;
        }
        let (record, receipt) = record(&topic, outgoing).ok()?;
        matches!(self.try_hand_over(record), Ok(None)).then_some(Ok(receipt))
    }

    async fn close(&self, ctx: &Context) {
        let producer = Arc::clone(&self.producer);
        let flushed = ctx.run(blocking(move || producer.flush(FLUSH))).await;
        if !matches!(flushed, Ok(Ok(()))) {
            self.producer.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.producer.in_flight_count();
        f.debug_struct("KafkaSink").field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<ReceiptSender>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<ReceiptSender>) {
        receipt.resolve(match result {
            Ok(record) if self.is_answered && is_concluded(record) => {
                PublishOutcome::Unknown(Arc::new(unreachable(SKIPPED)))
            }
            Ok(_) => PublishOutcome::Confirmed,
            Err((error, _)) => outcome(error),
        });
        self.room.notify_waiters();
    }
}

/// What is known of a message whose delivery failed.
fn outcome(error: &KafkaError) -> PublishOutcome {
    let Some(code) = error.rdkafka_error_code() else {
        return PublishOutcome::Unknown(Arc::new(cannot("publish", error)));
    };
    match kind(code) {
        _ if is_unknown_place(code) => PublishOutcome::Returned(code.to_string()),
        // Said by the broker before it wrote anything, or by the client before it sent any.
        BrokerErrorKind::Message => PublishOutcome::Refused(Arc::new(cannot("publish", error))),
        BrokerErrorKind::Unreachable => PublishOutcome::Unknown(Arc::new(cannot("publish", error))),
        _ => PublishOutcome::Nacked,
    }
}
