//! [`Run`]: a future that is cut short by the end of a context.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use pin_project_lite::pin_project;

use crate::cause::Cause;
use crate::context::{Context, Level};
use crate::wait::Place;

pin_project! {
    /// See [`Context::run`]. Not an `async fn`, which would have room for the future twice.
    pub(crate) struct Run<C: Borrow<Context>, F> {
        ctx: C,
        // Gone once it is over.
        #[pin]
        future: Option<F>,
        is_new: bool,
        place: Place,
    }

    impl<C: Borrow<Context>, F> PinnedDrop for Run<C, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.place.leave(&(*this.ctx).borrow().node);
        }
    }
}

impl<C: Borrow<Context>, F> Run<C, F> {
    pub(crate) fn new(ctx: C, future: F) -> Self {
        Self { ctx, future: Some(future), is_new: true, place: Place::new(Level::Done) }
    }
}

impl<C: Borrow<Context>, F: Future> Future for Run<C, F> {
    type Output = Result<F::Output, Cause>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ctx = (*this.ctx).borrow();
        let future = this.future.as_mut().as_pin_mut().expect("not polled after it was ready");
        let over = match this.is_new.then(|| ctx.cause()).flatten() {
            Some(cause) => Err(cause),
            None => match future.poll(cx) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => {
                    *this.is_new = false;
                    ready!(this.place.poll_reached(&ctx.node, cx));
                    let Some(cause) = ctx.cause() else { return Poll::Pending };
                    Err(cause)
                }
            },
        };
        this.future.set(None);
        this.place.leave(&ctx.node);
        Poll::Ready(over)
    }
}

#[cfg(all(test, not(downhaul_loom)))]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_future_takes_room_once() {
        let large = || async {
            let room = [0_u8; 4096];
            pending::<()>().await;
            std::hint::black_box(room);
        };
        let ctx = Context::background();
        let room = size_of_val(&large());
        assert!(size_of_val(&ctx.run(large())) < room + 256);
        assert!(size_of_val(&ctx.run_owned(large())) < room + 256);
    }

    #[test]
    fn the_future_is_dropped_and_nobody_waits_once_it_is_over() {
        let (ctx, canceller) = Context::root();
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let mut run = pin!(ctx.run(async move {
            pending::<()>().await;
            drop(holds);
        }));
        let mut cx = TaskContext::from_waker(Waker::noop());
        assert!(run.as_mut().poll(&mut cx).is_pending());
        let waiters = || ctx.snapshot().entries()[0].waiters;
        assert_eq!(waiters(), 1);
        canceller.cancel();
        assert!(run.as_mut().poll(&mut cx).is_ready());
        assert_eq!((Arc::strong_count(&held), waiters()), (1, 0));
    }
}
