//! What the two programs do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

use crate::areas::Areas;
use crate::case::Case;
use crate::glue;
use crate::memory::Memory;
use crate::probe::Probe;
use crate::report;
use crate::row::Row;
use crate::samples::Samples;
use crate::tally::Counter;

/// Counts what ours and its peer allocate, and prints it as JSON.
#[derive(Parser)]
struct CountCli {
    #[command(flatten)]
    areas: Areas,
}

/// Times ours against its peer, round by round in one process.
#[derive(Parser)]
struct TimeCli {
    #[command(flatten)]
    areas: Areas,
    /// What was counted before.
    #[arg(long, value_name = "FILE")]
    memory: PathBuf,
    /// Also writes the rows to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The program that counts: prints the memory of the chosen cases, read from `counter`.
pub fn count(counter: Counter) -> ExitCode {
    if let Some(side) = glue::asked() {
        return side.serve(Some(counter));
    }
    let cases = match CountCli::parse().areas.cases() {
        Ok(cases) => cases,
        Err(error) => return fail(&error),
    };
    let probe = Probe::counting(counter);
    let entry = |(area, case): &(&str, Case)| Memory::entry(area, case, &(case.measure)(&probe));
    println!("{}", cases.iter().map(entry).collect::<Value>());
    ExitCode::SUCCESS
}

/// The program that takes the time: prints all rows of the chosen cases, and fails if one misses
/// its target.
pub fn time() -> ExitCode {
    if let Some(side) = glue::asked() {
        return side.serve(None);
    }
    let cli = TimeCli::parse();
    let inputs = cli.areas.cases().and_then(|cases| Ok((cases, read(&cli.memory)?)));
    let (cases, memory) = match inputs {
        Ok(inputs) => inputs,
        Err(error) => return fail(&error),
    };
    let row = |(area, case)| Row {
        area,
        case,
        times: times(&case),
        memory: Memory::find(&memory, area, &case),
    };
    let rows: Vec<_> = cases.into_iter().map(row).collect();
    report::print(&rows);
    if let Some(path) = &cli.json
        && let Err(error) = fs::write(path, report::json(&rows))
    {
        return fail(&format!("{}: {error}", path.display()));
    }
    if rows.iter().all(Row::ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Nothing where it is not time that counts.
fn times(case: &Case) -> Samples {
    match case.goal.is_live() {
        true => Samples { ours: Vec::new(), peer: Vec::new() },
        false => (case.measure)(&Probe::timing(case.threads)),
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let name = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| name(&error))?;
    serde_json::from_str(&text).map_err(|error| name(&error))
}

fn fail(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
