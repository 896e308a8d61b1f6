//! `cargo xtask ci`: everything that must hold before a change lands, in the order of its cost.

use std::time::Instant;

use clap::Args;

use crate::deny::Deny;
use crate::docs::Docs;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::run::{cargo, run};
use crate::test::Test;
use crate::tidy::Tidy;

/// Runs fmt, clippy, layers, tidy, deny, docs and test, and stops at the first that fails.
#[derive(Args)]
pub(crate) struct Ci {
    /// Leaves the tests out.
    #[arg(long)]
    quick: bool,
}

type Section = (&'static str, fn() -> Result<(), Failure>);

const SECTIONS: [Section; 6] = [
    ("fmt", || run(&mut cargo(&["fmt", "--all", "--check"]))),
    ("clippy", clippy),
    ("layers", || Layers {}.run()),
    ("tidy", || Tidy {}.run()),
    ("deny", || Deny {}.run()),
    ("docs", || Docs {}.run()),
];

impl Ci {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let test: Section = ("test", || Test::all().run());
        let sections = SECTIONS.into_iter().chain((!self.quick).then_some(test));
        sections.into_iter().try_for_each(|(name, section)| timed(name, section))
    }
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for people; nothing decides by it")]
fn timed(name: &str, section: fn() -> Result<(), Failure>) -> Result<(), Failure> {
    eprintln!("==> {name}");
    let start = Instant::now();
    section().map_err(|failure| Failure::new(format!("ci stopped at `{name}`: {failure}")))?;
    eprintln!("==> {name}: ok, {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn clippy() -> Result<(), Failure> {
    let scope = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked"];
    run(cargo(&scope).args(["--", "-D", "warnings"]))
}
