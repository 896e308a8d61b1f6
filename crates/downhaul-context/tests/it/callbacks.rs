//! Callbacks, and futures of other libraries as parents.

use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Reason, Registration};
use tokio::sync::oneshot;
use tokio::task::coop;

const SECOND: Duration = Duration::from_secs(1);

/// A list that callbacks write to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn on_done(&self, ctx: &Context, entry: &'static str) -> Registration {
        let log = Arc::clone(&self.0);
        ctx.on_done(move |_| log.lock().expect("a whole log").push(entry))
    }

    fn entries(&self) -> Vec<&'static str> {
        self.0.lock().expect("a whole log").clone()
    }
}

#[test]
fn callbacks_run_before_the_cancel_returns_parents_first_in_the_order_of_their_coming() {
    let (root, canceller) = Context::root();
    let ((left, _left), (right, _right)) = (root.child(), root.child());
    let log = Log::default();
    let contexts = [(&right, "right"), (&left, "left"), (&root, "first"), (&root, "second")];
    let _registrations = contexts.map(|(ctx, entry)| log.on_done(ctx, entry));
    assert!(log.entries().is_empty());
    canceller.cancel();
    assert_eq!(log.entries(), ["first", "second", "right", "left"]);
}

#[test]
fn callbacks_of_branches_with_several_run_branch_by_branch_in_the_order_of_their_coming() {
    let (root, canceller) = Context::root();
    let ((left, _left), (right, _right)) = (root.child(), root.child());
    let log = Log::default();
    let contexts = [(&left, "left"), (&right, "right"), (&left, "left 2"), (&right, "right 2")];
    let _registrations = contexts.map(|(ctx, entry)| log.on_done(ctx, entry));
    canceller.cancel();
    assert_eq!(log.entries(), ["left", "right", "left 2", "right 2"]);
}

#[test]
fn a_callback_that_panics_does_not_keep_the_others_from_running() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let _before = log.on_done(&ctx, "before");
    let _panics = ctx.on_done(|_| panic!("as a test wants it"));
    let _after = log.on_done(&ctx, "after");
    assert!(panic::catch_unwind(AssertUnwindSafe(|| canceller.cancel())).unwrap());
    assert_eq!(log.entries(), ["before", "after"]);
}

#[test]
fn a_callback_may_stop_itself_and_the_others_and_derive_from_its_context() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let mine: Arc<Mutex<Option<Registration>>> = Arc::default();
    let (inner, others) = (Arc::clone(&mine), log.on_done(&ctx, "not stopped"));
    let again = ctx.clone();
    let registration = ctx.on_done(move |_| {
        assert!(!inner.lock().unwrap().take().unwrap().stop());
        assert!(!others.stop());
        assert!(again.child().0.is_done());
    });
    *mine.lock().unwrap() = Some(registration);
    canceller.cancel();
    assert_eq!(log.entries(), ["not stopped"]);
    assert!(mine.lock().unwrap().is_none());
}

/// Sets one timer while another comes, which a paused clock cannot do. It hangs where the callback
/// waits for who sets the timer, and calls it.
#[test]
#[cfg_attr(miri, ignore = "Miri's clock is too slow for it")]
fn a_callback_may_stop_another_one_whose_timer_is_just_being_set() {
    for nanos in 0..1_000 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _runtime = runtime.enter();
        let (drained, canceller) = Context::root();
        let registration = Arc::new(Mutex::new(Some(drained.on_done(drop))));
        let timeout = Duration::from_nanos(20 * nanos);
        let (timed, _timed) = Context::background().with_timeout(timeout);
        let _stops = timed.on_done(move |_| drop(registration.lock().unwrap().take()));
        canceller.drain(Duration::from_nanos(1));
    }
}

#[test]
fn dropping_a_registration_stops_it_and_keeping_it_does_not() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    drop(log.on_done(&ctx, "dropped"));
    log.on_done(&ctx, "kept").keep();
    canceller.cancel();
    assert_eq!(log.entries(), ["kept"]);
}

#[test]
fn a_kept_callback_runs_when_the_canceller_is_dropped_though_nobody_has_the_context() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    log.on_done(&ctx, "ran").keep();
    drop(ctx);
    drop(canceller);
    assert_eq!(log.entries(), ["ran"]);
}

#[test]
fn a_kept_callback_goes_with_its_context() {
    let (ctx, canceller) = Context::root();
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    ctx.on_done(move |_| drop(inner)).keep();
    canceller.disarm();
    assert_eq!(Arc::strong_count(&held), 2);
    drop(ctx);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_runs_at_the_deadline_and_at_the_end_of_a_grace_that_shrank() {
    let (timed, _timed) = Context::background().with_timeout(SECOND);
    let (drained, canceller) = Context::root();
    let log = Log::default();
    let _registrations = [log.on_done(&timed, "deadline"), log.on_done(&drained, "grace")];
    canceller.drain(60 * SECOND);
    tokio::time::sleep(SECOND).await; // tidy: the paused clock, and with it every timer
    assert_eq!(log.entries(), ["deadline"]);
    canceller.drain(SECOND);
    tokio::time::sleep(SECOND).await; // tidy: the paused clock, and with it every timer
    assert_eq!(log.entries(), ["deadline", "grace"]);
}

#[test]
fn a_callback_that_ends_another_context_runs_that_ones_callbacks_too() {
    let (first, first_canceller) = Context::root();
    let (second, second_canceller) = Context::root();
    let log = Log::default();
    let _of_second = log.on_done(&second, "second");
    let _of_first = first.on_done(move |_| assert!(second_canceller.cancel()));
    first_canceller.cancel();
    assert_eq!(log.entries(), ["second"]);
}

#[tokio::test]
async fn what_comes_after_an_end_runs_after_it() {
    let (ctx, canceller) = Context::root();
    let (tell, told) = oneshot::channel();
    let task = tokio::spawn(ctx.after(async move { tell.send(7) }));
    tokio::task::yield_now().await;
    assert!(!task.is_finished());
    canceller.cancel();
    assert_eq!(told.await, Ok(7));
    task.await.unwrap().unwrap();
}

#[test]
fn a_foreign_future_ends_its_child_on_the_thread_that_makes_it_ready() {
    let (sender, receiver) = oneshot::channel();
    let (ctx, _canceller) = Context::background()
        .child_until(async { Reason::operator(receiver.await.unwrap_or("gone")) });
    let (tell, told) = mpsc::channel();
    let _registration = ctx.on_done(move |_| tell.send(std::thread::current().id()).unwrap());
    let sending = std::thread::spawn(move || sender.send("stop").unwrap());
    let thread = sending.thread().id();
    sending.join().unwrap();
    assert_eq!(told.recv().unwrap(), thread);
    assert!(ctx.cause().unwrap().to_string().starts_with("operator: stop"));
}

#[test]
fn a_foreign_future_that_is_ready_makes_a_child_that_is_born_ended() {
    let ready = std::future::ready(Reason::client_gone());
    let (ctx, _canceller) = Context::background().child_until(ready);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::ClientGone);
}

#[tokio::test]
async fn a_foreign_future_that_is_ready_is_heard_also_by_a_task_whose_budget_is_used_up() {
    while coop::has_budget_remaining() {
        coop::consume_budget().await;
    }
    let (sender, receiver) = oneshot::channel();
    sender.send(Reason::client_gone()).unwrap();
    let (ctx, _canceller) = Context::background().child_until(async { receiver.await.unwrap() });
    assert!(ctx.is_done());
}

#[test]
fn a_foreign_future_is_dropped_with_its_child_and_polled_only_when_woken() {
    let (held, polls) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
    let (inner, count) = (Arc::clone(&held), Arc::clone(&polls));
    let foreign = std::future::poll_fn(move |_| {
        let _held = &inner;
        count.fetch_add(1, Ordering::SeqCst);
        Poll::<Reason>::Pending
    });
    let child = Context::background().child_until(foreign);
    assert_eq!((Arc::strong_count(&held), polls.load(Ordering::SeqCst)), (2, 1));
    drop(child);
    assert_eq!((Arc::strong_count(&held), polls.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn a_drain_on_a_thread_without_a_runtime_leaves_the_callbacks_listening_for_the_cancel() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let _callbacks = [log.on_done(&ctx, "first"), log.on_done(&ctx, "second")];
    assert!(canceller.drain(60 * SECOND));
    assert!(log.entries().is_empty());
    canceller.cancel();
    assert_eq!(log.entries(), ["first", "second"]);
}

#[test]
fn a_drain_on_a_thread_without_a_runtime_moves_the_timer_of_a_deadline_to_the_end_of_its_grace() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build().unwrap();
    let (ctx, canceller) = Context::background().with_timeout(3600 * SECOND);
    let (tell, told) = mpsc::channel();
    let _token = runtime.block_on(async { ctx.on_done(move |cause| tell.send(cause).unwrap()) });
    canceller.drain(Duration::from_millis(50));
    let cause = told.recv_timeout(60 * SECOND).expect("it hears");
    assert!(cause.to_string().starts_with("drain grace over"), "{cause}");
}

#[test]
fn a_drain_in_a_runtime_without_a_timer_leaves_the_callbacks_listening_for_the_cancel() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _runtime = runtime.enter();
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let _callback = log.on_done(&ctx, "cancelled");
    assert!(canceller.drain(60 * SECOND));
    assert!(log.entries().is_empty());
    canceller.cancel();
    assert_eq!(log.entries(), ["cancelled"]);
}

#[test]
fn a_drain_without_a_grace_on_a_thread_without_a_runtime_calls_back_before_it_returns() {
    let (ctx, canceller) = Context::root();
    let log = Log::default();
    let _callback = log.on_done(&ctx, "drained");
    canceller.drain(Duration::ZERO);
    assert_eq!(log.entries(), ["drained"]);
}

#[test]
fn where_no_timer_tells_of_the_end_of_a_grace_the_cancel_that_comes_too_late_does() {
    for late in [Canceller::cancel, |canceller: &Canceller| canceller.drain(SECOND)] {
        let (ctx, canceller) = Context::root();
        let log = Log::default();
        let _callbacks = [log.on_done(&ctx, "first"), log.on_done(&ctx, "second")];
        canceller.drain(Duration::from_millis(1));
        while !ctx.is_done() {
            std::thread::yield_now();
        }
        assert!(!late(&canceller));
        assert_eq!(log.entries(), ["first", "second"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_runs_though_the_last_handle_goes_after_the_deadline_and_before_the_timer() {
    let (ctx, canceller) = Context::background().with_timeout(SECOND);
    let log = Log::default();
    log.on_done(&ctx, "deadline").keep();
    // Its first step moves the clock, the second lets timers ring.
    let mut advance = pin!(tokio::time::advance(SECOND));
    assert!(poll_fn(|cx| Poll::Ready(advance.as_mut().poll(cx))).await.is_pending());
    assert!(ctx.is_done() && log.entries().is_empty());
    drop((ctx, canceller));
    assert_eq!(log.entries(), ["deadline"]);
}

#[test]
fn a_runtime_that_is_dropped_leaves_its_callbacks_listening_for_the_cancel() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (ctx, canceller) = Context::background().with_timeout(3600 * SECOND);
    let log = Log::default();
    let _callback = runtime.block_on(async { log.on_done(&ctx, "cancelled") });
    drop(runtime);
    assert!(log.entries().is_empty());
    canceller.cancel();
    assert_eq!(log.entries(), ["cancelled"]);
}

#[test]
fn a_foreign_future_may_drop_the_last_handles_of_its_own_child() {
    for ready in [true, false] {
        let child: Arc<Mutex<Option<(Context, Canceller)>>> = Arc::default();
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let (session, waiting) = (Arc::clone(&child), Arc::clone(&wakers));
        let foreign = std::future::poll_fn(move |cx| {
            waiting.lock().unwrap().push(cx.waker().clone());
            match session.lock().unwrap().take() {
                Some(_dropped) if ready => Poll::Ready(Reason::client_gone()),
                _ => Poll::Pending,
            }
        });
        *child.lock().unwrap() = Some(Context::background().child_until(foreign));
        let waker = wakers.lock().unwrap()[0].clone();
        waker.wake_by_ref();
        assert_eq!(Arc::strong_count(&wakers), 1, "it is gone, whoever has its waker");
    }
}

#[test]
fn a_foreign_future_that_panics_ends_its_child_and_not_who_woke_it() {
    let (sender, receiver) = oneshot::channel::<()>();
    let (ctx, _canceller) = Context::background().child_until(async {
        let _ = receiver.await;
        panic!("as a test wants it")
    });
    assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(sender))).is_ok());
    assert!(ctx.cause().unwrap().to_string().contains("its foreign parent panicked"));
}
