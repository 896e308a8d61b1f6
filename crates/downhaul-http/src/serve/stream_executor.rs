//! [`StreamExecutor`]: runs the streams of HTTP/2, and cuts those whose answers nobody takes.
//!
//! hyper asks the body of an answer for more only when the client's window takes what it has, so
//! the body does not see its context end while the window stays shut. The stream's own task does.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use downhaul_context::{Context, Instant};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::task_local;
use tokio::time::sleep;

use crate::lifetime::in_flight::InFlight;

task_local! {
    /// Where a request says to the stream that it is polled in that its answer has begun.
    static BEGUN: Cell<Option<Answering>>;
}

/// An answer that has begun.
struct Answering {
    request: Arc<InFlight>,
    deadline: Option<Instant>,
}

/// Tells the stream that the answer to this request has begun. Under HTTP/1 there is none to tell.
///
/// The context is not kept: it is cheaper to end where nobody else holds it.
pub(crate) fn begin(request: &Arc<InFlight>, ctx: &Context) {
    let answering = || Answering { request: Arc::clone(request), deadline: ctx.deadline() };
    let _ = BEGUN.try_with(|begun| begun.set(Some(answering())));
}

impl Answering {
    /// Waits until nothing may be sent any more, and says so to the request.
    async fn over(self) {
        let granted = self.request.granted_ctx();
        let deadline = granted.map_or(self.deadline, |ctx| ctx.deadline());
        let derived = self.request.link.ctx.derive();
        let derived = match deadline {
            Some(at) => derived.deadline(at),
            None => derived,
        };
        let (ctx, _canceller) = derived.build();
        if ctx.is_done() {
            // Begun after the end, such as a 504: it has the time that a handler has.
            sleep(self.request.cancel_grace()).await;
        } else {
            ctx.done().await;
        }
        self.request.cut();
    }
}

#[derive(Clone, Copy)]
pub(crate) struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { stream, end: None });
    }
}

pin_project! {
    /// One stream. Ready early, it is dropped, and its client told with a reset.
    struct Stream<F> {
        #[pin]
        stream: F,
        // There once an answer has begun that the client did not take at once.
        end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.project();
        let poll = || (this.stream.poll(cx), BEGUN.with(Cell::take));
        let (polled, begun) = BEGUN.sync_scope(Cell::default(), poll);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let Some(answering) = begun {
            *this.end = Some(Box::pin(answering.over()));
        }
        match this.end {
            Some(end) => end.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
