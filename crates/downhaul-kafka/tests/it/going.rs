//! What is finished of partitions before they go, so that nothing that was finished comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Failure, Incoming, Message, State};
use downhaul_context::Context;
use tokio::sync::Semaphore;

use crate::support::{Foreigner, shared_broker, soon, spawn, subscription, text, until};

/// Which messages of a partition are slow, or fail at first; the one after each is of its key.
const FIRST: usize = 0;
const LAST: usize = 12;

#[derive(Clone)]
struct Work {
    /// Lets the slow ones end. `None` if they fail at first instead.
    open: Option<Arc<Semaphore>>,
    /// How often each message was handled to its end, and by whom.
    handled: Arc<Mutex<BTreeMap<String, Vec<&'static str>>>>,
}

impl Work {
    fn new(open: Option<&Arc<Semaphore>>) -> Self {
        Self { open: open.cloned(), handled: Arc::default() }
    }

    fn consumer(&self, name: &'static str, queue: &downhaul_consumer::Subscription) -> Consumer {
        let work = self.clone();
        let handle = move |ctx: Context, message: Incoming<Message>| {
            let work = work.clone();
            async move {
                let is_slow = [FIRST, LAST].contains(&number(&message.body));
                match &work.open {
                    Some(open) if is_slow => ctx.run(open.acquire()).await??.forget(),
                    None if is_slow && message.attempt() == 1 => {
                        return Err(Failure::retry_after(Duration::from_millis(300), "not yet"));
                    }
                    _ => {}
                }
                let id = text(&message.body);
                work.handled.lock().unwrap().entry(id).or_default().push(name);
                Ok(())
            }
        };
        let line = |message: &Message| {
            let (partition, number) =
                (text(message).split_once('/')?.0.to_owned(), number(message));
            let is_behind = [FIRST + 1, LAST + 1].contains(&number);
            Some((partition, number - usize::from(is_behind)))
        };
        Consumer::new(queue.clone(), handle).named(name).ordered_by(line)
    }

    fn count(&self) -> usize {
        self.handled.lock().unwrap().values().map(Vec::len).sum()
    }

    fn assert_once(&self) {
        let handled = self.handled.lock().unwrap();
        let twice: Vec<_> = handled.iter().filter(|(_, by)| by.len() > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

fn number(message: &Message) -> usize {
    text(message).rsplit('/').next().unwrap().parse().unwrap()
}

async fn stop(consumer: &ConsumerHandle) {
    consumer.stop();
    assert_eq!(soon("it stops", consumer.settled()).await, State::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_line_before_finished_messages_is_finished_before_its_partition_goes() {
    let (foreigner, queue) = (Foreigner::shared(), subscription("line"));
    foreigner.make(&[queue.queue()], 2).await;
    let open = Arc::new(Semaphore::new(0));
    let work = Work::new(Some(&open));
    let first = spawn(work.consumer("first", &queue), Arc::new(shared_broker())).await;
    for partition in 0..2 {
        let values = (0..14).map(|number| format!("{partition}/{number}"));
        foreigner.append(queue.queue(), partition, values).await;
    }
    until("those of other keys are handled", async || work.count() == 20).await;
    until("all has arrived", async || first.in_flight().len() == 4 && first.buffered() == 4).await;
    let second = work.consumer("second", &queue);
    let second = second.spawn(&Context::background(), Arc::new(shared_broker()));
    // Behind the last that is begun nothing is finished: by it we know that a partition is to go.
    until("a partition is to go", async || first.tally().released > 0).await;
    open.add_permits(4);
    until("all is handled", async || work.count() >= 28).await;
    until("all is committed", async || {
        let committed = foreigner.committed(queue.queue(), queue.queue(), 2).await;
        committed.values().sum::<i64>() == 28
    })
    .await;
    work.assert_once();
    assert_eq!((first.tally().acked, second.tally().acked), (27, 1));
    assert_eq!(first.tally().released, 1);
    assert_eq!((first.tally().lost, second.tally().lost), (0, 0));
    stop(&first).await;
    stop(&second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_retry_that_finished_messages_lie_behind() {
    let (foreigner, queue) = (Foreigner::shared(), subscription("retry"));
    foreigner.make(&[queue.queue()], 1).await;
    let work = Work::new(None);
    let consumer = spawn(work.consumer("first", &queue), Arc::new(shared_broker())).await;
    let values = (0..LAST).map(|number| format!("0/{number}"));
    foreigner.append(queue.queue(), 0, values).await;
    until("those of other keys are handled", async || work.count() >= 10).await;
    stop(&consumer).await;
    work.assert_once();
    assert_eq!((work.count(), consumer.tally().released), (12, 0));
    assert_eq!(foreigner.committed_of(&queue).await, Some(12));
}
