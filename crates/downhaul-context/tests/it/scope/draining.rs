//! From "take nothing new" to "nothing is left".

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use downhaul_context::scope::{Refused, WorkKind};
use downhaul_context::{CauseKind, Context, Instant, Level, Scope};
use tokio::task::yield_now;

use super::{SECOND, obedient, scope, stubborn};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_the_tasks_and_ends_with_the_last() {
    let scope = scope();
    for name in ["one", "two"] {
        let polite = |ctx: Context| async move {
            ctx.draining().await;
            assert!(!ctx.is_done());
            Ok(())
        };
        scope.spawn(name, polite).unwrap();
    }
    scope.drain(GRACE);
    assert_eq!(scope.ctx().level(), Level::Draining);
    let began = Instant::now();
    scope.closed().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(scope.join(SECOND).await.counts.finished, 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_scope_that_lives_is_not_closed() {
    let scope = scope();
    assert!(tokio::time::timeout(GRACE, scope.closed()).await.is_err());
    assert!(scope.hold("upload").is_ok());
}

#[test]
fn an_idle_scope_ends_as_soon_as_it_drains() {
    let line = line!() + 1;
    let scope = Scope::new(&Context::background(), "orders");
    scope.drain(GRACE);
    let cause = scope.ctx().cause().unwrap();
    assert_eq!(cause.kind(), CauseKind::Cancelled);
    let words = format!("its work is over, at {}:{line}:", file!());
    assert!(cause.to_string().contains(&words), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_the_parent_reaches_the_tasks() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders");
    let task = scope
        .spawn("one", |ctx| async move {
            ctx.draining().await;
            Ok(ctx.level())
        })
        .unwrap();
    yield_now().await;
    canceller.drain(GRACE);
    assert_eq!(task.await.unwrap(), Level::Draining);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_ends_the_tasks() {
    let scope = scope();
    let task = scope.spawn("one", obedient).unwrap();
    let began = Instant::now();
    scope.drain(GRACE);
    task.await.unwrap_err();
    assert_eq!(began.elapsed(), GRACE);
    assert_eq!(scope.ctx().cause().unwrap().kind(), CauseKind::DrainGraceOver);
    scope.closed().await;
}

#[tokio::test(start_paused = true)]
async fn while_it_drains_what_is_begun_may_start_what_it_needs() {
    let scope = scope();
    let hold = scope.hold("order 7").unwrap();
    scope.drain(GRACE);
    let task = scope.spawn("rollback", |_ctx| async { Ok(7) }).unwrap();
    assert_eq!(task.await.unwrap(), 7);
    drop(hold);
    assert!(matches!(scope.spawn("late", obedient), Err(Refused::Ended(_))));
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_come_while_a_hold_lives_even_after_the_grace() {
    let scope = scope();
    let hold = scope.hold("upload").unwrap();
    scope.drain(GRACE);
    let mut closed = pin!(scope.closed());
    assert!(tokio::time::timeout(2 * GRACE, closed.as_mut()).await.is_err());
    assert!(scope.ctx().is_done());
    drop(hold);
    closed.await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_taken_late_or_moved_to_another_thread_counts() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders");
    let first = scope.hold("first").unwrap();
    scope.drain(GRACE);
    let second = thread::scope(|s| s.spawn(|| scope.hold("second").unwrap()).join().unwrap());
    drop(first);
    assert_eq!(scope.ctx().level(), Level::Draining);
    canceller.cancel();
    let third = scope.hold("third, after the end").unwrap();
    thread::spawn(move || drop(second)).join().unwrap();
    let mut closed = pin!(scope.closed());
    assert!(tokio::time::timeout(GRACE, closed.as_mut()).await.is_err());
    drop(third);
    closed.await;
    let Err(Refused::Ended(cause)) = scope.hold("too late") else { panic!("it is closed") };
    assert_eq!(cause.kind(), CauseKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_a_grandchild_delays_every_ancestor() {
    let scope = scope();
    let child = scope.child("lines");
    let grandchild = child.child("parts");
    let hold = grandchild.hold("upload").unwrap();
    let (one, two) = (&scope, &child);
    one.drain(GRACE);
    two.drain(GRACE);
    assert_eq!((one.ctx().level(), two.ctx().level()), (Level::Draining, Level::Draining));
    assert_eq!(one.in_flight()[0].name, "lines > parts > upload");
    assert_eq!(two.in_flight()[0].name, "parts > upload");
    // Also when the scopes in between are gone.
    drop((grandchild, child));
    assert_eq!(scope.ctx().level(), Level::Draining);
    drop(hold);
    assert_eq!(scope.ctx().level(), Level::Done);
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_closed_lets_nothing_into_a_child() {
    let scope = scope();
    let child = scope.child("lines");
    drop(child.hold("upload").unwrap());
    scope.drain(GRACE);
    assert!(matches!(child.hold("upload"), Err(Refused::Ended(_))));
    assert!(matches!(child.spawn("one", obedient), Err(Refused::Ended(_))));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_counted_exactly() {
    let scope = scope();
    let holds: Vec<_> = (0..100).map(|nr| scope.hold(nr.to_string()).unwrap()).collect();
    let task = scope.spawn("one", stubborn).unwrap();
    let all = scope.in_flight();
    assert_eq!((all.len(), &*all[0].name, &*all[99].name), (101, "0", "99"), "the oldest first");
    thread::scope(|s| {
        for holds in holds.chunks(25) {
            let count = holds.len();
            let scope = &scope;
            s.spawn(move || (0..count).for_each(|_| drop(scope.hold("short").unwrap())));
        }
    });
    assert_eq!(scope.in_flight().len(), 101);
    drop(holds);
    let left = scope.in_flight();
    assert_eq!((left.len(), left[0].kind, &*left[0].name), (1, WorkKind::Task, "one"));
    drop(task);
}

/// The last hold goes just when somebody begins to wait. A lost wake hangs here, if it is hit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_begins_while_the_last_hold_goes_ends() {
    let (parent, canceller) = Context::root();
    let scopes: Vec<_> = (0..5_000).map(|_| Scope::new(&parent, "orders")).collect();
    canceller.cancel();
    let turn = Arc::new(AtomicUsize::new(0));
    let holds: Vec<_> = scopes.iter().map(|scope| scope.hold("upload").unwrap()).collect();
    let dropping = thread::spawn({
        let turn = Arc::clone(&turn);
        move || {
            for (nr, hold) in holds.into_iter().enumerate() {
                while turn.load(Ordering::SeqCst) <= nr {
                    std::hint::spin_loop();
                }
                // A little later each time, so as to hit every step of the wait.
                (0..nr % 64).for_each(|_| std::hint::spin_loop());
                drop(hold);
            }
        }
    });
    for scope in &scopes {
        turn.fetch_add(1, Ordering::SeqCst);
        scope.closed().await;
    }
    dropping.join().unwrap();
}

/// Threads take and drop holds as fast as they can while the scope drains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completion_never_comes_with_a_live_hold_and_stays() {
    for round in 0..500 {
        let root = scope();
        let leaf = root.child("lines");
        let (live, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let first = leaf.hold("first").unwrap();
        thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..20 {
                        let was_closed = closed.load(Ordering::SeqCst);
                        let Ok(hold) = leaf.hold("short") else { break };
                        assert!(!was_closed, "a hold after completion");
                        live.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        live.fetch_sub(1, Ordering::SeqCst);
                        drop(hold);
                    }
                });
            }
            s.spawn(|| {
                thread::yield_now();
                if round % 2 == 0 {
                    root.drain(GRACE)
                } else {
                    leaf.drain(GRACE)
                }
                drop(first);
            });
            let waited: &Scope = if round % 2 == 0 { &root } else { &leaf };
            let handle = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| handle.block_on(waited.closed()));
            assert_eq!(live.load(Ordering::SeqCst), 0, "completion with a live hold");
            closed.store(true, Ordering::SeqCst);
        });
    }
}
