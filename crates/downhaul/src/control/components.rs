//! The components, to look at and to control.

use downhaul_context::Context;
use downhaul_http::{Error, Json, Request};
use http::StatusCode;
use serde::Serialize;

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
        "stop" => Verb::Stop,
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

fn conflict(refused: &Refused) -> Error {
    Error::new(StatusCode::CONFLICT, refused.to_string())
}

impl Shown {
    fn new(status: Status) -> Self {
        let Status { name, state, since, essential, starts, last_error, needs, .. } = status;
        let (state, since_ms) = (state.to_string(), since.elapsed().as_millis());
        Self { name, state, since_ms, essential, starts, last_error, needs }
    }
}
