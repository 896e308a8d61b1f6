//! How to test handlers and consumers: trials on the paused clock, and brokers that fail.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::testing::{Ending, Fault, FaultyBroker, Plan, Trial};
use downhaul_consumer::{Consumer, Failure, Incoming, Json, MemoryBroker, Message, Outcome};
use downhaul_consumer::{Outgoing, Publisher, Settlement, Subscription};
use downhaul_context::Context;
use tokio::time::{Instant, sleep};

type Tested = Result<(), Box<dyn std::error::Error>>;

// ANCHOR: handler
async fn reserve(ctx: Context, order: Incoming<Json<u32>>) -> Result<Outcome, Failure> {
    if order.body.0 == 0 {
        return Err(Failure::permanent("an order of nothing"));
    }
    if order.attempt() < 3 {
        return Err(Failure::retry_after(Duration::from_secs(600), std::fmt::Error));
    }
    ctx.run(sleep(Duration::from_secs(1))).await?;
    let reserved = Outgoing::to_topic("stock.reserved", Message::json(&order.body.0)?);
    Ok(Outcome::new(Settlement::Ack).emit(reserved))
}

fn inventory() -> Consumer {
    Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
}
// ANCHOR_END: handler

// ANCHOR: ending
// In a test this is `#[tokio::test(start_paused = true)]`.
async fn an_order_is_reserved_at_the_third_attempt() -> Tested {
    let trial = Trial::of(inventory()).await;

    let order = trial.send(Message::json(&3)?).await?; // 20 minutes, in no time
    assert_eq!(order.ending, Ending::Acked);
    assert_eq!(order.attempts.len(), 3);
    let ten_minutes = Some(Duration::from_secs(600));
    assert_eq!(order.attempts[0].ending, Ending::Retried { after: ten_minutes });

    // Nobody listens to this topic here, and it is kept all the same.
    assert_eq!(trial.published_to("stock.reserved").len(), 1);
    Ok(())
}
// ANCHOR_END: ending

// ANCHOR: dead
async fn an_order_of_nothing_is_a_dead_letter() -> Tested {
    let trial = Trial::of(inventory()).await;
    let nothing = trial.send(Message::json(&0)?).await?;
    assert_eq!(nothing.ending, Ending::dead("an order of nothing"));
    assert_eq!(trial.dead_letters().len(), 1);
    Ok(())
}
// ANCHOR_END: dead

// ANCHOR: error
async fn a_trial_says_where_a_message_hangs() -> Tested {
    let hang = |_: Context, _: Incoming<Message>| std::future::pending::<()>();
    let hanging = Consumer::new(Subscription::new("inventory"), hang);
    let trial = Trial::of(hanging).await.patience(Duration::from_secs(200));

    let error =
        trial.send(Message::new("").with_id("order-7")).await.expect_err("it was never finished");
    assert_eq!(
        error.to_string(),
        "message order-7 had no end after 200s of virtual time: attempt 1 is still being handled, \
         in flight since 200s; the consumer is running and handles 1"
    );
    Ok(())
}
// ANCHOR_END: error

// ANCHOR: fault
async fn what_was_done_is_not_done_again_when_its_verdict_is_lost() -> Tested {
    let announce = |_: Context, order: Incoming<Json<u32>>| async move {
        let reserved = Outgoing::to_topic("stock.reserved", Message::json(&order.body.0)?);
        Ok::<_, Failure>(Outcome::new(Settlement::Ack).emit(reserved))
    };
    let inventory = Consumer::new(Subscription::new("inventory"), announce);
    let trial = Trial::of(inventory.dedupe(Arc::new(MemoryInbox::new()))).await;
    trial.faults().lose_next_settlement(); // the handler has finished, and the broker does not know

    let order = trial.send(Message::json(&3)?).await?;
    assert_eq!(order.ending, Ending::Duplicate); // it came again, and was told
    assert_eq!(trial.published_to("stock.reserved").len(), 1);
    assert_eq!(trial.faults().incidents()[0].fault, Fault::SettlementLost);
    Ok(())
}
// ANCHOR_END: fault

// ANCHOR: plan
async fn nothing_is_lost_whatever_the_broker_does() -> Tested {
    for seed in 0..20 {
        let memory = MemoryBroker::new();
        let broker = Arc::new(FaultyBroker::over(Arc::new(memory.clone())));
        let ctx = Context::background();
        let inventory = inventory().spawn(&ctx, broker.clone());
        inventory.settled().await;

        broker.faults().follow(Plan::of_everything(seed, 10)); // one operation in ten goes wrong
        let publisher = Publisher::new(broker.clone());
        for number in 0..50 {
            let order = Message::json(&(number % 5))?.with_id(format!("order-{number}"));
            let order = Outgoing::to_topic("order.created", order);
            // It may be refused, and then nobody expects it to be handled.
            let _ = publisher.publish_until_known(&ctx, order).await;
        }

        broker.faults().heal();
        let began = Instant::now();
        while memory.depth("inventory") != Default::default() {
            sleep(Duration::from_secs(1)).await;
            let incidents = broker.faults().incidents();
            assert!(began.elapsed() < Duration::from_secs(36_000), "seed {seed}: {incidents:?}");
        }
        inventory.stop();
        inventory.settled().await;
    }
    Ok(())
}
// ANCHOR_END: plan

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Tested {
    an_order_is_reserved_at_the_third_attempt().await?;
    an_order_of_nothing_is_a_dead_letter().await?;
    a_trial_says_where_a_message_hangs().await?;
    what_was_done_is_not_done_again_when_its_verdict_is_lost().await?;
    nothing_is_lost_whatever_the_broker_does().await
}
