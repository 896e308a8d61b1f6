//! [`Ledger`]: which publish an answer belongs to.
//!
//! An unroutable message comes back in a `basic.return`, and then its publish is confirmed like any
//! other. lapin keeps returned messages in a queue and attaches the first of it to whichever
//! confirm is completed next, which may be another publish's. So each message bears its key, and
//! what is carried by a confirm counts for the key in it.
//!
//! That leaves the question when a confirm without its own message means that the message is in its
//! queues. What is used, with every call bringing *all* answers completed before any of them:
//!
//! 1. A confirm that carries nothing found lapin's queue empty. If its message was returned, an
//!    earlier confirm has carried it, and we have seen it: the answer is final.
//! 2. A confirm that carries another publish's message may have its own still in the queue. There
//!    are never fewer messages carried than returned publishes confirmed, since each of these finds
//!    the queue filled or emptied by others. So once every publish whose message was carried is
//!    confirmed itself, the queue holds no message of any confirmed publish. Until then the answer
//!    is held back.

use std::collections::{HashMap, HashSet};

use downhaul_consumer::Row;

/// What the broker said of a publish, as lapin tells it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) key: u64,
    pub(super) confirmed: bool,
    pub(super) carried: Option<Returned>,
}

/// A message that came back, by the key that it bears.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) key: u64,
    pub(super) words: String,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Confirmed,
    Nacked,
    Returned(String),
}

/// All publishes without a final answer, each with whom to tell.
#[derive(Debug)]
pub(super) struct Ledger<R> {
    unanswered: Row<R>,
    next: u64,
    /// Answered by a confirm that carried another's message.
    held: HashMap<u64, (R, Fate)>,
    /// Returned, but not confirmed yet.
    early: HashSet<u64>,
    /// The confirms of one call: whose, what it says, and whether another's message was with it.
    confirms: Vec<(u64, Fate, bool)>,
}

impl<R> Ledger<R> {
    pub(super) fn new() -> Self {
        let (unanswered, held) = (Row::new(), HashMap::new());
        Self { unanswered, next: 0, held, early: HashSet::new(), confirms: Vec::new() }
    }

    /// Adds a publish and returns its key.
    pub(super) fn open(&mut self, who: R) -> u64 {
        let key = self.next;
        self.next += 1;
        self.unanswered.insert(key, who);
        key
    }

    /// Takes answers in and tells what is final by them.
    pub(super) fn settle(
        &mut self,
        answers: impl IntoIterator<Item = Answer>,
        mut tell: impl FnMut(R, Fate),
    ) {
        let mut confirms = std::mem::take(&mut self.confirms);
        for Answer { key, confirmed, carried } in answers {
            let fate = if confirmed { Fate::Confirmed } else { Fate::Nacked };
            let is_foreign = carried.as_ref().is_some_and(|returned| returned.key != key);
            confirms.push((key, fate, is_foreign));
            if let Some((who, fate)) = carried.and_then(|returned| self.take_back(returned)) {
                tell(who, fate);
            }
        }
        for (key, fate, is_foreign) in confirms.drain(..) {
            // Seldom any, and to look for one costs as much as all else here.
            if !self.early.is_empty() {
                self.early.remove(&key);
            }
            match self.unanswered.remove(key) {
                Some(who) if is_foreign => drop(self.held.insert(key, (who, fate))),
                Some(who) => tell(who, fate),
                None => {}
            }
        }
        if self.early.is_empty() {
            self.held.drain().for_each(|(_, (who, fate))| tell(who, fate));
        }
        self.confirms = confirms;
    }

    fn take_back(&mut self, returned: Returned) -> Option<(R, Fate)> {
        let Returned { key, words } = returned;
        if let Some((who, _)) = self.held.remove(&key) {
            return Some((who, Fate::Returned(words)));
        }
        let who = self.unanswered.remove(key)?;
        self.early.insert(key);
        Some((who, Fate::Returned(words)))
    }

    /// Gives up on all answers and returns who waits for them.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = R> {
        let held = self.held.drain().map(|(_, (who, _))| who);
        self.unanswered.drain().chain(held)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// One step of a broker with lapin behind it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Return,
        Confirm,
        /// The sink's task looks.
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
        let step = prop_oneof![Just(Step::Return), Just(Step::Confirm), Just(Step::Look)];
        prop::collection::vec((step, 0..64_usize), 0..200)
    }

    /// lapin attaches the first returned message to the next confirm.
    fn confirm(key: u64, waiting: &mut VecDeque<u64>) -> Answer {
        let carried = waiting.pop_front();
        let carried = carried.map(|key| Returned { key, words: String::new() });
        Answer { key, confirmed: true, carried }
    }

    proptest! {
        /// Publishes 0..40 of which every key in `bad` is unroutable; returns come before their own
        /// confirms, and all else in any sequence.
        #[test]
        fn what_came_back_is_told_to_its_own_publisher(
            bad in prop::collection::hash_set(0..40_u64, 0..40),
            steps in steps(),
        ) {
            let mut ledger = Ledger::new();
            (0..40).for_each(|key| assert_eq!(ledger.open(key), key));
            let mut unconfirmed: Vec<u64> = (0..40).collect();
            let mut unreturned: Vec<u64> = bad.iter().copied().collect();
            let mut waiting = VecDeque::new();
            let (mut answers, mut fates) = (Vec::new(), Vec::new());
            for (step, at) in steps {
                match step {
                    Step::Return if !unreturned.is_empty() => {
                        waiting.push_back(unreturned.remove(at % unreturned.len()));
                    }
                    Step::Confirm => {
                        let ready = |key: &&u64| !unreturned.contains(key);
                        let ready: Vec<u64> = unconfirmed.iter().filter(ready).copied().collect();
                        if let Some(key) = ready.get(at % ready.len().max(1)) {
                            unconfirmed.retain(|other| other != key);
                            answers.push(confirm(*key, &mut waiting));
                        }
                    }
                    Step::Return | Step::Look => {
                        // Within one look, the answers come in no particular order.
                        let turn = at % answers.len().max(1);
                        answers.rotate_left(turn);
                        ledger.settle(answers.drain(..), |key, fate| fates.push((key, fate)));
                    }
                }
            }
            waiting.extend(unreturned);
            answers.extend(unconfirmed.into_iter().map(|key| confirm(key, &mut waiting)));
            ledger.settle(answers, |key, fate| fates.push((key, fate)));

            prop_assert_eq!(fates.len(), 40, "each is told, and once");
            for (key, fate) in fates {
                let came_back = matches!(fate, Fate::Returned(_));
                prop_assert_eq!(came_back, bad.contains(&key), "publish {}", key);
            }
        }
    }
}
