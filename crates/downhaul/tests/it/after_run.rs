//! Signals that come when an app is over. Each test runs itself again as the process that they end.

use std::env::{current_exe, var_os};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use downhaul::{App, BoxError, Job};
use tokio::runtime::{Builder, Runtime};

/// Says to a process that it is the one that gets the signals.
const RUNS: &str = "DOWNHAUL_TEST_RUNS";

/// What it says when it is to get one.
const NOW: &str = "send it now";

/// A process of one test.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Runs the test of this name again, and waits until it may get a signal.
    fn of(name: &str) -> Self {
        let mut again = Command::new(current_exe().unwrap());
        again.args(["--exact", &format!("after_run::{name}"), "--nocapture"]).env(RUNS, "1");
        let mut child = again.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(NOW) {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended before");
        }
        Self { child, output }
    }

    /// Sends it SIGTERM, and waits for its exit code.
    fn terminated(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        drop(self.output);
        code
    }
}

/// An app that has nothing to do.
fn idle(name: &str) -> App {
    let mut app = App::new(name);
    app.add("job", Job::new(|_ctx| async { Ok::<_, BoxError>(()) }), []);
    app
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs an app to its end.
async fn run_to_its_end(app: App) {
    let handle = app.handle();
    let running = tokio::spawn(app.run());
    assert!(handle.ready().await);
    handle.stop_app("enough").await;
    running.await.unwrap().assert_clean();
}

#[test]
fn a_signal_that_comes_when_the_app_is_over_ends_the_process() {
    if var_os(RUNS).is_none() {
        let process = Process::of("a_signal_that_comes_when_the_app_is_over_ends_the_process");
        assert_eq!(process.terminated(), Some(143));
        return;
    }
    runtime().block_on(run_to_its_end(idle("over")));
    println!("{NOW}");
    // What a main still does when its runtime is gone, and not for ever.
    std::thread::park_timeout(Duration::from_secs(60));
}

#[test]
fn an_app_that_is_over_keeps_no_signal_from_one_that_runs_on() {
    if var_os(RUNS).is_none() {
        let process = Process::of("an_app_that_is_over_keeps_no_signal_from_one_that_runs_on");
        assert_eq!(process.terminated(), Some(0));
        return;
    }
    runtime().block_on(async {
        let app = idle("runs on");
        let handle = app.handle();
        let running = tokio::spawn(app.run());
        assert!(handle.ready().await);
        run_to_its_end(idle("over")).await;
        println!("{NOW}");
        let report = running.await.unwrap();
        assert_eq!(report.cause, "SIGTERM");
        report.exit()
    });
}
