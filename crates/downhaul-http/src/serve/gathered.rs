//! [`Gathered`]: a connection that writes the answers of several streams at once.
//!
//! hyper hands each stream of HTTP/2 to a task. The first that has its answer wakes the connection,
//! which tokio runs next, before the tasks of the other streams that came with it: each answer has
//! a write of its own then, and to write is most of what a small answer costs. So the connection
//! steps back once, behind those that have not run yet.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};

/// The streams of a connection that were handed to a task and have not run yet.
#[derive(Clone, Default)]
pub(crate) struct Unbegun(Arc<AtomicUsize>);

impl Unbegun {
    /// One more, until what this returns is dropped.
    pub(crate) fn add(&self) -> ToBegin {
        self.0.fetch_add(1, Ordering::Relaxed);
        ToBegin(Arc::clone(&self.0))
    }

    fn are_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// One of [`Unbegun`]. A runtime that ends drops those that never run.
pub(crate) struct ToBegin(Arc<AtomicUsize>);

impl Drop for ToBegin {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Polls a connection behind the streams that it has begun.
pub(crate) struct Gathered<'a, C> {
    conn: Pin<&'a mut C>,
    unbegun: &'a Unbegun,
    stepped_back: bool,
}

impl<'a, C> Gathered<'a, C> {
    pub(crate) fn new(conn: Pin<&'a mut C>, unbegun: &'a Unbegun) -> Self {
        Self { conn, unbegun, stepped_back: false }
    }
}

impl<C: Future> Future for Gathered<'_, C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<C::Output> {
        if !self.stepped_back && self.unbegun.are_there() {
            self.stepped_back = true;
            // Who wakes itself while it runs goes behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stepped_back = false;
        self.conn.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::serve::link::tests::Woken;

    #[test]
    fn a_connection_steps_back_once_behind_streams_that_have_not_begun() {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut TaskContext::from_waker(&waker);
        let (unbegun, polled) = (Unbegun::default(), AtomicUsize::new(0));
        let inner = pin!(poll_fn(|_| {
            polled.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        }));
        let mut conn = Gathered::new(inner, &unbegun);
        let mut poll = || {
            assert!(Pin::new(&mut conn).poll(cx).is_pending());
            (woken.0.load(Ordering::Relaxed), polled.load(Ordering::Relaxed))
        };
        assert_eq!(poll(), (0, 1));
        let stream = unbegun.add();
        assert_eq!(poll(), (1, 1), "it comes back by itself");
        assert_eq!(poll(), (1, 2), "whether the stream has begun or not");
        assert_eq!(poll(), (2, 2));
        drop(stream);
        assert_eq!(poll(), (2, 3));
        assert_eq!(poll(), (2, 4));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_streams_have_at_once_is_there_when_the_connection_is_polled_again() {
        let unbegun = Unbegun::default();
        let answers = Arc::<AtomicUsize>::default();
        let conn = async move {
            let mut begins = true;
            let inner = pin!(poll_fn(|cx| {
                if !begins {
                    return Poll::Ready(answers.load(Ordering::Relaxed));
                }
                begins = false;
                for _ in 0..8 {
                    let (stream, conn) = (unbegun.add(), cx.waker().clone());
                    let answers = Arc::clone(&answers);
                    tokio::spawn(async move {
                        drop(stream);
                        answers.fetch_add(1, Ordering::Relaxed);
                        conn.wake();
                    });
                }
                Poll::Pending
            }));
            Gathered::new(inner, &unbegun).await
        };
        assert_eq!(tokio::spawn(conn).await.unwrap(), 8);
    }
}
