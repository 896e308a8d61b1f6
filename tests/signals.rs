//! SIGTERM, once and twice.

use downhaul_testkit::rabbitmq::{Node, shared};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker_loss::vhost;
use crate::kafka::Cluster;
use crate::service::Service;

/// The exit code of a process that ended by itself.
fn code(ended: &crate::service::Ended) -> Option<i32> {
    ended.status.code()
}

/// How many orders a process of the service says that it has settled and left.
fn accounted(output: &str) -> (usize, usize) {
    let line = output.lines().find(|line| line.contains(" confirmed, ")).unwrap();
    let number = |before: &str| {
        let text = line.split(before).next().unwrap().trim_end();
        text.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    (number(" confirmed"), number(" pending"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_begun_and_a_restart_settles_the_rest() {
    let broker = tokio::task::block_in_place(shared);
    let (broker, _vhost) = vhost(&broker);
    stopped_under_load_and_restarted(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kafka_sigterm_finishes_what_is_begun_and_a_restart_settles_the_rest() {
    let cluster = Cluster::new().await;
    stopped_under_load_and_restarted(&cluster.url()).await;
}

async fn stopped_under_load_and_restarted(broker: &str) {
    // 32 at a time take two seconds: 200 are placed well before they are settled.
    let arguments = ["--broker", broker, "--stock", "500", "--work-ms", "2000"];
    let first = Service::start(&arguments).await;
    let accepted = first.place_many(200).await;
    let ended = first.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
    assert!(ended.output.contains("orders stopped cleanly, after SIGTERM"), "{}", ended.output);
    let (confirmed, pending) = accounted(&ended.output);
    assert_eq!(confirmed + pending, accepted.len(), "the report accounts for every order");
    assert!(pending > 0, "all were settled before the signal: this proves nothing");

    let second = Service::start(&["--broker", broker, "--stock", "500"]).await;
    let left = async || {
        let stats = second.stats().await;
        stats["pending"] == 0 && stats["confirmed"].as_u64() >= u64::try_from(pending).ok()
    };
    second.until("the rest is settled", left).await;
    // Nothing was settled twice as two orders, none was lost, and none came again.
    let stats = second.until_settled(500).await;
    assert_eq!(stats["confirmed"], pending);
    assert_eq!(stats["rejected"], 0);
    assert_eq!(code(&second.stop().await), Some(0));
}

/// A request of which the service has the head and half of the body: it is in flight until the
/// rest comes.
struct HalfSent {
    stream: TcpStream,
    rest: &'static str,
}

impl HalfSent {
    async fn to(service: &Service) -> Self {
        let (half, rest) = (r#"{"product":"p-1","#, r#""quantity":1}"#);
        let length = half.len() + rest.len();
        let head = format!("POST /orders HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(service.listen()).await.unwrap();
        stream.write_all((head + half).as_bytes()).await.unwrap();
        // An answered request behind it on another connection shows that the head has been read by
        // now.
        service.place_many(1).await;
        Self { stream, rest }
    }

    /// Sends the rest, and returns what the service answers until it closes the connection.
    async fn finish(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_half_sent_at_sigterm_is_still_answered() {
    let service = Service::start(&[]).await;
    let half_sent = HalfSent::to(&service).await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    let answer = half_sent.finish().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_it_is_not_ready_and_says_why() {
    let service = Service::start(&[]).await;
    // It holds the drain open for as long as the questions take.
    let half_sent = HalfSent::to(&service).await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    let (_, body) = service.control("GET", "/health/ready").await;
    assert_eq!(body["reason"], "draining: SIGTERM");
    assert_eq!(service.control("GET", "/health/live").await.0, 200);
    half_sent.finish().await;
    assert_eq!(code(&service.ended().await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_with_its_code_and_names_what_was_cut_short() {
    let service = Service::start(&["--work-ms", "60000"]).await;
    service.place_many(3).await;
    service
        .until("three are being handled", async || {
            let (_, consumers) = service.control("GET", "/consumers").await;
            consumers[1]["in_flight"] == 3
        })
        .await;
    service.signal("TERM").await;
    service.until("it is told to stop", async || service.ready().await == 503).await;
    service.signal("TERM").await;
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(143), "{}", ended.output);
    assert!(ended.output.contains("forced to stop by a second signal"), "{}", ended.output);
    let named = ended.output.matches("not finished: message ").count();
    assert_eq!(named, 3, "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_the_start_ends_it_in_order() {
    // Nobody listens on this port, so it tries again and again.
    let service = Service::spawn(&["--broker", "amqp://127.0.0.1:1/%2f"], &[]).await;
    service.until_said("broker not reached yet").await;
    let (startup, _) = service.control("GET", "/health/startup").await;
    assert_eq!(startup, 503);
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
    assert!(ended.output.contains("broker       not running"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_a_consumer_is_paused_stops_it_cleanly_and_leaves_its_messages() {
    let service = Service::start(&[]).await;
    service.control("POST", "/consumers/inventory/pause").await;
    service.place_many(5).await;
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
    assert_eq!(accounted(&ended.output), (0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_the_link_is_lost_stops_it_in_order() {
    let mut node = tokio::task::block_in_place(|| Node::start().unwrap());
    let service = Service::start(&["--broker", &node.url()]).await;
    node.kill();
    service.until("the loss is seen", async || service.has_lost_its_link().await).await;
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
    assert!(ended.output.contains("orders stopped cleanly, after SIGTERM"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_was_stopped_by_hand_does_not_hold_the_stop_up() {
    let service = Service::start(&[]).await;
    let (status, stopped) = service.control("POST", "/components/inventory/stop").await;
    assert_eq!((status, &stopped["state"]), (200, &"stopped".into()));
    let (_, components) = service.control("GET", "/components").await;
    let state = |name: &str| {
        let named = |one: &&serde_json::Value| one["name"] == name;
        components.as_array().unwrap().iter().find(named).unwrap()["state"].clone()
    };
    // What needs it has stopped too, and what it needs has not.
    assert_eq!((state("http"), state("orders")), ("stopped".into(), "running".into()));
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_sigterm_ends_the_process_whatever_it_does() {
    let stuck = Service::start_stuck().await;
    stuck.signal("TERM").await;
    stuck.until_said("stopping app").await;
    stuck.signal("TERM").await;
    stuck.until_said("a second signal").await;
    stuck.signal("TERM").await;
    let ended = stuck.ended().await;
    assert_eq!(code(&ended), Some(143), "{}", ended.output);
    assert!(!ended.output.contains("forced to stop"), "no report: {}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_never_end_do_not_keep_the_process() {
    let stuck = Service::start_stuck().await;
    stuck.signal("TERM").await;
    stuck.until_said("stopping app").await;
    stuck.signal("TERM").await;
    let ended = stuck.ended().await;
    assert_eq!(code(&ended), Some(143), "{}", ended.output);
    for name in ["stuck", "thread"] {
        let left = format!("{name:<12} abandoned");
        assert!(ended.output.contains(&left), "{}", ended.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_it_cleanly_too() {
    let service = Service::start(&[]).await;
    service.signal("INT").await;
    let ended = service.ended().await;
    assert_eq!(code(&ended), Some(0));
    assert!(ended.output.contains("stopped cleanly, after SIGINT"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_that_nobody_reads_hold_neither_the_service_nor_its_stop_up() {
    let service = Service::start_unread().await;
    // Some hundred kilobytes of lines, into a pipe that takes 64.
    service.place_many(400).await;
    service.until_settled(1000).await;
    let ended = service.stop().await;
    assert_eq!(code(&ended), Some(0), "{}", ended.output);
}
