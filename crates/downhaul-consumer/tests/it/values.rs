//! What crosses from the context of a publisher to that of a handler.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Consumer, Failure, Incoming, MemoryBroker, Message, Outgoing, Publisher, RetryPolicy,
};
use downhaul_context::{Context, RequestId, TraceContext, WireValue};
use tokio::sync::mpsc;

use crate::support::{SECOND, publish, spawn, subscription, until};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tenant(String);

impl WireValue for Tenant {
    const NAME: &'static str = "tenant";

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn decode(text: &str) -> Option<Self> {
        text.chars().all(char::is_alphanumeric).then(|| Self(text.to_owned()))
    }
}

/// Bound like any value, and so for nobody else.
#[derive(Clone)]
struct Secret;

struct Undecoded(String);

impl WireValue for Undecoded {
    const NAME: &'static str = "undecoded";

    fn encode(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

/// What a handler found: its request, its tenant, and the names of the headers.
type Found = (RequestId, Option<Tenant>, Vec<String>);

/// A consumer that fails the first attempt, and tells what it found in each.
fn finding() -> (Consumer, mpsc::UnboundedReceiver<Found>) {
    let (sender, found) = mpsc::unbounded_channel();
    let find = move |ctx: Context, message: Incoming<Message>| {
        let id = ctx.value::<RequestId>().unwrap().clone();
        let names = message.headers().iter().map(|(name, _)| name.to_owned()).collect();
        let _ = sender.send((id, ctx.value::<Tenant>().cloned(), names));
        let first = message.attempt() == 1;
        async move { if first { Err(Failure::retry_after(60 * SECOND, "again")) } else { Ok(()) } }
    };
    let consumer = Consumer::new(subscription(), find).accept::<Tenant>();
    (consumer.retry(RetryPolicy::default().in_place_up_to(Duration::ZERO)), found)
}

#[tokio::test(start_paused = true)]
async fn ids_and_values_that_opted_in_travel_by_every_way_and_no_others_do() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut found) = finding();
    let handle = spawn(consumer, &ctx, &broker).await;
    let id = RequestId::parse("request-7").unwrap();
    let sender = ctx.with_values((id.clone(), Secret)).with_wire_value(Tenant("acme".to_owned()));
    let sender = sender.with_wire_value(Undecoded("plain".to_owned()));
    let (sender, _canceller) = sender.with_timeout(SECOND);
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&sender, Outgoing::to_topic("t", Message::new(""))).await.unwrap();
    let first = found.recv().await.unwrap();
    assert_eq!((first.0, first.1), (id.clone(), Some(Tenant("acme".to_owned()))));
    let mut names = first.2;
    names.sort_unstable();
    assert_eq!(names, ["request-id", "tenant", "undecoded"], "not the secret, nor the deadline");
    // By way of the broker, for another attempt.
    until(|| handle.tally().retried == 1).await;
    tokio::time::advance(61 * SECOND).await;
    let second = found.recv().await.unwrap();
    assert_eq!((second.0, second.1), (id, Some(Tenant("acme".to_owned()))));
    assert_eq!(handle.tally().ignored_values, 0, "what is not accepted is a header");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_valid_harms_nobody_and_is_counted() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut found) = finding();
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_header("tenant", "no good!")).await;
    publish(&broker, Message::new("").with_header("tenant", "x".repeat(10_000))).await;
    for _ in 0..2 {
        assert_eq!(found.recv().await.unwrap().1, None);
    }
    assert_eq!(handle.tally().ignored_values, 2);
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_message_win_over_the_publishers_context() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut traces) = mpsc::unbounded_channel();
    let tell = move |ctx: Context, _: Incoming<Message>| {
        let trace = ctx.value::<TraceContext>().map(TraceContext::traceparent);
        let _ = sender.send((trace, ctx.value::<RequestId>().unwrap().to_string()));
        async {}
    };
    spawn(Consumer::new(subscription(), tell), &ctx, &broker).await;
    let of = |last| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{last}-01");
    let ours = TraceContext::parse(&of(1), None).unwrap();
    let publisher = Publisher::new(Arc::new(broker.clone()));
    let sender = ctx.with_values((ours, RequestId::parse("of-the-context").unwrap()));
    let message = Message::new("").with_header("traceparent", of(2));
    let message = message.with_header("request-id", "of-the-message");
    publisher.publish(&sender, Outgoing::to_topic("t", message)).await.unwrap();
    publisher.publish(&sender, Outgoing::to_topic("t", Message::new(""))).await.unwrap();
    assert_eq!(traces.recv().await.unwrap(), (Some(of(2)), "of-the-message".to_owned()));
    assert_eq!(traces.recv().await.unwrap(), (Some(of(1)), "of-the-context".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_given_the_deadline_of_its_request() {
    let (ctx, _canceller) = Context::background().with_timeout(10 * SECOND);
    let message = Message::new("").with_deadline_of(&ctx);
    let left = message.deadline().unwrap().duration_since(std::time::SystemTime::now()).unwrap();
    assert!(left > 9 * SECOND && left <= 10 * SECOND, "{left:?}");
    assert_eq!(Message::new("").with_deadline_of(&Context::background()).deadline(), None);
}
