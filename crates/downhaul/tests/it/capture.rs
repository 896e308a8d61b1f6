//! What was logged.

use downhaul_testkit::capture;

/// Keeps what Downhaul logs in this thread while it lives.
pub(crate) struct Capture(capture::Capture);

impl Capture {
    pub(crate) fn start() -> Self {
        Self(capture::Capture::start(|line| line.target().starts_with("downhaul")))
    }

    /// The lines with this in them: the level, then the fields in their order.
    pub(crate) fn lines(&self, what: &str) -> Vec<String> {
        let lines = self.0.lines().into_iter().map(|line| line.text);
        lines.filter(|line| line.contains(what)).collect()
    }
}
