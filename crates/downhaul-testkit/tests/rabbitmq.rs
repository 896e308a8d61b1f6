//! Private RabbitMQ nodes: they answer, survive, and leave nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use downhaul_testkit::rabbitmq::{Detached, Node, NodeErrorKind, shared};
use downhaul_testkit::unique;

#[test]
fn a_node_keeps_its_data_over_kill_and_stop_and_leaves_nothing_when_dropped() {
    let mut node = Node::start().unwrap();
    let (url, first) = (node.url(), node.pid());
    node.ctl(&["add_vhost", "kept"]).unwrap();

    node.kill();
    assert!(!runs(first));
    assert_eq!(node.ctl(&["list_vhosts"]).unwrap_err().kind(), NodeErrorKind::Ctl);

    node.restart().unwrap();
    assert_eq!(node.url(), url);
    assert!(node.ctl(&["list_vhosts"]).unwrap().contains("kept"));

    node.stop();
    assert!(!runs(node.pid()));
    node.restart().unwrap();
    let (beam, epmd, dir) = processes(&node);
    assert!(runs(beam) && runs(epmd) && dir.exists());

    drop(node);
    assert!(!runs(beam) && !runs(epmd) && !dir.exists());
}

/// Set in the second run of this program, which is the process to be killed.
const VICTIM: &str = "DOWNHAUL_TESTKIT_VICTIM";

#[test]
fn a_node_of_a_killed_process_is_gone_soon_after() {
    if std::env::var_os(VICTIM).is_some() {
        return be_killed_while_a_node_runs();
    }
    let mut program = this_program("a_node_of_a_killed_process_is_gone_soon_after");
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("node ").map(str::to_owned));
    let words: Vec<_> = line.as_deref().unwrap().split(' ').collect();
    let (beam, epmd, dir) = (words[0].parse().unwrap(), words[1].parse().unwrap(), words[2]);
    assert!(runs(beam) && runs(epmd));

    program.kill().unwrap();
    program.wait().unwrap();
    until(|| !runs(beam) && !runs(epmd) && !Path::new(dir).exists());
}

fn be_killed_while_a_node_runs() {
    let node = Node::start().expect("a node");
    let (beam, epmd, dir) = processes(&node);
    println!("\nnode {beam} {epmd} {}", dir.display());
    // Until the other end is closed: never, the killer comes first.
    std::io::stdin().read_to_end(&mut Vec::new()).expect("an open end");
}

#[test]
fn a_detached_node_is_found_again_and_taken_down() {
    let dir = std::env::temp_dir().join(unique("downhaul-detached"));
    let url = Detached::up(&dir).unwrap().url();
    let again = Detached::up(&dir).unwrap();
    assert_eq!(again.url(), url, "what runs is not started twice");
    let beam = pid(&dir.join("beam.pid"));
    assert!(again.is_up() && runs(beam));

    again.down().unwrap();
    until(|| !runs(beam) && !dir.exists());
    assert!(Detached::open(&dir).is_none());
}

#[test]
fn tests_share_one_node_and_keep_apart_by_names() {
    assert_eq!(shared(), shared());
    assert_ne!(unique("orders"), unique("orders"));
}

fn this_program(test: &str) -> std::process::Child {
    let program = std::env::current_exe().expect("the test harness has a path");
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", test]).env(VICTIM, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs a second time")
}

/// The server, its epmd, its directory.
fn processes(node: &Node) -> (u32, u32, PathBuf) {
    let beam = node.pid();
    let dir = std::fs::read_link(format!("/proc/{beam}/cwd")).expect("the server runs");
    (beam, pid(&dir.join("epmd.pid")), dir)
}

fn pid(file: &Path) -> u32 {
    let text = std::fs::read_to_string(file).expect("a pid file");
    text.trim().parse().expect("a pid")
}

/// A zombie has ended: it is only not waited for.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// Waits for what another process does. A `sh` is started at each turn, so it does not spin.
#[track_caller]
fn until(done: impl Fn() -> bool) {
    let turn = || Command::new("sh").args(["-c", ":"]).status().is_ok() && done();
    assert!((0..20_000).any(|_| turn()), "it did not happen");
}
