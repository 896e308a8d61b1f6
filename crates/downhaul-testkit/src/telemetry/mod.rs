//! What reads telemetry, and nobody here wrote: a receiver of OTLP, and a linter of metrics.

mod promtool;
mod receiver;
mod rotel;

pub use self::promtool::Promtool;
pub use self::receiver::Receiver;
pub use self::rotel::Rotel;
