//! What is told of attempts: to observers, in lists, and in the contexts of handlers.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::headers::REQUEST_ID;
use downhaul_consumer::{
    Batches, Consumer, Failure, Incoming, MemoryBroker, Message, MessageObserver, Meta, Outgoing,
    Processed, Publisher, RetryPolicy,
};
use downhaul_context::{Context, ResultExt, TraceContext};
use downhaul_testkit::capture::Capture;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::Span;

use crate::support::{SECOND, publish, spawn, subscription, until};

/// Makes spans of this name, and notes the error of each attempt, whether it was logged, and how
/// long it took.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(Option<String>, bool, Duration)>>);

impl MessageObserver for Notes {
    fn process(&self, ctx: Context, _: &Meta) -> (Context, Span) {
        (ctx, tracing::info_span!("observed"))
    }

    fn process_batch(&self, ctx: Context, _: &[Meta]) -> (Context, Span) {
        (ctx, tracing::info_span!("observed"))
    }

    fn processed(&self, attempt: &Processed<'_>) {
        let error = attempt.error.map(str::to_owned);
        self.0.lock().unwrap().push((error, attempt.is_logged, attempt.took));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_how_an_attempt_failed_and_how_long_it_took() {
    let (ctx, _canceller) = Context::root();
    let (broker, notes) = (MemoryBroker::new(), Arc::new(Notes::default()));
    let fail = |_: Context, _: Incoming<Message>| async {
        sleep(3 * SECOND).await; // tidy: on the paused clock
        Err::<(), _>(Failure::permanent("out of stock"))
    };
    let consumer = Consumer::new(subscription(), fail).observer(notes.clone());
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("one")).await;
    handle.idle_for(SECOND).await;
    let error = "out of stock".to_owned();
    assert_eq!(*notes.0.lock().unwrap(), [(Some(error.clone()), false, 3 * SECOND)]);
    let last = handle.snapshot().last_error.unwrap();
    assert_eq!((last.message_id, last.error), ("one".to_owned(), error));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_of_batches_has_logged_needs_no_second_line_for_any_of_its_messages() {
    let (ctx, _canceller) = Context::root();
    let (broker, notes) = (MemoryBroker::new(), Arc::new(Notes::default()));
    let fail = |ctx: Context, _: Vec<Incoming<Message>>| async move {
        let error = Err::<(), _>(std::io::Error::other("disk on fire")).layer(&ctx, "insert");
        let error = error.unwrap_err();
        error.log_once(|| tracing::error!(%error, "logged by the handler"));
        Err::<(), _>(Failure::permanent(error))
    };
    let consumer = Consumer::batches(subscription(), Batches::of(2), fail);
    let handle = spawn(consumer.observer(notes.clone()), &ctx, &broker).await;
    for _ in 0..2 {
        publish(&broker, Message::new("")).await;
    }
    until(|| handle.tally().dead_lettered == 2).await;
    assert!(notes.0.lock().unwrap().iter().all(|(_, is_logged, _)| *is_logged));
}

/// Makes no span, and has the usual lines.
#[derive(Debug)]
struct Spanless;

impl MessageObserver for Spanless {
    fn process(&self, ctx: Context, _: &Meta) -> (Context, Span) {
        (ctx, Span::none())
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_failure_names_what_no_span_around_it_names() {
    let log = Capture::start(|line| line.target().ends_with("::observer"));
    let fail = |_: Context, _: Incoming<Message>| async { Err::<(), _>(Failure::permanent("no")) };
    let consumer = || Consumer::new(subscription(), fail);
    for (consumer, is_named) in
        [(consumer(), false), (consumer().observer(Arc::new(Spanless)), true)]
    {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        let handle = spawn(consumer, &ctx, &broker).await;
        publish(&broker, Message::new("").with_id("one")).await;
        until(|| handle.tally().dead_lettered == 1).await;
        let line = log.take().remove(0);
        assert_eq!(line.fields["message"], "message failed, to the dead letters");
        let named = ["queue", "message_id"].map(|name| line.fields.get(name).map(String::as_str));
        assert_eq!(named, if is_named { [Some("q"), Some("one")] } else { [None, None] });
    }
}

fn current() -> Option<&'static str> {
    Span::current().metadata().map(|span| span.name())
}

/// Begun in place, and in batches.
#[tokio::test(start_paused = true)]
async fn a_handler_runs_in_the_span_of_its_observer_from_its_first_step_on() {
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (sender, mut spans) = mpsc::unbounded_channel();
    let (one, many) = (sender.clone(), sender);
    let one = move |_: Context, _: Incoming<Message>| {
        let (sender, first) = (one.clone(), current());
        async move {
            tokio::task::yield_now().await;
            let _ = sender.send([first, current()]);
        }
    };
    let many = move |_: Context, _: Vec<Incoming<Message>>| {
        let (sender, first) = (many.clone(), current());
        async move {
            tokio::task::yield_now().await;
            let _ = sender.send([first, current()]);
        }
    };
    let many = Consumer::batches(subscription(), Batches::of(1), many);
    for consumer in [Consumer::new(subscription(), one), many] {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        spawn(consumer.observer(Arc::new(Notes::default())), &ctx, &broker).await;
        publish(&broker, Message::new("")).await;
        assert_eq!(spans.recv().await.unwrap(), [Some("observed"); 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_what_is_handled_names_the_attempt_and_begins_with_the_oldest() {
    let at_once = RetryPolicy::default().backoff(Duration::ZERO, Duration::ZERO);
    let one = |_: Context, message: Incoming<Message>| async move {
        if message.attempt() == 1 {
            return Err(Failure::from(std::io::Error::other("not yet")));
        }
        std::future::pending::<Result<(), _>>().await
    };
    let many = |_: Context, batch: Vec<Incoming<Message>>| async move {
        if batch[0].attempt() == 1 {
            return Err(Failure::from(std::io::Error::other("not yet")));
        }
        std::future::pending::<Result<(), _>>().await
    };
    let many = Consumer::batches(subscription(), Batches::of(1), many);
    for consumer in [Consumer::new(subscription(), one), many] {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        let handle = spawn(consumer.retry(at_once.clone()).concurrency(20), &ctx, &broker).await;
        for number in 0..10 {
            publish(&broker, Message::new("").with_id(number.to_string())).await;
            until(|| handle.in_flight().len() == number + 1).await;
            tokio::time::advance(SECOND).await;
        }
        let listed = handle.in_flight();
        assert!(listed.iter().all(|one| one.attempt == 2), "{listed:?}");
        let ids: Vec<_> = listed.iter().map(|one| one.message_id.as_str()).collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_crosses_with_its_state_and_a_letter_names_the_request_of_its_message() {
    let (parent, state) =
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=opaque");
    let (sender, mut states) = mpsc::unbounded_channel();
    let one = move |ctx: Context, _: Incoming<Message>| {
        let trace = ctx.value::<TraceContext>().unwrap();
        let _ = sender.send(trace.tracestate().map(str::to_owned));
        ready(Err::<(), _>(Failure::permanent("poison")))
    };
    let many = |_: Context, _: Vec<Incoming<Message>>| async {
        Err::<(), _>(Failure::permanent("poison"))
    };
    let many = Consumer::batches(subscription(), Batches::of(1), many);
    for consumer in [Consumer::new(subscription(), one), many] {
        let ((ctx, _canceller), broker) = (Context::root(), MemoryBroker::new());
        spawn(consumer, &ctx, &broker).await;
        let traced = ctx.with_value(TraceContext::parse(parent, Some(state)).unwrap());
        let publisher = Publisher::new(Arc::new(broker.clone()));
        let message = Message::new("");
        let id = message.id().to_owned();
        publisher.publish(&traced, Outgoing::to_topic("t", message)).await.unwrap();
        until(|| broker.depth("q.dead").ready == 1).await;
        let letter = broker.ready("q.dead").remove(0);
        assert_eq!(letter.headers().get(REQUEST_ID), Some(&*id));
        assert_eq!(letter.headers().get("tracestate"), Some(state));
    }
    assert_eq!(states.recv().await.unwrap().as_deref(), Some(state));
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_hand_and_is_parked_at_a_stop_keeps_its_request_and_its_pause() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let later = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::retry_after(SECOND, "not yet"))
    };
    let handle = spawn(Consumer::new(subscription(), later), &ctx, &broker).await;
    let message = Message::new("");
    let id = message.id().to_owned();
    publish(&broker, message).await;
    until(|| handle.snapshot().waiting == 1).await;
    handle.stop();
    handle.settled().await;
    assert_eq!(broker.depth("q").delayed, 1, "for what is left of its pause");
    tokio::time::advance(SECOND).await;
    assert_eq!(broker.ready("q")[0].headers().get(REQUEST_ID), Some(&*id));
}
