//! Times ours against its peer, round by round in one process.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask_bench::time()
}
