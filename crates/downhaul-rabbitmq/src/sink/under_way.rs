//! [`UnderWay`]: what is published and not answered yet.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::ReusableBoxFuture;

/// How much memory is kept when nothing is under way, in futures.
const SPARE: usize = 16;

/// Futures of one kind, which are ready in any order.
///
/// Their memory is used again: lapin's are larger than what an allocator keeps at hand for a
/// thread, and each would wait for a lock of the allocator that lapin's own thread takes as well.
pub(super) struct UnderWay<'a, T> {
    futures: FuturesUnordered<Errand<'a, T>>,
    spare: Vec<ReusableBoxFuture<'a, T>>,
}

/// A future that gives its memory back with its answer.
struct Errand<'a, T>(Option<ReusableBoxFuture<'a, T>>);

impl<'a, T> UnderWay<'a, T> {
    pub(super) fn new() -> Self {
        Self { futures: FuturesUnordered::new(), spare: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.futures.is_empty()
    }

    /// Adds one, which is polled behind those that were added before.
    pub(super) fn push(&mut self, future: impl Future<Output = T> + Send + 'a) {
        let errand = match self.spare.pop() {
            None => ReusableBoxFuture::new(future),
            Some(mut spare) => {
                spare.set(future);
                spare
            }
        };
        self.futures.push(Errand(Some(errand)));
    }

    /// The next answer, as of a stream.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some((answer, spare)) = ready!(self.futures.poll_next_unpin(cx)) else {
            self.spare.truncate(SPARE);
            return Poll::Ready(None);
        };
        self.spare.push(spare);
        Poll::Ready(Some(answer))
    }
}

impl<'a, T> Future for Errand<'a, T> {
    type Output = (T, ReusableBoxFuture<'a, T>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let errand = self.0.as_mut().expect("polled after it was ready");
        let answer = ready!(errand.poll(cx));
        let errand = self.0.take().expect("it was there just now");
        Poll::Ready((answer, errand))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use super::*;

    #[tokio::test]
    async fn memory_is_used_again_and_little_of_it_is_kept_when_nothing_is_under_way() {
        let mut under_way = UnderWay::new();
        for _ in 0..3 {
            (0..100).for_each(|number| under_way.push(ready(number)));
            let mut answers: Vec<i32> = Vec::new();
            while answers.len() < 100 {
                answers.extend(poll_fn(|cx| under_way.poll_next(cx)).await);
            }
            assert_eq!(answers, Vec::from_iter(0..100), "in the order in which they came");
            assert_eq!(under_way.spare.len(), 100);
        }
        assert_eq!(poll_fn(|cx| under_way.poll_next(cx)).await, None);
        assert!(under_way.is_empty());
        assert_eq!(under_way.spare.len(), SPARE);
    }
}
