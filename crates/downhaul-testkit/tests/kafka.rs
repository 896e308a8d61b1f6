//! Private brokers of Kafka's protocol: they answer, come back, and leave nothing behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use downhaul_testkit::kafka::{
    Broker, Detached, Gap, Kind, NodeErrorKind, Setup, shared, shared_kind,
};
use downhaul_testkit::unique;

/// Those that are installed in a moment.
const KINDS: [Kind; 2] = [Kind::Tansu, Kind::Noida];

#[test]
fn a_broker_comes_back_at_its_port_after_a_kill_and_leaves_nothing_when_dropped() {
    for kind in KINDS {
        let mut broker = Broker::start_with(kind).unwrap();
        let (bootstrap, first) = (broker.bootstrap(), broker.pid());
        assert_eq!(broker.kind(), kind);
        assert_eq!(advertised(broker.port()), broker.port());

        broker.kill();
        assert!(!runs(first));
        assert!(TcpStream::connect(&bootstrap).is_err());

        broker.restart().unwrap();
        assert_eq!(broker.bootstrap(), bootstrap);
        assert_eq!(advertised(broker.port()), broker.port());

        let (pid, dir) = (broker.pid(), directory(&broker));
        drop(broker);
        assert!(!runs(pid) && !dir.exists());
    }
}

#[test]
fn a_broker_starts_again_on_the_data_that_it_had() {
    let mut broker = Broker::start_with(Kind::Noida).unwrap();
    let group = unique("kept");
    commit(broker.port(), &group, 42);
    // Written down within about a second.
    let data = directory(&broker).join("data/kafka.json");
    until(|| std::fs::read_to_string(&data).is_ok_and(|text| text.contains(&group)));
    broker.restart().unwrap();
    until(|| committed(broker.port(), &group) == 42);
}

#[test]
fn what_was_acknowledged_survives_a_kill_unless_the_kind_says_that_it_does_not() {
    let kind = Kind::chosen();
    if kind.lacks(Gap::Survival) {
        return println!("skipped: {kind} {}", Gap::Survival);
    }
    let mut broker = Broker::start().unwrap();
    commit(broker.port(), "kept", 42);
    broker.kill();
    broker.restart().unwrap();
    // It may read for a while what it has.
    until(|| committed(broker.port(), "kept") == 42);
}

#[test]
fn who_has_not_logged_in_is_told_nothing_unless_the_kind_knows_no_logins() {
    let kind = Kind::chosen();
    if kind.lacks(Gap::Authentication) {
        return println!("skipped: {kind} {}", Gap::Authentication);
    }
    let broker = Setup::new(kind).sasl("app", "secret").start().unwrap();
    let mechanism = "SCRAM-SHA-256";
    let answer = ask(broker.port(), [0, 17, 0, 1], &text(mechanism));
    assert_eq!(number(&answer[..2]), 0, "an error");
    assert!(answer.windows(mechanism.len()).any(|part| part == mechanism.as_bytes()));

    let mut stranger = TcpStream::connect(broker.bootstrap()).unwrap();
    stranger.write_all(&METADATA).unwrap();
    let mut heard = Vec::new();
    // An end or a reset: either way no answer.
    let _ = stranger.read_to_end(&mut heard);
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn a_broker_advertises_what_stands_in_front_of_it() {
    let mut listened = 0;
    let door = |port| {
        listened = port;
        port - 1
    };
    let broker = Setup::new(Kind::Tansu).start_behind(door).unwrap();
    assert_eq!(broker.port(), listened);
    assert_eq!(broker.bootstrap(), format!("127.0.0.1:{}", listened - 1));
    assert_eq!(advertised(listened), listened - 1);
}

#[test]
fn a_paused_broker_keeps_its_port_and_answers_when_it_goes_on() {
    let broker = Broker::start_with(Kind::Tansu).unwrap();
    broker.pause();
    let state = || status(broker.pid()).lines().any(|l| l.starts_with("State:") && l.contains('T'));
    until(state);
    let mut waiting = TcpStream::connect(broker.bootstrap()).unwrap();
    waiting.write_all(&METADATA).unwrap();
    broker.resume();
    assert_eq!(port_told(&mut waiting), broker.port());
}

#[test]
fn what_a_kind_cannot_do_is_refused_in_words() {
    let file = Path::new("pem");
    let refusals = [
        Setup::new(Kind::Tansu).sasl("app", "secret").start(),
        Setup::new(Kind::Tansu).tls(file, file).start(),
        Setup::new(Kind::Noida).start_behind(|port| port),
    ];
    let words = refusals.map(|refusal| {
        let error = refusal.unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::Unsupported);
        error.to_string()
    });
    let gaps = [
        "tansu has no login that can fail",
        "tansu has no TLS",
        "noida cannot advertise the address of a proxy",
    ];
    assert_eq!(words, gaps);
    assert!(Kind::Tansu.lacks(Gap::Survival) && !Kind::Nisshi.lacks(Gap::Survival));
}

/// Set in the second run of this program, which is the process to be killed.
const VICTIM: &str = "DOWNHAUL_TESTKIT_VICTIM";

#[test]
fn a_broker_of_a_killed_process_is_gone_soon_after() {
    if std::env::var_os(VICTIM).is_some() {
        return be_killed_while_a_broker_runs();
    }
    let mut program = this_program("a_broker_of_a_killed_process_is_gone_soon_after");
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("broker ").map(str::to_owned));
    let (pid, dir) = line.as_deref().unwrap().split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(runs(pid));

    program.kill().unwrap();
    program.wait().unwrap();
    until(|| !runs(pid) && !Path::new(dir).exists());
}

fn be_killed_while_a_broker_runs() {
    let broker = Broker::start_with(Kind::Tansu).expect("a broker");
    println!("\nbroker {} {}", broker.pid(), directory(&broker).display());
    // Until the other end is closed: never, the killer comes first.
    std::io::stdin().read_to_end(&mut Vec::new()).expect("an open end");
}

#[test]
fn a_program_that_is_missing_is_named_with_the_command_that_installs_it() {
    if std::env::var_os(VICTIM).is_some() {
        return println!("\nerror {}", Broker::start_with(Kind::Tansu).unwrap_err());
    }
    let mut command =
        command("a_program_that_is_missing_is_named_with_the_command_that_installs_it");
    let output = command.env("DOWNHAUL_KAFKA_HOME", "/nowhere").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = text.lines().find_map(|line| line.strip_prefix("error ")).unwrap();
    assert!(error.contains("/nowhere/tansu-0.1.2/bin/tansu"), "{error}");
    assert!(error.contains("cargo xtask broker up kafka"), "{error}");
}

#[test]
fn a_detached_broker_is_found_again_and_taken_down() {
    let dir = std::env::temp_dir().join(unique("downhaul-detached"));
    let bootstrap = Detached::up(&dir, Kind::Tansu).unwrap().bootstrap();
    let again = Detached::up(&dir, Kind::Tansu).unwrap();
    assert_eq!(again.bootstrap(), bootstrap, "what runs is not started twice");
    let pid = std::fs::read_to_string(dir.join("broker.pid")).unwrap().trim().parse().unwrap();
    assert!(again.is_up() && runs(pid));

    again.down().unwrap();
    until(|| !runs(pid) && !dir.exists());
    assert!(Detached::open(&dir).is_none());
}

#[test]
fn tests_share_one_broker() {
    let bootstrap = shared();
    assert_eq!(bootstrap, shared());
    assert_eq!(shared_kind().is_none(), std::env::var_os("DOWNHAUL_KAFKA_BROKERS").is_some());
    assert!(TcpStream::connect(bootstrap).is_ok());
}

/// Asks for metadata of no topic in version 1, which is as old as Kafka 0.10.
const METADATA: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];

/// The port that the broker at `port` tells its clients.
fn advertised(port: u16) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a broker");
    stream.write_all(&METADATA).expect("it reads");
    port_told(&mut stream)
}

/// The port of the only broker in an answer to [`METADATA`].
fn port_told(stream: &mut TcpStream) -> u16 {
    let answer = answer(stream);
    let [brokers, _id, length] = [&answer[..4], &answer[4..8], &answer[8..10]].map(number);
    assert_eq!(brokers, 1);
    let host = 10 + length as usize;
    u16::try_from(number(&answer[host..host + 4])).expect("a port")
}

/// Commits an offset of the topic `t` for a group without members.
fn commit(port: u16, group: &str, offset: u64) {
    // Topics and groups take a moment to be there.
    until(|| is_committed(port, group, offset));
}

fn is_committed(port: u16, group: &str, offset: u64) -> bool {
    // Whoever asks for a topic creates it, and so it is with the place of all groups.
    ask(port, [0, 3, 0, 1], &PARTITION[..7]);
    ask(port, [0, 10, 0, 0], &text(group));
    let (generation, retention, metadata) = ([0xff; 4], [0xff; 8], [0xff; 2]);
    let body = [
        &text(group)[..],
        &generation,
        &text(""),
        &retention,
        &PARTITION,
        &offset.to_be_bytes(),
        &metadata,
    ];
    let answer = ask(port, [0, 8, 0, 2], &body.concat());
    number(&answer[answer.len() - 2..]) == 0
}

/// The offset that the group has committed.
fn committed(port: u16, group: &str) -> u64 {
    let answer = ask(port, [0, 9, 0, 1], &[&text(group)[..], &PARTITION].concat());
    let offset = PARTITION.len();
    number(&answer[offset..offset + 8])
}

/// One topic, `t`, and of it one partition, 0.
const PARTITION: [u8; 15] = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];

/// Asks the broker at `port` and returns the answer; `what` is a request and its version.
fn ask(port: u16, what: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a broker");
    let length = u32::try_from(body.len() + 10).expect("short").to_be_bytes();
    let head = [&length[..], &what, &[0, 0, 0, 7], &[0xff, 0xff]].concat();
    stream.write_all(&[&head, body].concat()).expect("it reads");
    answer(&mut stream)
}

/// An answer without its length and its number.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("all of it");
    answer.split_off(4)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn command(test: &str) -> Command {
    let program = std::env::current_exe().expect("the test harness has a path");
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", test]).env(VICTIM, "1");
    command
}

fn this_program(test: &str) -> std::process::Child {
    let mut command = command(test);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs a second time")
}

fn directory(broker: &Broker) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/cwd", broker.pid())).expect("the broker runs")
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// A zombie has ended: it is only not waited for.
fn runs(pid: u32) -> bool {
    status(pid).lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// Waits for what another process does. A `sh` is started at each turn, so it does not spin.
#[track_caller]
fn until(done: impl Fn() -> bool) {
    let turn = || Command::new("sh").args(["-c", ":"]).status().is_ok() && done();
    assert!((0..20_000).any(|_| turn()), "it did not happen");
}
