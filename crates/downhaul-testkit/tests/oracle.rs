//! The oracle over whole runs: an honest one is clean, and each planted fault is seen.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, ConsumerHandle, Failure, Incoming, MemoryBroker, Message, Outgoing,
    Publisher, RetryPolicy, Settlement, State, Subscription,
};
use downhaul_context::Context;
use downhaul_testkit::oracle::{Answer, Cause, End, Kind, Oracle, Promises, Record, Report};
use downhaul_testkit::unique;
use tokio::sync::{Barrier, Semaphore};

/// The consumer's prefetch: twice its default concurrency.
const PREFETCH: u32 = 16;

/// A memory broker, a log, and what connects them.
struct Run {
    broker: MemoryBroker,
    oracle: Oracle,
    publisher: Publisher,
    ctx: Context,
}

impl Run {
    fn new() -> Self {
        Self::with(Oracle::new())
    }

    fn with(oracle: Oracle) -> Self {
        let broker = MemoryBroker::new();
        let publisher = oracle.publisher(Arc::new(broker.clone()));
        Self { broker, oracle, publisher, ctx: Context::background() }
    }

    fn subscription() -> Subscription {
        Subscription::new("q").topic("q")
    }

    async fn spawn(&self, consumer: Consumer) -> ConsumerHandle {
        let short = Duration::from_millis(1);
        let retry = RetryPolicy::default().attempts(3).backoff(short, short);
        let consumer = consumer.retry(retry).spawn(&self.ctx, self.broker());
        assert_eq!(consumer.settled().await, State::Running);
        consumer
    }

    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    async fn publish(&self, key: &str) {
        let outgoing = Outgoing::to_topic("q", self.oracle.message(key, "7"));
        self.oracle.publish_until_known(&self.publisher, &self.ctx, outgoing).await.unwrap();
    }

    /// Waits until the consumer has nothing left to do.
    async fn drained(&self, queue: &str, consumer: &ConsumerHandle) {
        let depth = || self.broker.depth(queue);
        while depth().ready + depth().unsettled + depth().delayed > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await; // tidy: the clock is paused
        }
        consumer.drain();
        consumer.settled().await;
    }

    fn report(&self) -> Report {
        self.oracle.check(&Promises::default().in_flight(8).attempts(3))
    }
}

/// There are violations of this kind, and of no other.
#[track_caller]
fn breaks(report: &Report, kind: Kind) {
    assert!(report.of(kind).next().is_some(), "{report}");
    assert!(report.violations.iter().all(|violation| violation.kind == kind), "{report}");
}

/// Does to a message what its number says: most are fine, some fail once or for good.
async fn honest(_ctx: Context, message: Incoming<Message>) -> Result<Settlement, Failure> {
    tokio::time::sleep(Duration::from_millis(2)).await; // tidy: the clock is paused
    let number: u32 = message.id().rsplit('/').next().unwrap_or_default().parse()?;
    match number % 10 {
        1 if message.attempt() < 3 => Err(Failure::from(std::io::Error::other("not yet"))),
        2 => Err(Failure::permanent("never")),
        3 => Ok(Settlement::DeadLetter { reason: "unwanted".to_owned() }),
        4 => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
        _ => Ok(Settlement::Ack),
    }
}

#[tokio::test(start_paused = true)]
async fn an_honest_run_over_lost_links_is_clean() {
    let run = Run::new();
    let consumer =
        run.spawn(Consumer::new(Run::subscription(), run.oracle.observe("one", honest))).await;
    for number in 0..500 {
        if number % 50 == 25 {
            run.oracle.log(Cause::LinkLost { instance: "one".to_owned(), unsettled: PREFETCH });
            run.broker.cut();
        }
        run.publish(["a", "b", "c"][number % 3]).await;
        tokio::time::sleep(Duration::from_millis(1)).await; // tidy: the clock is paused
    }
    run.drained("q", &consumer).await;
    let queue = Run::subscription().dead_letter_queue();
    let letters = Consumer::new(Subscription::new(queue.clone()), run.oracle.bury());
    run.drained(&queue, &run.spawn(letters).await).await;
    let report = run.report();
    report.assert_clean();
    assert_eq!((report.summary.confirmed, report.summary.handled), (500, 500), "{report}");
    assert!(report.summary.after_losses > 0, "the cuts met nothing: {report}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_handler_swallows_is_lost() {
    let run = Run::new();
    let observed = run.oracle.observe("one", honest);
    let swallow = move |ctx, message: Incoming<Message>| {
        let work = (message.id() != "a/7").then(|| observed(ctx, message));
        async move {
            match work {
                Some(work) => work.await,
                None => Ok(Settlement::Ack),
            }
        }
    };
    let consumer = run.spawn(Consumer::new(Run::subscription(), swallow)).await;
    for _ in 0..2 {
        for key in ["a", "a", "a", "a", "a", "b"] {
            run.publish(key).await;
        }
    }
    run.drained("q", &consumer).await;
    let report = run.report();
    let lost: Vec<_> = report.of(Kind::Lost).map(|lost| lost.ids[0].as_str()).collect();
    // The dead letters were not looked for: they count as lost as well.
    assert_eq!(lost, ["a/2", "a/3", "a/7"], "{report}");
    breaks(&report, Kind::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_acknowledged_before_it_is_handled_is_lost_with_its_worker() {
    let run = Run::new();
    let work = |_ctx: Context, _message: Incoming<Message>| std::future::pending::<()>();
    let observed = run.oracle.observe("one", work);
    let acknowledge_first = move |ctx, message: Incoming<Message>| {
        let worker = tokio::spawn(observed(ctx, message));
        async move { worker.abort() }
    };
    let consumer = run.spawn(Consumer::new(Run::subscription(), acknowledge_first)).await;
    run.publish("a").await;
    run.drained("q", &consumer).await;
    breaks(&run.report(), Kind::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_publisher_doubles_in_silence_is_a_duplicate() {
    let run = Run::new();
    let observed = run.oracle.observe("one", |_, _: Incoming<Message>| async {});
    let consumer = run.spawn(Consumer::new(Run::subscription(), observed)).await;
    let silent = Publisher::new(run.broker());
    for number in 0..20 {
        let outgoing = Outgoing::to_topic("q", run.oracle.message("a", "7"));
        let published = run.oracle.publish(&run.publisher, &run.ctx, outgoing.clone()).await;
        published.unwrap();
        if number == 11 {
            silent.publish(&run.ctx, outgoing).await.unwrap();
        }
    }
    run.drained("q", &consumer).await;
    let report = run.report();
    breaks(&report, Kind::Duplicate);
    assert_eq!(report.violations[0].ids, ["a/11"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_never_logged_as_published_is_unexpected() {
    let run = Run::new();
    let observed = run.oracle.observe("one", |_, _: Incoming<Message>| async {});
    let consumer = run.spawn(Consumer::new(Run::subscription(), observed)).await;
    let silent = Publisher::new(run.broker());
    silent.publish(&run.ctx, Outgoing::to_topic("q", Message::new("?"))).await.unwrap();
    run.drained("q", &consumer).await;
    breaks(&run.report(), Kind::Unexpected);
}

#[tokio::test(start_paused = true)]
async fn two_messages_of_a_key_that_wait_for_each_other_overlap() {
    let run = Run::new();
    let both = Arc::new(Barrier::new(2));
    let meet = move |_: Context, _: Incoming<Message>| {
        let both = Arc::clone(&both);
        async move {
            let _leader = both.wait().await;
        }
    };
    let observed = run.oracle.observe("one", meet);
    let consumer = run.spawn(Consumer::new(Run::subscription(), observed)).await;
    run.publish("a").await;
    run.publish("a").await;
    run.drained("q", &consumer).await;
    breaks(&run.oracle.check(&Promises::default().one_of_a_key()), Kind::KeyOverlap);
    breaks(&run.oracle.check(&Promises::default().in_flight(1)), Kind::InFlight);
    run.oracle.check(&Promises::default().in_flight(2)).assert_clean();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_beyond_what_was_promised_is_seen() {
    let run = Run::new();
    let third_time = |_: Context, message: Incoming<Message>| async move {
        match message.attempt() {
            3 => Ok(()),
            _ => Err(Failure::from(std::io::Error::other("not yet"))),
        }
    };
    let observed = run.oracle.observe("one", third_time);
    let consumer = run.spawn(Consumer::new(Run::subscription(), observed)).await;
    run.publish("a").await;
    run.drained("q", &consumer).await;
    run.report().assert_clean();
    breaks(&run.oracle.check(&Promises::default().attempts(2)), Kind::Attempts);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_dropped_is_cut_and_its_message_may_come_again() {
    let run = Run::new();
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let wait = move |_: Context, _: Incoming<Message>| {
        let gate = Arc::clone(&closed);
        async move { gate.acquire().await.unwrap().forget() }
    };
    let observed = run.oracle.observe("one", wait);
    let consumer = Consumer::new(Run::subscription(), observed);
    let short = Duration::from_millis(1);
    let consumer = run.spawn(consumer.drain_budget(short).cancel_grace(short)).await;
    run.publish("a").await;
    let begun = |oracle: &Oracle| oracle.check(&Promises::default()).summary.handled == 1;
    until(|| begun(&run.oracle)).await;
    consumer.stop();
    consumer.settled().await;
    consumer.start();
    gate.add_permits(1);
    run.drained("q", &consumer).await;
    let report = run.report();
    report.assert_clean();
    assert_eq!(report.summary.again, 1, "{report}");
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// Set in the second run of this program, which is the process to be killed: the path of the log.
const VICTIM: &str = "DOWNHAUL_ORACLE_VICTIM";

#[test]
fn the_log_of_a_killed_process_is_whole_and_explains_what_comes_again() {
    if let Some(path) = std::env::var_os(VICTIM) {
        return be_killed(&PathBuf::from(path));
    }
    let path = std::env::temp_dir().join(unique("downhaul-oracle"));
    let program = std::env::current_exe().unwrap();
    let test = "the_log_of_a_killed_process_is_whole_and_explains_what_comes_again";
    let mut victim = Command::new(program);
    victim.args(["--exact", "--nocapture", test]).env(VICTIM, &path);
    let mut victim = victim.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "under way"), "it came to its middle");
    victim.kill().unwrap();
    victim.wait().unwrap();

    let oracle = Oracle::at(&path).unwrap();
    let open = oracle.check(&Promises::default());
    assert_eq!(open.summary.confirmed, 100, "{open}");
    breaks(&open, Kind::Lost);
    assert_eq!(open.violations[0].ids, ["a/99"]);

    // The next process gets what the first one had not settled, and one that it had.
    oracle.begin("one", "a/98", Some("a"), 1).end(End::Acked);
    oracle.begin("one", "a/99", Some("a"), 1).end(End::Acked);
    breaks(&oracle.check(&Promises::default()), Kind::Duplicate);
    oracle.log(Cause::ProcessDied { instance: "one".to_owned(), unsettled: 2 });
    oracle.begin("one", "a/97", Some("a"), 1).end(End::Acked);
    let report = oracle.check(&Promises::default());
    assert_eq!(
        report.of(Kind::Duplicate).count(),
        1,
        "two were unsettled, and not three: {report}"
    );
    std::fs::remove_file(path).unwrap();
}

fn be_killed(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let run = Run::with(Oracle::at(path).unwrap());
        let last_hangs = |_: Context, message: Incoming<Message>| {
            let hangs = message.id() == "a/99";
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
            }
        };
        let observed = run.oracle.observe("one", last_hangs);
        let _consumer = run.spawn(Consumer::new(Run::subscription(), observed)).await;
        for _ in 0..100 {
            run.publish("a").await;
        }
        until(|| run.oracle.check(&Promises::default()).summary.handled == 100).await;
        println!("\nunder way");
        // Until the other end is closed: never, the killer comes first.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn what_a_publisher_is_told_is_in_the_log() {
    let run = Run::new();
    let nowhere = || Outgoing::to_topic("nowhere", run.oracle.message("a", "7"));
    run.oracle.publish(&run.publisher, &run.ctx, nowhere()).await.unwrap_err();
    run.broker.set_reachable(false);
    let (soon_over, _canceller) = run.ctx.with_timeout(Duration::from_secs(1));
    run.oracle.publish(&run.publisher, &soon_over, nowhere()).await.unwrap_err();
    let outcomes = run.oracle.records().unwrap().into_iter().filter_map(|record| match record {
        Record::Published { id, outcome } => Some((id, outcome)),
        _ => None,
    });
    let expected = [("a/0".to_owned(), Answer::Returned), ("a/1".to_owned(), Answer::NotSent)];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

/// A handler is observed whatever it is made of.
#[test]
fn functions_and_closures_can_be_observed() {
    fn is_handler<Fut: Future>(_: impl Fn(Context, Incoming<Message>) -> Fut) {}
    is_handler(Oracle::new().observe("function", honest));
    is_handler(Oracle::new().observe("closure", |_: Context, _: Incoming<Message>| async {}));
}
