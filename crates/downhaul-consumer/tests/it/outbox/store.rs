//! What the store promises to relays: claims, order, leases, fates.

use downhaul_consumer::outbox::{Fate, Row, RowTicket};
use downhaul_context::RequestId;
use tokio::time::advance;

use super::*;

const LEASE: Duration = Duration::from_secs(20);

fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.outgoing.message.id()).collect()
}

fn retry(after: Duration) -> Fate {
    Fate::Retry { after, error: "no".to_owned(), refused: false }
}

impl Shop {
    async fn claim(&self, limit: usize) -> Vec<Row> {
        self.outbox.claim(limit, LEASE).await.unwrap()
    }

    async fn settle(&self, ticket: RowTicket, fate: Fate) {
        self.outbox.settle(&[(ticket, fate)]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_out_as_it_went_in() {
    let mut shop = Shop::open().await;
    let message = Message::new(vec![0, 159, 146, 150])
        .with_id("'é\n")
        .with_key("k")
        .with_content_type("x/y")
        .with_header("b", "2")
        .with_header("a", "ü");
    let to_queue = Outgoing::to_queue("q", message.clone()).after(Duration::from_micros(1500));
    let tx = shop.db.transaction().unwrap();
    shop.outbox.enqueue(&Context::background(), &tx, &to_queue).unwrap();
    let empty = Outgoing::to_topic("t", Message::new("").with_header("topic", "t"));
    shop.outbox.enqueue(&Context::background(), &tx, &empty).unwrap();
    let no_text = Message::new("").with_key_bytes([0, 255]);
    let no_text = no_text.with_header("schema", [1, 254]);
    let no_text = Outgoing::to_topic("t", no_text).optional();
    shop.outbox.enqueue(&Context::background(), &tx, &no_text).unwrap();
    tx.commit().unwrap();

    let rows = shop.claim(10).await;
    assert_eq!((&rows[0].outgoing, rows[0].key.as_deref()), (&to_queue, Some("k")));
    assert_eq!((&rows[1].outgoing, rows[1].key.as_deref()), (&empty, None));
    assert_eq!((&rows[2].outgoing, rows[2].key.as_deref()), (&no_text, Some(r"\x00\xff")));
    assert!(rows[0].ticket.number < rows[1].ticket.number);
}

#[tokio::test(start_paused = true)]
async fn the_request_id_is_that_of_who_wrote_the_message() {
    let mut shop = Shop::open().await;
    let ctx = Context::background().with_value(RequestId::parse("r-7").unwrap());
    let tx = shop.db.transaction().unwrap();
    shop.outbox.enqueue(&ctx, &tx, &Outgoing::to_topic("t", Message::new(""))).unwrap();
    tx.commit().unwrap();
    let rows = shop.claim(1).await;
    let headers = rows[0].outgoing.message.headers();
    assert_eq!(headers.get("request-id"), Some("r-7"));
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_was_never_there() {
    let mut shop = Shop::open().await;
    let tx = shop.db.transaction().unwrap();
    let outgoing = Outgoing::to_topic("t", Message::new(""));
    shop.outbox.enqueue(&Context::background(), &tx, &outgoing).unwrap();
    drop(tx);
    assert_eq!((shop.claim(1).await, shop.counts().await), (vec![], (0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_claimed_row_is_nobody_elses_until_its_lease_runs_out() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", ""), ("two", "")]);
    let first = shop.claim(1).await;
    assert_eq!((ids(&first), shop.counts().await), (vec!["one"], (1, 1, 0)));
    assert_eq!(ids(&shop.claim(9).await), ["two"]);
    advance(LEASE - Duration::from_millis(1)).await;
    assert_eq!((ids(&shop.claim(9).await), shop.counts().await), (vec![], (0, 2, 0)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(shop.counts().await, (2, 0, 0));
    let again = shop.claim(9).await;
    assert_eq!(ids(&again), ["one", "two"]);
    assert!(again[0].ticket.claim > first[0].ticket.claim);
    assert_eq!(again[0].attempts, 0, "nobody knows that it was tried");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_claimed_by_one_at_a_time_and_from_its_front() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("a0", "a"), ("a1", "a"), ("b0", "b"), ("a2", "a"), ("c", "")]);
    let a0 = shop.claim(1).await;
    assert_eq!(ids(&shop.claim(9).await), ["b0", "c"], "those after a0 wait for it");
    shop.settle(a0[0].ticket, Fate::Confirmed).await;
    assert_eq!(ids(&shop.claim(9).await), ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_held_back_holds_back_its_key_alone() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("a0", "a"), ("a1", "a"), ("b0", "b")]);
    let rows = shop.claim(9).await;
    shop.settle(rows[0].ticket, retry(5 * SECOND)).await;
    shop.settle(rows[1].ticket, Fate::Released).await;
    shop.settle(rows[2].ticket, Fate::Released).await;
    assert_eq!(ids(&shop.claim(9).await), ["b0"]);
    advance(5 * SECOND).await;
    let again = shop.claim(9).await;
    assert_eq!(ids(&again), ["a0", "a1"]);
    assert_eq!((again[0].attempts, again[0].refusals, again[1].attempts), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_confirmation_counts_and_any_other_late_word_does_not() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", ""), ("two", ""), ("three", ""), ("four", "")]);
    let slow = shop.claim(9).await;
    advance(LEASE).await;
    let others = shop.claim(9).await;
    let dead = Fate::Dead { error: "no".to_owned() };
    let late = [Fate::Confirmed, retry(SECOND), Fate::Released, dead];
    for (row, fate) in slow.iter().zip(late) {
        shop.settle(row.ticket, fate).await;
    }
    assert_eq!(shop.counts().await, (0, 3, 0), "the others hold what is not confirmed");
    shop.settle(others[1].ticket, Fate::Released).await;
    let again = shop.claim(9).await;
    assert_eq!((ids(&again), again[0].attempts), (vec!["two"], 0));
}

#[tokio::test(start_paused = true)]
async fn fates_can_be_told_twice() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", ""), ("two", "")]);
    let rows = shop.claim(9).await;
    let fates = [(rows[0].ticket, Fate::Confirmed), (rows[1].ticket, retry(SECOND))];
    for _ in 0..2 {
        shop.outbox.settle(&fates).await.unwrap();
    }
    advance(SECOND).await;
    let again = shop.claim(9).await;
    assert_eq!((ids(&again), again[0].attempts), (vec!["two"], 1));
}

#[tokio::test(start_paused = true)]
async fn the_backlog_tells_its_age() {
    let mut shop = Shop::open().await;
    assert_eq!(shop.backlog().await, Backlog::default());
    shop.enqueue(&[("one", "")]);
    advance(7 * SECOND).await;
    shop.enqueue(&[("two", "")]);
    assert_eq!(shop.backlog().await, Backlog::new(2, 0, 0, Some(7 * SECOND)));
    let rows = shop.claim(1).await;
    shop.settle(rows[0].ticket, Fate::Confirmed).await;
    assert_eq!(shop.backlog().await, Backlog::new(1, 0, 0, Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_is_dead_and_in_nobodys_way() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", "a"), ("two", "a")]);
    let spoil = "UPDATE downhaul_outbox SET envelope = '{' WHERE number = 1";
    shop.db.execute(spoil, ()).unwrap();
    assert_eq!(ids(&shop.claim(9).await), ["two"]);
    assert_eq!(shop.counts().await, (0, 1, 1));
    let dead = shop.outbox.dead(9).await.unwrap();
    assert!(dead[0].outgoing.is_none() && dead[0].error.contains("EOF"), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_outlive_the_process() {
    let mut shop = Shop::open().await;
    shop.enqueue(&[("one", "")]);
    drop(shop.outbox);
    shop.outbox = SqliteOutbox::open(shop.file.path()).await.unwrap();
    assert_eq!(ids(&shop.claim(9).await), ["one"]);
}
