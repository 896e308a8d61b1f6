//! [`Side`]: a server in processes of its own, and how they are told what to do.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{collector, served};
use crate::lap::{Lap, Reading, Start};
use crate::tally::{Counter, Tally};

/// Says to a process of ours that it is one side of a case, and which.
const SIDE: &str = "DOWNHAUL_BENCH_SIDE";

/// How many processes a side has, which are asked in turn. Where its memory lies makes one of them
/// up to three percent faster than another that does the same.
const PROCESSES: usize = 7;
/// How many requests a process is asked before it is measured, so that it has started.
const WARM: u32 = 1000;

/// Who answers requests.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Side {
    /// A router of ours on a server of ours.
    Server,
    /// The same as a component of an app, without telemetry.
    App,
    /// The same with telemetry.
    AppTraced,
    /// The same with no spans but those that are kept.
    AppSampled,
    /// axum with what people add to it, and OpenTelemetry.
    AxumTraced,
}

/// The side that this process is, where it is one.
pub(crate) fn asked() -> Option<Side> {
    let name = env::var(SIDE).ok()?;
    Some(Side::from_str(&name, false).expect("a side"))
}

impl Side {
    pub(super) fn start(self) -> Running {
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| self.process()).collect();
        for process in &mut processes {
            let _ = process.round(WARM);
        }
        let processes = processes.into_iter().map(Mutex::new).collect();
        Running { processes, next: AtomicUsize::new(0) }
    }

    /// A process of the program that runs this.
    fn process(self) -> Process {
        let name = self.to_possible_value().expect("it has a name");
        let mut program = Command::new(env::current_exe().expect("this program is a file"));
        program.env(SIDE, name.get_name()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A span of a hundred is kept, and no line is written.
        program.env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        program.env("OTEL_TRACES_SAMPLER_ARG", "0.01");
        program.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector::endpoint());
        program.env("RUST_LOG", "off");
        let mut child = program.spawn().expect("this program starts");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Process { child, input, output }
    }

    /// What such a process does: a round for each line that it reads.
    pub(crate) fn serve(self, counter: Option<Counter>) -> ExitCode {
        add_an_idle_thread();
        let wire = served::wire(self);
        for line in io::stdin().lines() {
            let turns = line.expect("it is text").parse().expect("a number of turns");
            let lap = Lap { turns, start: &Start::of(1), counter };
            let Reading { spent, tally, .. } = wire.ask(&lap);
            let Tally { allocations, allocated, freed } = tally;
            println!("{} {allocations} {allocated} {freed}", spent.as_nanos());
        }
        ExitCode::SUCCESS
    }
}

/// Makes this process one of two threads. While there is only one, glibc leaves out what keeps
/// threads apart (`SINGLE_THREAD_P`), in each allocation too: no server on a runtime of several
/// threads has that, and no side whose spans are exported.
fn add_an_idle_thread() {
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
}

/// A side that waits to be asked. It ends with this.
pub(super) struct Running {
    processes: Vec<Mutex<Process>>,
    next: AtomicUsize,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// One request a turn, after another.
    pub(super) fn ask(&self, lap: &Lap<'_>) -> Reading {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.processes.len();
        self.processes[nth].lock().unwrap_or_else(PoisonError::into_inner).ask(lap)
    }
}

impl Process {
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    fn ask(&mut self, lap: &Lap<'_>) -> Reading {
        let from = Instant::now();
        let [spent, allocations, allocated, freed] = self.round(lap.turns);
        let tally = Tally { allocations, allocated, freed };
        Reading { from, spent: Duration::from_nanos(spent), operations: lap.turns, tally }
    }

    /// What it prints of a round.
    fn round(&mut self, turns: u32) -> [u64; 4] {
        writeln!(self.input, "{turns}").expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let figures: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        figures.try_into().unwrap_or_else(|_| panic!("it did not do its round: {line:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
