//! [`share_out`]: which member of a group shall have which partition.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::memory_log::group::{Member, Partition};

/// Gives each partition a member that shall have it, so that
///
/// - of each log, no member has two more than another;
/// - no member loses a partition of a log while it has no more than its share of it;
/// - who has least of the other logs is the first to have one more of the next.
///
/// The partitions of a log are next to each other.
pub(super) fn share_out(partitions: &mut [Partition], members: &BTreeSet<Member>) {
    let mut loads = members.iter().map(|member| (*member, 0)).collect();
    for of_a_log in partitions.chunk_by_mut(|one, other| one.log == other.log) {
        share_out_log(of_a_log, &mut loads);
    }
}

fn share_out_log(partitions: &mut [Partition], loads: &mut BTreeMap<Member, usize>) {
    let mut quotas = quotas(partitions, loads);
    for partition in &mut *partitions {
        // The member that has it, or is about to, keeps it as far as it is its share.
        partition.wanted_by = partition.next_holder().filter(|member| take(&mut quotas, *member));
    }
    for partition in partitions {
        if partition.wanted_by.is_none() {
            let free = quotas.iter().find(|(_, quota)| **quota > 0).map(|(member, _)| *member);
            partition.wanted_by = free.filter(|member| take(&mut quotas, *member));
        }
        if let Some(load) = partition.wanted_by.and_then(|member| loads.get_mut(&member)) {
            *load += 1;
        }
    }
}

/// How many partitions of a log each member may have: those with the least of other logs one more,
/// where it does not come out even, and among these who has most of this one already.
fn quotas(partitions: &[Partition], loads: &BTreeMap<Member, usize>) -> BTreeMap<Member, usize> {
    let count = loads.len().max(1);
    let (each, more) = (partitions.len() / count, partitions.len() % count);
    let has = |member: Member| {
        partitions.iter().filter(|partition| partition.next_holder() == Some(member)).count()
    };
    let mut members: Vec<Member> = loads.keys().copied().collect();
    members.sort_by_key(|member| (loads[member], Reverse(has(*member)), *member));
    let quota = |(place, member)| (member, each + usize::from(place < more));
    members.into_iter().enumerate().map(quota).collect()
}

/// Takes one of a member's share, if it has any left.
fn take(quotas: &mut BTreeMap<Member, usize>, member: Member) -> bool {
    let Some(quota) = quotas.get_mut(&member).filter(|quota| **quota > 0) else { return false };
    *quota -= 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Who had a partition, and who has it now.
    type Change = (Option<Member>, Option<Member>);

    /// How many partitions of one log were a member's, are, and both.
    fn shares(log: &[Change], member: Member) -> (usize, usize, usize) {
        let was = log.iter().filter(|change| change.0 == Some(member));
        let is = log.iter().filter(|change| change.1 == Some(member));
        (was.clone().count(), is.count(), was.filter(|change| change.0 == change.1).count())
    }

    /// Shares out anew, and returns what has changed of each log.
    fn changes(partitions: &mut [Partition], members: &BTreeSet<Member>) -> Vec<Vec<Change>> {
        let before: Vec<_> = partitions.iter().map(|one| one.wanted_by).collect();
        share_out(partitions, members);
        let mut before = before.into_iter();
        let mut change = |one: &Partition| (before.next().flatten(), one.wanted_by);
        let logs = partitions.chunk_by(|one, other| one.log == other.log);
        logs.map(|log| log.iter().map(&mut change).collect()).collect()
    }

    proptest! {
        #[test]
        fn shares_are_even_and_nobody_loses_what_is_within_his_share(
            logs in prop::collection::vec(1_usize..9, 1..5),
            joins_and_leaves in prop::collection::vec(1_u64..7, 1..20),
        ) {
            let mut partitions: Vec<Partition> = Vec::new();
            for (log, count) in logs.iter().enumerate() {
                partitions.extend((0..*count).map(|number| Partition::new(log, number)));
            }
            let mut members = BTreeSet::new();
            for member in joins_and_leaves.into_iter().map(Member) {
                if !members.insert(member) {
                    members.remove(&member);
                }
                for log in changes(&mut partitions, &members) {
                    let fair = log.len() / members.len().max(1);
                    for member in &members {
                        let (was, is, stayed) = shares(&log, *member);
                        prop_assert!((fair..=fair + 1).contains(&is), "{} of {}", is, log.len());
                        prop_assert_eq!(stayed, was.min(is), "one came while another went");
                    }
                    prop_assert!(log.iter().all(|change| change.1.is_some() != members.is_empty()));
                }
            }
        }
    }
}
