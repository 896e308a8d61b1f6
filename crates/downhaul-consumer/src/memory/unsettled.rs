//! [`Unsettled`]: what a source has delivered and not settled, by its token.

use std::collections::VecDeque;

use crate::broker::Token;
use crate::memory::queue::Stored;

/// Tokens count up from zero, so each has its place in a row that moves on as its oldest are
/// settled.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// The token of the front.
    first: u64,
    row: VecDeque<Option<Stored>>,
    count: usize,
}

impl Unsettled {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, stored: Stored) -> Token {
        let token = Token::new(self.first + self.row.len() as u64);
        self.row.push_back(Some(stored));
        self.count += 1;
        token
    }

    /// Takes a message out; `None` for one that was settled before.
    pub(super) fn remove(&mut self, token: Token) -> Option<Stored> {
        let place = usize::try_from(token.number().checked_sub(self.first)?).ok()?;
        let stored = self.row.get_mut(place)?.take()?;
        self.count -= 1;
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.first += 1;
        }
        Some(stored)
    }

    /// Takes all out, oldest first.
    pub(super) fn drain(&mut self) -> impl DoubleEndedIterator<Item = Stored> {
        self.count = 0;
        self.first += self.row.len() as u64;
        std::mem::take(&mut self.row).into_iter().flatten()
    }
}
