//! HTTP.

mod accept;
mod answer_body;
mod body;
mod connection;
#[cfg(feature = "axum")]
mod ctx;
mod drain;
mod endpoint;
mod error;
mod exchange;
mod handle;
mod hub;
mod in_flight;
mod io;
mod json;
mod limits;
mod link;
pub mod observe;
mod request;
mod router;
mod running;
mod server;

pub use crate::body::{Body, BodyError};
#[cfg(feature = "axum")]
pub use crate::ctx::Ctx;
pub use crate::drain::{DrainPlan, DrainReport};
pub use crate::endpoint::Next;
pub use crate::error::{BindError, BoxError, Error};
pub use crate::in_flight::{Phase, RequestInfo};
pub use crate::json::Json;
pub use crate::limits::OnDisconnect;
pub use crate::observe::{AccessLog, RequestObserver};
pub use crate::request::Request;
pub use crate::router::{Routed, Router};
pub use crate::running::Running;
pub use crate::server::Server;
