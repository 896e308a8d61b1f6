//! [`Bell`]: takes all answers that are there out of what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

use crate::sink::under_way::UnderWay;

/// A waker that remembers that it was used. One for all polls, so that none of them makes another.
#[derive(Debug)]
pub(super) struct Bell {
    rung: AtomicBool,
    /// The task's.
    waker: AtomicWaker,
}

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(false), waker: AtomicWaker::new() })
    }

    /// Begins to send a publish.
    pub(super) fn push<'a, F: Future>(
        self: &Arc<Self>,
        under_way: &mut UnderWay<'a, F>,
        sending: impl Future<Output = F> + Send + 'a,
    ) {
        let waker = Waker::from(Arc::clone(self));
        under_way.push(sending, &mut Context::from_waker(&waker));
    }

    /// Adds all answers that are there. The ledger relies on getting every one that was completed
    /// before any that it gets. What was completed meanwhile has rung, since all is sent before it
    /// is answered; and a `FuturesUnordered` may say `Pending` and wake itself while some are
    /// ready.
    pub(super) fn gather<F: Future>(
        self: &Arc<Self>,
        under_way: &mut UnderWay<'_, F>,
        answers: &mut Vec<F::Output>,
    ) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        loop {
            under_way.advance(&mut cx);
            while let Poll::Ready(Some(answer)) = under_way.poll_answer(&mut cx) {
                answers.push(answer);
            }
            if !self.rung.swap(false, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// The same, as soon as there are any.
    pub(super) fn poll_gather<F: Future>(
        self: &Arc<Self>,
        under_way: &mut UnderWay<'_, F>,
        answers: &mut Vec<F::Output>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.waker.register(cx.waker());
        self.gather(under_way, answers);
        if answers.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }
}
