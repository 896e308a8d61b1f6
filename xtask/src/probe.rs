//! `cargo xtask probe`: the example under the tools that others attack servers with.

mod service;
mod witness;

use clap::Args;

use crate::apt;
use crate::failure::Failure;
use crate::run::{command, read_whatever};
use service::Service;
use witness::Witness;

/// Attacks the example `orders` with slowhttptest in its four modes and with h2load, while a client
/// asks on and must be answered. Installs both tools if they are missing.
///
/// Prints a line for each, and fails if any was not withstood.
#[derive(Args)]
pub(crate) struct Probe {
    /// How long each of the slow attacks lasts.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// How many connections each of them holds.
    #[arg(long, value_name = "N", default_value_t = 200)]
    connections: u32,
}

/// The modes of slowhttptest, and what they ask for.
const SLOW: [(&str, &str, &str); 4] = [
    ("slow heads", "-H", "/stats"),
    // Where a body is waited for.
    ("slow bodies", "-B", "/orders"),
    ("many ranges", "-R", "/stats"),
    ("slow reads", "-X", "/stats"),
];

/// Two kinds of clients in a hurry, and how they are asked of h2load.
const FAST: [(&str, &[&str]); 2] =
    [("HTTP/2 in a hurry", &["-m", "50"]), ("HTTP/1.1 in a hurry", &["--h1"])];

/// How many requests such clients make.
const REQUESTS: u32 = 20_000;

impl Probe {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        apt::ensure(&[("slowhttptest", "slowhttptest"), ("h2load", "nghttp2-client")])?;
        let service = Service::start()?;
        let slow = SLOW.map(|(name, mode, path)| (name, self.slow(&service, mode, path)));
        let fast = FAST.map(|(name, options)| (name, hurry(&service, options)));
        let stop = ("a drain afterwards", service.stop());
        let verdicts = slow.into_iter().chain(fast).chain([stop]);
        let failed = verdicts.filter(|(name, verdict)| !is_withstood(name, verdict)).count();
        Failure::of("probe", failed)
    }

    /// slowhttptest has a probe of its own, which must be answered as our client is.
    fn slow(&self, service: &Service, mode: &str, path: &str) -> Result<String, Failure> {
        let witness = Witness::of(service.address());
        let url = format!("http://{}{path}", service.address());
        let (seconds, connections) = (self.seconds.to_string(), self.connections.to_string());
        let mut attack = command("slowhttptest");
        attack.args([mode, "-u", &url, "-l", &seconds, "-c", &connections, "-r", &connections]);
        // Something every second, and an answer to its probe within three.
        attack.args(["-i", "1", "-p", "3"]);
        let report = plain(&read_whatever(&mut attack)?);
        let answers = witness.answers()?;
        match report.contains("service available: YES") {
            true => Ok(answers),
            false => Err(Failure::new(format!("slowhttptest was not answered:\n{report}"))),
        }
    }
}

/// Whether a verdict is a good one; prints it.
fn is_withstood(name: &str, verdict: &Result<String, Failure>) -> bool {
    match verdict {
        Ok(how) => println!("ok      {name}: {how}"),
        Err(failure) => println!("FAILED  {name}: {failure}"),
    }
    verdict.is_ok()
}

/// h2load asks as fast as it can; every request must succeed.
fn hurry(service: &Service, options: &[&str]) -> Result<String, Failure> {
    let witness = Witness::of(service.address());
    let mut load = command("h2load");
    load.args(["-n", &REQUESTS.to_string(), "-c", "20"]).args(options);
    let report = read_whatever(load.arg(format!("http://{}/stats", service.address())))?;
    let answers = witness.answers()?;
    match report.contains(&format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout")) {
        true => Ok(format!("{REQUESTS} requests succeeded; {answers}")),
        false => Err(Failure::new(format!("not all requests succeeded:\n{report}"))),
    }
}

/// What slowhttptest writes, without its colours, and with single spaces.
fn plain(report: &str) -> String {
    let parts = report.split('\u{1b}');
    let uncoloured = parts.map(|part| {
        part.split_once('m').map_or(
            part,
            |(code, rest)| {
                if code.starts_with('[') { rest } else { part }
            },
        )
    });
    let lines = uncoloured.collect::<String>();
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}
