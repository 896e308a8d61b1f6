//! Many clients that lose their links together: they do not come back together.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Incoming, Link, Message, State};
use downhaul_context::Context;
use downhaul_testkit::proxy::{Cut, Proxy};
use downhaul_testkit::rabbitmq::shared;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{broker_through, proxy_before, soon, subscription};

const CLIENTS: usize = 20;

/// Consumers as of so many programs: each has a connection of its own.
async fn clients(proxy: &Proxy) -> Vec<ConsumerHandle> {
    let accept = |_ctx: Context, _message: Incoming<Message>| async {};
    let spawned: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let consumer = Consumer::new(subscription("herd"), accept);
            consumer.spawn(&Context::background(), Arc::new(broker_through(proxy)))
        })
        .collect();
    let states = soon("they run", join_all(spawned.iter().map(ConsumerHandle::settled))).await;
    assert_eq!(states, [State::Running; CLIENTS]);
    spawned
}

/// How long after the first of the clients the last one comes.
async fn spread(proxy: &Proxy, accepted_before: u64) -> Duration {
    let come = async |count: u64| {
        soon("a client comes", proxy.until(|counts| counts.accepted >= accepted_before + count))
            .await;
        Instant::now()
    };
    let first = come(1).await;
    come(CLIENTS as u64).await - first
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_lose_their_links_at_once_are_not_back_at_once() {
    let proxy = proxy_before(&shared());
    let _clients = clients(&proxy).await;
    let before = proxy.counts().accepted;
    proxy.cut(Cut::Reset);
    let took = spread(&proxy, before).await;
    assert!(took >= Duration::from_millis(125), "all within {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_broker_was_away_do_not_try_in_step() {
    let proxy = proxy_before(&shared());
    let clients = clients(&proxy).await;
    let before = proxy.counts().accepted;
    proxy.refuse();
    proxy.cut(Cut::Reset);
    // From here on, each waits for one to two seconds between its attempts.
    let patient = |link: &Link| matches!(link, Link::Recovering { attempt, .. } if *attempt >= 6);
    let all = clients.iter().map(|client| client.wait_for(|status| patient(&status.link)));
    soon("all wait for long", join_all(all)).await;
    proxy.heal();
    let took = spread(&proxy, before).await;
    assert!(took >= Duration::from_millis(500), "all within {took:?}");
}
