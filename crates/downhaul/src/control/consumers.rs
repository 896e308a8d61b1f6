//! The consumers, to look at and to control.

use downhaul_consumer::{ConsumerHandle, Link, ReplayError, Snapshot};
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
    /// Waiting in hand, for another attempt or to be given back.
    waiting: usize,
    processed: u64,
    retried: u64,
    dead_lettered: u64,
    /// What messages wait for besides their handlers.
    held_up: Vec<String>,
    last_error: Option<String>,
}

impl Shown {
    fn new((component, consumer): Named) -> Self {
        let Snapshot { status, tally, in_flight, buffered, waiting, held_up, last_error, .. } =
            consumer.snapshot();
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
            buffered,
            waiting,
            processed: tally.acked,
            retried: tally.retried,
            dead_lettered: tally.dead_lettered,
            held_up,
            last_error: last_error.map(|last| last.error),
        }
    }
}
