//! Many publishers and consumers at once, and those that come and go.

use std::collections::BTreeSet;

use downhaul_consumer::headers::Value;
use downhaul_consumer::{Consumer, Incoming, Message, Outgoing, PublishOutcome, Publisher, State};
use downhaul_context::Context;

use super::{Fixture, Harness, Seen};

/// Each message is handled, and by one of them.
pub async fn what_many_publish_is_handled_once_by_many<H: Harness>(fixture: Fixture<H>) {
    const PUBLISHERS: usize = 10;
    const EACH: usize = 40;
    let mut seen = Seen::default();
    for _ in 0..3 {
        fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    }
    let publishing = (0..PUBLISHERS).map(|publisher| {
        let (broker, topic, ctx) = (fixture.broker(), fixture.name("q"), fixture.ctx.clone());
        tokio::spawn(async move {
            let own = Publisher::new(broker);
            for number in 0..EACH {
                let message = Message::new("").with_id(format!("{publisher}/{number}"));
                own.publish(&ctx, Outgoing::to_topic(&topic, message)).await.expect("confirmed");
            }
        })
    });
    for task in publishing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let ids = seen.take(PUBLISHERS * EACH).await;
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "none twice");
}

/// However often consumers stop and start while messages flow.
pub async fn consumers_that_come_and_go_lose_nothing<H: Harness>(fixture: Fixture<H>) {
    const ROUNDS: usize = 5;
    const EACH: usize = 30;
    let mut seen = Seen::default();
    let first = fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let second = fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let mut missing = BTreeSet::new();
    for round in 0..ROUNDS {
        let leaver = if round % 2 == 0 { &first } else { &second };
        for number in 0..EACH {
            let id = format!("{round}/{number}");
            fixture.publish("q", &id).await;
            missing.insert(id);
            match number {
                8 => leaver.stop(),
                16 => leaver.restart(),
                24 => leaver.pause(),
                _ => {}
            }
        }
        leaver.resume();
        assert_eq!(leaver.settled().await, State::Running);
    }
    while !missing.is_empty() {
        missing.remove(&seen.next().await.0);
    }
}

/// What it is, it stays: payload, headers, key and media type.
pub async fn a_message_arrives_as_it_was_published<H: Harness>(fixture: Fixture<H>) {
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |_ctx: Context, message: Incoming<Message>| {
        let _ = sender.send((message.body.clone(), message.topic().map(str::to_owned)));
        async {}
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), tell)).await;
    let payloads = [vec![], vec![0, 255, 128, 10], "Ünal & Söhne".into(), vec![7; 70_000]];
    for payload in payloads {
        let message = Message::new(payload)
            .with_content_type("application/x-test")
            .with_key("customer-7")
            .with_header("tenant", "Ünal & Söhne")
            .with_header("empty", "");
        let outgoing = Outgoing::to_topic(fixture.name("q"), message.clone());
        fixture.publisher.publish(&fixture.ctx, outgoing).await.expect("confirmed");
        let (there, topic) = arrived.recv().await.unwrap();
        assert_eq!(topic, Some(fixture.name("q")));
        assert_eq!((there.id(), there.key()), (message.id(), message.key()));
        assert_eq!(
            (there.payload(), there.content_type()),
            (message.payload(), "application/x-test")
        );
        let sorted = |message: &Message| -> BTreeSet<(String, Value)> {
            let own = |(name, value): (&str, &Value)| (name.to_owned(), value.clone());
            message.headers().iter().map(own).collect()
        };
        assert_eq!(sorted(&there), sorted(&message));
    }
}

/// Each queue gets what its topics get, and nothing else.
pub async fn messages_of_one_topic_do_not_reach_another<H: Harness>(fixture: Fixture<H>) {
    let mut records = Vec::new();
    for name in ["left", "right"] {
        let seen = Seen::default();
        fixture.spawn(seen.recording(fixture.subscription(name))).await;
        records.push((name, seen));
    }
    for number in 0..20 {
        let name = if number % 2 == 0 { "left" } else { "right" };
        fixture.publish(name, format!("{name}/{number}")).await;
    }
    for (name, mut seen) in records {
        let ids = seen.take(10).await;
        assert!(ids.iter().all(|id| id.starts_with(name)), "{ids:?}");
    }
}

/// What it has sent is answered for, and what was confirmed arrives.
pub async fn a_publisher_that_closes_loses_nothing<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let mut confirmed = BTreeSet::new();
    for round in 0..5 {
        let own = Publisher::new(fixture.broker());
        let mut receipts = Vec::new();
        for number in 0..40 {
            let id = format!("{round}/{number}");
            let message = Message::new("").with_id(id.clone());
            let outgoing = Outgoing::to_topic(fixture.name("q"), message);
            receipts.push((id, own.send(&fixture.ctx, outgoing).await.unwrap()));
        }
        own.close(&fixture.ctx).await;
        for (id, receipt) in receipts {
            // One whose answer was not there yet is unknown, and never without an answer.
            if matches!(receipt.await, PublishOutcome::Confirmed) {
                confirmed.insert(id);
            }
        }
    }
    fixture.publish("q", "last").await;
    confirmed.insert("last".to_owned());
    while !confirmed.is_empty() {
        confirmed.remove(&seen.next().await.0);
    }
}
