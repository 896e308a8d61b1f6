//! [`Head`]: what the server itself reads of a request's headers, in one walk over them.

use std::borrow::Cow;
use std::time::Duration;

use downhaul_context::wire::{Budget, Names};
use downhaul_context::{Context, RequestId, TraceContext};
use http::{HeaderMap, HeaderValue};

pub(crate) const X_REQUEST_ID: &str = Names::HTTP.request_id;
const X_REQUEST_TIMEOUT_MS: &str = Names::HTTP.budget;

/// Of headers that are to come once, the first, and how many there are where that matters.
#[derive(Default)]
pub(crate) struct Head<'a> {
    pub(crate) host: Option<&'a HeaderValue>,
    pub(crate) hosts: usize,
    pub(crate) coding: Option<&'a HeaderValue>,
    pub(crate) codings: usize,
    /// The first `Expect` that is not `100-continue`.
    pub(crate) expected: Option<&'a HeaderValue>,
    request_id: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    /// How many there are. Of two, neither can be trusted.
    traceparents: usize,
    tracestate: Option<Cow<'a, [u8]>>,
    /// The least time that a valid header says the client waits.
    pub(crate) budget: Option<Duration>,
}

impl<'a> Head<'a> {
    pub(crate) fn read(headers: &'a HeaderMap) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            head.take(name.as_str(), value);
        }
        head
    }

    /// The id the client sent, where it is fit for logs and headers, or a fresh one.
    pub(crate) fn request_id(&self) -> RequestId {
        let inbound = text(self.request_id).and_then(|id| RequestId::parse(id).ok());
        inbound.unwrap_or_else(RequestId::generate)
    }

    /// Where the client is in its trace, if it says so.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let state = self.tracestate.as_deref().and_then(|state| str::from_utf8(state).ok());
        let parent = text(self.traceparent).filter(|_| self.traceparents == 1);
        parent.and_then(|parent| TraceContext::parse(parent, state).ok())
    }

    /// Besides ours, the budgets of Connect, of gRPC and of Envoy are read.
    fn take(&mut self, name: &str, value: &'a HeaderValue) {
        match name {
            "host" => {
                self.hosts += 1;
                self.host.get_or_insert(value);
            }
            "transfer-encoding" => {
                self.codings += 1;
                self.coding.get_or_insert(value);
            }
            "expect" if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                self.expected.get_or_insert(value);
            }
            X_REQUEST_ID => {
                self.request_id.get_or_insert(value);
            }
            "traceparent" => {
                self.traceparents += 1;
                self.traceparent.get_or_insert(value);
            }
            "tracestate" => match &mut self.tracestate {
                // It is a list, which may come in several headers.
                Some(state) => state.to_mut().extend([b",", value.as_bytes()].concat()),
                None => self.tracestate = Some(value.as_bytes().into()),
            },
            X_REQUEST_TIMEOUT_MS | "connect-timeout-ms" | "x-envoy-expected-rq-timeout-ms" => {
                self.allow(Budget::from_millis(value.as_bytes()));
            }
            "grpc-timeout" => self.allow(Budget::from_grpc(value.as_bytes())),
            _ => {}
        }
    }

    fn allow(&mut self, budget: Option<Budget>) {
        let budgets = [self.budget, budget.map(Budget::span)];
        self.budget = budgets.into_iter().flatten().min();
    }
}

/// The context with the request's id and, where that is known, its place in a trace.
pub(crate) fn bind(ctx: &Context, id: RequestId, place: Option<TraceContext>) -> Context {
    match place {
        Some(place) => ctx.with_values((id, place)),
        None => ctx.with_value(id),
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}
