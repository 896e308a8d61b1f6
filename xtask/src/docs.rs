//! `cargo xtask docs`: the API's pages and the book.

use clap::Args;

use crate::failure::Failure;
use crate::kafka;
use crate::run::{cargo, command, root, run};
use crate::tools;

/// Builds the API documentation without a warning, and the book.
#[derive(Args)]
pub(crate) struct Docs {}

impl Docs {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        kafka::ensure_client()?;
        let scope = ["doc", "--workspace", "--no-deps", "--all-features", "--locked"];
        run(cargo(&scope).env("RUSTDOCFLAGS", "-D warnings"))?;
        if root().join("docs/book.toml").exists() {
            run(command(tools::mdbook()?).args(["build", "docs"]))?;
        }
        Ok(())
    }
}
