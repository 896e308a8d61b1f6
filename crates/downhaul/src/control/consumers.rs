//! The consumers, to look at and to control.

use downhaul_consumer::{ConsumerHandle, Link, Snapshot};
use downhaul_context::{Context, Instant};
use downhaul_http::{Error, Json, Request};
use serde::Serialize;

use super::FOLLOW;
use crate::handle::AppHandle;

pub(super) async fn list(_ctx: Context, req: Request<AppHandle>) -> Json<Vec<Shown>> {
    Json(req.state().board.consumers().iter().map(Shown::new).collect())
}

pub(super) async fn verb(ctx: Context, req: Request<AppHandle>) -> Result<Json<Shown>, Error> {
    let consumer = find(&req)?;
    let verb = req.param::<String>("verb")?;
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
    tracing::info!(consumer = consumer.name(), verb, "operator");
    let (following, _canceller) = ctx.with_timeout(FOLLOW);
    // Not there yet is an answer too: the state says how far it has come.
    let _ = following.run(consumer.settled()).await;
    Ok(Json(Shown::new(&consumer)))
}

fn find(req: &Request<AppHandle>) -> Result<ConsumerHandle, Error> {
    let name = req.param::<String>("name")?;
    let consumers = req.state().board.consumers();
    let known: Vec<&str> = consumers.iter().map(ConsumerHandle::name).collect();
    let unknown = || format!("unknown consumer `{name}`; known: {}", known.join(", "));
    let found = consumers.iter().find(|consumer| consumer.name() == name);
    found.cloned().ok_or_else(|| Error::not_found(unknown()))
}

/// A consumer as the interface shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
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
    fn new(consumer: &ConsumerHandle) -> Self {
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
