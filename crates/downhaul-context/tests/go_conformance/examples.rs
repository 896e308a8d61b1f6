//! Go's examples whose output is checked: `ExampleWithCancel` to `ExampleAfterFunc_merge`.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use downhaul_context::{Cause, CauseKind, Context, Reason};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::common::{SECOND, why};

/// Go 117: the loop has stopped, and has let go of its channel.
#[tokio::test]
async fn a_cancel_stops_a_generator() {
    async fn generate(ctx: Context, numbers: mpsc::Sender<u32>) -> Result<(), Cause> {
        for number in 1.. {
            let _ = ctx.run(numbers.send(number)).await?;
        }
        Ok(())
    }

    let (ctx, canceller) = Context::root();
    let (sender, mut numbers) = mpsc::channel(1);
    let generator = tokio::spawn(generate(ctx, sender));
    while numbers.recv().await.unwrap() < 5 {}
    canceller.cancel();
    assert_eq!(generator.await.unwrap().unwrap_err().kind(), CauseKind::Cancelled);
}

/// Go 118, 119: the text of Go, and then who it was.
#[tokio::test(start_paused = true)]
async fn work_that_takes_longer_than_its_deadline_or_timeout_is_given_up() {
    let short = SECOND / 1000;
    let by_deadline = |ctx: Context| ctx.with_deadline(Instant::now() + short);
    let by_timeout = |ctx: Context| ctx.with_timeout(short);
    for derive in [&by_deadline as &dyn Fn(_) -> _, &by_timeout] {
        let (ctx, _canceller) = derive(Context::background());
        let begun = Instant::now();
        let cause = ctx.run(sleep(SECOND)).await.unwrap_err();
        assert_eq!(begun.elapsed(), short);
        assert!(cause.to_string().starts_with("deadline exceeded: budget 1ms set at "), "{cause}");
    }
}

/// Go 120: the key is the type.
#[test]
fn a_value_is_found_by_its_type_and_that_of_another_is_not() {
    struct Language(&'static str);
    struct Color;

    let ctx = Context::background().with_value(Language("Rust"));
    assert_eq!(ctx.value::<Language>().unwrap().0, "Rust");
    assert!(ctx.value::<Color>().is_none());
}

/// Go 121: a callback wakes what cannot wait on a context.
#[tokio::test(start_paused = true)]
async fn a_callback_wakes_threads_that_wait_on_a_condition() {
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let condition = Arc::new((Mutex::new(()), Condvar::new()));
    let waiter = || {
        let (ctx, condition) = (ctx.clone(), Arc::clone(&condition));
        thread::spawn(move || {
            let (lock, changed) = &*condition;
            let live = |(): &mut ()| ctx.cause().is_none();
            let _held = changed.wait_while(lock.lock().unwrap(), live).unwrap();
            ctx.cause().unwrap().kind()
        })
    };
    let waiters: [_; 4] = std::array::from_fn(|_| waiter());
    let wake = Arc::clone(&condition);
    let _callback = ctx.on_done(move |_| {
        // Nobody is between a look at the context and the wait.
        let _held = wake.0.lock().unwrap();
        wake.1.notify_all();
    });
    ctx.done().await;
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), CauseKind::Deadline);
    }
}

/// Go 122: Go has to move the connection's deadline and to move it back. Here the read is dropped.
#[tokio::test(start_paused = true)]
async fn a_read_is_interrupted_and_the_connection_can_be_read_again() {
    let (peer, mut connection) = mpsc::channel(1);
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let cause = ctx.run(connection.recv()).await.unwrap_err();
    assert_eq!(cause.kind(), CauseKind::Deadline);

    peer.send("hello").await.unwrap();
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    assert_eq!(ctx.run(connection.recv()).await.unwrap(), Some("hello"));
}

/// Go 123: a recipe in Go, a call here.
#[test]
fn a_merged_context_ends_with_the_second_for_its_cause() {
    let (first, _first) = Context::root();
    let (second, canceller) = Context::root();
    let (merged, _merged) = first.merged(&second);
    canceller.cancel_with(Reason::cancelled("the second was cancelled"));
    assert_eq!(why(&merged), why(&second));
    assert!(why(&merged).unwrap().contains("the second was cancelled"));
    assert_eq!(why(&first), None);
}
