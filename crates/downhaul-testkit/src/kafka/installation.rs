//! Where the programs are kept.

use std::path::PathBuf;

use super::apache;
use super::kind::Kind;
use crate::error::{NodeError, NodeErrorKind};
use crate::tools;

/// The folder of all brokers: `DOWNHAUL_KAFKA_HOME` if that is set, else `tools/kafka` where cargo
/// builds. In it, `tansu-0.1.2/bin/tansu` is the program of [`Kind::Tansu`], and so on.
pub fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("DOWNHAUL_KAFKA_HOME") {
        return PathBuf::from(home);
    }
    tools::folder().join("kafka")
}

pub(super) fn find(kind: Kind) -> Result<PathBuf, NodeError> {
    let program = kind.program();
    if program.is_file() {
        return Ok(program);
    }
    let text = match kind {
        Kind::Apache => apache::missing(),
        kind => format!(
            "no broker that speaks Kafka's protocol: {} is missing; \
             run `DOWNHAUL_KAFKA_KIND={kind} cargo xtask broker up kafka`",
            program.display()
        ),
    };
    Err(NodeError::new(NodeErrorKind::NotInstalled, text))
}
