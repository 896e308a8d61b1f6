//! [`Sse`]: an answer that is a stream of events.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum_core::body::Body as AnyBody;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::{Context, Instant};
use futures_core::Stream;
use futures_core::future::BoxFuture;
use http::{HeaderName, HeaderValue, header};
use http_body::{Body as HttpBody, Frame};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use crate::route::event::Event;

/// Proxies close what is silent for a minute or, some of them, for half of one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    // nginx would collect events otherwise, until there are some kilobytes of them.
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// Answers with a stream of events (`text/event-stream`), one after the other as they come.
///
/// It ends with its stream, and when its context drains or ends: after a whole event, so that a
/// drain is not held up and the client comes back to whoever serves next, with the id of the
/// [last event](crate::Request::last_event_id). Nothing that a stream still holds is sent then.
///
/// A stream that has no end wants a route [without a timeout](crate::RouteLimits::no_timeout).
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{Event, Request, RouteLimits, Router, Sse};
/// use futures_util::stream::{self, Stream};
///
/// async fn count(ctx: Context, _req: Request) -> Sse<impl Stream<Item = Event>> {
///     Sse::new(&ctx, stream::iter((1..=3).map(|n| Event::new(format!("{n}")))))
/// }
///
/// let events = Router::new().get("/events", count).limits(RouteLimits::new().no_timeout());
/// # let _: Router = events;
/// ```
#[must_use = "it is an answer"]
pub struct Sse<S> {
    ctx: Context,
    events: S,
    keep_alive: Duration,
}

impl<S> Sse<S> {
    /// Sends `events` until they end or `ctx` drains. It is the context of the request, or one
    /// below it.
    pub fn new(ctx: &Context, events: S) -> Self {
        Self { ctx: ctx.clone(), events, keep_alive: KEEP_ALIVE }
    }

    /// How long nothing is sent before a comment is, so that no proxy takes the connection for dead
    /// and a client that is gone is found out. Default: 15 s. [`Duration::MAX`] means never.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }
}

impl<S> IntoResponse for Sse<S>
where
    S: Stream<Item = Event> + Send + 'static,
{
    fn into_response(self) -> Response {
        let Self { ctx, events, keep_alive } = self;
        let body = Events { ctx, events, keep_alive, draining: None, silence: None };
        (HEADERS, AnyBody::new(body)).into_response()
    }
}

impl<S> fmt::Debug for Sse<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").field("keep_alive", &self.keep_alive).finish_non_exhaustive()
    }
}

pin_project! {
    struct Events<S> {
        ctx: Context,
        #[pin]
        events: S,
        keep_alive: Duration,
        // Both wait while there is no event: for the end, and for the next comment.
        draining: Option<BoxFuture<'static, ()>>,
        silence: Option<Pin<Box<Sleep>>>,
    }
}

impl<S: Stream<Item = Event>> HttpBody for Events<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.project();
        // Before the events: some never pause.
        if this.ctx.is_draining() {
            return Poll::Ready(None);
        }
        let said = match this.events.poll_next(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => {
                let draining = this.draining.get_or_insert_with(|| draining(this.ctx.clone()));
                if draining.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match poll_silence(this.silence, *this.keep_alive, cx) {
                    Poll::Ready(()) => Some(Event::default().comment("")),
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        *this.silence = None;
        Poll::Ready(said.map(|event| Ok(Frame::data(event.encode()))))
    }
}

fn draining(ctx: Context) -> BoxFuture<'static, ()> {
    Box::pin(async move { ctx.draining().await })
}

/// Ready once nothing was sent for as long as `keep_alive`.
fn poll_silence(
    silence: &mut Option<Pin<Box<Sleep>>>,
    keep_alive: Duration,
    cx: &mut TaskContext<'_>,
) -> Poll<()> {
    let Some(at) = Instant::now().checked_add(keep_alive) else { return Poll::Pending };
    let silence = silence.get_or_insert_with(|| Box::pin(sleep_until(at)));
    silence.as_mut().poll(cx)
}
