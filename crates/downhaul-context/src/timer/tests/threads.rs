//! One shard, many threads.

use std::panic;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use tokio::time::sleep;

use super::*;

#[test]
fn it_can_move_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Timer>();
}

#[tokio::test(start_paused = true)]
async fn one_that_was_armed_here_can_be_dropped_elsewhere() {
    let (wakes, waker) = waker();
    let timer = armed(Instant::now() + SECOND, &waker);
    thread::spawn(move || drop(timer)).join().unwrap();
    assert_eq!(shard().len(), 0);
    sleep(2 * SECOND).await;
    assert_eq!(wakes.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_armed_elsewhere_fires_though_its_thread_has_ended() {
    let (wakes, waker) = waker();
    let runtime = tokio::runtime::Handle::current();
    let due = Instant::now() + SECOND;
    let arm = move || {
        let _current = runtime.enter();
        (armed(due, &waker), Arc::downgrade(&shard()))
    };
    let (timer, shard) = thread::spawn(arm).join().unwrap();
    sleep(SECOND).await;
    assert_eq!(wakes.count(), 1);
    drop(timer);
    assert_eq!(shard.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shard_goes_with_its_thread_and_its_timers_also_before_they_are_due() {
    let runtime = tokio::runtime::Handle::current();
    let due = Instant::now() + 3_600 * SECOND;
    let arm = move || {
        let _current = runtime.enter();
        (armed(due, Waker::noop()), Arc::downgrade(&shard()))
    };
    let (timer, shard) = thread::spawn(arm).join().unwrap();
    assert_eq!(shard.strong_count(), 1);
    drop(timer);
    assert_eq!(shard.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_arm_and_disarm_others() {
    let start = Instant::now();
    let (wakes, waker) = waker();
    let others = Arc::new(Mutex::new(vec![armed(start + 5 * SECOND, &waker)]));
    let seen = Arc::clone(&others);
    let timer = armed(
        start + SECOND,
        &on_wake(move || {
            let mut others = seen.lock().unwrap();
            others.clear();
            // Each comes before all that were there.
            others.push(armed(start + 4 * SECOND, &waker));
            others.push(armed(start + 3 * SECOND, &waker));
        }),
    );
    sleep(3 * SECOND).await;
    assert_eq!(wakes.count(), 1);
    sleep(10 * SECOND).await;
    assert_eq!(wakes.count(), 2);
    drop((timer, others));
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_does_not_keep_the_others_from_being_woken() {
    let (wakes, waker) = waker();
    let start = Instant::now();
    let bad = on_wake(|| panic::resume_unwind(Box::new("a waker that panics")));
    let timers = [&bad, &waker, &bad, &waker].map(|waker| armed(start + SECOND, waker));
    let later = armed(start + 2 * SECOND, &waker);
    sleep(3 * SECOND).await;
    assert_eq!(wakes.count(), 3);
    drop((timers, later));
}

/// While the runtime's thread is about to wake, another one arms a timer that comes first.
#[test]
fn nobody_waits_for_whoever_is_waking() {
    let runtime = paused();
    let start = runtime.block_on(async { Instant::now() });
    let (wakes, waker) = waker();
    let (woken, is_woken) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let slow = on_wake(move || {
        woken.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
    });
    let (mut timers, shard) = runtime.block_on(async {
        let timers = vec![armed(start + SECOND, &slow), armed(start + 9 * SECOND, &waker)];
        (timers, shard())
    });

    let handle = runtime.handle().clone();
    let other = thread::spawn(move || {
        is_woken.recv().unwrap();
        let gone = shard.arm((start + 4 * SECOND).into(), waker.clone(), &handle).unwrap();
        let key = shard.arm((start + 3 * SECOND).into(), waker, &handle).unwrap();
        shard.disarm(gone);
        go_on.send(()).unwrap();
        (shard, key)
    });
    runtime.block_on(async { sleep(2 * SECOND).await });
    let (shard, key) = other.join().unwrap();
    runtime.block_on(async { sleep(2 * SECOND).await });
    assert_eq!(wakes.count(), 1);
    shard.disarm(key);
    timers.clear();
    assert_eq!(shard.len(), 0);
}
