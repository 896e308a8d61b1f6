//! Probes and control of the consumers, over real HTTP.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use downhaul::consumer::{
    Consumer, Failure, Incoming, KillSwitch, MemoryBroker, Message, Outgoing, Publisher,
    Subscription,
};
use downhaul::testing::TestApp;
use downhaul::{App, ConsumerWorker, Context, Control, Policy, Report, Signal};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Diary, Manner, Part};
use crate::scripted::Scripted;

/// An app with one consumer, controlled over HTTP.
pub(crate) struct Fixture {
    address: String,
    pub(crate) app: TestApp,
}

impl Fixture {
    async fn start(token: Option<&str>, extra: Option<Part>) -> Self {
        Self::start_with(token, extra.map(|extra| (extra, Policy::new()))).await
    }

    async fn start_with(token: Option<&str>, extra: Option<(Part, Policy)>) -> Self {
        async fn handle(_ctx: Context, _message: Incoming<Message>) {}
        let consumer = Consumer::new(Subscription::new("inventory").topic("created"), handle);
        let worker = ConsumerWorker::new(consumer, Arc::new(MemoryBroker::new()));
        Self::of(token, |app| {
            if let Some((extra, policy)) = extra {
                let extra = app.add(extra.name, extra, []);
                app.policy(extra, policy);
            }
            app.add("inventory", worker, []);
        })
        .await
    }

    pub(crate) async fn of(token: Option<&str>, add: impl FnOnce(&mut App)) -> Self {
        let fixture = Self::spawn(token, add);
        fixture.app.ready().await;
        fixture
    }

    pub(crate) fn spawn(token: Option<&str>, add: impl FnOnce(&mut App)) -> Self {
        // The system picks a port that is free; it is given back for the app to take.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free.to_string();
        let control = Control::new(&address);
        let control = token.into_iter().fold(control, Control::token);
        let mut app = App::new("shop").control(control);
        add(&mut app);
        Self { address, app: TestApp::spawn(app) }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(&format!("GET {path}"), "").await
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        self.send(&format!("POST {path}"), "").await
    }

    /// Sends a request with these further header lines, and reads its status and JSON. Status 0
    /// where nobody listens.
    async fn send(&self, line: &str, headers: &str) -> (u16, Value) {
        let host = if headers.contains("host:") {
            String::new()
        } else {
            format!("host: {}\r\n", self.address)
        };
        let request = format!("{line} HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n");
        let mut answer = String::new();
        let Ok(mut stream) = TcpStream::connect(&self.address).await else {
            return (0, Value::Null);
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer[9..12].parse().unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) async fn stop(self) -> Report {
        self.app.stop().await
    }
}

#[tokio::test]
async fn readiness_follows_the_app() {
    let diary = Diary::default();
    let slow = Part::new("slow", Manner::Stubborn, &diary);
    let fixture = Fixture::start(None, Some(slow)).await;
    assert_eq!(fixture.get("/health/live").await.0, 200);
    fixture.app.signal(Signal::Terminate);
    let mut ready = fixture.get("/health/ready").await;
    while ready.0 == 200 {
        ready = fixture.get("/health/ready").await;
    }
    assert_eq!(ready.0, 503);
    assert_eq!(ready.1["reason"], "draining: SIGTERM");
    assert_eq!(fixture.get("/health/live").await.0, 200, "it lives while it drains");
    // It would take all of the grace.
    fixture.app.signal(Signal::Terminate);
    fixture.stop().await;
}

#[tokio::test]
async fn verbs_are_idempotent_and_answer_the_resulting_state() {
    let fixture = Fixture::start(None, None).await;
    for (verb, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("stop", "stopped"),
        ("stop", "stopped"),
        ("start", "running"),
        ("start", "running"),
        ("drain", "stopped"),
    ] {
        let (status, consumer) = fixture.post(&format!("/consumers/inventory/{verb}")).await;
        assert_eq!((status, consumer["state"].as_str()), (200, Some(state)), "after {verb}");
    }
    let (_, consumers) = fixture.get("/consumers").await;
    assert_eq!(consumers[0]["name"], "inventory");
    assert_eq!(consumers[0]["in_flight"], 0);
    assert_eq!(fixture.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn dead_letters_are_put_back_when_an_operator_asks() {
    let (broker, mended) = (Arc::new(MemoryBroker::new()), Arc::new(AtomicBool::new(false)));
    let repair = Arc::clone(&mended);
    let handle = move |_ctx: Context, _message: Incoming<Message>| {
        let is_mended = mended.load(Ordering::Relaxed);
        async move { if is_mended { Ok(()) } else { Err(Failure::permanent("broken")) } }
    };
    let consumer = Consumer::new(Subscription::new("inventory").topic("created"), handle);
    let worker = ConsumerWorker::new(consumer, broker.clone());
    let add = |app: &mut App| {
        app.add("inventory", worker, []);
    };
    let fixture = Fixture::of(None, add).await;
    let publisher = Publisher::new(broker);
    for text in ["one", "two", "three"] {
        let outgoing = Outgoing::to_topic("created", Message::new(text));
        publisher.publish(&Context::background(), outgoing).await.unwrap();
    }
    let count = async |what: &str| fixture.get("/consumers").await.1[0][what].as_u64().unwrap();
    while count("dead_lettered").await < 3 {}

    repair.store(true, Ordering::Relaxed);
    let replay = "/consumers/inventory/dead-letters/replay";
    assert_eq!(fixture.post(&format!("{replay}?limit=many")).await.0, 400);
    let two = fixture.post(&format!("{replay}?limit=2")).await;
    assert_eq!(two, (200, json!({ "put_back": 2, "left": 1, "failed_again": 0 })));
    while count("processed").await < 2 {}
    let last = fixture.post(&format!("{replay}?limit=1")).await;
    assert_eq!(last, (200, json!({ "put_back": 1, "left": 0, "failed_again": 0 })));
    while count("processed").await < 3 {}
    assert_eq!(fixture.post("/consumers/nobody/dead-letters/replay").await.0, 404);
    assert_eq!(fixture.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn an_unknown_consumer_is_a_404_with_the_known_names() {
    let fixture = Fixture::start(None, None).await;
    let (status, body) = fixture.post("/consumers/nobody/stop").await;
    assert_eq!(status, 404);
    assert_eq!(body["detail"], json!("unknown consumer `nobody`; known: inventory"));
    assert_eq!(fixture.post("/consumers/inventory/explode").await.0, 404);
}

#[tokio::test]
async fn consumers_of_one_name_are_told_apart_by_their_components() {
    async fn handle(_ctx: Context, _message: Incoming<Message>) {}
    let fixture = Fixture::of(None, |app| {
        for name in ["here", "there"] {
            let consumer = Consumer::new(Subscription::new("orders"), handle);
            app.add(name, ConsumerWorker::new(consumer, Arc::new(MemoryBroker::new())), []);
        }
    })
    .await;
    let (status, body) = fixture.post("/consumers/orders/pause").await;
    let which = "2 consumers are called `orders`: say which by its component: here, there";
    assert_eq!((status, &body["detail"]), (409, &json!(which)));
    assert_eq!(fixture.post("/consumers/there/pause").await.1["state"], "paused");
    let (_, all) = fixture.get("/consumers").await;
    let seen = [0, 1].map(|one| [&all[one]["component"], &all[one]["name"], &all[one]["state"]]);
    assert_eq!(seen, [["here", "orders", "running"], ["there", "orders", "paused"]]);
    fixture.stop().await;
}

#[tokio::test]
async fn no_browser_changes_anything() {
    let fixture = Fixture::start(None, None).await;
    let stop = "POST /consumers/inventory/stop";
    assert_eq!(fixture.send(stop, "origin: http://evil.example\r\n").await.0, 403);
    assert_eq!(fixture.send(stop, "host: evil.example\r\n").await.0, 421);
    assert_eq!(fixture.get("/consumers").await.1[0]["state"], "running");
}

#[tokio::test]
async fn no_browser_reads_from_this_machine_under_another_name_either() {
    let fixture = Fixture::start(Some("s3cret"), None).await;
    for path in ["/health/live", "/health/ready", "/components", "/metrics"] {
        let (status, body) = fixture.send(&format!("GET {path}"), "host: evil.example\r\n").await;
        assert_eq!(status, 421, "{path}");
        let why = "the host is not this machine's: use 127.0.0.1 or localhost";
        assert_eq!(body["detail"], why, "{path}");
    }
    assert_eq!(fixture.send("GET /health/live", "host: localhost\r\n").await.0, 200);
}

#[tokio::test]
async fn with_a_token_only_its_bearer_changes_anything() {
    let fixture = Fixture::start(Some("s3cret"), None).await;
    let stop = "POST /consumers/inventory/stop";
    assert_eq!(fixture.post("/consumers/inventory/stop").await.0, 401);
    assert_eq!(fixture.send(stop, "authorization: Bearer wrong!\r\n").await.0, 401);
    assert_eq!(fixture.get("/consumers").await.1[0]["state"], "running");
    assert_eq!(fixture.send(stop, "authorization: bearer s3cret\r\n").await.0, 200);
}

#[tokio::test]
async fn a_component_is_stopped_and_started_and_readiness_follows() {
    let fixture = Fixture::start(None, None).await;
    let (status, component) = fixture.post("/components/inventory/stop").await;
    assert_eq!((status, &component["state"]), (200, &json!("stopped")));
    let (status, body) = fixture.get("/health/ready").await;
    assert_eq!((status, &body["reason"]), (503, &json!("inventory is stopped")));
    assert_eq!(fixture.get("/health/startup").await.0, 200, "it had started");
    let (status, component) = fixture.post("/components/inventory/start").await;
    assert_eq!((status, &component["starts"]), (200, &json!(2)));
    let (_, components) = fixture.get("/components").await;
    assert_eq!(components[0]["name"], "inventory");
    assert_eq!(components[0]["needs"], json!([]));
    let (status, component) = fixture.post("/components/inventory/restart").await;
    assert_eq!((status, &component["starts"]), (200, &json!(3)));
    assert_eq!(fixture.get("/health/ready").await.0, 200);
    assert_eq!(fixture.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn an_unknown_component_or_verb_is_a_404_and_what_cannot_be_is_a_409() {
    let once = Part::new("once", Manner::Good, &Diary::default());
    let fixture = Fixture::start(None, Some(once)).await;
    let (status, body) = fixture.post("/components/nobody/stop").await;
    let known = json!("unknown component `nobody`; known: once, inventory");
    assert_eq!((status, &body["detail"]), (404, &known));
    assert_eq!(fixture.post("/components/once/pause").await.0, 404);
    let (status, body) = fixture.post("/components/once/restart").await;
    assert_eq!(status, 409, "{body}");
    assert!(body["detail"].as_str().unwrap().contains("cannot be started a second time"), "{body}");
}

#[tokio::test]
async fn what_cannot_be_started_again_is_stopped_only_by_who_says_so() {
    let diary = Diary::default();
    let fixture = Fixture::of(None, |app| {
        let store = app.add("store", Scripted::new("store", &diary), []);
        app.add("once", Scripted::new("once", &diary).only_once(), [store]);
        app.add("other", Scripted::new("other", &diary), []);
    })
    .await;
    let (_, all) = fixture.get("/components").await;
    let can_restart = [0, 1, 2].map(|part| all[part]["can_restart"].as_bool().unwrap());
    assert_eq!(can_restart, [true, false, true]);
    let why = "this stops `once`, which cannot be started again: add `?force=true` to do so all \
               the same";
    let (status, body) = fixture.post("/components/store/stop").await;
    assert_eq!((status, &body["detail"]), (409, &json!(why)));
    let (status, body) = fixture.post("/components/once/stop?force=false").await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(fixture.post("/components/other/stop").await.1["state"], "stopped");
    let (status, body) = fixture.post("/components/store/stop?force=true").await;
    assert_eq!((status, &body["state"]), (200, &json!("stopped")));
    // What is down cannot be lost.
    assert_eq!(fixture.post("/components/store/stop").await.0, 200);
    assert_eq!(fixture.post("/components/once/stop").await.0, 200);
}

#[tokio::test]
async fn a_service_that_can_do_without_something_is_ready_and_says_what_it_lacks() {
    let part = Part::new("extra", Manner::Good, &Diary::default());
    let failure = Arc::clone(&part.failure);
    let fixture = Fixture::start_with(None, Some((part, Policy::new().optional()))).await;
    assert_eq!(fixture.get("/health/ready").await, (200, json!({ "status": "ready" })));
    failure.notify_one();
    let degraded = json!({ "status": "ready", "degraded": ["extra is failed: disk full"] });
    let mut ready = fixture.get("/health/ready").await;
    while ready.1 != degraded {
        assert_eq!(ready.0, 200);
        ready = fixture.get("/health/ready").await;
    }
    assert_eq!(fixture.stop().await.exit_code(), 0);
}

#[tokio::test]
async fn a_consumer_whose_dead_letters_are_not_taken_says_so() {
    async fn fail(_ctx: Context, _message: Incoming<Message>) -> Result<(), Failure> {
        Err(Failure::permanent("never"))
    }
    let broker = Arc::new(MemoryBroker::with_longest_queue(1));
    let consumer = Consumer::new(Subscription::new("inventory"), fail);
    let worker = ConsumerWorker::new(consumer, broker.clone());
    let fixture = Fixture::of(None, |app| {
        app.add("inventory", worker, []);
    })
    .await;
    let publisher = Publisher::new(broker);
    for id in ["a letter", "one too many"] {
        let message = Outgoing::to_queue("inventory", Message::new("").with_id(id));
        // The queue itself is not longer either.
        while publisher.publish(&Context::background(), message.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    let mut ready = fixture.get("/health/ready").await;
    while ready.1.get("degraded").is_none() {
        ready = fixture.get("/health/ready").await;
    }
    assert_eq!(ready.0, 200);
    let why = ready.1["degraded"][0].as_str().unwrap();
    let what = "consumer inventory cannot move messages to the dead letters: ";
    assert!(why.starts_with(what), "{why}");
    let held_up = fixture.get("/consumers").await.1[0]["held_up"][0].clone();
    assert_eq!(format!("consumer inventory {}", held_up.as_str().unwrap()), why);
    fixture.stop().await;
}

#[tokio::test]
async fn a_consumer_that_is_paused_or_stopped_is_told_by_the_readiness_probe() {
    async fn nothing(_ctx: Context, _message: Incoming<Message>) {}
    let consumer = Consumer::new(Subscription::new("inventory"), nothing);
    let worker = ConsumerWorker::new(consumer, Arc::new(MemoryBroker::new()));
    let fixture = Fixture::of(None, |app| {
        app.add("inventory", worker, []);
    })
    .await;
    let told = [("pause", Some("paused")), ("resume", None), ("stop", Some("stopped"))];
    for (verb, state) in told.into_iter().chain([("start", None)]) {
        assert_eq!(fixture.post(&format!("/consumers/inventory/{verb}")).await.0, 200);
        let (status, body) = fixture.get("/health/ready").await;
        let degraded = state.map(|state| format!("consumer inventory is {state}"));
        assert_eq!((status, body["degraded"][0].as_str()), (200, degraded.as_deref()), "{verb}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_consumer_whose_kill_switch_is_open_is_told_by_the_readiness_probe() {
    async fn fail(_ctx: Context, _message: Incoming<Message>) -> Result<(), Failure> {
        Err(Failure::permanent("never"))
    }
    let broker = Arc::new(MemoryBroker::new());
    let consumer = Consumer::new(Subscription::new("inventory"), fail);
    let consumer = consumer.kill_switch(KillSwitch::default().at_least(1));
    let worker = ConsumerWorker::new(consumer, broker.clone());
    let fixture = Fixture::of(None, |app| {
        app.add("inventory", worker, []);
    })
    .await;
    let message = Outgoing::to_queue("inventory", Message::new(""));
    Publisher::new(broker).publish(&Context::background(), message).await.unwrap();
    let mut ready = fixture.get("/health/ready").await;
    while ready.1.get("degraded").is_none() {
        ready = fixture.get("/health/ready").await;
    }
    let why = "consumer inventory takes nothing for now: too much fails";
    assert_eq!((ready.0, &ready.1["degraded"][0]), (200, &json!(why)));
    fixture.stop().await;
}

#[test]
fn no_token_is_shown() {
    let app = App::new("shop").control(Control::new("127.0.0.1:0").token("s3cret"));
    let shown = format!("{app:?}");
    assert!(shown.contains("<redacted>") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn an_empty_token_is_borne_by_nobody() {
    let fixture = Fixture::start(Some(""), None).await;
    let stop = "POST /consumers/inventory/stop";
    for headers in ["", "authorization: Bearer \r\n", "authorization: Basic x\r\n"] {
        assert_eq!(fixture.send(stop, headers).await.0, 401, "{headers}");
    }
    assert_eq!(fixture.get("/consumers").await.1[0]["state"], "running");
}
