//! The probes.

use downhaul_context::Context;
use downhaul_http::{Json, Request};
use http::StatusCode;
use serde_json::{Value, json};

use crate::handle::AppHandle;

pub(super) async fn live(_ctx: Context, _req: Request<AppHandle>) -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Answers 503 until the app has started, for a probe that is patient only as long; also where it
/// stops before.
pub(super) async fn startup(_ctx: Context, req: Request<AppHandle>) -> (StatusCode, Json<Value>) {
    let board = &req.state().board;
    match board.has_started() {
        true => (StatusCode::OK, Json(json!({ "status": "started" }))),
        false => unavailable("not started", board.probe().await.err()),
    }
}

pub(super) async fn ready(_ctx: Context, req: Request<AppHandle>) -> (StatusCode, Json<Value>) {
    let body = match req.state().board.probe().await {
        Err(reason) => return unavailable("not ready", Some(reason)),
        Ok(degraded) if degraded.is_empty() => json!({ "status": "ready" }),
        Ok(degraded) => json!({ "status": "ready", "degraded": degraded }),
    };
    (StatusCode::OK, Json(body))
}

fn unavailable(status: &str, reason: Option<String>) -> (StatusCode, Json<Value>) {
    let body = json!({ "status": status, "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
