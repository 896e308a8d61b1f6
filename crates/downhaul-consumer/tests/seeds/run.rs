//! [`run`]: plays a scene to its end and says what it broke.

use std::collections::HashSet;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::Duration;

use downhaul_consumer::testing::{Fault, Faults, FaultyBroker, Incident};
use downhaul_consumer::{
    Batches, Broker, Consumer, ConsumerHandle, Incoming, MemoryBroker, Message, Outgoing,
    Publisher, QueueDepth, State, Subscription, headers,
};
use downhaul_context::Context;
use downhaul_testkit::oracle::{Cause, End, Ending, Oracle, Record, Report};
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::operator::Operator;
use crate::scene::Scene;
use crate::work::{PLANTED, Work};

const QUEUE: &str = "q";
/// How long everything may take once the faults are healed.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a run has shown.
pub(crate) struct Outcome {
    scene: String,
    pub(crate) report: Report,
    /// What is wrong and no line of the oracle's log.
    pub(crate) wrongs: Vec<String>,
    pub(crate) incidents: Vec<Incident>,
    /// All that happened, a line each.
    pub(crate) trace: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_clean(&self) -> bool {
        self.report.is_clean() && self.wrongs.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.scene, self.report)?;
        self.wrongs.iter().try_for_each(|wrong| write!(f, "\n{wrong}"))
    }
}

/// Plays a scene. The same one gives the same outcome.
pub(crate) fn run(scene: &Scene) -> Outcome {
    be_silent_about_planted_panics();
    let _watch = watch(scene.seed);
    // Of this thread: the jitter of backoffs.
    fastrand::seed(scene.seed);
    let play = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(Stage::new(scene).play())
    };
    let played = catch_unwind(AssertUnwindSafe(play));
    played.unwrap_or_else(|panic| {
        eprintln!("DOWNHAUL_SEED={}", scene.seed);
        panic::resume_unwind(panic)
    })
}

/// Ends the process if a run takes a minute of real time: its clock stands still, and no timeout of
/// its own would come.
fn watch(seed: u64) -> mpsc::Sender<()> {
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("DOWNHAUL_SEED={seed} runs round in circles");
            std::process::abort();
        }
    });
    sender
}

fn be_silent_about_planted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(PLANTED) {
                loud(info);
            }
        }));
    });
}

struct Stage<'a> {
    scene: &'a Scene,
    rng: Rng,
    memory: MemoryBroker,
    faults: Faults,
    broker: Arc<dyn Broker>,
    oracle: Oracle,
    work: Work,
}

impl<'a> Stage<'a> {
    fn new(scene: &'a Scene) -> Self {
        let memory = MemoryBroker::new();
        let faulty = FaultyBroker::over(Arc::new(memory.clone()));
        let (faults, broker) = (faulty.faults(), Arc::new(faulty));
        let (oracle, work) = (Oracle::new(), Work::new(scene.seed));
        let rng = Rng::with_seed(scene.seed.wrapping_add(1));
        Self { scene, rng, memory, faults, broker, oracle, work }
    }

    async fn play(mut self) -> Outcome {
        let (ctx, canceller) = Context::root();
        self.tell_causes();
        let consumer = self.start(&ctx).await;
        self.faults.follow(self.scene.plan());
        let mut busy = JoinSet::new();
        for key in ["a", "b", "c", ""] {
            busy.spawn(self.publisher(key).work());
        }
        busy.spawn(self.operator(&consumer).work());
        let mut wrongs = Vec::new();
        if timeout(PATIENCE, busy.join_all()).await.is_err() {
            wrongs.push("those who publish have not come to their end".to_owned());
        }
        wrongs.extend(self.heal(&consumer).await);
        canceller.cancel();
        if timeout(PATIENCE, consumer.ended()).await.is_err() {
            wrongs.push(format!("the consumer did not end: {:?}", consumer.snapshot()));
        }
        let letters = self.memory.ready("q.dead");
        letters.iter().for_each(|letter| self.oracle.dead(letter));
        wrongs.extend(letters.iter().filter_map(died_of_us));
        wrongs.extend(self.work.wrongs());
        wrongs.extend(self.handled_again_although_it_was_seen());
        self.outcome(wrongs)
    }

    async fn start(&self, ctx: &Context) -> ConsumerHandle {
        let (work, queue) = (self.work.clone(), Subscription::new(QUEUE).topic("t"));
        let consumer = match self.scene.batch {
            Some(most) => self.batches(Batches::of(most).within(Duration::from_millis(30))),
            None => {
                let handle = move |ctx, message| work.clone().handle(ctx, message);
                Consumer::new(queue, self.oracle.observe(QUEUE, handle))
            }
        };
        let broker = (self.scene.wrap)(Arc::clone(&self.broker));
        let consumer = self.scene.consumer(consumer).spawn(ctx, broker);
        assert_eq!(consumer.settled().await, State::Running);
        consumer
    }

    fn batches(&self, batches: Batches) -> Consumer {
        let (work, oracle) = (self.work.clone(), self.oracle.clone());
        let handle = move |ctx: Context, batch: Vec<Incoming<Message>>| {
            let begin =
                |one: &Incoming<Message>| oracle.begin(QUEUE, one.id(), one.key(), one.attempt());
            let handlings: Vec<_> = batch.iter().map(begin).collect();
            let work = work.clone();
            async move {
                let each = batch.into_iter().map(|one| work.clone().handle(ctx.clone(), one));
                let outcomes = join_all(each).await;
                handlings
                    .into_iter()
                    .zip(&outcomes)
                    .for_each(|(one, outcome)| one.end(outcome.end()));
                outcomes
            }
        };
        Consumer::batches(Subscription::new(QUEUE).topic("t"), batches, handle)
    }

    /// Tells the oracle of what lets messages come again.
    fn tell_causes(&self) {
        let (oracle, explained) = (self.oracle.clone(), Mutex::new(HashSet::new()));
        self.faults.on_incident(move |incident| {
            let of_engine = incident.place.as_deref().is_some_and(|place| place != "t");
            match incident.fault {
                Fault::LinkLost | Fault::SettlementLost | Fault::SettlementUnanswered => {
                    let mut explained = explained.lock().unwrap();
                    let (begun, others): (Vec<_>, Vec<_>) =
                        incident.messages.iter().partition(|id| {
                            let copies =
                                incident.messages.iter().filter(|other| other == id).count();
                            let latest = latest_handlings(&oracle, id, copies);
                            latest.into_iter().any(|number| explained.insert(number))
                        });
                    // Of those that are not, some begin before the engine hears of it.
                    let unsettled = u32::try_from(others.len()).unwrap();
                    oracle.log(Cause::LinkLost { instance: QUEUE.to_owned(), unsettled });
                    for id in begun {
                        oracle.log(Cause::SettlementLost { id: id.clone() });
                    }
                }
                Fault::Duplicated => again(&oracle, incident),
                // A retry or a dead letter that is there, and its message is given back.
                Fault::AnswerLost if of_engine => again(&oracle, incident),
                _ => {}
            }
        });
    }

    fn publisher(&mut self, key: &'static str) -> Sender {
        let publisher = self.oracle.publisher(Arc::clone(&self.broker));
        Sender { rng: self.rng.fork(), oracle: self.oracle.clone(), publisher, key }
    }

    fn operator(&mut self, consumer: &ConsumerHandle) -> Operator {
        Operator {
            rng: self.rng.fork(),
            consumer: consumer.clone(),
            memory: self.memory.clone(),
            faults: self.faults.clone(),
            most: self.scene.most,
        }
    }

    /// Takes all faults away and waits until nothing is left to do. Returns what is wrong.
    async fn heal(&mut self, consumer: &ConsumerHandle) -> Option<String> {
        self.faults.heal();
        self.memory.set_reachable(true);
        consumer.start();
        let last = self.publisher("last");
        if self.rng.bool() {
            self.memory.cut();
        }
        let drained = async {
            last.work().await;
            while self.memory.depth(QUEUE) != QueueDepth::default() {
                sleep(Duration::from_millis(100)).await; // tidy: the clock is paused
            }
            consumer.drain();
            consumer.settled().await
        };
        match timeout(PATIENCE, drained).await {
            Ok(_) => None,
            Err(_) => {
                let (depth, snapshot) = (self.memory.depth(QUEUE), consumer.snapshot());
                Some(format!("it does not go on: {depth:?}, {snapshot:?}"))
            }
        }
    }

    /// Where duplicates are told, what was done is not handled any more.
    fn handled_again_although_it_was_seen(&self) -> Vec<String> {
        let (mut done, mut wrongs) = (HashSet::new(), Vec::new());
        for record in self.oracle.records().unwrap() {
            match record {
                Record::Ended { id, end: End::Acked | End::Dropped, .. } => drop(done.insert(id)),
                Record::Began { id, .. } if self.scene.inbox.is_some() && done.contains(&id) => {
                    wrongs.push(format!("{id}: handled, though it was marked as done"));
                }
                _ => {}
            }
        }
        wrongs
    }

    fn outcome(&self, wrongs: Vec<String>) -> Outcome {
        let report = self.oracle.check(&self.scene.promises());
        let incidents = self.faults.incidents();
        let records = self.oracle.records().unwrap();
        let trace = records.iter().map(|record| format!("{record:?}"));
        let trace = trace.chain(incidents.iter().map(ToString::to_string)).collect();
        Outcome { scene: format!("{:?}", self.scene), report, wrongs, incidents, trace }
    }
}

fn again(oracle: &Oracle, incident: &Incident) {
    oracle.log(Cause::PublishUnanswered { id: incident.messages[0].clone() });
}

/// What is wrong with a dead letter whose last failure was that the consumer stopped.
fn died_of_us(letter: &Message) -> Option<String> {
    let reason = letter.headers().get(headers::DEAD_REASON)?;
    let of_us = ["drain grace", "operator"].iter().any(|words| reason.contains(words));
    of_us.then(|| format!("{}: a dead letter by our own cancelling: {reason}", letter.id()))
}

/// The latest handlings of a message, of which there are so many copies, without those that have
/// released it, which are causes by themselves. One that failed may have left a parked retry or a
/// dead letter behind, beside what comes again.
fn latest_handlings(oracle: &Oracle, id: &str, copies: usize) -> Vec<u64> {
    let (mut all, mut released) = (Vec::new(), HashSet::new());
    for record in oracle.records().unwrap() {
        match record {
            Record::Began { number, id: of, .. } if of == id => all.push(number),
            Record::Ended { number, end: End::Released, .. } => drop(released.insert(number)),
            _ => {}
        }
    }
    let latest = all.into_iter().rev().take(copies);
    latest.filter(|number| !released.contains(number)).collect()
}

/// Publishes messages of one key, each when the one before is known.
struct Sender {
    rng: Rng,
    oracle: Oracle,
    publisher: Publisher,
    /// Empty for messages without a key.
    key: &'static str,
}

impl Sender {
    async fn work(mut self) {
        for number in 0..self.rng.u32(4..16) {
            let message = match self.key {
                "" => Message::new("").with_id(format!("free/{number}")),
                key => self.oracle.message(key, ""),
            };
            let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(20));
            let outgoing = Outgoing::to_topic("t", message);
            // Whatever it is told is in the log.
            let _ = self.oracle.publish_until_known(&self.publisher, &ctx, outgoing).await;
            let millis = self.rng.u64(0..300);
            if millis > 100 {
                sleep(Duration::from_millis(millis)).await; // tidy: the clock is paused
            }
        }
    }
}
