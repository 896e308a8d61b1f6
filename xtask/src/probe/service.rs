//! [`Service`]: a running `orders`, on a broker in memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use crate::failure::Failure;
use crate::run::{cargo, command, run, target};

/// What it says before its address.
const LISTENING: &str = "listening on http://";

/// A running service, killed when dropped.
pub(super) struct Service {
    child: Child,
    address: String,
    /// Reads the log on, so that the service never waits for a reader.
    reader: Option<JoinHandle<()>>,
}

impl Service {
    /// Builds the example and starts it on ports that the system chooses.
    pub(super) fn start() -> Result<Self, Failure> {
        let example = ["build", "--package", "downhaul", "--example", "orders", "--release"];
        run(cargo(&example).args(["--all-features", "--locked"]))?;
        let mut orders = command(target().join("release/examples/orders"));
        orders.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--grace", "30s"]);
        // A line for each of so many requests would be all that is measured.
        orders.env("RUST_LOG", "info,downhaul_http=warn,http=warn");
        let mut child = orders.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut lines = child.stderr.take().into_iter().flat_map(|log| BufReader::new(log).lines());
        let address = lines.by_ref().find_map(|line| address(&line.ok()?));
        let reader = Some(std::thread::spawn(move || lines.for_each(drop)));
        let mut service = Self { child, address: String::new(), reader };
        service.address = address.ok_or_else(|| Failure::new("orders did not say where it is"))?;
        Ok(service)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks it to stop, and returns the first line of its report if it could finish what was begun.
    pub(super) fn stop(mut self) -> Result<String, Failure> {
        run(command("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let out = self.child.stdout.take().into_iter();
        let lines: Vec<_> =
            out.flat_map(|out| BufReader::new(out).lines()).collect::<Result<_, _>>()?;
        let status = self.child.wait()?;
        match lines.first().filter(|_| status.success()) {
            Some(summary) => Ok(summary.clone()),
            None => Err(Failure::new(format!("{status}: {}", lines.join("\n")))),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may be gone already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The address in a line of the log, if it has one.
fn address(line: &str) -> Option<String> {
    let (_, address) = line.split_once(LISTENING)?;
    Some(address.split(char::is_whitespace).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_ends_where_the_line_goes_on() {
        let line = "INFO http: listening on http://127.0.0.1:4567 component=http";
        assert_eq!(address(line).as_deref(), Some("127.0.0.1:4567"));
        assert_eq!(address("INFO ready"), None);
    }
}
