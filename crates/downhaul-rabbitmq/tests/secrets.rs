//! What is logged, by us and by those below us, has no password in it.
//!
//! A program of its own: lapin logs from threads of its own, so the subscriber is everybody's.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use downhaul_consumer::{Broker, Subscription};
use downhaul_context::Context;
use downhaul_rabbitmq::{Credentials, RabbitMq};
use downhaul_testkit::rabbitmq::Node;
use downhaul_testkit::unique;
use tokio::sync::Semaphore;
use tracing_subscriber::fmt::MakeWriter;

const PASSWORDS: [&str; 3] = ["s3cret-of-the-url", "s3cret-asked-for", "s3cret-that-is-wrong"];

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn take(&self) -> String {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&std::mem::take(&mut *bytes)).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A password as bytes of a debug print, as well.
fn shows(log: &str, password: &str) -> bool {
    let bytes: Vec<_> = password.bytes().map(|byte| byte.to_string()).collect();
    log.contains(password) || log.contains(&bytes.join(", "))
}

async fn use_broker(broker: &RabbitMq) -> bool {
    let ctx = Context::background();
    let sink = broker.sink(&ctx).await;
    let source = broker.source(&ctx, &Subscription::new(unique("secret"))).await;
    broker.close(&ctx).await;
    sink.is_ok() && source.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_has_a_password_but_lapins_own_traces_of_its_frames() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone());
    subscriber.with_max_level(tracing::Level::TRACE).init();
    let node = tokio::task::block_in_place(Node::start).unwrap();
    let [of_url, asked_for, wrong] = PASSWORDS;
    for (user, password) in [("plain", of_url), ("asked", asked_for)] {
        node.ctl(&["add_user", user, password]).unwrap();
        node.ctl(&["set_permissions", user, ".*", ".*", ".*"]).unwrap();
    }
    let at = |user: &str, password: &str| {
        RabbitMq::new(&node.url().replace("guest:guest", &format!("{user}:{password}"))).unwrap()
    };
    assert!(use_broker(&at("plain", of_url)).await);
    assert!(!use_broker(&at("plain", wrong)).await);

    let times = Arc::new(Semaphore::new(0));
    let ask = {
        let times = Arc::clone(&times);
        move || {
            times.add_permits(1);
            let credentials = Credentials::new("asked", asked_for);
            async move { Ok::<_, Infallible>(credentials.valid_for(Duration::from_millis(200))) }
        }
    };
    let broker = at("plain", wrong).credentials(ask);
    broker.sink(&Context::background()).await.unwrap();
    // Two of them are `update-secret`, the first of which was sent when the second is asked for.
    let renewed = tokio::time::timeout(Duration::from_secs(60), times.acquire_many(3));
    renewed.await.expect("it is renewed").unwrap().forget();
    assert!(use_broker(&broker).await);

    let log = lines.take();
    assert!(log.contains("connected to RabbitMQ") && log.contains("lapin"), "it is logged at all");
    // At `TRACE`, lapin writes down all that it sends.
    let is_trace = |line: &&str| line.contains(" TRACE ") && line.contains(" lapin::");
    for line in log.lines().filter(|line| !is_trace(line)) {
        let shown = PASSWORDS.iter().any(|password| shows(line, password));
        assert!(!shown, "{line}");
    }
}
