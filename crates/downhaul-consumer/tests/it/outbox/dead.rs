//! Messages that are given up.

use std::time::UNIX_EPOCH;

use tokio::time::sleep;

use super::puppet::{Puppet, Say};
use super::*;

#[tokio::test(start_paused = true)]
async fn what_the_broker_will_not_have_is_dead_after_so_many_refusals_and_kept() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("big", ""), ("lost", ""), ("good", "")]);
    let broker = Puppet::new(|id, _| match id {
        "big" => Say::Refuse,
        "lost" => Say::Return,
        _ => Say::Yes,
    });
    let running = Running::start(shop.relay(broker.clone()).refusals(3));
    broker.sent(7).await;
    running.drain().await;
    assert_eq!(shop.counts().await, (0, 0, 2));
    let dead = shop.outbox.dead(9).await.unwrap();
    let told: Vec<_> = dead.iter().map(|row| (row.attempts, row.error.as_str())).collect();
    let big = (3, "the message cannot be sent: it is too large");
    let lost = (3, "no queue takes the message: nobody is bound");
    assert_eq!(told, [big, lost]);
    assert_eq!(dead[0].outgoing.as_ref().unwrap().message.id(), "big");
    assert!(dead[0].since > UNIX_EPOCH);
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_now_is_never_dead() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("id", "")]);
    let broker = Puppet::new(|_, before| match before {
        40 => Say::Yes,
        odd if odd % 2 == 1 => Say::Nack,
        _ => Say::Nothing,
    });
    let running = Running::start(shop.relay(broker.clone()).refusals(1));
    broker.sent(41).await;
    running.drain().await;
    assert_eq!(shop.counts().await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_row_does_not_stop_its_key() {
    let mut shop = Shop::open().await;
    shop.enqueue_many(&["a"], 3);
    let broker = Puppet::new(|id, _| if id == "a0" { Say::Return } else { Say::Yes });
    let running = Running::start(shop.relay(broker.clone()).refusals(2));
    broker.sent(4).await;
    running.drain().await;
    assert_eq!((broker.ids().join(" "), shop.counts().await), ("a0 a0 a1 a2".into(), (0, 0, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_dead_row_stops_its_key_if_it_shall_until_it_is_gone() {
    let mut shop = Shop::open().await;
    shop.outbox = shop.outbox.dead_rows_stop_their_key(true);
    shop.enqueue_many(&["a", "b"], 2);
    let broker = Puppet::new(|id, _| if id == "a0" { Say::Return } else { Say::Yes });
    let running = Running::start(shop.relay(broker.clone()).refusals(1));
    broker.sent(3).await;
    running.drain().await;
    assert_eq!((broker.ids().join(" "), shop.counts().await), ("a0 b0 b1".into(), (1, 0, 1)));

    let running = Running::start(shop.relay(broker.clone()));
    let number = shop.outbox.dead(9).await.unwrap()[0].number;
    assert!(shop.outbox.discard_dead(number).await.unwrap());
    assert!(!shop.outbox.discard_dead(number).await.unwrap());
    broker.sent(4).await;
    running.drain().await;
    assert_eq!((broker.ids().join(" "), shop.counts().await), ("a0 b0 b1 a1".into(), (0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn dead_rows_are_tried_again_when_asked() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", ""), ("two", ""), ("three", "")]);
    let broker = Puppet::new(|_, before| if before == 0 { Say::Return } else { Say::Yes });
    let relay = shop.relay(broker.clone()).refusals(1).poll_interval(3600 * SECOND);
    let running = Running::start(relay);
    broker.sent(3).await;
    shop.until((0, 0, 3)).await;
    let dead = shop.outbox.dead(1).await.unwrap();
    assert!(shop.outbox.retry_dead(dead[0].number).await.unwrap());
    broker.sent(4).await;
    assert!(!shop.outbox.retry_dead(dead[0].number).await.unwrap());
    assert_eq!(shop.outbox.retry_all_dead().await.unwrap(), 2);
    broker.sent(6).await;
    running.drain().await;
    assert_eq!(shop.counts().await, (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_told_of_dead_rows_that_may_be_published_again() {
    let mut shop = Shop::open().await;
    shop.outbox = shop.outbox.dead_rows_stop_their_key(true);
    shop.enqueue(&[("one", "a"), ("two", "a"), ("three", "b")]);
    let is_known = |id: &str, before| before == 0 && id != "two";
    let broker =
        Puppet::new(move |id, before| if is_known(id, before) { Say::Return } else { Say::Yes });
    let relay = shop.relay(broker.clone()).refusals(1).poll_interval(3600 * SECOND);
    let (running, begun) = (Running::start(relay), Instant::now());
    broker.sent(2).await;
    shop.until((1, 0, 2)).await;
    let dead = shop.outbox.dead(9).await.unwrap();
    assert_eq!(
        dead.iter().map(|row| row.key.as_deref()).collect::<Vec<_>>(),
        [Some("a"), Some("b")]
    );
    // Until the relay has looked in vain.
    sleep(10 * SECOND).await; // tidy: on the paused clock
    assert!(shop.outbox.discard_dead(dead[0].number).await.unwrap());
    broker.sent(3).await;
    sleep(10 * SECOND).await; // tidy: on the paused clock
    assert!(shop.outbox.retry_dead(dead[1].number).await.unwrap());
    broker.sent(4).await;
    running.drain().await;
    assert!(begun.elapsed() < 60 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(
        (broker.ids().join(" "), shop.counts().await),
        ("one three two three".into(), (0, 0, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_row_begins_anew_and_rows_that_live_are_left_alone() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("dead", ""), ("alive", "")]);
    let broker = Puppet::new(|id, _| if id == "dead" { Say::Return } else { Say::Nack });
    let running = Running::start(shop.relay(broker.clone()).refusals(2));
    shop.until((1, 0, 1)).await;
    running.drain().await;
    let alive = "SELECT number, attempts FROM downhaul_outbox WHERE dead_at IS NULL";
    let alive = |shop: &Shop| {
        shop.db.query_row(alive, (), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?)))
    };
    let (number, attempts) = alive(&shop).unwrap();
    assert!(attempts > 0);
    let named = number.unsigned_abs();
    assert!(!shop.outbox.discard_dead(named).await.unwrap());
    assert!(!shop.outbox.retry_dead(named).await.unwrap());
    assert_eq!(alive(&shop).unwrap(), (number, attempts));
    assert_eq!(shop.outbox.retry_all_dead().await.unwrap(), 1);
    tokio::time::advance(600 * SECOND).await;
    let rows = shop.outbox.claim(9, SECOND).await.unwrap();
    let tried: Vec<_> = rows.iter().map(|row| (row.attempts, row.refusals)).collect();
    assert_eq!(tried, [(0, 0), (attempts, 0)]);
}
