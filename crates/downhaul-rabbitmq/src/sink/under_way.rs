//! [`UnderWay`]: what is published and not answered yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::vec::Drain;

use futures_util::future::TryFuture;
use tokio_util::sync::ReusableBoxFuture;

use crate::sink::bell::Bell;

/// How many futures' memory is kept when nothing is under way.
const SPARE: usize = 128;

/// Publishes, each of which is sent first, and then answered by what that has returned.
///
/// Each has a place, whose waker says which one goes on. Places are used again, and so is the
/// memory of those that are being sent: lapin's futures are larger than what an allocator keeps at
/// hand for a thread, and each would wait for a lock of the allocator that lapin's own thread takes
/// as well. What waits for its answer, by far the most, is small.
pub(super) struct UnderWay<'a, C: TryFuture> {
    bell: Arc<Bell>,
    places: Vec<Place<'a, C>>,
    vacant: Vec<usize>,
    spare: Vec<Sending<'a, C>>,
    /// Places that are looked at.
    rung: Vec<usize>,
    answers: Vec<Answer<C>>,
}

type Sending<'a, C> = ReusableBoxFuture<'a, Result<C, <C as TryFuture>::Error>>;
type Answer<C> = Result<<C as TryFuture>::Ok, <C as TryFuture>::Error>;

struct Place<'a, C: TryFuture> {
    waker: Waker,
    stage: Stage<'a, C>,
}

enum Stage<'a, C: TryFuture> {
    Vacant,
    Sending(Sending<'a, C>),
    Sent(C),
}

impl<'a, C: TryFuture + Unpin> UnderWay<'a, C> {
    pub(super) fn new() -> Self {
        let (places, vacant, spare) = (Vec::new(), Vec::new(), Vec::new());
        let (rung, answers) = (Vec::new(), Vec::new());
        Self { bell: Arc::default(), places, vacant, spare, rung, answers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.vacant.len() == self.places.len() && self.answers.is_empty()
    }

    /// Begins to send one.
    pub(super) fn push(&mut self, sending: impl Future<Output = Result<C, C::Error>> + Send + 'a) {
        let sending = match self.spare.pop() {
            None => ReusableBoxFuture::new(sending),
            Some(mut spare) => {
                spare.set(sending);
                spare
            }
        };
        let number = self.vacant.pop().unwrap_or_else(|| self.add_place());
        self.places[number].stage = Stage::Sending(sending);
        self.advance(number);
    }

    fn add_place(&mut self) -> usize {
        let number = self.places.len();
        let waker = self.bell.ringer(number);
        self.places.push(Place { waker, stage: Stage::Vacant });
        number
    }

    fn advance(&mut self, number: usize) {
        // Whoever rings with its number may do so late, when it is another's or nobody's.
        let place = &mut self.places[number];
        if let Poll::Ready(answer) = place.poll(&mut self.spare) {
            self.answers.push(answer);
            self.vacant.push(number);
        }
    }

    /// Waits until there are [`answers`](Self::answers), and gathers all that are there. The ledger
    /// relies on getting every one that was completed before any that it gets: what was completed
    /// meanwhile has rung, since all is sent before it is answered.
    pub(super) fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.register(cx.waker());
        let mut rung = std::mem::take(&mut self.rung);
        while self.bell.take(&mut rung) {
            rung.drain(..).for_each(|number| self.advance(number));
        }
        self.rung = rung;
        if self.answers.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Takes what was gathered.
    pub(super) fn answers(&mut self) -> Drain<'_, Answer<C>> {
        if self.vacant.len() == self.places.len() {
            self.spare.truncate(SPARE);
        }
        self.answers.drain(..)
    }
}

impl<'a, C: TryFuture + Unpin> Place<'a, C> {
    /// Goes on, to the answer if it is there.
    fn poll(&mut self, spare: &mut Vec<Sending<'a, C>>) -> Poll<Answer<C>> {
        let mut cx = Context::from_waker(&self.waker);
        if let Stage::Sending(sending) = &mut self.stage {
            let sent = ready!(sending.poll(&mut cx));
            if let Stage::Sending(sending) = std::mem::replace(&mut self.stage, Stage::Vacant) {
                spare.push(sending);
            }
            self.stage = Stage::Sent(sent?);
        }
        let Stage::Sent(answer) = &mut self.stage else { return Poll::Pending };
        let answer = ready!(Pin::new(answer).try_poll(&mut cx));
        self.stage = Stage::Vacant;
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};

    use futures_util::FutureExt;
    use tokio::sync::oneshot::{self, Receiver, Sender, error::RecvError};

    use super::*;

    type Written = Sender<Receiver<i32>>;

    fn publish(under_way: &mut UnderWay<'_, Receiver<i32>>) -> Written {
        let (writing, written) = oneshot::channel();
        under_way.push(written);
        writing
    }

    fn write(writing: impl IntoIterator<Item = Written>) -> Vec<Sender<i32>> {
        let written = writing.into_iter().map(|writing| {
            let (answering, answer) = oneshot::channel();
            writing.send(answer).unwrap();
            answering
        });
        written.collect()
    }

    fn gathered(
        under_way: &mut UnderWay<'_, Receiver<i32>>,
    ) -> Option<Vec<Result<i32, RecvError>>> {
        poll_fn(|cx| under_way.poll_gather(cx)).now_or_never()?;
        Some(under_way.answers().collect())
    }

    #[test]
    fn memory_is_used_again_and_little_of_it_is_kept_when_nothing_is_under_way() {
        let mut under_way = UnderWay::new();
        for turn in 0..3 {
            let writing: Vec<_> = (0..200).map(|_| publish(&mut under_way)).collect();
            assert_eq!((under_way.spare.len(), under_way.places.len()), (0, 200));
            let answering = write(writing);
            assert_eq!(gathered(&mut under_way), None);
            assert_eq!(under_way.spare.len(), 200, "in turn {turn}");
            for (number, answering) in (0..).zip(answering) {
                answering.send(number).unwrap();
            }
            let answers = gathered(&mut under_way).unwrap();
            assert_eq!(answers, Vec::from_iter((0..200).map(Ok)));
            assert!(under_way.is_empty());
            assert_eq!(under_way.spare.len(), SPARE);
        }
    }

    #[test]
    fn they_are_written_and_answered_in_any_order() {
        let mut under_way = UnderWay::new();
        let mut writing = [(); 3].map(|()| publish(&mut under_way));
        writing.reverse();
        let [third, second, first] = write(writing).try_into().unwrap();
        third.send(3).unwrap();
        assert_eq!(gathered(&mut under_way), Some(vec![Ok(3)]));
        first.send(1).unwrap();
        drop(publish(&mut under_way));
        let mut answers = gathered(&mut under_way).unwrap();
        answers.sort_by_key(Result::is_ok);
        assert!(matches!(answers[..], [Err(_), Ok(1)]), "{answers:?}");
        second.send(2).unwrap();
        assert_eq!(gathered(&mut under_way), Some(vec![Ok(2)]));
        assert!(under_way.is_empty());
    }

    #[test]
    fn one_that_is_answered_at_once_is_kept_for_who_gathers() {
        let mut under_way = UnderWay::new();
        let (answering, answer) = oneshot::channel();
        answering.send(7).unwrap();
        under_way.push(ready(Ok(answer)));
        assert!(!under_way.is_empty());
        assert_eq!(gathered(&mut under_way), Some(vec![Ok(7)]));
        assert!(under_way.is_empty());
    }
}
