//! Runtimes that come and go, and none at all.

use super::*;
use crate::timer::alarm::Alarm;

fn on_this_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn on_two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

#[test]
#[should_panic(expected = "waiting for a deadline needs a tokio runtime with its timer enabled")]
fn without_a_runtime_it_says_what_is_missing() {
    let _ = poll(&mut Timer::new(), Instant::now() + SECOND, Waker::noop());
}

#[test]
#[should_panic(expected = "timers are disabled")]
fn without_a_timer_tokio_says_what_is_missing() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(until(Instant::now() + SECOND));
}

#[test]
#[should_panic(expected = "waiting for a deadline needs a tokio runtime that is not shut down")]
fn after_the_shutdown_it_says_what_is_missing() {
    let runtime = on_this_thread();
    let handle = runtime.handle().clone();
    drop(runtime);
    handle.block_on(until(Instant::now() + 3_600 * SECOND));
}

#[test]
fn a_runtime_that_is_dropped_wakes_its_timers_and_another_one_serves_them() {
    for runtime in [on_this_thread(), on_two_threads()] {
        let (wakes, waker) = waker();
        let due = Instant::now() + 3_600 * SECOND;
        let mut timer = runtime.block_on(async { armed(due, &waker) });
        let unpolled = runtime.block_on(async { armed(due, &waker) });
        let old = shard();
        drop(runtime);
        assert_eq!(wakes.count(), 2);

        paused().block_on(async {
            assert!(poll(&mut timer, due, &waker).is_pending());
            assert_eq!(wakes.count(), 2);
            poll_fn(|cx| timer.poll(due, cx)).await;
            assert!(Instant::now() >= due);
        });
        drop(unpolled);
        assert_eq!((old.len(), shard().len()), (0, 0));
    }
}

#[test]
fn nothing_of_a_runtime_is_kept_when_it_is_dropped() {
    for runtime in [on_this_thread(), on_two_threads()] {
        let due = Instant::now() + 3_600 * SECOND;
        let timer = runtime.block_on(async { armed(due, Waker::noop()) });
        let disarmed = runtime.block_on(async { armed(due + SECOND, Waker::noop()) });
        drop(disarmed);
        assert!(shard().keeps_its_runtime());
        drop(runtime);
        assert!(!shard().keeps_its_runtime());
        drop(timer);
    }
}

#[test]
fn nothing_of_a_runtime_is_kept_when_its_last_timer_has_fired() {
    let runtime = paused();
    runtime.block_on(async { until(Instant::now() + SECOND).await });
    assert!(!shard().keeps_its_runtime());
    drop(runtime);
}

#[test]
fn runtimes_one_after_the_other_on_one_thread_are_told_apart() {
    for _ in 0..3 {
        let runtime = paused();
        runtime.block_on(async {
            let start = Instant::now();
            drop(armed(start + 10 * SECOND, Waker::noop()));
            until(start + SECOND).await;
            assert_eq!(Instant::now(), start + SECOND);
        });
    }
}

#[test]
fn runtimes_that_take_turns_on_one_thread_keep_to_their_own_timers() {
    let (one, other) = (paused(), paused());
    let (wakes, waker) = waker();
    let start = one.block_on(async { Instant::now() });
    let mut first = one.block_on(async { armed(start + SECOND, &waker) });
    // Without a timer of its own, this one would wait for the other's for ever.
    other.block_on(async { until(Instant::now() + 2 * SECOND).await });
    assert_eq!(wakes.count(), 0);
    let mut second = one.block_on(async { armed(start + 3 * SECOND, &waker) });
    other.block_on(async { until(Instant::now() + 2 * SECOND).await });
    assert_eq!(wakes.count(), 0);
    one.block_on(async {
        poll_fn(|cx| first.poll(start + SECOND, cx)).await;
        assert_eq!(Instant::now(), start + SECOND);
        poll_fn(|cx| second.poll(start + 3 * SECOND, cx)).await;
        assert_eq!(Instant::now(), start + 3 * SECOND);
    });
}

#[test]
fn one_that_fired_is_ready_also_outside_a_runtime() {
    let runtime = on_this_thread();
    // It must not be over before the timer is armed, which takes Miri a while.
    let due = Instant::now() + Duration::from_millis(if cfg!(miri) { 3_000 } else { 1 });
    let mut timer = runtime.block_on(async { armed(due, Waker::noop()) });
    runtime.block_on(until(due));
    drop(runtime);
    assert!(poll(&mut timer, due, Waker::noop()).is_ready());
}

#[test]
fn a_task_that_has_used_up_its_budget_can_still_arm_one() {
    for runtime in [on_this_thread(), on_two_threads()] {
        runtime.block_on(async {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            let (wakes, waker) = waker();
            let timer = armed(Instant::now() + 3_600 * SECOND, &waker);
            assert!(shard().alarm_is_in_time());
            assert_eq!(wakes.count(), 0);
            drop(timer);
        });
    }
}

#[test]
fn an_alarm_tells_of_the_shutdown_without_a_panic() {
    let runtime = on_this_thread();
    let (wakes, waker) = waker();
    let mut alarm = Alarm::new(waker);
    let at = Instant::now() + 3_600 * SECOND;
    runtime.block_on(async { assert!(alarm.set(at).is_pending()) });
    let handle = runtime.handle().clone();
    drop(runtime);
    assert_eq!(wakes.count(), 1);
    assert!(alarm.set(at).is_ready());
    // The same for a new one.
    alarm.clear();
    let _current = handle.enter();
    assert!(alarm.set(at).is_ready());
}
