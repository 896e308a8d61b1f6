//! [`Unsettled`]: the deliveries that a source has given out, and how few frames settle them.

use downhaul_consumer::{Row, Token, Verdict};
use tokio::time::Instant;

/// The tags that were delivered on a channel and are not settled. Tags only grow, so the lowest is
/// the oldest.
///
/// AMQP settles one tag, or "this one and all lower ones". The latter is used only where every
/// lower tag that is out gets the same verdict by the same or an earlier frame.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(Row<Out>);

/// A delivery that is out.
#[derive(Debug)]
struct Out {
    since: Instant,
    /// What the batch that is being settled says of it.
    wanted: Option<Verdict>,
}

/// One `basic.ack` or `basic.nack`. The order of frames matters up to the last that is `multiple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) verdict: Verdict,
    pub(crate) tag: u64,
    pub(crate) multiple: bool,
}

impl Unsettled {
    pub(crate) fn insert(&mut self, tag: u64, now: Instant) {
        self.0.insert(tag, Out { since: now, wanted: None });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The tags above `tag`, the oldest first, with the moment of each.
    pub(crate) fn above(&self, tag: u64) -> impl Iterator<Item = (u64, Instant)> {
        let all = self.0.iter().map(|(tag, out)| (tag, out.since));
        all.skip_while(move |(it, _)| *it <= tag)
    }

    /// Takes a batch out and returns the frames that settle it, and what of it is not out. That is
    /// left alone: RabbitMQ closes the channel of whoever settles a delivery twice.
    pub(crate) fn settle(&mut self, batch: &[(Token, Verdict)]) -> (Vec<Frame>, Vec<Token>) {
        let mut lost = Vec::new();
        for &(token, verdict) in batch {
            match self.0.get_mut(token.number()) {
                Some(out) if out.wanted.is_none() => out.wanted = Some(verdict),
                _ => lost.push(token),
            }
        }
        let mut frames = self.runs();
        for (token, verdict) in batch {
            let tag = token.number();
            // All that a run has settled are gone.
            if self.0.remove(tag).is_some() {
                frames.push(Frame { verdict: *verdict, tag, multiple: false });
            }
        }
        (frames, lost)
    }

    /// Settles from the lowest tag upwards, until one is met that stays out.
    fn runs(&mut self) -> Vec<Frame> {
        let mut runs: Vec<Frame> = Vec::new();
        while let Some((tag, Out { wanted: Some(verdict), .. })) = self.0.first() {
            let verdict = *verdict;
            match runs.last_mut().filter(|run| run.verdict == verdict) {
                Some(run) => (run.tag, run.multiple) = (tag, true),
                None => runs.push(Frame { verdict, tag, multiple: false }),
            }
            self.0.remove(tag);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::ops::RangeInclusive;

    use proptest::prelude::*;

    use super::*;

    /// What a broker makes of frames: the verdict of each tag that is out.
    fn play(out: &mut BTreeSet<u64>, frames: &[Frame]) -> BTreeMap<u64, Verdict> {
        let mut verdicts = BTreeMap::new();
        for frame in frames {
            assert!(out.contains(&frame.tag), "a channel dies of an unknown tag");
            let met = |tag: &u64| *tag == frame.tag || (frame.multiple && *tag < frame.tag);
            for tag in out.extract_if(.., |tag| met(tag)) {
                verdicts.insert(tag, frame.verdict);
            }
        }
        verdicts
    }

    fn just_delivered(tags: RangeInclusive<u64>) -> Unsettled {
        let (now, mut unsettled) = (Instant::now(), Unsettled::default());
        tags.for_each(|tag| unsettled.insert(tag, now));
        unsettled
    }

    #[test]
    fn what_is_finished_in_order_takes_one_frame() {
        let mut unsettled = just_delivered(1..=50);
        let batch: Vec<_> = (1..=50).map(|tag| (Token::new(tag), Verdict::Ack)).collect();
        let frame = Frame { verdict: Verdict::Ack, tag: 50, multiple: true };
        assert_eq!(unsettled.settle(&batch), (vec![frame], vec![]));
        let (frames, lost) = unsettled.settle(&batch);
        assert_eq!((frames.len(), lost.len()), (0, 50), "nothing is settled twice");
    }

    /// Tags that are out and tags that are not, with whether each is acknowledged.
    fn batch() -> impl Strategy<Value = BTreeMap<u64, bool>> {
        prop::collection::btree_map(1..40_u64, any::<bool>(), 0..20)
    }

    proptest! {
        #[test]
        fn each_tag_gets_its_verdict_and_no_other_tag_gets_any(
            batches in prop::collection::vec(batch(), 1..12),
        ) {
            let mut unsettled = just_delivered(1..=30);
            let mut out: BTreeSet<u64> = (1..=30).collect();
            for batch in batches {
                let verdict = |ack| if ack { Verdict::Ack } else { Verdict::Release };
                let batch: Vec<_> =
                    batch.into_iter().map(|(tag, ack)| (Token::new(tag), verdict(ack))).collect();
                let wanted: BTreeMap<_, _> = batch
                    .iter()
                    .map(|(token, verdict)| (token.number(), *verdict))
                    .filter(|(tag, _)| out.contains(tag))
                    .collect();
                let (frames, lost) = unsettled.settle(&batch);
                let known = batch.iter().filter(|(token, _)| wanted.contains_key(&token.number()));
                prop_assert_eq!(lost.len() + known.count(), batch.len());
                prop_assert_eq!(play(&mut out, &frames), wanted);
                prop_assert!(unsettled.0.iter().map(|(tag, _)| tag).eq(out.iter().copied()));
            }
        }
    }
}
