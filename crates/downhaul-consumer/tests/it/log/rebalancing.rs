//! How partitions move between the sources of a group.

use std::time::Duration;

use downhaul_consumer::{Broker, Delivery, Event, Lane, MemoryLog, Revoking, Source, Verdict};
use downhaul_context::Context;
use tokio::time::Instant;

use super::{ack_all, at_hand, deliveries, ids, lanes, open, publish_numbers, settle};

/// A log of four partitions, a source that has read a message of each, and a second one that wants
/// half of them; with what the first is asked to let go of.
async fn two_sources() -> (MemoryLog, Box<dyn Source>, Vec<Delivery>, Box<dyn Source>, Revoking) {
    let log = MemoryLog::new(4);
    publish_numbers(&log, 4).await;
    let mut first = open(&log).await;
    let read = deliveries(&mut *first);
    assert_eq!((read.len(), lanes(&read).len()), (4, 4));
    let second = open(&log).await;
    let mut events = at_hand(&mut *first);
    assert_eq!(events.len(), 1);
    let Event::Revoking(revoking) = events.remove(0) else { panic!("{events:?}") };
    (log, first, read, second, revoking)
}

/// The lanes that a source is told to have got.
fn assigned(source: &mut dyn Source) -> Vec<Lane> {
    let events = at_hand(source);
    let assigned = events.into_iter().filter_map(|event| match event {
        Event::Assigned(lanes) => Some(lanes),
        _ => None,
    });
    let mut lanes: Vec<Lane> = assigned.flatten().collect();
    lanes.sort_unstable();
    lanes
}

/// Drops what a source is asked to let go of, and lets it see that.
fn let_go(source: &mut dyn Source) {
    drop(at_hand(source));
    at_hand(source);
}

fn split(read: Vec<Delivery>, revoking: &Revoking) -> (Vec<Delivery>, Vec<Delivery>) {
    read.into_iter().partition(|delivery| revoking.lanes().contains(&delivery.lane))
}

#[tokio::test(start_paused = true)]
async fn only_what_moves_is_revoked_and_what_stays_goes_on_meanwhile() {
    let (log, mut first, read, mut second, revoking) = two_sources().await;
    let (going, staying) = split(read, &revoking);
    // Two of the topic, and two of what goes to the group alone.
    assert_eq!((revoking.lanes().len(), going.len(), staying.len()), (4, 2, 2));
    publish_numbers(&log, 4).await;
    let meanwhile = deliveries(&mut *first);
    assert_eq!(lanes(&meanwhile), lanes(&staying), "nothing more of what is revoked");
    assert!(at_hand(&mut *second).is_empty(), "they are not free yet");
    ack_all(&mut *first, &going).await;
    ack_all(&mut *first, &meanwhile).await;
    let expected = revoking.lanes().to_vec();
    drop(revoking);
    assert!(at_hand(&mut *first).is_empty(), "what was let go of is not lost");
    assert_eq!(assigned(&mut *second), expected);
}

#[tokio::test(start_paused = true)]
async fn what_goes_with_something_finished_behind_what_is_not_is_told_as_lost() {
    let log = MemoryLog::new(2);
    publish_numbers(&log, 8).await;
    let mut first = open(&log).await;
    let read = deliveries(&mut *first);
    let mut second = open(&log).await;
    let mut events = at_hand(&mut *first);
    let Event::Revoking(revoking) = events.remove(0) else { panic!("{events:?}") };
    let (going, staying) = split(read, &revoking);
    let (behind, again) = (&going[1..], ids(&going[..2]));
    ack_all(&mut *first, &behind[..1]).await;
    ack_all(&mut *first, &staying).await;
    drop(revoking);
    let lost = at_hand(&mut *first);
    let [Event::Lost(lanes)] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!(lanes[..], [going[0].lane]);
    assert_eq!(ids(&deliveries(&mut *second))[..2], again);
    first.close(&Context::background()).await.expect("the rest was finished in its order");
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_begins_right_after_what_was_finished() {
    let (log, mut first, read, mut second, revoking) = two_sources().await;
    publish_numbers(&log, 4).await;
    let (going, _) = split(read, &revoking);
    ack_all(&mut *first, &going[..1]).await;
    assert_eq!(settle(&mut *first, &going[1], Verdict::Release).await, []);
    assert_eq!(deliveries(&mut *first).len(), 2, "what is revoked is not read, released or not");
    drop(revoking);
    at_hand(&mut *first);
    let next = deliveries(&mut *second);
    let finished = going[0].message.id();
    assert!(!ids(&next).is_empty() && next.len() == 3, "{:?}", ids(&next));
    // The numbers are published twice: one of the finished one is left.
    assert_eq!(next.iter().filter(|one| one.message.id() == finished).count(), 1);
    assert_eq!(next.iter().filter(|one| one.message.id() == going[1].message.id()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_let_go_in_time_loses_his_lanes_and_commits_nothing_of_them_any_more() {
    let (log, mut first, read, mut second, revoking) = two_sources().await;
    let (begun, mut events) = (Instant::now(), Vec::new());
    second.next(&mut events).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    let (going, staying) = split(read, &revoking);
    let lost = settle(&mut *first, &going[0], Verdict::Ack).await;
    assert_eq!(lost, [going[0].token]);
    let partition = |delivery: &Delivery| delivery.message.id().parse().unwrap();
    assert_eq!(log.committed("q", "t", partition(&going[0])), 0);
    let told = at_hand(&mut *first);
    assert!(matches!(&told[..], [Event::Lost(lanes)] if lanes == revoking.lanes()), "{told:?}");
    let again = events.into_iter().filter_map(Event::into_delivery).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&going));
    // The word that they are free comes too late, and takes nothing from who has them now.
    drop(revoking);
    assert!(at_hand(&mut *first).is_empty());
    ack_all(&mut *second, &again).await;
    ack_all(&mut *first, &staying).await;
    assert_eq!(log.lag("q"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_revoke_budget_can_be_set() {
    let (log, minute) = (MemoryLog::new(2), Duration::from_secs(60));
    let log = log.with_revoke_budget(minute);
    let mut first = open(&log).await;
    at_hand(&mut *first);
    let (begun, mut second) = (Instant::now(), open(&log).await);
    let _revoking = at_hand(&mut *first);
    second.next(&mut Vec::new()).await.unwrap();
    assert_eq!(begun.elapsed(), minute);
}

#[tokio::test(start_paused = true)]
async fn what_a_source_had_that_is_gone_is_free_at_once() {
    for gone_by in ["drop", "close"] {
        let log = MemoryLog::new(4);
        publish_numbers(&log, 8).await;
        let (mut first, mut second) = (open(&log).await, open(&log).await);
        let begun = Instant::now();
        let held = deliveries(&mut *first);
        // What was there before the second came is let go of first.
        drop(at_hand(&mut *second));
        ack_all(&mut *first, &held[..1]).await;
        match gone_by {
            "drop" => drop(first),
            _ => first.close(&Context::background()).await.unwrap(),
        }
        let after = deliveries(&mut *second).len();
        assert_eq!((log.lag("q"), begun.elapsed()), (7, Duration::ZERO), "{gone_by}");
        assert!(after > 0, "{gone_by}");
        drop(second);
        assert_eq!(deliveries(&mut *open(&log).await).len(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_all_sources_and_what_they_did_not_commit_comes_again() {
    let log = MemoryLog::new(3);
    publish_numbers(&log, 6).await;
    let mut old = open(&log).await;
    let read = deliveries(&mut *old);
    ack_all(&mut *old, &read[..2]).await;
    log.cut();
    assert!(old.next(&mut Vec::new()).await.is_err());
    assert!(old.settle(&[(read[3].token, Verdict::Ack)]).await.is_err());
    assert!(old.set_prefetch(1).await.is_err());
    let mut new = open(&log).await;
    let again = deliveries(&mut *new);
    assert_eq!(again.len(), 4);
    drop(old);
    ack_all(&mut *new, &again).await;
    assert_eq!(log.lag("q"), 0);
    log.set_reachable(false);
    assert!(new.next(&mut Vec::new()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_a_group_reads_later_is_shared_out_too() {
    let log = MemoryLog::new(2);
    let (mut first, mut second) = (open(&log).await, open(&log).await);
    let_go(&mut *first);
    assert_eq!(assigned(&mut *second).len(), 2, "one of the topic and one of the group's own");
    let more = super::subscription().topic("u");
    let mut third = log.source(&Context::background(), &more).await.unwrap();
    for source in [&mut first, &mut second] {
        let_go(&mut **source);
    }
    assert_eq!(assigned(&mut *third).len(), 2, "two of six");
}
