//! The contract of a source, without an engine.

use std::time::Duration;

use downhaul_consumer::{Delivery, Source, Token, Verdict};

use super::fixture::next;
use super::{Fixture, Harness};

/// So long nothing comes that should not.
const QUIET: Duration = Duration::from_millis(200);

async fn take(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.extend(next(source).await);
    }
    assert_eq!(deliveries.len(), count, "not one too many");
    deliveries
}

async fn nothing_comes(source: &mut dyn Source) -> bool {
    tokio::time::timeout(QUIET, next(source)).await.is_err()
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    let mut ids: Vec<_> = deliveries.iter().map(|delivery| delivery.message.id()).collect();
    ids.sort_unstable();
    ids
}

/// Acknowledging what is around a message does not acknowledge it.
pub async fn what_is_unfinished_comes_again_whatever_was_acknowledged_around_it<H: Harness>(
    fixture: Fixture<H>,
) {
    let subscription = fixture.subscription("q").with_prefetch(10);
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    fixture.publish_numbers("q", 10).await;
    let deliveries = take(&mut *source, 10).await;
    for part in [[9, 4], [0, 7], [5, 1], [8, 2]] {
        let batch = part.map(|index| (deliveries[index].token, Verdict::Ack));
        assert!(source.settle(&batch).await.unwrap().lost.is_empty());
    }
    source.close(&fixture.ctx).await.unwrap();
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    let mut again = Vec::new();
    while !ids(&again).contains(&"3") || !ids(&again).contains(&"6") {
        again.extend(next(&mut *source).await);
    }
    if !fixture.capabilities().lanes {
        assert_eq!(ids(&again), ["3", "6"], "a queue forgets what was acknowledged");
    }
    assert!(!ids(&again).contains(&"0"), "so does a log, up to the first that is unfinished");
}

/// A second verdict, or one on a delivery that never was, is told and does no harm.
pub async fn a_delivery_is_settled_once<H: Harness>(fixture: Fixture<H>) {
    let subscription = fixture.subscription("q").with_prefetch(4);
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    fixture.publish_numbers("q", 2).await;
    let deliveries = take(&mut *source, 2).await;
    let (first, second) = (deliveries[0].token, deliveries[1].token);
    assert!(source.settle(&[(first, Verdict::Ack)]).await.unwrap().lost.is_empty());
    let foreign = Token::new(u64::MAX);
    let batch = [(first, Verdict::Release), (foreign, Verdict::Ack), (second, Verdict::Ack)];
    let mut lost = source.settle(&batch).await.unwrap().lost;
    lost.sort_unstable();
    assert_eq!(lost, [first, foreign]);
    fixture.publish("q", "later").await;
    assert_eq!(ids(&take(&mut *source, 1).await), ["later"], "the source is alive");
}

/// Upwards, downwards, and to nothing and back.
pub async fn a_prefetch_can_be_changed<H: Harness>(fixture: Fixture<H>) {
    let subscription = fixture.subscription("q").with_prefetch(2);
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    fixture.publish_numbers("q", 20).await;
    let ack = |deliveries: &[Delivery]| -> Vec<_> {
        deliveries.iter().map(|delivery| (delivery.token, Verdict::Ack)).collect()
    };
    let two = take(&mut *source, 2).await;
    source.set_prefetch(6).await.unwrap();
    let four = take(&mut *source, 4).await;
    assert!(nothing_comes(&mut *source).await, "six are unsettled");
    source.set_prefetch(3).await.unwrap();
    source.settle(&ack(&two)).await.unwrap();
    assert!(nothing_comes(&mut *source).await, "four are unsettled, and three may be");
    source.settle(&ack(&four)).await.unwrap();
    let three = take(&mut *source, 3).await;
    assert!(nothing_comes(&mut *source).await);
    source.set_prefetch(0).await.unwrap();
    source.settle(&ack(&three)).await.unwrap();
    let mut under_way = Vec::new();
    while let Ok(deliveries) = tokio::time::timeout(QUIET, next(&mut *source)).await {
        under_way.extend(deliveries);
    }
    source.settle(&ack(&under_way)).await.unwrap();
    fixture.publish("q", "later").await;
    assert!(nothing_comes(&mut *source).await, "the intake is closed");
    source.set_prefetch(20).await.unwrap();
    let rest = take(&mut *source, 12 - under_way.len()).await;
    source.settle(&ack(&rest)).await.unwrap();
}
