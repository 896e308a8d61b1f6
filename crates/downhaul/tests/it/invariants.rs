//! What holds of any app, whatever its components do: random graphs, behaviours and signals, on a
//! clock that stands still while anybody works.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul::{
    App, AppHandle, BoxError, Component, Context, Ended, Ending, Handle, Outcome, Policy, Report,
    Restart, Signal,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const GRACE: Duration = Duration::from_secs(20);

/// Timers are a millisecond coarse.
const COARSE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
enum Start {
    After(u64),
    Fails,
    Panics,
    Hangs,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Lasts,
    FailsAfter(u64),
    IsDoneAfter(u64),
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    After(u64),
    WithItsContext,
    Panics,
    Hangs,
}

/// How a component behaves, in milliseconds, and what its app does with it.
#[derive(Clone, Debug)]
struct Nature {
    needs: Vec<usize>,
    start: Start,
    work: Work,
    stop: Stop,
    policy: Policy,
}

/// Who is up, and what must not happen and did.
#[derive(Default)]
struct Truth {
    up: BTreeSet<usize>,
    started: BTreeSet<usize>,
    stopped: BTreeSet<usize>,
    /// When the second signal was sent.
    forced: Option<Instant>,
    over: Option<Instant>,
    wrong: Vec<String>,
}

struct Node {
    index: usize,
    nature: Nature,
    dependents: Vec<usize>,
    truth: Arc<Mutex<Truth>>,
}

impl Node {
    fn begins_to_stop(&self) -> Stopping<'_> {
        let mut truth = self.truth.lock().unwrap();
        let early = self.dependents.iter().find(|other| truth.up.contains(other)).copied();
        if let (Some(other), None) = (early, truth.forced) {
            truth.wrong.push(format!("{} stops while {other}, which needs it, is up", self.index));
        }
        truth.up.insert(self.index);
        Stopping(self)
    }
}

/// Whoever waits for a stop to end, or gives it up, counts the component as down.
struct Stopping<'a>(&'a Node);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        let mut truth = self.0.truth.lock().unwrap();
        truth.up.remove(&self.0.index);
        truth.stopped.insert(self.0.index);
    }
}

#[async_trait]
impl Component for Node {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        match self.nature.start {
            // tidy: the clock is paused
            Start::After(time) => sleep(Duration::from_millis(time)).await,
            Start::Fails => return Err("planted".into()),
            Start::Panics => panic!("planted"),
            Start::Hangs => pending().await,
        }
        let mut truth = self.truth.lock().unwrap();
        if let Some(need) = self.nature.needs.iter().find(|need| !truth.up.contains(need)) {
            let wrong = format!("{} is up without {need}, which it needs", self.index);
            truth.wrong.push(wrong);
        }
        truth.up.insert(self.index);
        truth.started.insert(self.index);
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        let _stopping = self.begins_to_stop();
        match self.nature.stop {
            // tidy: the clock is paused
            Stop::After(time) => sleep(Duration::from_millis(time)).await,
            Stop::WithItsContext => drop(ctx.done().await),
            Stop::Panics => panic!("planted"),
            Stop::Hangs => pending().await,
        }
        String::new()
    }

    async fn ended(&self) -> Ended {
        match self.nature.work {
            Work::Lasts => pending().await,
            Work::FailsAfter(time) => {
                // tidy: the clock is paused
                sleep(Duration::from_millis(time)).await;
                Ended::Failed("planted".into())
            }
            Work::IsDoneAfter(time) => {
                // tidy: the clock is paused
                sleep(Duration::from_millis(time)).await;
                Ended::Done
            }
        }
    }

    fn can_restart(&self) -> bool {
        true
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let limit = prop::option::weighted(0.3, 500..3_000_u64);
    (any::<bool>(), prop::option::weighted(0.4, 0..4_u32), limit).prop_map(
        |(essential, restarts, limit)| {
            let policy = if essential { Policy::new() } else { Policy::new().optional() };
            let restart =
                |policy: Policy, attempts| policy.restart(Restart::new().attempts(attempts));
            let policy = restarts.into_iter().fold(policy, restart);
            let limit = limit.map(Duration::from_millis);
            limit.into_iter().fold(policy, Policy::stop_within)
        },
    )
}

fn nature() -> impl Strategy<Value = Nature> {
    let start = prop_oneof![
        12 => (0..3_000_u64).prop_map(Start::After),
        1 => Just(Start::Fails),
        1 => Just(Start::Panics),
        1 => Just(Start::Hangs),
    ];
    let work = prop_oneof![
        4 => Just(Work::Lasts),
        1 => (0..9_000_u64).prop_map(Work::FailsAfter),
        1 => (0..9_000_u64).prop_map(Work::IsDoneAfter),
    ];
    let stop = prop_oneof![
        4 => (0..6_000_u64).prop_map(Stop::After),
        1 => Just(Stop::WithItsContext),
        1 => Just(Stop::Panics),
        1 => Just(Stop::Hangs),
    ];
    (vec(0..8_usize, 0..3), start, work, stop, policy())
        .prop_map(|(needs, start, work, stop, policy)| Nature { needs, start, work, stop, policy })
}

/// A world of components, and a signal after so long, and perhaps a second one.
fn world() -> impl Strategy<Value = (Vec<Nature>, u64, Option<u64>)> {
    let natures = vec(nature(), 1..7).prop_map(|mut natures| {
        for (index, nature) in natures.iter_mut().enumerate() {
            nature.needs.retain(|need| *need < index);
            nature.needs.sort_unstable();
            nature.needs.dedup();
        }
        natures
    });
    (natures, 0..15_000_u64, prop::option::weighted(0.4, 0..12_000_u64))
}

fn app(natures: &[Nature], truth: &Arc<Mutex<Truth>>) -> App {
    let mut app = App::new("shop").grace(GRACE);
    let mut handles: Vec<Handle> = Vec::new();
    for (index, nature) in natures.iter().enumerate() {
        let needs: Vec<Handle> = nature.needs.iter().map(|need| handles[*need]).collect();
        let needs_me = |other: &usize| natures[*other].needs.contains(&index);
        let dependents = (0..natures.len()).filter(needs_me).collect();
        let node = Node { index, nature: nature.clone(), dependents, truth: Arc::clone(truth) };
        let handle = app.add(format!("c{index}"), node, needs);
        app.policy(handle, nature.policy);
        handles.push(handle);
    }
    app
}

/// Looks all the while whether the app is ready only with all that is essential.
async fn look(app: AppHandle, truth: Arc<Mutex<Truth>>) {
    loop {
        let statuses = app.statuses();
        let essential = statuses.iter().enumerate().filter(|(_, status)| status.essential);
        let essential: Vec<usize> = essential.map(|(index, _)| index).collect();
        if app.not_ready().is_none() {
            let mut truth = truth.lock().unwrap();
            if let Some(missing) = essential.iter().find(|part| !truth.up.contains(part)) {
                truth.wrong.push(format!("ready without {missing}"));
            }
        }
        // tidy: the clock is paused
        sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a world, and returns what is reported and what is true.
async fn run(natures: &[Nature], first: u64, second: Option<u64>) -> (Report, Truth) {
    let truth = Arc::<Mutex<Truth>>::default();
    let app = app(natures, &truth);
    let looking = tokio::spawn(look(app.handle(), Arc::clone(&truth)));
    let (signals, receiver) = mpsc::channel(2);
    let forcing = Arc::clone(&truth);
    let signalling = tokio::spawn(async move {
        // tidy: the clock is paused
        sleep(Duration::from_millis(first)).await;
        signals.send(Signal::Terminate).await.ok();
        let Some(second) = second else { return pending::<()>().await };
        // tidy: the clock is paused
        sleep(Duration::from_millis(second)).await;
        forcing.lock().unwrap().forced = Some(Instant::now());
        signals.send(Signal::Terminate).await.ok();
        pending().await
    });
    let report = app.run_with(receiver).await;
    // What was left behind is dropped with the app, by its own task.
    tokio::task::yield_now().await;
    looking.abort();
    signalling.abort();
    let mut truth = std::mem::take(&mut *truth.lock().unwrap());
    truth.over = Some(Instant::now());
    (report, truth)
}

fn check(natures: &[Nature], report: &Report, truth: &Truth) {
    assert_eq!(truth.wrong, Vec::<String>::new());
    // All is over within the grace, and within a second of the second signal.
    assert!(report.took <= GRACE + COARSE, "took {:?}", report.took);
    if let (Some(forced), Some(over), Ending::Forced(_)) =
        (truth.forced, truth.over, &report.ending)
    {
        assert!(over - forced <= Duration::from_secs(1) + COARSE, "{:?}", over - forced);
    }
    // Each component is in the report once.
    let mut names: Vec<_> = report.components.iter().map(|part| part.name.clone()).collect();
    names.sort_unstable();
    assert_eq!(names, (0..natures.len()).map(|index| format!("c{index}")).collect::<Vec<_>>());
    // What was started was stopped, and nothing else was; what is said to be down is.
    assert_eq!(truth.started, truth.stopped);
    for part in &report.components {
        let index: usize = part.name[1..].parse().unwrap();
        let down = matches!(part.outcome, Outcome::Stopped | Outcome::NotRunning);
        assert!(!down || !truth.up.contains(&index), "{} still runs", part.name);
        let stopped = part.outcome != Outcome::NotRunning;
        assert!(stopped || !truth.started.contains(&index), "{} had started", part.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn order_and_budget_are_kept_and_the_report_is_true(
        (natures, first, second) in world()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (report, truth) = runtime.block_on(run(&natures, first, second));
        check(&natures, &report, &truth);
    }
}
