//! What is told of consumers, on the paused clock.

use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{Broker, ConsumerHandle, KillSwitch, Lane, Link, State};
use tokio::time::sleep;

use super::*;
use crate::board::Board;
use crate::partitioned::Partitioned;
use crate::{Component, ConsumerWorker, Job};

fn inventory<F>(handle: impl Fn(String) -> F + Send + Sync + 'static) -> Consumer
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let handle = move |_: Context, message: Incoming<Message>| handle(message.id().to_owned());
    Consumer::new(Subscription::new("inventory"), handle)
}

async fn take(_: String) -> Result<(), Failure> {
    Ok(())
}

/// An app of this consumer, which has started, and of one component that is none.
async fn app(consumer: Consumer, broker: &MemoryBroker) -> (Arc<Board>, ConsumerHandle) {
    app_on(consumer, Arc::new(broker.clone())).await
}

async fn app_on(consumer: Consumer, broker: Arc<dyn Broker>) -> (Arc<Board>, ConsumerHandle) {
    let worker = Arc::new(ConsumerWorker::new(consumer, broker));
    worker.start(&Context::background()).await.unwrap();
    let (handle, board) = (worker.consumer().unwrap(), Board::new());
    let job = Job::new(|_| async { Ok::<_, Error>(()) });
    board.set_parts(vec![("inventory".into(), worker), ("job".into(), Arc::new(job))]);
    (Arc::new(board), handle)
}

async fn publish<const N: usize>(broker: &MemoryBroker, ids: [&str; N]) {
    let publisher = Publisher::new(Arc::new(broker.clone()));
    for id in ids {
        let message = Outgoing::to_queue("inventory", Message::new("").with_id(id));
        publisher.publish(&Context::background(), message).await.unwrap();
    }
    // tidy: the clock is paused
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_told_by_its_state_and_its_link() {
    let (recording, broker) = (Recording::new(), MemoryBroker::new());
    let (board, consumer) = app(inventory(take), &broker).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    let is = async |state: State, link: &str| {
        consumer.wait_for(|status| status.state == state).await.unwrap();
        let states = recording.counted("downhaul_consumer_state");
        assert_eq!(states, set([&format!("shop inventory {state} 1")]));
        let links = recording.counted("downhaul_consumer_link");
        assert_eq!(links, set([&format!("shop {link} inventory 1")]));
    };
    is(State::Running, "up").await;
    broker.set_reachable(false);
    consumer.wait_for(|status| matches!(status.link, Link::Recovering { .. })).await.unwrap();
    is(State::Running, "recovering").await;
    broker.set_reachable(true);
    consumer.wait_for(|status| matches!(status.link, Link::Up)).await.unwrap();
    consumer.pause();
    is(State::Paused, "up").await;
    consumer.stop();
    is(State::Stopped, "closed").await;
    let closed = "downhaul_app_name=\"shop\",downhaul_consumer_link=\"closed\",\
                  downhaul_consumer_name=\"inventory\"} 1";
    assert!(recording.series("downhaul_consumer_link").contains(closed));
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_has_in_hand_is_counted_where_it_is() {
    let (recording, broker) = (Recording::new(), MemoryBroker::new());
    let handle = async |id: String| match &*id {
        "fails" => Err(Failure::from(std::io::Error::other("not yet"))),
        _ => pending().await,
    };
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy::default().backoff(hour, hour).in_place_up_to(hour);
    let consumer = inventory(handle).concurrency(1).prefetch(8).retry(retry);
    let (board, _consumer) = app(consumer, &broker).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    publish(&broker, ["fails", "hangs", "one more", "another"]).await;
    let expected = set([
        "shop inventory in_flight 1",
        "shop inventory buffered 2",
        "shop inventory waiting 1",
    ]);
    assert_eq!(recording.counted("downhaul_consumer_messages"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_held_up_while_its_kill_switch_is_open() {
    let (recording, broker) = (Recording::new(), MemoryBroker::new());
    let fail = async |_| Err(Failure::permanent("never"));
    let consumer = inventory(fail).kill_switch(KillSwitch::default().at_least(1));
    let (board, consumer) = app(consumer, &broker).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    assert_eq!(recording.counted("downhaul_consumer_held_up"), set([]));
    publish(&broker, ["fails"]).await;
    let expected = set(["shop kill_switch inventory 1"]);
    assert_eq!(recording.counted("downhaul_consumer_held_up"), expected);
    consumer.wait_for(|status| status.suspended_until.is_none()).await.unwrap();
    assert_eq!(recording.counted("downhaul_consumer_held_up"), set([]));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_held_up_while_its_dead_letters_are_not_taken() {
    let (recording, broker) = (Recording::new(), MemoryBroker::with_longest_queue(1));
    let (board, _consumer) =
        app(inventory(async |_| Err(Failure::permanent("never"))), &broker).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    publish(&broker, ["a letter"]).await;
    publish(&broker, ["one too many"]).await;
    let expected = set(["shop elsewhere inventory 1"]);
    assert_eq!(recording.counted("downhaul_consumer_held_up"), expected);
}

#[tokio::test(start_paused = true)]
async fn consumers_of_the_same_names_are_counted_together_until_their_app_is_over() {
    let (recording, broker) = (Recording::new(), MemoryBroker::new());
    let (first, _consumer) = app(inventory(take), &broker).await;
    let (second, _consumer) = app(inventory(take), &broker).await;
    let states = || recording.counted("downhaul_consumer_state");
    let counted = recording.instruments().count_parts("shop", &first);
    let more = recording.instruments().count_parts("shop", &second);
    assert_eq!(states(), set(["shop inventory running 2"]));
    drop(more);
    assert_eq!(states(), set(["shop inventory running 1"]));
    drop(counted);
    assert_eq!(recording.series("downhaul_consumer_state"), set([]), "nor zeros");
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
}

/// Partitions of `orders`, and how much is counted of each.
fn of_orders<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(|line| format!("shop inventory orders {line}")).into()
}

#[tokio::test(start_paused = true)]
async fn the_lanes_of_a_consumer_are_counted_with_how_far_it_is_behind_while_it_has_them() {
    let (recording, broker) = (Recording::new(), Partitioned::default());
    let (board, _consumer) = app_on(inventory(take), Arc::new(broker.clone())).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    for (partition, lag) in [(0, Some(12)), (1, None), (2, Some(30))] {
        broker.put(partition, lag);
    }
    let lanes = of_orders(["0 1", "1 1", "2 1"]);
    assert_eq!(recording.counted("downhaul_consumer_lanes"), lanes);
    assert_eq!(recording.counted("downhaul_consumer_lag"), of_orders(["0 12", "2 30"]));
    broker.0.remove(Lane::new(2));
    assert_eq!(recording.series("downhaul_consumer_lag").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_became_of_messages_is_counted_also_of_those_that_were_processed_before() {
    let (recording, broker) = (Recording::new(), MemoryBroker::new());
    let fail = async |id: String| match &*id {
        "fails" => Err(Failure::permanent("never")),
        _ => Ok(()),
    };
    let consumer = inventory(fail).dedupe(Arc::new(MemoryInbox::new()));
    let (board, _consumer) = app(consumer, &broker).await;
    let _counted = recording.instruments().count_parts("shop", &board);
    publish(&broker, ["one", "fails", "one"]).await;
    let expected = set([
        "shop inventory processed 1",
        "shop inventory dead_lettered 1",
        "shop inventory duplicate 1",
    ]);
    assert_eq!(recording.counted("downhaul_consumer_outcomes_total"), expected);
}
