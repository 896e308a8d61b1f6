//! Delays: messages that are parked and come back.

use std::time::Duration;

use downhaul_consumer::{BrokerErrorKind, Message, Outgoing, PublishOutcome, Subscription};
use downhaul_rabbitmq::QueueType;
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use tokio::time::Instant;

use crate::support::{
    Foreigner, more, publish, shared_broker, sink, sorted_headers, source, take, texts,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_comes_to_its_own_queue_alone_and_never_behind_a_longer_one() {
    tokio::join!(delay_three(QueueType::Classic), delay_three(QueueType::Quorum));
}

async fn delay_three(queue_type: QueueType) {
    let broker = shared_broker().queue_type(queue_type);
    let (topic, own, other) = (unique("topic"), unique("own"), unique("other"));
    let mut source_of_own = source(&broker, &Subscription::new(&own).topic(&topic)).await;
    let source_of_other = source(&broker, &Subscription::new(&other).topic(&topic)).await;
    let (sink, begun) = (sink(&broker).await, Instant::now());
    for (text, millis) in [("long", 2_400), ("short", 60), ("short too", 100)] {
        let message = Message::new(text).with_header("attempt", "2");
        let outgoing = Outgoing::to_queue(&own, message).after(Duration::from_millis(millis));
        let outcome = publish(&*sink, &outgoing).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
    let mut deliveries = Vec::new();
    while deliveries.len() < 3 {
        more(&mut *source_of_own, &mut deliveries).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(2_400), "held back for at least that long");
    assert_eq!(texts(&deliveries), ["short", "short too", "long"]);
    for delivery in deliveries {
        let headers = sorted_headers(&delivery.message);
        assert_eq!(headers, [("attempt", "2")], "nothing of the detour is left");
    }
    drop(source_of_other);
    assert_eq!(Foreigner::at(&shared()).await.look(&other).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_for_no_queue_is_returned_and_the_sink_lives() {
    let broker = shared_broker();
    let sink = sink(&broker).await;
    let nowhere = Outgoing::to_queue(unique("nowhere"), Message::new(""));
    let outcome = publish(&*sink, &nowhere.clone().after(Duration::from_secs(1))).await;
    assert!(matches!(outcome, PublishOutcome::Returned(_)), "{outcome:?}");
    let outcome = publish(&*sink, &nowhere).await;
    assert!(matches!(outcome, PublishOutcome::Returned(_)), "{outcome:?}");
}

/// By an operator. Whoever hears that nothing took the message tries again, as a consumer does.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_a_delay_that_was_deleted_is_there_again_for_the_next_try() {
    let (broker, queue) = (shared_broker(), unique("emptied"));
    let mut source = source(&broker, &Subscription::new(&queue)).await;
    let sink = sink(&broker).await;
    let parked = Outgoing::to_queue(&queue, Message::new("x")).after(Duration::from_millis(100));
    let outcome = publish(&*sink, &parked).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    take(&mut *source, 1).await;
    Foreigner::at(&shared()).await.delete(&format!("{queue}.retry.100")).await;
    let outcome = publish(&*sink, &parked).await;
    assert!(matches!(outcome, PublishOutcome::Returned(_)), "{outcome:?}");
    let outcome = publish(&*sink, &parked).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    take(&mut *source, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_that_cannot_be_kept_is_refused() {
    let broker = shared_broker();
    let sink = sink(&broker).await;
    let to_topic = Outgoing::to_topic("topic", Message::new("")).after(Duration::from_secs(1));
    let too_long = Outgoing::to_queue("queue", Message::new("")).after(Duration::from_secs(90_000));
    for outgoing in [to_topic, too_long] {
        let error = sink.send(&outgoing).await.unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Message, "{error}");
    }
}
