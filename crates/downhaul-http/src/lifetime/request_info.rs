//! [`RequestInfo`]: a request in flight as reports and debug pages show it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::RequestId;
use http::Method;

use crate::listen::address::Address;

/// A request that a server works on, as reports and debug pages show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestInfo {
    /// The id that answers, logs and messages carry.
    pub id: RequestId,
    /// The method as it was sent.
    pub method: Method,
    /// The path without the query, which may hold secrets.
    pub path: String,
    /// The template that matched, such as `/orders/{id}`, where a [`Router`](crate::Router) knew.
    pub route: Option<Arc<str>>,
    /// The other end of its connection; behind a proxy it is the proxy.
    pub peer: Address,
    /// The time since its head was read.
    pub age: Duration,
    /// The time until its context ends by itself, by its deadline or that of a drain; zero when it
    /// has passed, `None` where it has no end.
    pub remaining: Option<Duration>,
    /// What it is doing.
    pub phase: Phase,
}

impl fmt::Display for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, method, path, age, phase, .. } = self;
        write!(f, "{method} {path} ({id}), {phase}, {} ms old", age.as_millis())
    }
}

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The handler works.
    Handling,
    /// The handler waits for the body.
    ReadingBody,
    /// The answer is on its way to the client.
    Answering,
    /// The context has ended and the handler has not.
    Cancelled,
    /// The connection goes on as something else, such as a WebSocket.
    Upgraded,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handling => "in its handler",
            Self::ReadingBody => "reading its body",
            Self::Answering => "sending its answer",
            Self::Cancelled => "cancelled, its handler still runs",
            Self::Upgraded => "upgraded",
        })
    }
}
