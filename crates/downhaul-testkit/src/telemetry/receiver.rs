//! [`Receiver`]: a running collector.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::poll::poll;
use crate::ports::{connect, free};
use crate::unique;

/// A quiet machine needs a moment.
const BOOT: Duration = Duration::from_secs(30);

/// A collector that writes down what it gets; ended when dropped.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    log: PathBuf,
    grpc: u16,
    http: u16,
}

impl Receiver {
    pub(super) fn start(agent: &Path) -> io::Result<Self> {
        let log = std::env::temp_dir().join(unique("rotel"));
        // It takes no port 0 whose number it would tell. Another may take one first, and then the
        // next try has others.
        for _ in 0..5 {
            let [grpc, http] = free()?;
            let child = spawn(agent, grpc, http, &log)?;
            let mut receiver = Self { child, log: log.clone(), grpc, http };
            if receiver.is_up() {
                return Ok(receiver);
            }
        }
        let words = fs::read_to_string(&log).unwrap_or_default();
        Err(io::Error::other(format!("it did not come up: {words}")))
    }

    fn is_up(&mut self) -> bool {
        let listens = |port: u16| connect(port).is_some();
        let up = poll(BOOT, || match self.child.try_wait() {
            Ok(None) => (listens(self.grpc) && listens(self.http)).then_some(true),
            _ => Some(false),
        });
        up == Some(true)
    }

    /// Where it takes OTLP over gRPC.
    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Where it takes OTLP over HTTP.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// What it has written down so far, without colours.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        let text = fs::read_to_string(&self.log)?;
        let mut parts = text.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        let plain = parts.map(|part| part.split_once('m').map_or(part, |(_colour, text)| text));
        Ok(plain.fold(first, |all, part| all + part))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

fn spawn(agent: &Path, grpc: u16, http: u16, log: &Path) -> io::Result<Child> {
    let mut command = Command::new(agent);
    command.args(["start", "--exporter", "blackhole"]);
    command.args(["--debug-log", "traces", "--debug-log", "metrics"]);
    command.args(["--debug-log-verbosity", "detailed"]);
    command.arg("--otlp-grpc-endpoint").arg(format!("127.0.0.1:{grpc}"));
    command.arg("--otlp-http-endpoint").arg(format!("127.0.0.1:{http}"));
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()
}
