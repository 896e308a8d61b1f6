//! What is finished of partitions before they go, so that nothing that was finished comes again.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Batches, Consumer, ConsumerHandle, Incoming, KillSwitch, Message, Rate, RetryPolicy, State,
    Subscription,
};
use downhaul_context::Context;
use tokio::time::{Instant, sleep};

use super::until;
use super::world::World;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Waits for what needs time, which passes at once.
async fn in_time(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < 60 * SECOND, "it did not come to pass");
        sleep(MILLI).await;
    }
}

async fn stop(handle: &ConsumerHandle) {
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_line_before_finished_messages_is_finished_before_its_partition_goes() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    world.publish_all("slow").await;
    until(|| world.count() == 20).await;
    let second = world.spawn(world.consumer("second").ordered());
    assert_eq!(second.settled().await, State::Running);
    world.open.add_permits(2);
    until(|| world.log.lag("q") == 0).await;
    assert_eq!((world.count(), world.repeated()), (24, vec![]));
    assert_eq!((first.tally().acked, first.tally().lost, second.tally().lost), (24, 0, 0));
    // And one of the partitions has gone.
    for partition in 0..2 {
        world.publish(partition, 0, &format!("later-{partition}")).await;
    }
    until(|| world.count() == 26).await;
    assert_eq!((first.tally().acked, second.tally().acked), (25, 1));
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_line_and_has_nothing_finished_behind_it_goes_with_its_partition() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    for partition in 0..2 {
        world.publish(partition, 0, &format!("slow-{partition}")).await;
        world.publish(partition, 0, &format!("behind-{partition}")).await;
    }
    until(|| first.in_flight().len() == 2 && first.buffered() == 2).await;
    let _second = world.spawn(world.consumer("second").ordered());
    until(|| first.tally().released == 1).await;
    world.open.add_permits(2);
    until(|| world.log.lag("q") == 0).await;
    let by: Vec<_> = (0..2).flat_map(|one| world.of(&format!("behind-{one}"))).collect();
    assert!(by.contains(&"first") && by.contains(&"second"), "{by:?}");
    assert_eq!(world.repeated(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_line_behind_one_that_is_released_does_not_overtake_it() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    world.publish_all("released").await;
    until(|| world.count() == 20).await;
    let second = world.spawn(world.consumer("second").ordered());
    assert_eq!(second.settled().await, State::Running);
    world.open.add_permits(2);
    in_time(|| world.log.lag("q") == 0).await;
    assert_eq!((first.tally().lost, second.tally().acked), (0, 12));
    let by: Vec<_> = (0..2).flat_map(|one| world.of(&format!("behind-{one}"))).collect();
    assert!(by == ["first", "second"] || by == ["second", "first"], "{by:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_finished_messages_lie_behind_is_made_before_its_partition_goes() {
    let world = World::new();
    let consumer = |name| world.consumer(name).ordered();
    let first = world.spawn(consumer("first"));
    world.publish_all("failing").await;
    until(|| first.snapshot().waiting == 2 && world.count() == 20).await;
    let _second = world.spawn(consumer("second"));
    in_time(|| world.log.lag("q") == 0).await;
    assert_eq!((world.count(), world.repeated()), (24, vec![]));
    let attempts = [("first", 1), ("first", 1), ("first", 2), ("first", 2)];
    assert_eq!(world.attempts(), attempts, "the count of attempts is kept");
}

#[tokio::test(start_paused = true)]
async fn a_partition_waits_for_a_retry_that_nothing_stands_in_line_behind() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    for partition in 0..2 {
        world.publish(partition, 0, &format!("failing-{partition}")).await;
        world.publish(partition, 1, &format!("other-{partition}")).await;
    }
    until(|| first.snapshot().waiting == 2 && world.count() == 2).await;
    let second = world.spawn(world.consumer("second").ordered());
    in_time(|| world.log.lag("q") == 0).await;
    assert_eq!((world.count(), second.tally().acked), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_partition_waits_for_what_may_not_begin_yet_by_a_rate() {
    let world = World::new();
    let rate = Rate::new(22, 10 * SECOND);
    let first = world.spawn(world.consumer("first").ordered().rate(rate).concurrency(22));
    world.publish_all("slow").await;
    until(|| world.count() == 20).await;
    let second = world.spawn(world.consumer("second").ordered());
    assert_eq!(second.settled().await, State::Running);
    world.open.add_permits(2);
    in_time(|| world.log.lag("q") == 0).await;
    assert_eq!((first.tally().acked, world.repeated()), (24, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_too_late_does_not_hold_its_partition() {
    let world = World::trying_again_after(4 * SECOND);
    // Half of the revoke budget is 2.5 s.
    let consumer = |name| world.consumer(name).ordered();
    let first = world.spawn(consumer("first"));
    world.publish_all("failing").await;
    until(|| first.snapshot().waiting == 2 && world.count() == 20).await;
    let (asked, _second) = (Instant::now(), world.spawn(consumer("second")));
    until(|| world.count() == 30).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waited");
    assert_eq!(world.repeated().len(), 10, "what was finished behind it comes again");
    assert_eq!(first.tally().released, 2, "the failing one and the one in its line");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_retry_that_finished_messages_lie_behind() {
    let verbs = [ConsumerHandle::stop, ConsumerHandle::drain, ConsumerHandle::restart];
    for (verb, say) in verbs.into_iter().enumerate() {
        let world = World::new();
        let first = world.spawn(world.consumer("first").ordered());
        world.publish_all("failing").await;
        until(|| first.snapshot().waiting == 2 && world.count() == 20).await;
        say(&first);
        first.settled().await;
        assert_eq!((world.count(), world.repeated(), world.log.lag("q")), (24, vec![], 0));
        assert_eq!(first.tally().released, 0, "verb {verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_nothing_once_a_kill_switch_is_open() {
    let mut world = World::trying_again_after(SECOND);
    world.failures = 9;
    // The second failures open it.
    let switch = KillSwitch::default().at_least(24).share(0.01).pause(5 * SECOND);
    let first = world.spawn(world.consumer("first").ordered().kill_switch(switch));
    world.publish_all("failing").await;
    until(|| first.snapshot().waiting == 2 && world.count() == 20).await;
    let asked = Instant::now();
    stop(&first).await;
    assert_eq!((asked.elapsed().as_millis() / 100, world.attempts().len()), (10, 4));
    assert_eq!(first.tally().released, 4);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_retry_that_nothing_lies_behind_or_that_comes_too_late() {
    for (delay, others) in [(SECOND, 0), (11 * SECOND, 10)] {
        let world = World::trying_again_after(delay);
        let first = world.spawn(world.consumer("first").ordered());
        world.publish(0, 0, "failing").await;
        world.publish(0, 0, "behind").await;
        for number in 1..=others {
            world.publish(0, number, &format!("other-{number}")).await;
        }
        until(|| first.snapshot().waiting == 1 && world.count() == others).await;
        let asked = Instant::now();
        stop(&first).await;
        assert_eq!((asked.elapsed(), first.tally().released), (Duration::ZERO, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_stands_in_line_before_finished_messages_and_begins_nothing_else() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered().concurrency(2));
    world.publish(0, 0, "slow-1").await;
    world.publish(0, 0, "behind").await;
    world.publish(0, 1, "other").await;
    until(|| world.count() == 1).await;
    world.publish(0, 2, "slow-2").await;
    for number in 3..6 {
        world.publish(0, number, &format!("unneeded-{number}")).await;
    }
    until(|| first.in_flight().len() == 2 && first.buffered() == 4).await;
    first.stop();
    until(|| first.tally().released == 3).await;
    world.open.add_permits(2);
    assert_eq!(first.settled().await, State::Stopped);
    assert_eq!((world.count(), world.of("behind")), (4, vec!["first"]));
    assert_eq!(world.log.lag("q"), 3);
}

#[tokio::test(start_paused = true)]
async fn an_abort_waits_for_no_retry() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    world.publish_all("failing").await;
    until(|| first.snapshot().waiting == 2 && world.count() == 20).await;
    let asked = Instant::now();
    first.abort();
    assert_eq!(first.settled().await, State::Stopped);
    assert_eq!((asked.elapsed(), first.tally().released), (Duration::ZERO, 4));
}

#[tokio::test(start_paused = true)]
async fn the_report_of_a_stop_says_how_much_was_finished_and_comes_again() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    world.publish_all("slow").await;
    until(|| world.count() == 20).await;
    first.abort();
    assert_eq!(first.settled().await, State::Stopped);
    let report = first.last_stop().unwrap();
    assert_eq!((report.come_again, world.log.lag("q")), (20, 24));
    let report = report.to_string();
    assert!(report.ends_with("\nagain  20 finished messages come again"), "{report}");
    let second = world.spawn(world.consumer("second").ordered());
    world.open.add_permits(2);
    until(|| world.log.lag("q") == 0).await;
    assert_eq!(world.repeated().len(), 20);
    stop(&second).await;
    assert_eq!(second.last_stop().unwrap().come_again, 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_no_line_is_parked_when_its_partition_goes_and_keeps_the_count_of_its_attempts()
{
    let mut world = World::trying_again_after(2 * SECOND);
    world.failures = 2;
    let consumer =
        |name| world.consumer(name).retry(RetryPolicy::default().in_place_up_to(3_600 * SECOND));
    let first = world.spawn(consumer("first"));
    world.publish_all("failing").await;
    until(|| first.snapshot().waiting == 2 && world.count() == 22).await;
    let (asked, second) = (Instant::now(), world.spawn(consumer("second")));
    until(|| first.snapshot().waiting == 1).await;
    assert_eq!(second.settled().await, State::Running);
    assert_eq!(asked.elapsed(), Duration::ZERO, "its partition does not wait for it");
    in_time(|| world.log.lag("q") == 0).await;
    assert_eq!((world.count(), world.repeated()), (24, vec![]));
    let mut attempts: Vec<_> = world.attempts().into_iter().map(|(_, number)| number).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 2, 2, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_for_a_partition_that_goes_while_a_kill_switch_is_open() {
    let mut world = World::trying_again_after(MILLI);
    world.failures = 9;
    let switch = KillSwitch::default().at_least(2).share(0.01).pause(60 * SECOND);
    let consumer = world.consumer("first").ordered().kill_switch(switch);
    let first = world.spawn(consumer);
    world.publish(0, 0, "failing-0").await;
    world.publish(1, 0, "failing-1").await;
    in_time(|| first.status().suspended_until.is_some()).await;
    let tried = world.attempts().len();
    let (asked, second) = (Instant::now(), world.spawn(world.consumer("second").ordered()));
    until(|| second.tally().retried > 0).await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
    let by_first = world.attempts().iter().filter(|(who, _)| *who == "first").count();
    assert_eq!(by_first, tried);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_gathered_is_not_waited_for_when_its_partition_goes() {
    let world = World::new();
    let handled = Arc::clone(&world.handled);
    let handle = move |_ctx: Context, batch: Vec<Incoming<Message>>| {
        let mut handled = handled.lock().unwrap();
        for message in &batch {
            handled.entry(message.id().to_owned()).or_default().push("first");
        }
        std::future::ready(())
    };
    let policy = Batches::of(3).by_key().within(3_600 * SECOND);
    let group = Subscription::new("q").topic("t");
    let first = world.spawn(Consumer::batches(group, policy, handle).prefetch(100));
    for partition in 0..2 {
        // The batch of the first key is not full; that of the second lies behind it.
        world.publish(partition, 0, &format!("one-{partition}")).await;
        for number in 0..3 {
            world.publish(partition, 1, &format!("two-{partition}-{number}")).await;
        }
    }
    until(|| world.count() == 6 && first.buffered() == 2).await;
    let asked = Instant::now();
    let second = world.spawn(world.consumer("second"));
    until(|| world.log.lag("q") == 0).await;
    assert_eq!((world.count(), world.repeated(), asked.elapsed()), (8, vec![], Duration::ZERO));
    assert_eq!(second.tally().acked, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_when_the_budget_is_over_is_counted_as_lost() {
    let world = World::new();
    let first = world.spawn(world.consumer("first").ordered());
    world.publish_all("slow").await;
    until(|| world.count() == 20).await;
    let (asked, second) = (Instant::now(), world.spawn(world.consumer("second").ordered()));
    in_time(|| second.in_flight().len() == 1).await;
    assert_eq!(asked.elapsed().as_secs(), 5);
    // The slow one, and the one in its line.
    until(|| first.tally().lost == 2).await;
    assert_eq!(world.repeated().len(), 10);
}
