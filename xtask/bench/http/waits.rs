//! A handler that is not ready at once, as one that asks a database.

use super::theirs::axum_full_waiting;
use super::{compare, ours};
use crate::case::Case;
use crate::peers::AXUM_FULL;

/// Nobody should lose by waiting.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::ratio("the whole, waiting once", AXUM_FULL, 0.75, |probe| {
        compare(probe, &ours::whole_waiting(), &axum_full_waiting())
    })]
}
