//! Components made of closures.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use downhaul::consumer::{
    Consumer, Failure, Incoming, MemoryBroker, MemoryLog, Message, MessageObserver, Outgoing,
    Processed, Publisher, Subscription,
};
use downhaul::testing::TestApp;
use downhaul::{
    App, ConsumerWorker, Context, Ending, Handle, Job, NotProvided, Outcome, Policy, Resource,
    Restart, State, Task,
};

use crate::fixture::Diary;

/// An app of one task.
fn app(task: Task, policy: Policy) -> (App, Handle) {
    let mut app = App::new("shop");
    let task = app.add("task", task, []);
    app.policy(task, policy);
    (app, task)
}

/// The same, as it starts.
fn spawn(task: Task) -> TestApp {
    TestApp::spawn(app(task, Policy::new()).0)
}

async fn until_draining(ctx: Context) -> io::Result<()> {
    ctx.draining().await;
    Ok(())
}

async fn no_disk(_ctx: Context) -> io::Result<()> {
    Err(io::Error::other("no disk"))
}

async fn nothing(_ctx: Context) -> io::Result<()> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_until_its_context_drains() {
    let app = spawn(Task::new(until_draining));
    app.ready().await;
    let report = app.stop().await;
    assert_eq!((report.ending.clone(), report.took.as_secs()), (Ending::Clean, 0), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_by_hand_ends_as_it_should() {
    let (app, task) = app(Task::new(until_draining), Policy::new());
    let app = TestApp::start(app).await;
    assert_eq!(app.handle().stop(task).await.unwrap().state, State::Stopped);
    assert_eq!(app.handle().start(task).await.unwrap().starts, 2);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_stops_the_app() {
    let report = spawn(Task::new(no_disk)).ended().await;
    assert_eq!(report.ending, Ending::Failed("task: no disk".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_has_failed_with_its_words() {
    let task = Task::new(|_ctx| async { panic!("no {}", "memory") as io::Result<()> });
    let report = spawn(task).ended().await;
    assert_eq!(report.ending, Ending::Failed("task: it panicked: no memory".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_though_nobody_asked_has_failed() {
    let report = spawn(Task::new(nothing)).ended().await;
    let words = "task: it ended, and nobody had asked it to";
    assert_eq!(report.ending, Ending::Failed(words.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_may_end_is_done_and_the_app_goes_on() {
    let app = spawn(Task::new(nothing).may_end());
    app.until("task done", 1).await;
    assert_eq!(app.handle().not_ready(), None);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_app_is_for_stops_it_when_it_is_done() {
    let report = spawn(Task::new(nothing).stops_app()).ended().await;
    assert_eq!((report.ending.clone(), &*report.cause), (Ending::Clean, "task is done"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_called_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let task = Task::new(move |ctx| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move { if call < 3 { no_disk(ctx).await } else { until_draining(ctx).await } }
    });
    let app = TestApp::spawn(app(task, Policy::new().restart(Restart::new())).0);
    app.until("task started", 4).await;
    app.stop().await.assert_clean();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hears_nothing_is_aborted_and_named() {
    /// Says when the work is dropped.
    struct Dropped(Diary);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.write("dropped");
        }
    }

    let diary = Diary::default();
    let work = diary.clone();
    let task = Task::new(move |_ctx| {
        let dropped = Dropped(work.clone());
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            io::Result::Ok(())
        }
    });
    let app = spawn(task);
    app.ready().await;
    let report = app.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::CutShort, 1), "{report}");
    assert_eq!(report.components[0].outcome, Outcome::Abandoned);
    assert!(report.to_string().contains("not finished: its work in the background"), "{report}");
    tokio::task::yield_now().await;
    assert_eq!(diary.read(), ["dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_says_what_it_did_and_what_it_has_not_finished() {
    let left = Arc::new(AtomicU32::new(0));
    let task = || {
        let (counted, named) = (Arc::clone(&left), Arc::clone(&left));
        Task::new(until_draining)
            .last_words(move || format!("{} left", counted.load(Ordering::SeqCst)))
            .unfinished(move || vec!["one".to_owned(); named.load(Ordering::SeqCst) as usize])
    };
    let report = TestApp::start(app(task(), Policy::new()).0).await.stop().await;
    report.assert_clean();
    assert_eq!(report.component("task").words, "0 left");

    left.store(1, Ordering::SeqCst);
    let report = TestApp::start(app(task(), Policy::new()).0).await.stop().await;
    assert_eq!(report.ending, Ending::CutShort, "it returned, and left work behind");
    let task = report.component("task");
    assert_eq!((&*task.words, &task.unfinished[..]), ("1 left", &["one".to_owned()][..]));
}

#[tokio::test]
async fn a_task_that_blocks_has_a_thread_of_its_own() {
    let (here, there) = (std::thread::current().id(), Diary::default());
    let written = there.clone();
    let task = Task::blocking(move |ctx: Context| {
        written.write(format!("{}", std::thread::current().id() == here));
        while !ctx.is_draining() {
            std::thread::yield_now();
        }
        io::Result::Ok(())
    });
    let app = spawn(task);
    while there.read().is_empty() {
        tokio::task::yield_now().await;
    }
    app.stop().await.assert_clean();
    assert_eq!(there.read(), ["false"]);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_job_starts_when_it_is_done() {
    let diary = Diary::default();
    let (first, then) = (diary.clone(), diary.clone());
    let mut app = App::new("shop");
    let migrate = Job::new(move |_ctx| {
        let diary = first.clone();
        async move {
            // tidy: the clock is paused
            tokio::time::sleep(Duration::from_secs(5)).await;
            diary.write("migrated");
            io::Result::Ok(())
        }
    });
    let migrate = app.add("migrate", migrate, []);
    let task = Task::new(move |ctx| {
        then.write("at work");
        until_draining(ctx)
    });
    app.add("task", task, [migrate]);
    let app = TestApp::start(app).await;
    assert_eq!(diary.read(), ["migrated", "at work"]);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_why_the_app_did_not_start() {
    let mut app = App::new("shop");
    app.add("migrate", Job::new(no_disk), []);
    let report = TestApp::spawn(app).ended().await;
    assert_eq!(report.to_string(), "shop did not start: migrate: no disk");
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_open_for_those_that_need_it_and_closed_after_them() {
    let diary = Diary::default();
    let (closing, using) = (diary.clone(), diary.clone());
    let pool = Resource::new(|_ctx| async { io::Result::Ok(7_u32) }).close(move |pool| {
        closing.write(format!("closed {pool}"));
        std::future::ready(())
    });
    let connections = pool.provided();
    let words = "a resource of type `u32` is not open: does the component that uses it need it?";
    assert_eq!(connections.get().unwrap_err().to_string(), words);

    let late = connections.clone();
    let mut app = App::new("shop");
    let pool = app.add("pool", pool, []);
    let task = Task::new(move |ctx| {
        let (pool, diary) = (connections.get(), using.clone());
        async move {
            diary.write(format!("using {}", pool?));
            ctx.draining().await;
            diary.write("used");
            Ok::<_, NotProvided>(())
        }
    });
    app.add("task", task, [pool]);
    TestApp::start(app).await.stop().await.assert_clean();
    assert_eq!(diary.read(), ["using 7", "used", "closed 7"]);
    assert!(late.get().is_err());
}

/// A resource whose first close fails.
fn not_closed_at_first() -> Resource<()> {
    let closed = AtomicU32::new(0);
    Resource::new(|_ctx| async { io::Result::Ok(()) }).close(move |()| {
        let is_first = closed.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { no_disk(Context::background()).await } else { Ok(()) } }
    })
}

#[tokio::test(start_paused = true)]
async fn a_resource_whose_close_fails_is_no_clean_end() {
    let mut app = App::new("shop");
    app.add("pool", not_closed_at_first(), []);
    let report = TestApp::start(app).await.stop().await;
    assert_eq!((&report.ending, report.exit_code()), (&Ending::CutShort, 1), "{report}");
    let pool = report.component("pool");
    assert_eq!((pool.outcome, &*pool.words), (Outcome::Stopped, "closed with an error: no disk"));
    assert_eq!(pool.unfinished, ["its close: no disk"]);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_failed_in_an_earlier_life_is_forgotten() {
    let mut app = App::new("shop");
    let pool = app.add("pool", not_closed_at_first(), []);
    let app = TestApp::start(app).await;
    app.handle().restart(pool).await.unwrap();
    app.stop().await.assert_clean();
}

/// What became of a resource whose closing takes that long. It has eight seconds and a last one,
/// and the app keeps the tenth.
async fn closed_in(time: Duration) -> (Outcome, Vec<String>) {
    let diary = Diary::default();
    let closing = diary.clone();
    let pool = Resource::new(|_ctx| async { io::Result::Ok(()) }).close(move |()| {
        let closing = closing.clone();
        async move {
            // tidy: the clock is paused
            tokio::time::sleep(time).await;
            closing.write("closed");
        }
    });
    let mut app = App::new("shop").grace(Duration::from_secs(10));
    let pool = app.add("pool", pool, []);
    app.policy(pool, Policy::new().cancel_grace(Duration::from_secs(1)));
    let report = TestApp::start(app).await.stop().await;
    (report.components[0].outcome, diary.read())
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_closed_to_its_end_or_said_to_be_left_behind() {
    let closed = vec!["closed".to_owned()];
    assert_eq!(closed_in(Duration::from_secs(1)).await, (Outcome::Stopped, closed.clone()));
    let last_moment = Duration::from_millis(8_500);
    assert_eq!(closed_in(last_moment).await, (Outcome::Cancelled, closed), "told, and let finish");
    assert_eq!(closed_in(Duration::MAX).await, (Outcome::Abandoned, vec![]));
}

/// Counts the messages that were processed.
#[derive(Debug, Default)]
struct Count(AtomicU32);

impl MessageObserver for Count {
    fn processed(&self, _attempt: &Processed<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_keeps_the_observer_that_it_was_given() {
    let (count, broker) = (Arc::new(Count::default()), Arc::new(MemoryBroker::new()));
    let consumer =
        Consumer::new(Subscription::new("orders"), async |_: Context, _: Incoming<Message>| {})
            .observer(count.clone());
    let mut app = App::new("shop");
    app.add("orders", ConsumerWorker::new(consumer, broker.clone()), []);
    let app = TestApp::start(app).await;
    let order = Outgoing::to_queue("orders", Message::new("7"));
    Publisher::new(broker).publish(&Context::background(), order).await.unwrap();
    app.stop().await.assert_clean();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_has_finished_and_gets_again_is_in_the_report() {
    let log = Arc::new(MemoryLog::new(1));
    log.create_topic("t");
    let handle = async |ctx: Context, message: Incoming<Message>| match message.id() {
        "slow" => ctx
            .run(pending::<()>())
            .await
            .map_err(|_| Failure::retry_after(Duration::ZERO, "it is over")),
        _ => Ok(()),
    };
    let consumer = Consumer::new(Subscription::new("orders").topic("t"), handle).concurrency(8);
    let mut app = App::new("shop");
    let orders = app.add("orders", ConsumerWorker::new(consumer, log.clone()), []);
    let app = TestApp::start(app).await;
    let publisher = Publisher::new(log);
    for id in ["slow", "quick", "quick too"] {
        let order = Outgoing::to_topic("t", Message::new("").with_id(id));
        publisher.publish(&Context::background(), order).await.unwrap();
    }
    let consumer = app.handle().consumer(orders).unwrap();
    while consumer.tally().acked < 2 {
        tokio::task::yield_now().await;
    }
    let report = app.stop().await;
    let words = &report.component("orders").words;
    assert!(words.ends_with(", 2 finished messages come again"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_while_it_stops_is_no_clean_end() {
    let task = Task::new(|ctx| async move {
        ctx.draining().await;
        Err::<(), _>("the last batch was not written")
    });
    let mut app = App::new("shop");
    app.add("writer", task, []);
    let report = TestApp::start(app).await.stop().await;
    assert_eq!((&report.ending, report.exit_code()), (&Ending::CutShort, 1), "{report}");
    let writer = report.component("writer");
    assert_eq!(writer.unfinished, ["its work: the last batch was not written"]);
}
