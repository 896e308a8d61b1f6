//! The consumers, to look at and to control.

use downhaul_consumer::{ConsumerHandle, HeldLane, Link, ReplayError, Snapshot};
use downhaul_context::{Context, Instant};
use downhaul_http::{Error, Json, Request};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::FOLLOW;
use crate::error::chain;
use crate::handle::AppHandle;

pub(super) async fn list(_ctx: Context, req: Request<AppHandle>) -> Json<Vec<Shown>> {
    Json(consumers(req.state()).into_iter().map(Shown::new).collect())
}

pub(super) async fn verb(ctx: Context, req: Request<AppHandle>) -> Result<Json<Shown>, Error> {
    let (name, verb) = (req.param::<String>("name")?, req.param::<String>("verb")?);
    let (component, consumer) = find(&consumers(req.state()), &name)?;
    match verb.as_str() {
        "start" => consumer.start(),
        "stop" => consumer.stop(),
        "pause" => consumer.pause(),
        "resume" => consumer.resume(),
        "drain" => consumer.drain(),
        "abort" => consumer.abort(),
        "restart" => consumer.restart(),
        _ => {
            let known = "start, stop, pause, resume, drain, abort, restart";
            return Err(Error::not_found(format!("unknown verb `{verb}`; known: {known}")));
        }
    }
    tracing::info!(component, consumer = consumer.name(), verb, "operator");
    let (following, _canceller) = ctx.with_timeout(FOLLOW);
    // Not there yet is an answer too: the state says how far it has come.
    let _ = following.run(consumer.settled()).await;
    Ok(Json(Shown::new((component, consumer))))
}

/// How many dead letters are put back at a time, unless it is said.
const REPLAYED_AT_ONCE: usize = 100;

#[derive(Deserialize)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// What became of the dead letters.
#[derive(Serialize)]
pub(super) struct Replayed {
    put_back: usize,
    /// Looked at, and left alone.
    left: usize,
    /// Put back, and dead letters again by now.
    failed_again: usize,
}

pub(super) async fn replay(ctx: Context, req: Request<AppHandle>) -> Result<Json<Replayed>, Error> {
    let Limit { limit } = req.query()?;
    let (component, consumer) = find(&consumers(req.state()), &req.param::<String>("name")?)?;
    let (replaying, _canceller) = ctx.with_timeout(FOLLOW);
    let letters = consumer.dead_letters();
    let replayed = letters.replay(&replaying, limit.unwrap_or(REPLAYED_AT_ONCE), |_| true).await;
    let (name, replayed) = (consumer.name(), replayed.map_err(|error| unfinished(&error))?);
    let downhaul_consumer::Replayed { put_back, left, failed_again, .. } = replayed;
    let words = "operator: dead letters put back";
    tracing::info!(component, consumer = name, put_back, left, failed_again, "{words}");
    Ok(Json(Replayed { put_back, left, failed_again }))
}

/// Those that were put back stay so, and it can be asked for the others again.
fn unfinished(error: &ReplayError) -> Error {
    let status = match error {
        ReplayError::Ended(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Error::new(status, format!("not all were put back: {}", chain(error)))
}

/// A consumer, and the name of its component: that of the consumer itself is also another's where
/// two brokers have a queue of one name.
type Named = (String, ConsumerHandle);

/// All consumers that have started.
fn consumers(app: &AppHandle) -> Vec<Named> {
    let names = app.statuses().into_iter().map(|status| status.name).enumerate();
    names.filter_map(|(part, name)| Some((name, app.board.consumer(part)?))).collect()
}

/// The one that is called so or, where several are or none is, that of the component of this name.
fn find(consumers: &[Named], name: &str) -> Result<Named, Error> {
    let called: Vec<_> = consumers.iter().filter(|(_, one)| one.name() == name).collect();
    if let [one] = &*called {
        return Ok((*one).clone());
    }
    if let Some(one) = consumers.iter().find(|(component, _)| component == name) {
        return Ok(one.clone());
    }
    let join = |names: Vec<&str>| names.join(", ");
    Err(match called.len() {
        0 => {
            let known = join(consumers.iter().map(|(_, one)| one.name()).collect());
            Error::not_found(format!("unknown consumer `{name}`; known: {known}"))
        }
        count => {
            let which = join(called.iter().map(|(component, _)| component.as_str()).collect());
            let several = format!("{count} consumers are called `{name}`");
            let words = format!("{several}: say which by its component: {which}");
            Error::new(StatusCode::CONFLICT, words)
        }
    })
}

/// A consumer as the interface shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    component: String,
    state: String,
    link: String,
    /// How much longer it takes nothing, because too much has failed.
    suspended_ms: Option<u128>,
    in_flight: usize,
    buffered: usize,
    /// Buffered behind others of their key.
    in_line: usize,
    /// Waiting in hand, for another attempt or to be given back.
    waiting: usize,
    processed: u64,
    retried: u64,
    dead_lettered: u64,
    dropped: u64,
    /// Processed before, and so acknowledged without a call of the handler.
    duplicates: u64,
    released: u64,
    /// Settled too late: they come again.
    lost: u64,
    abandoned: u64,
    /// How many messages of all lanes are not finished, as far as the broker has told.
    lag: Option<u64>,
    lanes: Vec<ShownLane>,
    /// What messages wait for besides their handlers.
    held_up: Vec<String>,
    last_error: Option<String>,
}

/// A partition that it has.
#[derive(Serialize)]
struct ShownLane {
    topic: String,
    partition: u32,
    lag: Option<u64>,
}

impl ShownLane {
    fn new(lane: &HeldLane) -> Self {
        Self { topic: lane.topic.to_string(), partition: lane.partition, lag: lane.lag }
    }
}

impl Shown {
    fn new((component, consumer): Named) -> Self {
        let snapshot = consumer.snapshot();
        let lag = snapshot.lag();
        let Snapshot { status, tally, in_flight, lanes, held_up, last_error, .. } = snapshot;
        let until = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis();
        let link = match status.link {
            Link::Up => "up".to_owned(),
            Link::Recovering { attempt, error, .. } => {
                format!("recovering, attempt {attempt}: {error}")
            }
            _ => "closed".to_owned(),
        };
        Self {
            name: consumer.name().to_owned(),
            component,
            state: status.state.to_string(),
            link,
            suspended_ms: status.suspended_until.map(until),
            in_flight: in_flight.len(),
            buffered: snapshot.buffered,
            in_line: snapshot.in_line,
            waiting: snapshot.waiting,
            processed: tally.acked,
            retried: tally.retried,
            dead_lettered: tally.dead_lettered,
            dropped: tally.dropped,
            duplicates: tally.duplicates,
            released: tally.released,
            lost: tally.lost,
            abandoned: tally.abandoned,
            lag,
            lanes: lanes.iter().map(ShownLane::new).collect(),
            held_up,
            last_error: last_error.map(|last| last.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Arc;

    use downhaul_consumer::inbox::MemoryInbox;
    use downhaul_consumer::{
        Consumer, Incoming, MemoryBroker, Message, Outgoing, Publisher, Subscription,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::partitioned::Partitioned;

    fn shown(consumer: &ConsumerHandle) -> Value {
        serde_json::to_value(Shown::new(("inventory".to_owned(), consumer.clone()))).unwrap()
    }

    fn lane(partition: u32, lag: Option<u64>) -> Value {
        json!({ "topic": "orders", "partition": partition, "lag": lag })
    }

    fn inventory() -> Consumer {
        let nothing = |_: Context, _: Incoming<Message>| ready(());
        Consumer::new(Subscription::new("inventory"), nothing)
    }

    #[tokio::test]
    async fn the_partitions_of_a_consumer_are_shown_with_how_far_it_is_behind_in_each() {
        let ((ctx, _canceller), broker) = (Context::root(), Partitioned::default());
        let consumer = inventory().spawn(&ctx, Arc::new(broker.clone()));
        consumer.settled().await;
        let none = shown(&consumer);
        assert_eq!((&none["lanes"], &none["lag"]), (&json!([]), &Value::Null));
        for (partition, lag) in [(2, Some(30)), (0, None), (1, Some(12))] {
            broker.put(partition, lag);
        }
        let lanes = json!([lane(0, None), lane(1, Some(12)), lane(2, Some(30))]);
        let seen = shown(&consumer);
        assert_eq!((&seen["lanes"], &seen["lag"]), (&lanes, &json!(42)));
        consumer.stop();
        consumer.settled().await;
        assert_eq!(shown(&consumer)["lanes"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_processed_before_is_shown() {
        let ((ctx, _canceller), broker) = (Context::root(), Arc::new(MemoryBroker::new()));
        let consumer = inventory().dedupe(Arc::new(MemoryInbox::new()));
        let consumer = consumer.spawn(&ctx, broker.clone());
        consumer.settled().await;
        let publisher = Publisher::new(broker);
        for _ in 0..2 {
            let message = Outgoing::to_queue("inventory", Message::new("").with_id("one"));
            publisher.publish(&ctx, message).await.unwrap();
        }
        consumer.idle_for(std::time::Duration::from_secs(1)).await;
        let seen = shown(&consumer);
        let counts = ["processed", "duplicates", "lost", "released", "dropped", "abandoned"];
        let counts = counts.map(|name| seen[name].as_u64().unwrap());
        assert_eq!(counts, [1, 1, 0, 0, 0, 0]);
    }
}
