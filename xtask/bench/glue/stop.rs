//! Stopping what has nothing to do.

use std::convert::Infallible;

use downhaul::{App, Signal, Task};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::case::{Case, Goal};
use crate::http::wire::runtime;
use crate::lap::{Lap, Reading};
use crate::peers::TRACKER;
use crate::probe::Probe;
use crate::samples::Samples;

const COMPONENTS: usize = 100;

/// 50 ms is what nobody notices at the end of a service.
pub(super) fn cases() -> Vec<Case> {
    let goal = Goal::Nanoseconds(50e6);
    vec![
        Case::new("stop 100 idle components at once", TRACKER, goal, |probe| stop(probe, false)),
        Case::new("stop 100 idle components in turn", TRACKER, goal, |probe| stop(probe, true)),
    ]
}

fn stop(probe: &Probe, in_turn: bool) -> Samples {
    probe.compare(
        |lap| runtime().block_on(app(lap, in_turn)),
        |lap| runtime().block_on(tracker(lap)),
    )
}

async fn app(lap: &Lap<'_>, in_turn: bool) -> Reading {
    let app = of_tasks(in_turn);
    let handle = app.handle();
    let (sender, signals) = mpsc::channel(1);
    let running = tokio::spawn(app.run_with(signals));
    assert!(handle.ready().await, "it starts");
    lap.once_async(1, async || {
        sender.send(Signal::Terminate).await.expect("it runs");
        let report = running.await.expect("nothing panics");
        assert_eq!(report.exit_code(), 0, "{report}");
    })
    .await
}

fn of_tasks(in_turn: bool) -> App {
    let mut app = App::new("bench");
    let mut before = None;
    for number in 0..COMPONENTS {
        let task = Task::new(|ctx| async move {
            ctx.draining().await;
            Ok::<_, Infallible>(())
        });
        let task = app.add(number.to_string(), task, before);
        before = in_turn.then_some(task);
    }
    app
}

async fn tracker(lap: &Lap<'_>) -> Reading {
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    for _ in 0..COMPONENTS {
        tracker.spawn(token.clone().cancelled_owned());
    }
    tracker.close();
    // They wait.
    tokio::task::yield_now().await;
    lap.once_async(1, async || {
        token.cancel();
        tracker.wait().await;
    })
    .await
}
