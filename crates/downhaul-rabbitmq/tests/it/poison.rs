//! A message that brings down whoever handles it.

use std::fs::OpenOptions;
use std::future::pending;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use downhaul_consumer::{Consumer, Incoming, Subscription, Verdict};
use downhaul_context::Context;
use downhaul_rabbitmq::{Queue, RabbitMq, Topology};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use tokio::time::sleep;

use crate::support::{Foreigner, all, fill, shared_broker, sink, soon, source, take, texts};

/// Names the queue that a victim consumes.
const QUEUE: &str = "DOWNHAUL_POISONED_QUEUE";
/// Names the file in which it writes down what it does.
const DIARY: &str = "DOWNHAUL_POISONED_DIARY";
const HARMLESS: usize = 5;
/// After how many deliveries a message is handled alone.
const SUSPECT: u32 = 3;
/// How often RabbitMQ gives a message to somebody again.
const LIMIT: u32 = 4;

fn lost_of(queue: &str) -> String {
    format!("{queue}.lost")
}

fn broker(queue: &str) -> RabbitMq {
    let lost = lost_of(queue);
    let limited = Queue::quorum(queue).delivery_limit(LIMIT).dead_letter_to_queue(&lost);
    let topology = Topology::new().queue(limited).queue(Queue::quorum(lost));
    shared_broker().topology(topology).unwrap()
}

/// This program once more, until it has aborted.
async fn victim(queue: &str, diary: &Path) {
    let mut victim = tokio::process::Command::from(victim_command(queue, diary));
    let status = soon("it aborts", victim.kill_on_drop(true).status()).await.unwrap();
    assert!(!status.success());
}

fn victim_command(queue: &str, diary: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "poison::a_victim_of_another_test", "--ignored"]);
    command.env("DOWNHAUL_AMQP_URL", shared()).env(QUEUE, queue).env(DIARY, diary);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test]
#[ignore = "it is started by another test, and is brought down"]
async fn a_victim_of_another_test() {
    let Ok(queue) = std::env::var(QUEUE) else { return };
    let diary = PathBuf::from(std::env::var(DIARY).unwrap());
    let in_hand = Arc::new(AtomicU32::new(0));
    let handle = move |_ctx: Context, message: Incoming<Bytes>| {
        let (in_hand, diary) = (Arc::clone(&in_hand), diary.clone());
        async move {
            let mut diary = OpenOptions::new().append(true).create(true).open(diary).unwrap();
            let others = in_hand.fetch_add(1, Ordering::SeqCst);
            if message.body == "poison".as_bytes() {
                writeln!(diary, "poison with {others} others").unwrap();
                // tidy: what was handled before is acknowledged meanwhile
                sleep(Duration::from_millis(300)).await;
                std::process::abort();
            }
            if message.redeliveries() < SUSPECT {
                // Still in hand when the poison comes.
                pending().await
            }
            // tidy: if it were not alone, others would begin meanwhile
            sleep(Duration::from_millis(100)).await;
            writeln!(diary, "handled with {others} others").unwrap();
            in_hand.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let consumer = Consumer::new(Subscription::new(queue.clone()), handle).alone_after(SUSPECT);
    consumer.spawn(&Context::background(), Arc::new(broker(&queue))).ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_aborts_the_process_ends_up_alone_and_then_with_the_dead_letters() {
    let (queue, folder) = (unique("poisoned"), tempfile::tempdir().unwrap());
    let (broker, diary) = (broker(&queue), folder.path().join("diary"));
    let sink = sink(&broker).await;
    let harmless = (0..HARMLESS).map(|number| number.to_string());
    fill(&*sink, &queue, harmless.chain(["poison".to_owned()])).await;
    for _ in 0..=LIMIT {
        victim(&queue, &diary).await;
    }
    let mut lost = source(&broker, &Subscription::new(lost_of(&queue))).await;
    let letters = take(&mut *lost, 1).await;
    assert_eq!(texts(&letters), ["poison"]);
    lost.settle(&all(&letters, Verdict::Ack)).await.unwrap();
    assert_eq!(Foreigner::at(&shared()).await.look(&queue).await.0, 0, "all others are handled");

    let diary = std::fs::read_to_string(&diary).unwrap();
    let together = format!("poison with {HARMLESS} others\n").repeat(SUSPECT as usize);
    let apart = "handled with 0 others\n".repeat(HARMLESS) + &"poison with 0 others\n".repeat(2);
    assert_eq!(diary, together + &apart);
}
