//! [`Promtool`]: Prometheus's own tool, which says what is wrong with a page of metrics.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::tools;

/// promtool, which `cargo xtask test` takes out of Debian's package.
#[derive(Debug)]
pub struct Promtool {
    program: PathBuf,
}

impl Promtool {
    /// Where the package is laid out, or will be: `tools/prometheus` where cargo builds.
    pub fn home() -> PathBuf {
        tools::folder().join("prometheus")
    }

    /// The tool, if it is there or on the path.
    pub fn find() -> Option<Self> {
        let own = Self::home().join("usr/bin/promtool");
        let works = |program: &PathBuf| {
            let mut version = Command::new(program);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        [own, "promtool".into()].into_iter().find(works).map(|program| Self { program })
    }

    /// What it has to say against a page; nothing if it is as it should be.
    ///
    /// # Errors
    ///
    /// If the tool cannot be run.
    pub fn complaints(&self, page: &str) -> io::Result<String> {
        let mut check = Command::new(&self.program);
        check.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = check.stdin.take() {
            stdin.write_all(page.as_bytes())?;
        }
        let said = check.wait_with_output()?;
        let words = [said.stdout, said.stderr].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        match said.status.success() {
            true => Ok(words),
            false => Ok(format!("{}: {words}", said.status)),
        }
    }
}
