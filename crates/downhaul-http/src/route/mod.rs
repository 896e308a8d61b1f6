//! What an application is made of: routes, handlers, and what they answer.

#[cfg(feature = "axum")]
pub(crate) mod ctx;
pub(crate) mod endpoint;
pub(crate) mod event;
pub(crate) mod invalid;
pub(crate) mod json;
pub(crate) mod limited;
#[cfg(feature = "axum")]
pub(crate) mod matched;
pub(crate) mod mount;
pub(crate) mod params;
pub(crate) mod request;
pub(crate) mod route_limits;
pub(crate) mod routed;
pub(crate) mod router;
pub(crate) mod router_types;
pub(crate) mod set_timeout;
pub(crate) mod sse;
pub(crate) mod table;
