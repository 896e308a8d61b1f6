//! How an app will start and stop, before it does.

use std::io;
use std::time::Duration;

use downhaul::testing::TestApp;
use downhaul::{App, Job, Policy};

fn job() -> Job {
    Job::new(|_ctx| async { io::Result::Ok(()) })
}

fn within(seconds: u64) -> Policy {
    Policy::new().stop_within(Duration::from_secs(seconds))
}

/// store ← worker ← web, and "side show", which is optional; each with its limit.
fn shop() -> App {
    let mut app = App::new("shop").grace(Duration::from_secs(30));
    let store = app.add("store", job(), []);
    let worker = app.add("worker", job(), [store]);
    let web = app.add("web", job(), [worker, store]);
    let side = app.add("side \"show\"", job(), []);
    app.policy(store, within(2));
    app.policy(worker, within(12));
    app.policy(web, within(5));
    app.policy(side, within(18).optional());
    app
}

#[test]
fn a_plan_adds_up_the_limits_along_the_critical_path() {
    let plan = shop().plan();
    assert_eq!(plan.steps, [vec!["store", "side \"show\""], vec!["worker"], vec!["web"]]);
    assert_eq!(plan.critical_path, ["web", "worker", "store"]);
    // 5 + 12 + 2 s, and a second for control and telemetry.
    assert_eq!((plan.least_grace.as_secs(), plan.worst_case.as_secs()), (20, 20));
    assert_eq!(plan.orchestrator_grace(), Duration::from_secs(22));
}

#[test]
fn without_a_limit_the_worst_case_is_the_whole_grace() {
    let mut app = shop();
    app.add("audit", job(), []);
    let plan = app.plan();
    assert_eq!((plan.least_grace.as_secs(), plan.worst_case.as_secs()), (20, 30));
}

#[test]
fn a_plan_is_printed_with_the_lines_to_paste() {
    let expected = "\
shop starts in 3 steps and stops the other way round:
   1  store, side \"show\"
   2  worker
   3  web
critical path of the stop: web, worker, store
worst case: 20s of a grace of 30s
Kubernetes: terminationGracePeriodSeconds: 22
systemd:    TimeoutStopSec=22";
    assert_eq!(shop().plan().to_string(), expected);
}

#[test]
fn a_plan_is_drawn_by_mermaid_and_graphviz() {
    let plan = shop().plan();
    let mermaid = "\
graph TD
    c0[\"store\"]
    c1[\"worker\"]
    c2[\"web\"]
    c3[\"side #quot;show#quot;\"]
    style c3 stroke-dasharray: 5 5
    c1 --> c0
    c2 --> c0
    c2 --> c1
";
    assert_eq!(plan.mermaid(), mermaid);
    let graphviz = "\
digraph \"shop\" {
    c0 [label=\"store\"];
    c1 [label=\"worker\"];
    c2 [label=\"web\"];
    c3 [label=\"side \\\"show\\\"\", style=dashed];
    c1 -> c0;
    c2 -> c0;
    c2 -> c1;
}
";
    assert_eq!(plan.graphviz(), graphviz);
}

#[tokio::test(start_paused = true)]
async fn a_grace_that_is_too_short_is_refused_at_the_start() {
    let report = TestApp::spawn(shop().grace(Duration::from_secs(15))).ended().await;
    let words = "shop did not start: a grace of 15s is too short: web, worker, store may take 19s \
                 to stop one after another, and 1s are kept for control and telemetry; give at \
                 least 20s with `App::grace`, or less to a component with `Policy::stop_within`";
    assert_eq!(report.to_string(), words);
}

#[test]
fn a_plan_of_nothing_is_a_plan() {
    let plan = App::new("idle").plan();
    assert!(plan.critical_path.is_empty());
    assert_eq!(plan.worst_case, Duration::from_secs(1));
}

#[test]
fn a_name_is_drawn_by_mermaid_as_it_is_written() {
    let mut app = App::new("shop");
    app.add("Cache<Orders> #1; \"#quot;\"", job(), []);
    let label = "[\"Cache#lt;Orders#gt; #35;1; #quot;#35;quot;#quot;\"]";
    assert!(app.plan().mermaid().contains(label), "{}", app.plan().mermaid());
}
