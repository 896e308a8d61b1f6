//! `cargo xtask ci`: everything that must hold before a change lands, in the order of its cost.

use std::time::Instant;

use clap::Args;

use crate::deny::Deny;
use crate::docs::Docs;
use crate::failure::Failure;
use crate::kafka;
use crate::layers::Layers;
use crate::loom::{self, Loom};
use crate::miri::{self, Miri};
use crate::run::{cargo, run};
use crate::test::Test;
use crate::tidy::Tidy;

/// Runs fmt, clippy, layers, tidy, deny, docs, loom, miri and test, and stops at the first that
/// fails. Without Miri on this machine, miri says so and is left out.
#[derive(Args)]
pub(crate) struct Ci {
    /// Leaves loom, miri and the tests out.
    #[arg(long)]
    quick: bool,
}

type Section = (&'static str, fn() -> Result<(), Failure>);

const CHECKS: [Section; 7] = [
    ("fmt", || run(&mut cargo(&["fmt", "--all", "--check"]))),
    // From here on the whole workspace is built.
    ("libraries", kafka::ensure_client),
    ("clippy", clippy),
    ("layers", || Layers {}.run()),
    ("tidy", || Tidy {}.run()),
    ("deny", || Deny {}.run()),
    ("docs", || Docs {}.run()),
];

const TESTS: [Section; 3] =
    [("loom", || Loom::bounded().run()), ("miri", miri), ("test", || Test::all().run())];

impl Ci {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let tests = TESTS.into_iter().filter(|_| !self.quick);
        CHECKS.into_iter().chain(tests).try_for_each(|(name, section)| timed(name, section))
    }
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for people; nothing decides by it")]
fn timed(name: &str, section: fn() -> Result<(), Failure>) -> Result<(), Failure> {
    eprintln!("==> {name}");
    let start = Instant::now();
    section().map_err(|failure| Failure::new(format!("ci stopped at `{name}`: {failure}")))?;
    eprintln!("==> {name}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn clippy() -> Result<(), Failure> {
    let scope = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked"];
    run(cargo(&scope).args(["--", "-D", "warnings"]))?;
    loom::clippy()
}

/// Not every machine has Miri, and it cannot be had everywhere.
fn miri() -> Result<(), Failure> {
    match miri::ensure() {
        Ok(()) => Miri::bounded().run(),
        Err(missing) => {
            eprintln!("==> miri: skipped, {missing}");
            Ok(())
        }
    }
}
