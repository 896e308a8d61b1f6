//! [`StreamExecutor`]: runs the streams of HTTP/2, and cuts those whose answers nobody takes.
//!
//! hyper asks the body of an answer for more only when the client's window takes what it has, so
//! the body sees neither its context end nor its client stall while the window stays shut. The
//! stream's own task does.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use downhaul_context::{Context, Instant};
use futures_core::future::BoxFuture;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::task_local;
use tokio::time::{Sleep, sleep};

use crate::lifetime::in_flight::InFlight;
use crate::serve::gathered::{ToBegin, Unbegun};

task_local! {
    /// Where a request says to the stream that it is polled in what becomes of its answer.
    static TURN: Turn;
}

#[derive(Default)]
struct Turn {
    begun: Cell<Option<Answering>>,
    /// Whether there was more of the answer, if it was asked for.
    asked: Cell<Option<bool>>,
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
    let _ = TURN.try_with(|turn| turn.begun.set(Some(answering())));
}

/// Tells the stream that it was asked for more of the answer, and whether that was there.
pub(crate) fn asked(is_there: bool) {
    let _ = TURN.try_with(|turn| turn.asked.set(Some(is_there)));
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

/// A client that takes no more of an answer.
struct Stall {
    request: Arc<InFlight>,
    /// Armed while a piece waits to be taken.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Ready once a piece has waited for the client's window as long as it may.
    fn poll(&mut self, asked: Option<bool>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if asked.is_some() {
            self.timer = None;
        }
        if asked == Some(false) {
            return Poll::Pending;
        }
        let link = &self.request.link;
        let limit = || Box::pin(sleep(link.hub.limits.write_timeout));
        let timer = self.timer.get_or_insert_with(limit);
        loop {
            ready!(timer.as_mut().poll(cx));
            if !link.clocks.is_stuck() {
                self.request.stall();
                return Poll::Ready(());
            }
            // Here all streams wait for the socket, which has a clock of its own.
            *timer = limit();
        }
    }
}

/// Runs the streams of one connection.
#[derive(Clone)]
pub(crate) struct StreamExecutor(pub(crate) Unbegun);

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Stream { to_begin: Some(self.0.add()), stream, stall: None, end: None });
    }
}

pin_project! {
    /// One stream. Ready early, it is dropped, and its client told with a reset.
    struct Stream<F> {
        // Until it runs for the first time.
        to_begin: Option<ToBegin>,
        #[pin]
        stream: F,
        // Both are there once an answer has begun that the client did not take at once.
        stall: Option<Stall>,
        end: Option<BoxFuture<'static, ()>>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.project();
        this.to_begin.take();
        let turn = || TURN.with(|turn| (turn.begun.take(), turn.asked.take()));
        let poll = || (this.stream.poll(cx), turn());
        let (polled, (begun, asked)) = TURN.sync_scope(Turn::default(), poll);
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let Some(answering) = begun {
            *this.stall = Some(Stall { request: Arc::clone(&answering.request), timer: None });
            *this.end = Some(Box::pin(answering.over()));
        }
        let (Some(stall), Some(end)) = (this.stall, this.end) else { return Poll::Pending };
        if stall.poll(asked, cx).is_ready() {
            return Poll::Ready(());
        }
        end.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use downhaul_context::RequestId;
    use http::Method;
    use tokio::time::advance;

    use super::*;
    use crate::serve::link::tests::link;

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_waits_for_the_socket_has_its_time_once_that_has_room() {
        let (link, id) = (link().await, RequestId::generate());
        let request = link.begin_request(Instant::now(), id, Method::GET, "GET /".into());
        let mut cx = TaskContext::from_waker(Waker::noop());
        let mut stall = Stall { request, timer: None };
        assert!(stall.poll(Some(true), &mut cx).is_pending());
        link.clocks.stuck();
        advance(Duration::from_secs(11)).await;
        assert!(stall.poll(None, &mut cx).is_pending());
        link.clocks.unstuck();
        advance(Duration::from_secs(9)).await;
        assert!(stall.poll(None, &mut cx).is_pending());
        advance(Duration::from_secs(2)).await;
        assert!(stall.poll(None, &mut cx).is_ready());
    }
}
