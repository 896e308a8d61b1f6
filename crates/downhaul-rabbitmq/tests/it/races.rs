//! Settlements that race the end of their channel.

use downhaul_consumer::{Certainty, Delivery, Source, Subscription, Verdict};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::proxy::{Direction, Proxy};
use downhaul_testkit::rabbitmq::shared;

use crate::support::{
    Foreigner, all, at_rest, behind_proxy, fill, shared_broker, sink, soon, source, subscription,
    take,
};

const MESSAGES: usize = 6;

/// A source through the proxy with all messages in hand, and nothing on its way.
async fn holding(
    broker: &RabbitMq,
    proxy: &Proxy,
    subscription: &Subscription,
) -> (Box<dyn Source>, Vec<Delivery>) {
    let mut source = source(broker, subscription).await;
    let straight = sink(&shared_broker()).await;
    fill(&*straight, subscription.queue(), (0..MESSAGES).map(|number| number.to_string())).await;
    let deliveries = take(&mut *source, MESSAGES).await;
    at_rest(proxy).await;
    (source, deliveries)
}

/// Acknowledges in many frames, closes, and returns whether both are said to have arrived.
async fn settle(mut source: Box<dyn Source>, deliveries: &[Delivery]) -> bool {
    for delivery in deliveries.iter().rev() {
        let verdict = all(std::slice::from_ref(delivery), Verdict::Ack);
        match soon("settling", source.settle(&verdict)).await {
            Ok(settled) => assert_ne!(settled.certainty, Certainty::Confirmed, "{settled:?}"),
            Err(_) => return false,
        }
    }
    soon("closing", source.close(&Context::background())).await.is_ok()
}

/// How much is left in the queue, which is emptied.
async fn left(foreigner: &Foreigner, subscription: &Subscription) -> usize {
    // What was in hand is back in the queue when its consumer is gone.
    let gone = async {
        loop {
            if let (left, 0) = foreigner.look(subscription.queue()).await {
                return left;
            }
        }
    };
    let left = soon("the consumer is gone", gone).await;
    foreigner.purge(subscription.queue()).await;
    usize::try_from(left).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_races_the_end_of_its_channel_is_never_falsely_said_to_have_arrived() {
    let (proxy, broker) = behind_proxy(&shared());
    let subscription = subscription("racing");
    let foreigner = Foreigner::at(&shared()).await;
    let (source, deliveries) = holding(&broker, &proxy, &subscription).await;
    let before = proxy.counts();
    assert!(settle(source, &deliveries).await);
    assert_eq!(left(&foreigner, &subscription).await, 0);
    let (up, down) = (Direction::ToUpstream, Direction::ToClient);
    let length = proxy.counts().to_upstream.passed - before.to_upstream.passed;

    // Cut at every place: within the first acknowledgement, the last, and the word of the close.
    let places = (0..length).step_by(7).map(|bytes| (up, bytes));
    let (mut taken, mut known) = (Vec::new(), Vec::new());
    for (direction, bytes) in places.chain([(down, 0), (down, 5)]) {
        let (source, deliveries) = holding(&broker, &proxy, &subscription).await;
        proxy.half_frame(direction, bytes);
        let said = settle(source, &deliveries).await;
        proxy.heal();
        let left = left(&foreigner, &subscription).await;
        assert!(!said || left == 0, "{direction:?} {bytes}: {left} are left");
        taken.push(MESSAGES - left);
        known.push(said);
    }
    assert!(known.iter().all(|known| !known), "no answer came through: {known:?}");
    let (some, all) = (1..MESSAGES, MESSAGES);
    assert!(taken.contains(&0) && taken.contains(&all), "{taken:?}");
    assert!(taken.iter().any(|taken| some.contains(taken)), "{taken:?}");
}
