//! When it fires, by a clock that tests can pause.

use std::sync::Mutex;

use proptest::prelude::*;
use tokio::time::{advance, sleep, sleep_until};

use super::*;

fn moment() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_000_000u64, 0..10_000_000_000u64, 0..1_000_000_000_000_000u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
    #[test]
    fn it_fires_at_the_very_instant_a_tokio_sleep_would(
        moments in prop::collection::vec(moment(), 1..if cfg!(miri) { 4 } else { 40 }),
    ) {
        paused().block_on(async {
            let start = Instant::now();
            let both = moments.into_iter().map(|moment| start + Duration::from_nanos(moment));
            let both: Vec<_> = both.map(|due| {
                let ours = tokio::spawn(async move { until(due).await; Instant::now() });
                (ours, tokio::spawn(async move { sleep_until(due).await; Instant::now() }))
            }).collect();
            for (ours, tokios) in both {
                assert_eq!(ours.await.unwrap(), tokios.await.unwrap());
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_advances_to_it() {
    let due = Instant::now() + 3_600 * SECOND;
    until(due).await;
    assert_eq!(Instant::now(), due);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_armed_before_the_first_poll_and_nothing_is_left_after_the_drop() {
    let timer = Timer::new();
    assert!(HERE.with_borrow(Option::is_none));
    drop(timer);
    let timer = armed(Instant::now() + SECOND, Waker::noop());
    assert_eq!(shard().len(), 1);
    drop(timer);
    assert_eq!(shard().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_fired_is_ready_and_leaves_nothing_behind() {
    let (wakes, waker) = waker();
    let due = Instant::now() + SECOND;
    let mut timer = armed(due, &waker);
    sleep(2 * SECOND).await;
    assert_eq!(wakes.count(), 1);
    assert!(poll(&mut timer, due, &waker).is_ready());
    assert!(poll(&mut timer, due, &waker).is_ready());
    assert_eq!(shard().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_can_be_moved_to_an_earlier_moment() {
    let (wakes, waker) = waker();
    let start = Instant::now();
    let mut timer = armed(start + 10 * SECOND, &waker);
    assert!(poll(&mut timer, start + SECOND, &waker).is_pending());
    sleep_until(start + SECOND).await;
    assert_eq!(wakes.count(), 1);
    assert!(poll(&mut timer, start + SECOND, &waker).is_ready());
}

#[tokio::test(start_paused = true)]
async fn it_can_be_moved_to_a_later_moment() {
    let (wakes, waker) = waker();
    let start = Instant::now();
    let mut timer = armed(start + SECOND, &waker);
    assert!(poll(&mut timer, start + 10 * SECOND, &waker).is_pending());
    sleep_until(start + 9 * SECOND).await;
    assert_eq!(wakes.count(), 0);
    sleep_until(start + 10 * SECOND).await;
    assert_eq!(wakes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_fired_can_be_moved_to_a_later_moment() {
    let (wakes, waker) = waker();
    let start = Instant::now();
    let mut timer = armed(start + SECOND, &waker);
    sleep(SECOND).await;
    assert!(poll(&mut timer, start + 2 * SECOND, &waker).is_pending());
    sleep(SECOND).await;
    assert_eq!(wakes.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_latest_waker_is_woken() {
    let ((stale, stale_waker), (wakes, waker)) = (waker(), waker());
    let due = Instant::now() + SECOND;
    let mut timer = armed(due, &stale_waker);
    assert!(poll(&mut timer, due, &waker).is_pending());
    assert_eq!(Arc::strong_count(&stale), 2, "the stale waker is not kept");
    sleep(SECOND).await;
    assert_eq!((stale.count(), wakes.count()), (0, 1));
    assert_eq!(shard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_dropped_wakes_nobody() {
    let (wakes, waker) = waker();
    drop(armed(Instant::now() + SECOND, &waker));
    sleep(2 * SECOND).await;
    assert_eq!(wakes.count(), 0);
    assert_eq!(Arc::strong_count(&wakes), 2);
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_has_come_is_told_at_once() {
    let start = Instant::now();
    advance(SECOND).await;
    let mut shards = Vec::new();
    // The shard is new, then it has not looked at the clock for a second, then it has.
    for due in [start, Instant::now() - SECOND / 2, Instant::now()] {
        let (wakes, waker) = waker();
        let mut timer = Timer::new();
        if poll(&mut timer, due, &waker).is_pending() {
            assert_eq!(wakes.count(), 1);
        }
        assert!(poll(&mut timer, due, &waker).is_ready());
        shards.push(shard());
        advance(SECOND).await;
    }
    assert!(shards.iter().all(|later| Arc::ptr_eq(later, &shards[0])));
}

#[tokio::test(start_paused = true)]
async fn those_that_are_overdue_are_woken_in_the_order_of_their_moments() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let timers = [7, 3, 9, 1, 3, 700, 12].map(|seconds| {
        let order = Arc::clone(&order);
        armed(start + seconds * SECOND, &on_wake(move || order.lock().unwrap().push(seconds)))
    });
    advance(1_000 * SECOND).await;
    assert_eq!(*order.lock().unwrap(), [1, 3, 3, 7, 9, 12, 700]);
    drop(timers);
}

#[tokio::test(start_paused = true)]
async fn moments_that_nobody_lives_to_see_are_only_never_reached() {
    let now = Instant::now();
    let (wakes, waker) = waker();
    let year = 365 * 24 * 3_600 * SECOND;
    let timers = [10, 100, 500, 600, 10_000].map(|years| armed(now + years * year, &waker));
    let near = armed(now + SECOND, &waker);
    sleep(2 * SECOND).await;
    assert_eq!(wakes.count(), 1);
    drop((timers, near));
    assert_eq!(shard().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_does_not_fire_a_nanosecond_early() {
    let (wakes, waker) = waker();
    let due = Instant::now() + Duration::from_nanos(1);
    let mut timer = armed(due, &waker);
    assert_eq!(wakes.count(), 0);
    assert!(poll(&mut timer, due, &waker).is_pending());
    advance(Duration::from_nanos(1)).await;
    assert!(Instant::now() >= due);
}

/// Where a paused clock stood whenever the runtime had nothing to do.
fn stops(test: impl Future<Output = ()>) -> Vec<Instant> {
    let stops = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&stops);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || seen.lock().unwrap().push(Instant::now()))
        .build()
        .unwrap();
    runtime.block_on(test);
    drop(runtime);
    Arc::into_inner(stops).unwrap().into_inner().unwrap()
}

#[test]
fn a_paused_clock_does_not_leap_to_a_timer_that_is_gone() {
    let gone = Arc::new(Mutex::new(Vec::new()));
    let given_up = Arc::clone(&gone);
    let stops = stops(async move {
        let start = Instant::now();
        // Both share a slot, and so do the other two after them.
        let due = [10_001, 10_002, 20_001, 20_002].map(|ms| start + Duration::from_millis(ms));
        let [first, second, third, _fourth] = due.map(|due| armed(due, Waker::noop()));
        // There, another clock would be read.
        std::thread::spawn(move || drop(first)).join().unwrap();
        drop(second);
        sleep(SECOND).await;
        drop(third);
        sleep(30 * SECOND).await;
        given_up.lock().unwrap().extend(&due[..3]);
        assert!(Instant::now() > due[3]);
    });
    assert!(!stops.is_empty());
    for gone in gone.lock().unwrap().iter() {
        assert!(!stops.contains(gone));
    }
}
