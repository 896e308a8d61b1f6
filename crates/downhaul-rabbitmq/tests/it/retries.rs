//! How often and how soon failed messages come again, whatever happens to the links.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Failure, Incoming, KillSwitch, Link, Message, RetryPolicy, State,
    Subscription, headers,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{QueueType, RabbitMq};
use downhaul_testkit::proxy::{Cut, Proxy};
use downhaul_testkit::rabbitmq::shared;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{
    Foreigner, at_rest, behind_proxy, fill, shared_broker, sink, soon, source, subscription, take,
    text,
};

/// An attempt as its handler has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    attempt: u32,
    redeliveries: u32,
    at: Instant,
}

/// What a handler that always fails has seen.
#[derive(Clone)]
struct Attempts(watch::Sender<Vec<Seen>>);

impl Attempts {
    fn new() -> Self {
        Self(watch::Sender::default())
    }

    fn see(&self, message: &Incoming<Message>) {
        let (attempt, redeliveries) = (message.attempt(), message.redeliveries());
        let seen = Seen { attempt, redeliveries, at: Instant::now() };
        self.0.send_modify(|all| all.push(seen));
    }

    async fn until(&self, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut all = self.0.subscribe();
        let all = soon("an attempt", all.wait_for(|all| wanted(all))).await;
        all.unwrap().clone()
    }
}

async fn running(consumer: Consumer, broker: RabbitMq) -> ConsumerHandle {
    let consumer = consumer.spawn(&Context::background(), Arc::new(broker));
    assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
    consumer
}

fn policy(attempts: u32, pause: Duration) -> RetryPolicy {
    RetryPolicy::default().attempts(attempts).backoff(pause, pause)
}

/// Cuts all links when nothing is on its way, and waits until the consumer is back.
async fn lose_links(proxy: &Proxy, consumer: &ConsumerHandle) {
    at_rest(proxy).await;
    let before = proxy.counts().accepted;
    proxy.cut(Cut::Reset);
    soon("a new link", proxy.until(|counts| counts.accepted > before)).await;
    let up = consumer.wait_for(|status| matches!(status.link, Link::Up));
    soon("the consumer is back", up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_exactly_while_links_are_lost() {
    tokio::join!(count_attempts(QueueType::Classic), count_attempts(QueueType::Quorum));
}

async fn count_attempts(queue_type: QueueType) {
    let ((proxy, broker), subscription) = (behind_proxy(&shared()), subscription("counted"));
    let (attempts, dead) = (Attempts::new(), subscription.dead_letter_queue());
    let seen = attempts.clone();
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        seen.see(&message);
        // Under way when its link is lost, and nothing comes of it.
        let is_lost = message.attempt() == 3 && message.redeliveries() == 0;
        async move {
            match is_lost {
                true => pending().await,
                false => Err::<(), Failure>(std::io::Error::other("never").into()),
            }
        }
    };
    // Parked at the broker, and long enough to lose the links meanwhile.
    let parked = policy(5, Duration::from_secs(2)).in_place_up_to(Duration::ZERO);
    let consumer = Consumer::new(subscription.clone(), fail).retry(parked);
    let consumer = running(consumer, broker.queue_type(queue_type)).await;
    let straight = shared_broker().queue_type(queue_type);
    fill(&*sink(&straight).await, subscription.queue(), ["poison".to_owned()]).await;
    for (count, retried) in (1..).zip([1, 2, 2, 3, 4]) {
        attempts.until(|seen| seen.len() >= count).await;
        let settled = async {
            while consumer.tally().retried < retried {
                tokio::task::yield_now().await
            }
        };
        soon("it is settled", settled).await;
        lose_links(&proxy, &consumer).await;
    }
    let mut letters = source(&straight, &Subscription::new(dead)).await;
    let letter = take(&mut *letters, 1).await.remove(0);
    assert_eq!(text(&letter.message), "poison");
    assert_eq!(letter.message.headers().get(headers::ATTEMPT), Some("5"));
    let seen = attempts.until(|_| true).await;
    let seen: Vec<_> = seen.iter().map(|seen| (seen.attempt, seen.redeliveries)).collect();
    assert_eq!(seen, [(1, 0), (2, 0), (3, 0), (3, 1), (4, 0), (5, 0)], "{queue_type:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_and_again_comes_no_faster_than_its_backoff() {
    const TIMES: u32 = 20;
    let pause = Duration::from_millis(100);
    let parked = policy(TIMES, pause).in_place_up_to(Duration::ZERO);
    let ways = [policy(TIMES, pause), parked];
    let each = ways.into_iter().flat_map(|way| {
        [QueueType::Classic, QueueType::Quorum].map(|queue_type| (way.clone(), queue_type))
    });
    let each = each.map(|(way, queue_type)| async move {
        let (attempts, subscription) = (Attempts::new(), subscription("failing"));
        let seen = attempts.clone();
        let fail = move |_ctx: Context, message: Incoming<Message>| {
            seen.see(&message);
            async { Err::<(), Failure>(std::io::Error::other("never").into()) }
        };
        let broker = shared_broker().queue_type(queue_type);
        let sink = sink(&broker).await;
        let consumer = Consumer::new(subscription.clone(), fail).retry(way.clone());
        let consumer = running(consumer, broker).await;
        fill(&*sink, subscription.queue(), ["poison".to_owned()]).await;
        let seen = attempts.until(|seen| seen.len() >= TIMES as usize).await;
        // A backoff is between its half and all of it.
        for pair in seen.windows(2) {
            assert!(pair[1].at - pair[0].at >= pause / 2, "{way:?}, {queue_type:?}: {pair:?}");
        }
        assert!(seen.iter().all(|seen| seen.redeliveries == 0), "{queue_type:?}: {seen:?}");
        let buried = async {
            while consumer.tally().dead_lettered == 0 {
                tokio::task::yield_now().await
            }
        };
        soon("it is a dead letter", buried).await;
    });
    futures_util::future::join_all(each).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_all_of_whose_messages_fail_leaves_them_at_the_broker_until_one_succeeds() {
    const MESSAGES: u32 = 40;
    let (broker, subscription) = (shared_broker(), subscription("switched"));
    let (attempts, fails) = (Attempts::new(), Arc::new(AtomicBool::new(true)));
    let (seen, failing) = (attempts.clone(), Arc::clone(&fails));
    let handle = move |_ctx: Context, message: Incoming<Message>| {
        seen.see(&message);
        let fails = failing.load(Ordering::SeqCst);
        async move {
            match fails {
                true => Err(Failure::from(std::io::Error::other("the shop is down"))),
                false => Ok(()),
            }
        }
    };
    let sink = sink(&broker).await;
    let switch = KillSwitch::default().at_least(4).pause(Duration::from_millis(300));
    let consumer = Consumer::new(subscription.clone(), handle).concurrency(2);
    let consumer = consumer.kill_switch(switch).retry(policy(1_000, Duration::from_millis(50)));
    let consumer = running(consumer, broker).await;
    let texts = (0..MESSAGES).map(|number| number.to_string());
    fill(&*sink, subscription.queue(), texts).await;
    let suspended = consumer.wait_for(|status| status.suspended_until.is_some());
    soon("nothing is taken", suspended).await.unwrap();
    // All but what it had in hand is there for others, and after a pause it tries one.
    let foreigner = Foreigner::at(&shared()).await;
    let given_back = async { while foreigner.look(subscription.queue()).await.0 < MESSAGES - 8 {} };
    soon("they are given back", given_back).await;
    let before = attempts.until(|_| true).await.len();
    attempts.until(|seen| seen.len() > before + 1).await;
    assert_eq!(consumer.tally().acked, 0);
    fails.store(false, Ordering::SeqCst);
    let all = async {
        while consumer.tally().acked < MESSAGES.into() {
            tokio::task::yield_now().await
        }
    };
    soon("all are handled", all).await;
    assert_eq!(consumer.tally().dead_lettered, 0);
}
