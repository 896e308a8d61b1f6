//! What one source of a group gets, and what it commits.

use downhaul_consumer::{Broker, MemoryLog, Message, Outgoing, Subscription, Verdict};
use downhaul_context::Context;
use proptest::prelude::*;
use tokio::time::{Duration, Instant};

use super::{ack_all, at_hand, deliveries, ids, lanes, open, publish, publish_numbers, settle};

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_new_source_reads_on_from_the_lowest_unfinished_message_whatever_was_finished_beyond_it(
        order in Just((0..20).collect::<Vec<usize>>()).prop_shuffle(),
        finished in 0_usize..=20,
        drops in any::<bool>(),
    ) {
        block_on(async {
            let log = MemoryLog::new(1);
            publish_numbers(&log, 20).await;
            let mut source = open(&log).await;
            let all = deliveries(&mut *source);
            for (count, place) in order[..finished].iter().enumerate() {
                ack_all(&mut *source, &all[*place..=*place]).await;
                let done = &order[..=count];
                let lowest = (0_usize..).find(|place| !done.contains(place));
                prop_assert_eq!(Some(log.committed("q", "t", 0)), lowest.map(|place| place as u64));
            }
            let committed = usize::try_from(log.committed("q", "t", 0)).unwrap();
            if drops {
                drop(source);
            } else {
                let closed = source.close(&Context::background()).await;
                let is_behind = |place: &usize| *place > committed;
                prop_assert_eq!(closed.is_err(), order[..finished].iter().any(is_behind));
            }
            let again = deliveries(&mut *open(&log).await);
            prop_assert_eq!(ids(&again), &ids(&all)[committed..]);
            prop_assert!(again.iter().all(|delivery| delivery.redeliveries == 1));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_is_released_comes_again_to_its_source_and_moves_nothing() {
    let log = MemoryLog::new(1);
    publish_numbers(&log, 3).await;
    let mut source = open(&log).await;
    let all = deliveries(&mut *source);
    for place in [2, 0] {
        assert_eq!(settle(&mut *source, &all[place], Verdict::Release).await, []);
    }
    let again = deliveries(&mut *source);
    assert_eq!(ids(&again), ["0", "2"]);
    ack_all(&mut *source, &all[1..2]).await;
    assert_eq!(log.committed("q", "t", 0), 0);
    ack_all(&mut *source, &again).await;
    assert_eq!((log.committed("q", "t", 0), log.end_offset("t", 0)), (3, 3));
}

#[tokio::test]
async fn a_delivery_is_settled_once() {
    let log = MemoryLog::new(1);
    publish_numbers(&log, 2).await;
    let mut source = open(&log).await;
    let all = deliveries(&mut *source);
    assert_eq!(settle(&mut *source, &all[0], Verdict::Release).await, []);
    assert_eq!(settle(&mut *source, &all[0], Verdict::Ack).await, [all[0].token]);
    assert_eq!(log.committed("q", "t", 0), 0);
    let again = deliveries(&mut *source);
    assert_eq!(ids(&again), ["0"]);
    ack_all(&mut *source, &again).await;
    assert_eq!(log.committed("q", "t", 0), 1);
}

#[tokio::test]
async fn a_partition_is_read_no_further_than_the_longest_gap_beyond_its_head() {
    let log = MemoryLog::new(2).with_longest_gap(4);
    publish_numbers(&log, 20).await;
    let mut source = open(&log).await;
    let first = deliveries(&mut *source);
    assert_eq!(ids(&first), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    // All but the head of the first partition: the second goes on, the first waits.
    ack_all(&mut *source, &first[1..]).await;
    assert_eq!(ids(&deliveries(&mut *source)), ["9", "11", "13", "15"]);
    ack_all(&mut *source, &first[..1]).await;
    assert_eq!(ids(&deliveries(&mut *source)), ["8", "10", "12", "14"]);
}

#[tokio::test]
async fn a_prefetch_bounds_all_partitions_together_and_one_does_not_starve_the_others() {
    let log = MemoryLog::new(3);
    log.create_topic("t");
    // One partition has much, and its head is never finished.
    let busy = log.partition_of("busy");
    for number in 0..50 {
        publish(&log, Message::new("").with_key("busy").with_id(format!("busy/{number}"))).await;
    }
    let other_keys = (0..).map(|number| format!("key-{number}"));
    let other_keys: Vec<_> =
        other_keys.filter(|key| log.partition_of(key) != busy).take(10).collect();
    for key in &other_keys {
        publish(&log, Message::new("").with_key(key).with_id(key.clone())).await;
    }
    let ctx = Context::background();
    let four = super::subscription().with_prefetch(4);
    let mut source = log.source(&ctx, &four).await.unwrap();
    let (mut missing, mut is_first) = (other_keys.len(), true);
    let (mut unsettled, mut of_busy) = (0, 0);
    while missing > 0 {
        let arrived = deliveries(&mut *source);
        unsettled += arrived.len();
        assert!(unsettled <= 4 && !arrived.is_empty(), "{unsettled} of 4");
        for delivery in arrived {
            let is_busy = delivery.message.key() == Some("busy");
            of_busy += usize::from(is_busy);
            if !(is_busy && std::mem::take(&mut is_first)) {
                missing -= usize::from(!is_busy);
                assert_eq!(settle(&mut *source, &delivery, Verdict::Ack).await, []);
                unsettled -= 1;
            }
        }
    }
    assert!(of_busy < 25, "{of_busy} of the busy one came before ten of the others");
    assert_eq!(log.committed("q", "t", busy), 0);
}

#[tokio::test]
async fn a_closed_intake_delivers_nothing_and_takes_verdicts() {
    let log = MemoryLog::new(2);
    publish_numbers(&log, 2).await;
    let mut source = open(&log).await;
    let all = deliveries(&mut *source);
    source.set_prefetch(0).await.unwrap();
    publish_numbers(&log, 2).await;
    assert_eq!(settle(&mut *source, &all[0], Verdict::Release).await, []);
    ack_all(&mut *source, &all[1..]).await;
    assert!(at_hand(&mut *source).is_empty());
    source.set_prefetch(10).await.unwrap();
    assert_eq!(deliveries(&mut *source).len(), 3);
}

#[tokio::test]
async fn two_groups_each_get_everything_from_the_beginning() {
    let log = MemoryLog::new(3);
    publish_numbers(&log, 7).await;
    for group in ["q", "r"] {
        let subscription = Subscription::new(group).topic("t");
        let mut source = log.source(&Context::background(), &subscription).await.unwrap();
        let all = deliveries(&mut *source);
        let topics: Vec<_> = all.iter().map(|one| one.topic.as_deref()).collect();
        assert_eq!((all.len(), topics), (7, vec![Some("t"); 7]));
        ack_all(&mut *source, &all).await;
        assert_eq!(log.lag(group), 0);
    }
    let (others, unread) = (log.lag("nobody"), log.end_offset("nowhere", 0));
    assert_eq!((others, unread, log.committed("nobody", "t", 0)), (0, 0, 0));
}

#[tokio::test]
async fn messages_of_a_key_are_in_one_partition_in_their_order() {
    // Twenty keys by turns would not come out even on three partitions.
    let log = MemoryLog::new(3);
    log.create_topic("t");
    for number in 0..200 {
        let key = format!("key-{}", number % 20);
        publish(&log, Message::new("").with_key(key).with_id(number.to_string())).await;
    }
    let all = deliveries(&mut *open(&log).await);
    assert_eq!((all.len(), lanes(&all).len()), (200, 3));
    for key in 0..20 {
        let key = format!("key-{key}");
        let of_key = all.iter().filter(|one| one.message.key() == Some(&key));
        let of_key: Vec<_> = of_key.cloned().collect();
        assert_eq!(lanes(&of_key).len(), 1);
        let numbers: Vec<u32> = ids(&of_key).iter().map(|id| id.parse().unwrap()).collect();
        assert!(numbers.len() == 10 && numbers.is_sorted(), "{numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_delayed_waits_behind_nothing_and_goes_to_its_group_alone() {
    let (log, begun, ctx) = (MemoryLog::new(1), Instant::now(), Context::background());
    let mut source = open(&log).await;
    let other = Subscription::new("r").topic("t");
    let mut other = log.source(&ctx, &other).await.unwrap();
    let sink = log.sink(&ctx).await.unwrap();
    for seconds in [30, 10, 20] {
        let message = Message::new("").with_id(seconds.to_string());
        let delayed = Outgoing::to_queue("q", message).after(Duration::from_secs(seconds));
        sink.send(&delayed).await.unwrap().await;
    }
    assert_eq!(log.lag("q"), 3);
    // The first event of all is that lanes are assigned.
    assert!(deliveries(&mut *source).is_empty());
    for seconds in [10, 20, 30] {
        let mut events = Vec::new();
        source.next(&mut events).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(seconds));
        let delivery = events.remove(0).into_delivery().unwrap();
        assert_eq!(delivery.message.id(), seconds.to_string());
        ack_all(&mut *source, &[delivery]).await;
    }
    assert_eq!((log.lag("q"), deliveries(&mut *other).len()), (0, 0));
}
