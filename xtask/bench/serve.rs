//! Serves over TCP what the bench serves in memory, for a load from outside.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask_bench::serve()
}
