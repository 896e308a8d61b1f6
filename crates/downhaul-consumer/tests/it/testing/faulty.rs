//! What each fault does, seen from both of its sides.

use std::sync::Arc;

use downhaul_consumer::testing::{Fault, FaultyBroker, Plan};
use downhaul_consumer::{
    Broker, Delivery, Event, MemoryBroker, Message, Outgoing, PublishErrorKind, Publisher, Source,
    Token, Verdict,
};
use downhaul_context::{Context, Instant};
use tokio::time::timeout;

use crate::support::{SECOND, publish, publish_numbers, subscription};

/// A memory broker, one that fails in front of it, and a source of that.
struct Bench {
    memory: MemoryBroker,
    faulty: FaultyBroker,
    source: Box<dyn Source>,
}

impl Bench {
    async fn new() -> Self {
        let memory = MemoryBroker::new();
        let faulty = FaultyBroker::over(Arc::new(memory.clone()));
        let source = faulty.source(&Context::background(), &subscription()).await.unwrap();
        Self { memory, faulty, source }
    }

    async fn reopen(&mut self) {
        let ctx = Context::background();
        self.source = self.faulty.source(&ctx, &subscription()).await.unwrap();
    }

    async fn publish(&self, count: u32) {
        publish_numbers(&self.memory, count).await;
    }

    async fn next(&mut self) -> Vec<Delivery> {
        let mut events = Vec::new();
        self.source.next(&mut events).await.unwrap();
        events.into_iter().filter_map(Event::into_delivery).collect()
    }

    async fn next_ids(&mut self) -> Vec<String> {
        self.next().await.iter().map(|delivery| delivery.message.id().to_owned()).collect()
    }

    async fn ack(&mut self, deliveries: &[Delivery]) -> bool {
        let batch: Vec<_> = deliveries.iter().map(|one| (one.token, Verdict::Ack)).collect();
        self.source.settle(&batch).await.is_ok()
    }

    fn faults(&self) -> Vec<(Fault, String)> {
        let incidents = self.faulty.faults().incidents();
        incidents.into_iter().map(|one| (one.fault, one.messages.join(" "))).collect()
    }

    fn unsettled(&self) -> usize {
        self.memory.depth("q").unsettled
    }

    async fn is_dead(&mut self) -> bool {
        self.source.next(&mut Vec::new()).await.is_err()
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_faults_changes_nothing() {
    let mut bench = Bench::new().await;
    bench.publish(3).await;
    let deliveries = bench.next().await;
    let tokens: Vec<_> = deliveries.iter().map(|one| one.token.number()).collect();
    assert_eq!(tokens, [0, 1, 2]);
    assert!(bench.ack(&deliveries).await);
    assert_eq!((bench.unsettled(), bench.faults()), (0, Vec::new()));
    let again = bench.source.settle(&[(Token::new(1), Verdict::Ack)]).await.unwrap();
    assert_eq!(again.lost, [Token::new(1)]);
    assert_eq!(bench.faulty.capabilities(), bench.memory.capabilities());
}

#[test]
fn incidents_keep_to_the_paused_clock_though_the_broker_was_made_outside_of_it() {
    let faulty = FaultyBroker::over(Arc::new(MemoryBroker::new()));
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let opened = runtime.block_on(async {
        let ctx = Context::background();
        let _source = faulty.source(&ctx, &subscription()).await.unwrap();
        tokio::time::advance(SECOND).await;
        faulty.faults().refuse_openings(1);
        faulty.source(&ctx, &subscription()).await
    });
    assert!(opened.is_err());
    assert_eq!(faulty.faults().incidents()[0].at, SECOND);
}

#[tokio::test(start_paused = true)]
async fn all_links_are_lost_at_once_also_for_who_waits() {
    let mut bench = Bench::new().await;
    bench.publish(2).await;
    assert_eq!(bench.next_ids().await, ["0", "1"]);
    let sink = bench.faulty.sink(&Context::background()).await.unwrap();
    let faults = bench.faulty.faults();
    let lose = async { faults.lose_links() };
    let (dead, ()) = tokio::join!(bench.is_dead(), lose);
    assert!(dead);
    assert_eq!(bench.faults(), [(Fault::LinkLost, "0 1".to_owned())]);
    assert!(sink.send(&Outgoing::to_topic("t", Message::new(""))).await.is_err());
    bench.reopen().await;
    assert_eq!(bench.next_ids().await, ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_link_is_lost_after_so_many_deliveries_or_verdicts() {
    let mut bench = Bench::new().await;
    bench.publish(5).await;
    bench.faulty.faults().lose_link_after_deliveries(2);
    assert_eq!(bench.next_ids().await, ["0", "1"]);
    assert!(bench.is_dead().await);
    assert_eq!(bench.faults(), [(Fault::LinkLost, "0 1".to_owned())]);
    bench.reopen().await;
    let all = bench.next().await;
    bench.faulty.faults().lose_link_after_settlements(3);
    assert!(bench.ack(&all[..1]).await);
    assert!(!bench.ack(&all[1..]).await, "three of five are taken");
    assert_eq!(bench.faults()[1], (Fault::LinkLost, "3 4".to_owned()));
    bench.reopen().await;
    assert_eq!(bench.next_ids().await, ["3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_verdict_did_not_arrive_and_one_that_was_not_answered_did() {
    let mut bench = Bench::new().await;
    bench.publish(2).await;
    let both = bench.next().await;
    bench.faulty.faults().lose_next_settlement();
    assert!(!bench.ack(&both[..1]).await);
    assert_eq!(bench.memory.depth("q").ready, 2);
    assert!(!bench.ack(&both[1..]).await, "the link is lost for good");
    bench.reopen().await;
    let both = bench.next().await;
    bench.faulty.faults().lose_next_settlement_answer();
    assert!(!bench.ack(&both[..1]).await);
    let answer = (Fault::SettlementUnanswered, "1".to_owned());
    assert_eq!(bench.faults(), [(Fault::SettlementLost, "0 1".to_owned()), answer]);
    bench.reopen().await;
    assert_eq!(bench.next_ids().await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_doubled_delivery_is_settled_twice_and_taken_once() {
    let mut bench = Bench::new().await;
    bench.publish(2).await;
    bench.faulty.faults().duplicate_next_delivery();
    let deliveries = bench.next().await;
    let ids: Vec<_> = deliveries.iter().map(|one| one.message.id()).collect();
    assert_eq!(ids, ["0", "0", "1"]);
    let settled = bench.source.settle(&[(deliveries[1].token, Verdict::Ack)]).await.unwrap();
    assert_eq!((settled.lost, bench.unsettled()), (Vec::new(), 2));
    assert!(bench.ack(&deliveries[..1]).await);
    assert_eq!(bench.unsettled(), 1);
    assert_eq!(bench.faults(), [(Fault::Duplicated, "0".to_owned())]);
}

async fn publish_keyed(bench: &Bench, id: &str, key: &str) {
    publish(&bench.memory, Message::new("").with_id(id).with_key(key)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_holds_its_key_and_no_other() {
    let mut bench = Bench::new().await;
    bench.faulty.faults().hold_next_delivery(30 * SECOND);
    for (id, key) in [("a0", "a"), ("a1", "a"), ("b0", "b")] {
        publish_keyed(&bench, id, key).await;
    }
    let began = Instant::now();
    assert_eq!(bench.next_ids().await, ["b0"]);
    publish_keyed(&bench, "a2", "a").await;
    assert_eq!(bench.next_ids().await, ["a0", "a1", "a2"]);
    assert_eq!(began.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_overtaken_by_another_key_or_waits_a_second_for_it() {
    let mut bench = Bench::new().await;
    let faults = bench.faulty.faults();
    faults.reorder_next_delivery();
    for (id, key) in [("a0", "a"), ("a1", "a"), ("b0", "b"), ("b1", "b")] {
        publish_keyed(&bench, id, key).await;
    }
    assert_eq!(bench.next_ids().await, ["b0", "b1", "a0", "a1"]);
    faults.reorder_next_delivery();
    publish_keyed(&bench, "a2", "a").await;
    let began = Instant::now();
    assert_eq!(bench.next_ids().await, ["a2"]);
    assert_eq!(began.elapsed(), SECOND);
    faults.hold_next_delivery(30 * SECOND);
    publish_keyed(&bench, "a3", "a").await;
    assert!(timeout(SECOND, bench.next()).await.is_err());
    faults.lose_links();
    assert!(bench.is_dead().await);
    let (_, lost) = bench.faults().pop().unwrap();
    assert!(lost.ends_with("a3"), "what is held back is lost as well: {lost}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_does_not_come_before_a_released_message_of_its_key() {
    let mut bench = Bench::new().await;
    publish_keyed(&bench, "a0", "a").await;
    let first = bench.next().await;
    bench.faulty.faults().hold_next_delivery(30 * SECOND);
    publish_keyed(&bench, "a1", "a").await;
    assert!(timeout(SECOND, bench.next()).await.is_err());
    bench.source.settle(&[(first[0].token, Verdict::Release)]).await.unwrap();
    assert_eq!(bench.next_ids().await, ["a0", "a1"]);
}

#[tokio::test(start_paused = true)]
async fn openings_are_refused_so_many_times() {
    let bench = Bench::new().await;
    let ctx = Context::background();
    bench.faulty.faults().refuse_openings(2);
    assert!(bench.faulty.sink(&ctx).await.is_err());
    let error = bench.faulty.source(&ctx, &subscription()).await.err().unwrap();
    assert!(!error.is_permanent());
    assert!(bench.faulty.source(&ctx, &subscription()).await.is_ok());
    let places: Vec<_> = bench.faulty.faults().incidents();
    assert_eq!((places[0].place.as_deref(), places[1].place.as_deref()), (None, Some("q")));
}

#[tokio::test(start_paused = true)]
async fn publishes_are_refused_lost_and_not_answered() {
    let bench = Bench::new().await;
    let faults = bench.faulty.faults();
    faults.nack_publishes(1);
    faults.lose_publishes(1);
    faults.lose_answers(1);
    let publisher = Publisher::new(Arc::new(bench.faulty.clone()));
    let expected = [
        (Err(PublishErrorKind::Nacked), 0),
        (Err(PublishErrorKind::Unknown), 0),
        (Err(PublishErrorKind::Unknown), 1),
        (Ok(()), 2),
    ];
    for (outcome, there) in expected {
        let outgoing = Outgoing::to_topic("t", Message::new(""));
        let told = publisher.publish(&Context::background(), outgoing).await;
        assert_eq!(told.map_err(|error| error.kind()), outcome);
        assert_eq!(bench.memory.depth("q").ready, there);
    }
    let faults: Vec<_> = bench.faults().into_iter().map(|(fault, _)| fault).collect();
    assert_eq!(faults, [Fault::PublishNacked, Fault::PublishLost, Fault::AnswerLost]);
}

#[tokio::test(start_paused = true)]
async fn sends_and_verdicts_are_slow_until_all_is_well_again() {
    let mut bench = Bench::new().await;
    let faults = bench.faulty.faults();
    faults.slow_sends(2 * SECOND);
    faults.slow_settlements(3 * SECOND);
    let publisher = Publisher::new(Arc::new(bench.faulty.clone()));
    let ctx = Context::background();
    let message = || Outgoing::to_topic("t", Message::new(""));
    let began = Instant::now();
    publisher.publish(&ctx, message()).await.unwrap();
    assert_eq!(began.elapsed(), 2 * SECOND);
    let deliveries = bench.next().await;
    assert!(bench.ack(&deliveries).await);
    assert_eq!(began.elapsed(), 5 * SECOND);
    faults.nack_publishes(1);
    faults.heal();
    publisher.publish(&ctx, message()).await.unwrap();
    assert_eq!((began.elapsed(), faults.incidents().len()), (5 * SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn a_plan_does_the_same_for_the_same_seed_and_hooks_hear_all_of_it() {
    let mut logs = Vec::new();
    for seed in [7, 7, 8] {
        let mut bench = Bench::new().await;
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        let faults = bench.faulty.faults();
        faults.on_incident(move |incident| hear.lock().unwrap().push(incident.clone()));
        faults.follow(Plan::of_everything(seed, 5));
        let publisher = Publisher::new(Arc::new(bench.faulty.clone()));
        for number in 0..100 {
            let message = Message::new("").with_id(number.to_string());
            let outgoing = Outgoing::to_topic("t", message);
            let _ = publisher.publish_until_known(&Context::background(), outgoing).await;
            let mut events = Vec::new();
            if timeout(SECOND, bench.source.next(&mut events)).await.is_ok_and(|next| next.is_err())
            {
                let opened = bench.faulty.source(&Context::background(), &subscription()).await;
                bench.source = opened.unwrap_or(bench.source);
            }
        }
        let incidents = faults.incidents();
        assert_eq!(*heard.lock().unwrap(), incidents);
        let log: Vec<_> = incidents.into_iter().map(|one| (one.fault, one.messages)).collect();
        assert!(log.len() > 50, "{log:?}");
        logs.push(log);
    }
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
}
