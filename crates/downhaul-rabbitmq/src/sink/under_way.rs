//! [`UnderWay`]: what is published and not answered yet.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::ReusableBoxFuture;

/// How much memory is kept when nothing is under way, in futures.
const SPARE: usize = 16;

/// Publishes, each of which is sent first, and then answered.
///
/// They are sent in their order, and answered in any. The memory of those that are being sent is
/// used again: lapin's futures are larger than what an allocator keeps at hand for a thread, and
/// each would wait for a lock of the allocator that lapin's own thread takes as well. What waits
/// for its answer, by far the most, is small.
pub(super) struct UnderWay<'a, F: Future> {
    sending: VecDeque<ReusableBoxFuture<'a, F>>,
    sent: FuturesUnordered<F>,
    spare: Vec<ReusableBoxFuture<'a, F>>,
}

impl<'a, F: Future> UnderWay<'a, F> {
    pub(super) fn new() -> Self {
        Self { sending: VecDeque::new(), sent: FuturesUnordered::new(), spare: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.sent.is_empty()
    }

    /// Begins to send one, whose answer is that of the future that this returns.
    pub(super) fn push(
        &mut self,
        sending: impl Future<Output = F> + Send + 'a,
        cx: &mut Context<'_>,
    ) {
        let mut sending = match self.spare.pop() {
            None => ReusableBoxFuture::new(sending),
            Some(mut spare) => {
                spare.set(sending);
                spare
            }
        };
        match sending.poll(cx) {
            Poll::Ready(sent) => self.is_sent(sending, sent),
            Poll::Pending => self.sending.push_back(sending),
        }
    }

    /// Takes note of those that are sent by now.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) {
        while let Some(Poll::Ready(sent)) = self.sending.front_mut().map(|it| it.poll(cx)) {
            if let Some(sending) = self.sending.pop_front() {
                self.is_sent(sending, sent);
            }
        }
    }

    fn is_sent(&mut self, sending: ReusableBoxFuture<'a, F>, sent: F) {
        self.spare.push(sending);
        self.sent.push(sent);
    }

    /// The next answer, as of a stream, to one of those that are known to be sent.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let answer = self.sent.poll_next_unpin(cx);
        if self.is_empty() {
            self.spare.truncate(SPARE);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::task::Waker;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    fn answers<T>(under_way: &mut UnderWay<'_, Ready<T>>) -> Vec<T> {
        let mut cx = Context::from_waker(Waker::noop());
        under_way.advance(&mut cx);
        let mut answers = Vec::new();
        while let Poll::Ready(Some(answer)) = under_way.poll_answer(&mut cx) {
            answers.push(answer);
        }
        answers
    }

    #[test]
    fn memory_is_used_again_and_little_of_it_is_kept_when_nothing_is_under_way() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut under_way = UnderWay::new();
        for turn in 0..3 {
            let (senders, written): (Vec<_>, Vec<_>) =
                (0..100).map(|_| oneshot::channel::<i32>()).unzip();
            for written in written {
                under_way.push(written.map(|number| ready(number.unwrap())), &mut cx);
            }
            assert_eq!(under_way.spare.len(), 0, "all are being sent");
            for (number, sender) in (0..).zip(senders) {
                sender.send(number).unwrap();
            }
            under_way.advance(&mut cx);
            assert_eq!(under_way.spare.len(), 100, "in turn {turn}");
            assert_eq!(answers(&mut under_way), Vec::from_iter(0..100));
            assert!(under_way.is_empty());
            assert_eq!(under_way.spare.len(), SPARE);
        }
    }

    #[test]
    fn what_is_sent_behind_another_is_answered_once_that_is_sent() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut under_way = UnderWay::new();
        let (first, written) = oneshot::channel();
        under_way.push(written.map(|number| ready(number.unwrap())), &mut cx);
        let (second, written) = oneshot::channel();
        under_way.push(written.map(|number| ready(number.unwrap())), &mut cx);
        second.send(2).unwrap();
        assert!(answers(&mut under_way).is_empty());
        assert!(!under_way.is_empty());
        first.send(1).unwrap();
        assert_eq!(answers(&mut under_way), [1, 2]);
    }
}
