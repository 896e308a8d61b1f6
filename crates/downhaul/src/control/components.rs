//! The components, to look at and to control.

use downhaul_context::Context;
use downhaul_http::{Error, Json, Request};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::FOLLOW;
use crate::handle::{AppHandle, Refused};
use crate::run::Verb;
use crate::status::Status;

/// A component as the interface shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    state: String,
    /// How long it has been so.
    since_ms: u128,
    essential: bool,
    starts: u32,
    last_error: Option<String>,
    needs: Vec<String>,
    can_restart: bool,
}

#[derive(Deserialize)]
struct Forced {
    #[serde(default)]
    force: bool,
}

pub(super) async fn list(_ctx: Context, req: Request<AppHandle>) -> Json<Vec<Shown>> {
    Json(req.state().statuses().into_iter().map(Shown::new).collect())
}

pub(super) async fn verb(ctx: Context, req: Request<AppHandle>) -> Result<Json<Shown>, Error> {
    let app = req.state();
    let (name, verb) = (req.param::<String>("name")?, req.param::<String>("verb")?);
    let part = find(app, &name)?;
    let asked = match verb.as_str() {
        "start" => Verb::Start,
        "stop" => {
            let Forced { force } = req.query()?;
            spare(&app.statuses(), &name, force)?;
            Verb::Stop
        }
        "restart" => Verb::Restart,
        _ => {
            let known = "start, stop, restart";
            return Err(Error::not_found(format!("unknown verb `{verb}`; known: {known}")));
        }
    };
    tracing::info!(component = name, verb, "operator");
    let (following, _canceller) = ctx.with_timeout(FOLLOW);
    match following.run(app.ask_at(part, asked)).await {
        Ok(Ok(status)) => Ok(Json(Shown::new(status))),
        Ok(Err(refused)) => Err(conflict(&refused)),
        // Not there yet is an answer too: the state says how far it has come.
        Err(_late) => {
            let status = app.statuses().into_iter().nth(part);
            status
                .map(|status| Json(Shown::new(status)))
                .ok_or_else(|| conflict(&Refused::NotRunning))
        }
    }
}

fn find(app: &AppHandle, name: &str) -> Result<usize, Error> {
    let names: Vec<String> = app.statuses().into_iter().map(|status| status.name).collect();
    names.iter().position(|known| known == name).ok_or_else(|| {
        Error::not_found(format!("unknown component `{name}`; known: {}", names.join(", ")))
    })
}

/// Refuses to stop what cannot be started again, unless it is forced to.
fn spare(statuses: &[Status], name: &str, force: bool) -> Result<(), Error> {
    match stops_for_good(statuses, name) {
        Some(lost) if !force => {
            let why = format!(
                "this stops `{lost}`, which cannot be started again: add `?force=true` to do so \
                 all the same"
            );
            Err(Error::new(StatusCode::CONFLICT, why))
        }
        _ => Ok(()),
    }
}

/// The first component that would stop with this one, and could not be started again.
fn stops_for_good<'a>(statuses: &'a [Status], name: &'a str) -> Option<&'a str> {
    let mut stopping = vec![name];
    // What needs others comes after them.
    for Status { name, needs, .. } in statuses {
        if needs.iter().any(|need| stopping.contains(&need.as_str())) {
            stopping.push(name);
        }
    }
    let is_lost = |status: &&Status| !status.can_restart && !status.state.is_down();
    let mut lost = statuses.iter().filter(is_lost).map(|status| status.name.as_str());
    lost.find(|name| stopping.contains(name))
}

fn conflict(refused: &Refused) -> Error {
    Error::new(StatusCode::CONFLICT, refused.to_string())
}

impl Shown {
    fn new(status: Status) -> Self {
        let (state, since_ms) = (status.state.to_string(), status.since.elapsed().as_millis());
        let Status { name, essential, starts, last_error, needs, can_restart, .. } = status;
        Self { name, state, since_ms, essential, starts, last_error, needs, can_restart }
    }
}
