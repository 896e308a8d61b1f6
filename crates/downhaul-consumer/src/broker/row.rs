//! [`Row`]: what is kept by numbers that count up.

use std::collections::VecDeque;
use std::fmt;

/// How many places of what is gone are kept in any case.
const SPARE: usize = 64;

/// A map from numbers that count up, whose oldest mostly go first: what a source has delivered, by
/// the numbers of its tokens, until that is settled. For backends.
///
/// To add an item at the end and to take one out costs neither a hash nor a walk through a tree,
/// and no memory of its own. One that stays while many others come and go holds up no more places
/// than there are items, and a few.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Row;
///
/// let mut unsettled = Row::new();
/// for (tag, message) in [(1, "a"), (2, "b"), (3, "c")] {
///     unsettled.insert(tag, message);
/// }
/// assert_eq!(unsettled.remove(2), Some("b"));
/// assert_eq!(unsettled.remove(2), None);
/// assert_eq!(unsettled.first(), Some((1, &"a")));
/// assert_eq!(unsettled.len(), 2);
/// ```
#[derive(Clone)]
pub struct Row<T> {
    /// Sorted by their numbers. The first is never empty.
    places: VecDeque<(u64, Option<T>)>,
    count: usize,
}

impl<T> Row<T> {
    /// Makes an empty one.
    pub const fn new() -> Self {
        Self { places: VecDeque::new(), count: 0 }
    }

    /// How many items are in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has no item.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts in an item, and returns the one that had its number. One that does not come at the end
    /// costs a walk over all that come behind it.
    pub fn insert(&mut self, number: u64, item: T) -> Option<T> {
        let is_last = self.places.back().is_none_or(|(last, _)| *last < number);
        let before = if is_last {
            self.places.push_back((number, Some(item)));
            None
        } else {
            match self.places.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(place) => self.places[place].1.replace(item),
                Err(place) => {
                    self.places.insert(place, (number, Some(item)));
                    None
                }
            }
        };
        self.count += usize::from(before.is_none());
        before
    }

    /// The item of a number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.find(number)?;
        self.places[place].1.as_mut()
    }

    /// Takes out the item of a number.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.find(number)?;
        let item = self.places[place].1.take()?;
        self.count -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.count + SPARE {
            self.places.retain(|(_, item)| item.is_some());
        }
        Some(item)
    }

    /// The item of the lowest number.
    pub fn first(&self) -> Option<(u64, &T)> {
        self.iter().next()
    }

    /// All items, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.places.iter().filter_map(|(number, item)| Some((*number, item.as_ref()?)))
    }

    /// Takes out all items, by their numbers.
    pub fn drain(&mut self) -> impl DoubleEndedIterator<Item = T> + use<T> {
        self.count = 0;
        std::mem::take(&mut self.places).into_iter().filter_map(|(_, item)| item)
    }

    /// Where a number is. Where none is missing, that can be said without a search.
    fn find(&self, number: u64) -> Option<usize> {
        let (first, _) = self.places.front()?;
        let guess = usize::try_from(number.checked_sub(*first)?).unwrap_or(usize::MAX);
        match self.places.get(guess) {
            Some((there, _)) if *there == number => Some(guess),
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// At the end, with so many numbers left out.
        Append(u64),
        Insert(u64),
        Remove(u64),
        Drain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            40 => (0..3_u64).prop_map(Step::Append),
            4 => (0..300_u64).prop_map(Step::Insert),
            40 => (0..300_u64).prop_map(Step::Remove),
            1 => Just(Step::Drain),
        ];
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        #[test]
        fn it_is_a_map_by_numbers(steps in steps()) {
            let (mut row, mut map, mut next) = (Row::new(), BTreeMap::new(), 0);
            for (item, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Append(gap) => {
                        next += gap + 1;
                        prop_assert_eq!(row.insert(next, item), map.insert(next, item));
                    }
                    Step::Insert(number) => {
                        next = next.max(number);
                        prop_assert_eq!(row.insert(number, item), map.insert(number, item));
                    }
                    Step::Remove(number) => {
                        prop_assert_eq!(row.get_mut(number), map.get_mut(&number));
                        prop_assert_eq!(row.remove(number), map.remove(&number));
                    }
                    Step::Drain => {
                        let all = std::mem::take(&mut map).into_values();
                        prop_assert!(row.drain().eq(all));
                    }
                }
                prop_assert_eq!(row.len(), map.len());
                prop_assert!(row.iter().eq(map.iter().map(|(number, item)| (*number, item))));
                prop_assert!(row.places.front().is_none_or(|(_, first)| first.is_some()));
                prop_assert!(row.places.len() <= 2 * row.len() + SPARE + 1);
            }
        }
    }

    #[test]
    fn one_that_stays_holds_up_few_places() {
        let mut row = Row::new();
        row.insert(0, ());
        for number in 1..100_000 {
            row.insert(number, ());
            assert_eq!(row.remove(number), Some(()));
            assert!(row.places.len() <= 2 * 2 + SPARE + 1);
        }
        assert_eq!(row.first(), Some((0, &())));
    }
}
