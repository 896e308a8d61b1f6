//! The measurements behind `cargo xtask bench`. One file per area.

mod compare;
mod context;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Row;

/// Measures ours against its peer, round by round in one process.
#[derive(Parser)]
struct Cli {
    /// Only these areas; all without one.
    areas: Vec<String>,
    /// Also writes the rows to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

type Area = (&'static str, fn() -> Vec<Row>);

const AREAS: [Area; 1] = [("context", context::rows)];

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(unknown) = cli.areas.iter().find(|name| AREAS.iter().all(|area| area.0 != **name)) {
        let known = AREAS.map(|area| area.0).join(", ");
        eprintln!("error: no area `{unknown}`; there is {known}");
        return ExitCode::FAILURE;
    }
    let wanted =
        |area: &&Area| cli.areas.is_empty() || cli.areas.iter().any(|name| *name == area.0);
    let rows: Vec<_> = AREAS.iter().filter(wanted).flat_map(|area| (area.1)()).collect();
    report::print(&rows);
    if let Some(path) = &cli.json
        && let Err(error) = std::fs::write(path, report::json(&rows))
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if rows.iter().all(Row::ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
