//! What the service says at its end.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use downhaul::consumer::MemoryBroker;
use downhaul::{Ending, Report};

use crate::shop::Stats;

/// The report, on stdout; why it did not start, on stderr. Nobody may be there to read it, which
/// changes nothing.
pub(crate) fn print(report: &Report) {
    let _ = match report.ending {
        Ending::NotStarted(_) => writeln!(io::stderr(), "{report}"),
        _ => writeln!(io::stdout(), "{report}"),
    };
}

/// What was asked for instead of a run. Nobody may be there to read it.
pub(crate) fn say(words: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stdout(), "{words}");
    ExitCode::SUCCESS
}

/// One line that says why there is no service.
pub(crate) fn cannot_start(error: &dyn Error) -> ExitCode {
    let mut text = format!("orders cannot start: {error}");
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// Accounts for every order that was accepted. What is pending is in a queue of the broker, or in
/// doubt, and then the report names it.
pub(crate) fn account(stats: &Stats, memory: Option<&MemoryBroker>) -> String {
    let Stats { pending, confirmed, rejected, .. } = stats;
    let orders = format!("orders: {confirmed} confirmed, {rejected} rejected, {pending} pending");
    match memory {
        None => orders,
        Some(memory) => format!("{orders}; {}", left_in(memory)),
    }
}

/// What goes with the process: a queue in memory is for trying things out.
fn left_in(memory: &MemoryBroker) -> String {
    let queues = memory.queues().into_iter().map(|queue| (memory.depth(&queue), queue));
    let left = queues.map(|(depth, queue)| (depth.ready + depth.delayed + depth.unsettled, queue));
    let left: Vec<_> = left
        .filter(|(count, _)| *count > 0)
        .map(|(count, queue)| format!("{count} in `{queue}`"))
        .collect();
    if left.is_empty() {
        return "all queues empty".to_owned();
    }
    format!("left in queues, and lost with the memory: {}", left.join(", "))
}
