//! Publishing: what a receipt says is so.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Message, Outgoing, PublishOutcome, Publisher, Sink, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{RabbitMq, property};
use downhaul_testkit::proxy::Direction;
use downhaul_testkit::rabbitmq::{shared, shared_ctl};
use downhaul_testkit::unique;

use crate::support::{
    Foreigner, all, behind_proxy, broker_at, fill, more, own_node_with, publish, shared_broker,
    sink, soon, source, subscription, take, texts,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_message_is_in_each_queue_of_its_topic_and_in_no_other() {
    let (broker, topic) = (shared_broker(), unique("topic"));
    let queues = [unique("first"), unique("second"), unique("other")];
    for (queue, topic) in queues.iter().zip([&*topic, &*topic, "another"]) {
        drop(source(&broker, &downhaul_consumer::Subscription::new(queue).topic(topic)).await);
    }
    let sink = sink(&broker).await;
    let outcome = publish(&*sink, &Outgoing::to_topic(topic, Message::new("7"))).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let foreigner = Foreigner::at(&shared()).await;
    for (queue, count) in queues.iter().zip([1, 1, 0]) {
        assert_eq!(foreigner.look(queue).await.0, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_comes_back_to_its_own_publisher() {
    let (broker, subscription) = (shared_broker(), subscription("routable"));
    let _source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let is_lost = |number: u32| number.is_multiple_of(7) || number % 50 > 42;
    for _ in 0..5 {
        let mut receipts = Vec::new();
        for number in 0..500 {
            let queue = if is_lost(number) { "no such queue" } else { subscription.queue() };
            let outgoing = Outgoing::to_queue(queue, Message::new(number.to_string()));
            receipts.push(soon("a send", sink.send(&outgoing)).await.unwrap());
        }
        for (number, receipt) in (0..).zip(receipts) {
            match soon("an answer", receipt).await {
                PublishOutcome::Returned(words) => {
                    assert!(is_lost(number), "{number} has a queue");
                    assert_eq!(words, "312 NO_ROUTE for `no such queue`");
                }
                PublishOutcome::Confirmed => assert!(!is_lost(number), "{number} has no queue"),
                outcome => panic!("{number}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_receipts_resolve_and_the_queue_keeps_the_order() {
    const COUNT: usize = 100_000;
    let (broker, subscription) = (shared_broker(), subscription("many"));
    let mut source = source(&broker, &subscription).await;
    source.set_prefetch(0).await.unwrap();
    let sink = sink(&broker).await;
    let begun = tokio::time::Instant::now();
    let sending = async {
        let mut receipts = Vec::with_capacity(COUNT);
        for number in 0..COUNT {
            let message = Message::new(number.to_string());
            let outgoing = Outgoing::to_queue(subscription.queue(), message);
            receipts.push(sink.send(&outgoing).await.unwrap());
        }
        receipts
    };
    for receipt in soon("all sends", sending).await {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    println!("published {COUNT} in {:?}", begun.elapsed());
    assert_eq!(Foreigner::at(&shared()).await.look(subscription.queue()).await.0, 100_000);

    let begun = tokio::time::Instant::now();
    source.set_prefetch(16).await.unwrap();
    let (mut arrived, mut batch) = (Vec::new(), Vec::new());
    while arrived.len() < COUNT {
        more(&mut *source, &mut batch).await;
        source.settle(&all(&batch, Verdict::Ack)).await.unwrap();
        arrived.extend(texts(&batch));
        batch.clear();
    }
    println!("consumed {COUNT} in {:?}", begun.elapsed());
    assert!(arrived.iter().enumerate().all(|(number, text)| *text == number.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_costs_only_itself() {
    let (broker, subscription) = (shared_broker(), subscription("strict"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let unfit = [
        Message::new("long id").with_id("i".repeat(256)),
        Message::new("long name").with_header("n".repeat(256), "v"),
        Message::new("long value").with_header("name", "v".repeat(140_000)),
        Message::new("reserved").with_header("x-death", "v"),
        Message::new("copy").with_header("CC", "v"),
        Message::new("blind copy").with_header("BCC", "v"),
        Message::new("no number").with_header(property::PRIORITY, "256"),
        Message::new("long queue").with_header(property::REPLY_TO, "q".repeat(256)),
        Message::new("a call").with_header(property::REPLY_TO, "amq.rabbitmq.reply-to"),
        Message::new("no text").with_header(property::TYPE, [0xff]),
        Message::new("no property").with_header("amqp-user-id", "guest"),
        Message::new(vec![0; (128 << 20) + 1]),
    ];
    for message in unfit {
        let outgoing = Outgoing::to_queue(subscription.queue(), message);
        let error = sink.send(&outgoing).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");
    }
    let outgoing = Outgoing::to_queue("q".repeat(256), Message::new("long queue"));
    assert_eq!(sink.send(&outgoing).await.unwrap_err().kind(), BrokerErrorKind::Message);

    fill(&*sink, subscription.queue(), ["fits".to_owned()]).await;
    assert_eq!(texts(&take(&mut *source, 1).await), ["fits"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_just_fit_into_a_frame_arrive() {
    let (broker, subscription) = (shared_broker(), subscription("wide"));
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let value = "v".repeat(130_900);
    let message = Message::new("wide").with_header("name", value.clone());
    let outcome = publish(&*sink, &Outgoing::to_queue(subscription.queue(), message)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let delivery = take(&mut *source, 1).await.remove(0);
    assert_eq!(delivery.message.headers().get("name"), Some(&*value));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_sink_resolves_every_receipt_and_ends_it() {
    let (broker, subscription) = (shared_broker(), subscription("closing"));
    let _source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new("under way"));
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(sink.send(&outgoing).await.unwrap());
    }
    soon("closing", sink.close(&Context::background())).await;
    for receipt in receipts {
        let outcome = soon("an answer", receipt).await;
        let known = matches!(outcome, PublishOutcome::Confirmed | PublishOutcome::Unknown(_));
        assert!(known, "{outcome:?}");
    }
    assert!(!soon("a late send", sink.send(&outgoing)).await.unwrap_err().is_permanent());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_opens_after_the_broker_was_closed() {
    let (broker, subscription) = (shared_broker(), subscription("closed"));
    let ctx = Context::background();
    let mut source = source(&broker, &subscription).await;
    let sink = sink(&broker).await;
    soon("closing", broker.close(&ctx)).await;
    soon("the end of the source", source.next(&mut Vec::new())).await.unwrap_err();
    sink.send(&Outgoing::to_topic("t", Message::new(""))).await.unwrap_err();
    assert_eq!(broker.sink(&ctx).await.unwrap_err().kind(), BrokerErrorKind::Closed);
    let Err(error) = broker.source(&ctx, &subscription).await else { panic!("it opened") };
    assert_eq!(error.kind(), BrokerErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_closed_when_the_time_is_over_leaves_no_connection_open() {
    let ((proxy, broker), subscription) = (behind_proxy(&shared()), subscription("late"));
    let _open = (source(&broker, &subscription).await, sink(&broker).await);
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    soon("closing", broker.close(&ctx)).await;
    soon("they are gone", proxy.until(|counts| counts.open == 0)).await;
}

/// Whoever waits for a node that does not answer is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_opens_after_the_broker_was_closed_in_the_middle_of_connecting() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = RabbitMq::new(&format!("amqp://{}", silent.local_addr().unwrap())).unwrap();
    let broker = Arc::new(broker.connect_timeout(Duration::from_secs(3_600)));
    let opening = Arc::clone(&broker);
    let opening = tokio::spawn(async move { opening.sink(&Context::background()).await });
    let _held = soon("it connects", silent.accept()).await.unwrap();
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    soon("closing", broker.close(&ctx)).await;
    let error = soon("whoever waits hears of it", opening).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Closed, "{error}");
    let error = soon("an error", broker.sink(&Context::background())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Closed, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_window_slows_down_and_loses_nothing() {
    let broker = shared_broker().publish_window(2);
    let subscription = subscription("narrow");
    let _source = source(&broker, &subscription).await;
    let sink: Arc<dyn Sink> = sink(&broker).await;
    let sends = (0..50).map(|_| async {
        let outgoing = Outgoing::to_topic(subscription.queue(), Message::new(""));
        sink.send(&outgoing).await.unwrap().await
    });
    let outcomes = soon("all answers", futures_util::future::join_all(sends)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed)));
}

/// As with a quorum queue that has lost its majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_answers_nothing_keeps_no_more_room_than_its_messages_have() {
    let broker = shared_broker().publish_window(40);
    let [stuck, well] = ["stuck", "well"].map(|prefix| subscription(prefix).queue().to_owned());
    for queue in [&stuck, &well] {
        drop(source(&broker, &downhaul_consumer::Subscription::new(queue)).await);
    }
    let ask = |what: &str| {
        let queue = format!("rabbit_misc:r(<<\"/\">>, queue, <<\"{stuck}\">>)");
        let pid = format!("{{ok, Q}} = rabbit_amqqueue:lookup({queue}), P = amqqueue:get_pid(Q)");
        shared_ctl(&["eval", &format!("{pid}, sys:{what}(P).")]).map(|answer| answer.unwrap())
    };
    if ask("suspend").is_none() {
        println!("SKIPPED: the node is somebody else's");
        return;
    }
    let sink = sink(&broker).await;
    let mut waiting = Vec::new();
    for _ in 0..39 {
        waiting.push(sink.send(&Outgoing::to_queue(&*stuck, Message::new(""))).await.unwrap());
    }
    fill(&*sink, &well, (0..4).map(|number| number.to_string())).await;
    ask("resume");
    for receipt in waiting {
        let outcome = soon("an answer", receipt).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flushing_waits_for_the_answers_to_all_that_was_sent() {
    let ((proxy, broker), subscription) = (behind_proxy(&shared()), subscription("flushed"));
    let broker = Arc::new(broker);
    drop(source(&*broker, &subscription).await);
    let (ctx, publisher) = (Context::background(), Publisher::new(broker));
    let outgoing = Outgoing::to_queue(subscription.queue(), Message::new(""));
    soon("a publish", publisher.publish(&ctx, outgoing.clone())).await.unwrap();
    proxy.blackhole(Direction::ToClient);
    for _ in 0..3 {
        drop(soon("a send", publisher.send(&ctx, outgoing.clone())).await.unwrap());
    }
    let early = tokio::time::timeout(Duration::from_millis(300), publisher.flush(&ctx)).await;
    assert!(early.is_err(), "nobody has answered");
    proxy.heal();
    soon("flushing", publisher.flush(&ctx)).await.unwrap();
    let foreigner = Foreigner::at(&shared()).await;
    assert_eq!(foreigner.look(subscription.queue()).await.0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_finds_too_large_is_refused_from_the_second_time_on() {
    let own = own_node_with("max_message_size = 100000");
    let broker = broker_at(&own.node.url());
    let subscription = subscription("large");
    let _source = source(&broker, &subscription).await;
    let outgoing =
        |size: usize| Outgoing::to_queue(subscription.queue(), Message::new(vec![7; size]));
    // It says so with the end of the channel.
    let outcome = publish(&*sink(&broker).await, &outgoing(100_001)).await;
    assert!(matches!(outcome, PublishOutcome::Unknown(_)), "{outcome:?}");
    let sink = sink(&broker).await;
    let refused = soon("a send", sink.send(&outgoing(100_001))).await.unwrap_err();
    let told = (refused.kind(), refused.to_string());
    let words = "the payload has 100001 bytes, RabbitMQ takes 100000";
    assert_eq!(told, (BrokerErrorKind::Message, words.to_owned()));
    let outcome = publish(&*sink, &outgoing(100_000)).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    // Raised, as for a broker that comes back with another limit.
    let raise = "application:set_env(rabbit, max_message_size, 200000).";
    own.node.ctl(&["eval", raise]).unwrap();
    own.node.ctl(&["close_all_connections", "a test"]).unwrap();
    let publisher = Publisher::new(Arc::new(broker));
    let ctx = Context::background();
    soon("it is published", publisher.publish(&ctx, outgoing(100_001))).await.unwrap();
}
