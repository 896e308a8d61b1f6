//! `cargo xtask load`: ours against its peers over TCP, under a load from outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use clap::Args;

use crate::apt;
use crate::failure::Failure;
use crate::run::{cargo, command, read, run, target};

/// Asks each server in turn as fast as it answers, server and load each on a core of its own, and
/// prints requests a second and the ratio to each peer. Installs wrk and h2load if need be.
///
/// Four fifths of what is measured is the kernel's; `cargo xtask bench http` measures without it.
#[derive(Args)]
pub(crate) struct Load {
    /// How often each is asked; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// For how long.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: u64,
    /// Sends a small JSON, and has it back, instead of asking for one.
    #[arg(long)]
    post: bool,
}

/// Ours last: it is compared with the others. `app` is ours in an app without telemetry,
/// `app-traced` with a hundredth of its spans kept, and `app-sampled` with only those made.
const SERVERS: [&str; 7] =
    ["hyper", "axum", "axum-full", "app", "app-traced", "app-sampled", "ours"];

/// The cores of who asks and of who answers.
const LOAD: &str = "0";
const SERVER: &str = "1";

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

impl Load {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        apt::ensure(&[("wrk", "wrk"), ("h2load", "nghttp2-client")])?;
        run(&mut build())?;
        let collector = Served::start("collector", Protocol::Http1, LOAD, "")?;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut rates: [Vec<f64>; SERVERS.len()] = Default::default();
            for round in 0..self.rounds {
                // Who comes first finds a cooler machine.
                for at in (0..SERVERS.len()).map(|at| (at + round) % SERVERS.len()) {
                    rates[at].push(self.rate(SERVERS[at], protocol, &collector)?);
                }
            }
            print(protocol, rates.map(median));
        }
        Ok(())
    }

    fn rate(&self, server: &str, protocol: Protocol, spans: &Served) -> Result<f64, Failure> {
        let server = Served::start(server, protocol, SERVER, &spans.address)?;
        let (users, time) = (format!("http://{}/users", server.address), self.seconds.to_string());
        let mut load = command("taskset");
        load.args(["-c", LOAD]);
        match protocol {
            Protocol::Http1 => load.args(["wrk", "-t1", "-c64", "-d", &time]),
            Protocol::Http2 => {
                load.args(["h2load", "-c", "8", "-m", "16", "-D", &time, "--warm-up-time=1"])
            }
        };
        match self.post {
            true => send(&mut load, protocol)?.arg(users),
            false => load.arg(users + "/7"),
        };
        let report = read(&mut load)?;
        requests_a_second(&report)
            .filter(|_| !has_failed(&report))
            .ok_or_else(|| Failure::new(format!("not every request was answered:\n{report}")))
    }
}

/// Has the load send what it gets.
fn send(load: &mut Command, protocol: Protocol) -> Result<&mut Command, Failure> {
    let json = r#"{"id":7,"name":"ada"}"#;
    match protocol {
        Protocol::Http1 => {
            let script = target().join("load.lua");
            let lines = [
                "wrk.method = 'POST'".to_owned(),
                format!("wrk.body = '{json}'"),
                "wrk.headers['content-type'] = 'application/json'".to_owned(),
            ];
            std::fs::write(&script, lines.join("\n"))?;
            Ok(load.arg("-s").arg(script))
        }
        Protocol::Http2 => {
            let body = target().join("load.json");
            std::fs::write(&body, json)?;
            Ok(load.args(["-H", "content-type: application/json", "-d"]).arg(body))
        }
    }
}

/// As wrk and as h2load say it: a line that is missing if there are none, and `… 0 4xx, 0 5xx`.
fn has_failed(report: &str) -> bool {
    let codes = report.lines().find(|line| line.starts_with("status codes:"));
    report.contains("Non-2xx") || codes.is_some_and(|codes| !codes.ends_with(", 0 4xx, 0 5xx"))
}

/// A server in a process of its own; killed when dropped.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(
        server: &str,
        protocol: Protocol,
        core: &str,
        collector: &str,
    ) -> Result<Self, Failure> {
        let mut program = command("taskset");
        // The profile for benches has the folder of the one for releases.
        program.args(["-c", core]).arg(target().join("release/bench-serve"));
        program.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
        program.env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        program.env("OTEL_TRACES_SAMPLER_ARG", "0.01").env("RUST_LOG", "off");
        let mut child = program.args([server, protocol.name()]).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        Ok(Self { child, address: address.trim().to_owned() })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

fn build() -> Command {
    let scope = ["build", "--quiet", "--profile", "bench", "--locked", "--package", "xtask"];
    let mut build = cargo(&scope);
    build.args(["--features", "bench", "--bin", "bench-serve"]);
    build
}

/// As wrk and as h2load say it: `Requests/sec: 1234.5` and `finished in 3.00s, 1234.50 req/s, …`.
fn requests_a_second(report: &str) -> Option<f64> {
    let wrk = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let h2load = || report.lines().find(|line| line.contains(" req/s"))?.split(", ").nth(1);
    let figure = wrk.or_else(h2load)?.trim().trim_end_matches(" req/s");
    figure.parse().ok().filter(|figure: &f64| *figure > 0.0)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn print(protocol: Protocol, rates: [f64; SERVERS.len()]) {
    let [.., ours] = rates;
    for (server, rate) in SERVERS.iter().zip(rates) {
        println!(
            "{} {server:<11} {rate:>8.0} requests/s, ours {:.2}",
            protocol.name(),
            ours / rate
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_are_understood_and_nothing_else() {
        let wrk = "  Latency 1.2ms\nRequests/sec: 123456.78\nTransfer/sec: 1MB\n";
        assert_eq!(requests_a_second(wrk), Some(123_456.78));
        let h2load = "finished in 3.00s, 98765.33 req/s, 5.00MB/s\nrequests: 1 total\n";
        assert_eq!(requests_a_second(h2load), Some(98_765.33));
        assert_eq!(requests_a_second("finished in 3.00s, 0.00 req/s, 0B/s"), None);
        assert_eq!(requests_a_second("unable to connect"), None);
        assert!(!has_failed(wrk) && !has_failed(h2load));
        assert!(has_failed("  Non-2xx or 3xx responses: 17\n"));
        assert!(!has_failed("status codes: 9 2xx, 0 3xx, 0 4xx, 0 5xx\n"));
        assert!(has_failed("status codes: 9 2xx, 0 3xx, 10 4xx, 0 5xx\n"));
        assert!(has_failed("status codes: 9 2xx, 0 3xx, 0 4xx, 10 5xx\n"));
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
    }
}
