//! `cargo xtask soak`: random operations on one tree from all cores, for as long as you like.

use clap::Args;

use crate::failure::Failure;
use crate::run::cargo;
use crate::tally::Tally;

/// Runs the stress test of downhaul-context for longer than the second that it takes among others.
///
/// It prints the seed that it begins with and, where a round fails, the seed of that round.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// What the threads do follows from it; another one each time without it.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Soak {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let scope = ["test", "--package", "downhaul-context", "--test", "it", "--release"];
        let mut stress = cargo(&scope);
        stress.args(["--locked", "--", "stress::", "--nocapture"]);
        stress.env("DOWNHAUL_SOAK_SECONDS", self.seconds.to_string());
        if let Some(seed) = self.seed {
            stress.env("DOWNHAUL_SOAK_SEED", seed.to_string());
        }
        Tally::proof("soak", &mut stress).map(drop)
    }
}
