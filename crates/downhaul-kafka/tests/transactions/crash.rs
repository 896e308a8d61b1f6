//! Whatever crashes, and whenever.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, Failure, Incoming, Message, Outcome, Outgoing, RetryPolicy, Settlement,
};
use downhaul_context::Context;
use downhaul_testkit::kafka::Gap;
use tokio::runtime::Runtime;

use crate::fencing::usurper;
use crate::support::{LONG, Names, asking, lacks, names, once};

const ROUNDS: usize = 50;
/// New messages a round.
const SOME: usize = 20;

/// Numbers that depend on the seed alone (splitmix64).
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// A handler that takes its time, fails in place and parked, and succeeds in the end.
fn consumer(names: &Arc<Names>, chance: &Chance, parks: bool) -> Consumer {
    let (names, seed) = (Arc::clone(names), chance.0);
    let subscription = names.subscription();
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let names = Arc::clone(&names);
        async move {
            let id: u64 = message.id().parse().unwrap();
            let mut chance = Chance(seed ^ id << 8 ^ u64::from(message.attempt()));
            // tidy: handlers take their time, and what takes none cannot be interrupted.
            tokio::time::sleep(Duration::from_millis(chance.next(20))).await;
            let output = Message::identified(message.id(), message.id().to_owned());
            let outcome = Outcome::new(Settlement::Ack)
                .emit(Outgoing::to_topic(names.output.clone(), output));
            match chance.next(10) {
                0 => Err(Failure::retry_after(Duration::ZERO, "in place")),
                1 if parks => Err(Failure::retry_after(Duration::from_millis(30), "parked")),
                2 => Ok(outcome
                    .emit(Outgoing::to_topic(format!("{}-not", names.input), Message::new("")))),
                _ => Ok(outcome),
            }
        }
    };
    let retry = RetryPolicy::default()
        .attempts(1_000)
        .backoff(Duration::from_millis(20), Duration::from_millis(50))
        .in_place_up_to(Duration::from_millis(if parks { 10 } else { 50 }));
    Consumer::new(subscription, handler).retry(retry).concurrency(16)
}

/// One process: begins, and is gone.
fn live(names: &Arc<Names>, chance: &Chance, parks: bool) -> Runtime {
    let runtime = Runtime::new().unwrap();
    let broker: Arc<dyn Broker> = Arc::new(names.often());
    let consumer = consumer(names, chance, parks);
    let _inside = runtime.enter();
    consumer.spawn(&Context::background(), broker);
    runtime
}

/// Ends a process at whatever it is about. What is left of it overlaps with the next one, or has
/// left the group before.
async fn crash(process: Runtime, names: &Names, overlap: bool) {
    if overlap {
        return process.shutdown_background();
    }
    asking(move || process.shutdown_timeout(LONG)).await;
    names.until_all_left().await;
}

async fn a_while(chance: &mut Chance) {
    // tidy: crashes come at any time.
    tokio::time::sleep(Duration::from_millis(200 + chance.next(600))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_leads_to_one_output_whatever_crashes() {
    let seed = std::env::var("DOWNHAUL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("DOWNHAUL_SEED={seed}");
    let (mut chance, names) = (Chance(seed), Arc::new(names()));
    let all = || (0..ROUNDS * SOME).map(|number| number.to_string());
    // Parked retries are read from a topic in which transactions were aborted.
    let parks = !lacks(Gap::AbortedBefore);
    // Who is ended while it joins leaves the group as soon as it is let in, with the next one.
    let overlap = !lacks(Gap::Joining);
    let mut living: Option<Runtime> = None;
    for round in 0..ROUNDS {
        names.publish(all().skip(round * SOME).take(SOME)).await;
        let runtime = living.take().unwrap_or_else(|| live(&names, &chance, parks));
        a_while(&mut chance).await;
        match chance.next(3) {
            // Its transactions end, and it has to begin anew by itself.
            0 => {
                let id = names.id.clone();
                drop(asking(move || usurper(&id)).await);
                living = Some(runtime);
            }
            _ => crash(runtime, &names, overlap).await,
        }
    }
    let last = living.unwrap_or_else(|| live(&names, &chance, parks));
    let expected = once(all());
    let finished = async { while names.seen().await.len() < expected.len() {} };
    let is_finished = tokio::time::timeout(2 * LONG, finished).await.is_ok();
    let group = names.membership().await;
    last.shutdown_background();
    let seen = names.seen().await;
    let missing: Vec<_> = all().filter(|id| !seen.contains_key(id)).collect();
    let twice: Vec<_> = seen.iter().filter(|one| *one.1 > 1).collect();
    // Of a long log all that may be left is the message of the panic.
    let what = format!("DOWNHAUL_SEED={seed}, the group is {group:?}");
    assert!(is_finished && missing.is_empty(), "{what}, lost: {missing:?}");
    assert!(twice.is_empty(), "{what}, more than once: {twice:?}");
}
