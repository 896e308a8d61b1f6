//! [`Service`]: a running `orders`.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the service says before the address at which it takes orders.
const ORDERS_AT: &str = "listening on http://";

/// What it says before the address of its control interface.
const CONTROL_AT: &str = "control on http://";

/// A running service, killed when dropped.
pub(crate) struct Service {
    child: Child,
    client: Client,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
    /// Held open and read no further, where nobody reads the log.
    unread: Option<BufReader<ChildStderr>>,
}

/// What the process has written, line by line.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

impl Service {
    /// Starts a service on ports of its own, and waits until it is ready.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[]).await
    }

    /// Starts a service with these further variables in its environment.
    pub(crate) async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let service = Self::spawn(arguments, environment).await;
        service.until_ready().await;
        service
    }

    /// Starts a service whose log nobody reads once it has said where it is, and waits until it is
    /// ready.
    pub(crate) async fn start_unread() -> Self {
        let mut child = Self::launch(&[], &[("RUST_LOG", "debug")]).await;
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut service = Self::watch(child);
        while service.lines.address(ORDERS_AT).is_none() {
            let mut line = String::new();
            let read = log.read_line(&mut line).await.unwrap();
            assert!(read > 0, "it ended: {:#?}", service.last_lines());
            service.lines.push(line);
        }
        service.unread = Some(log);
        service.until_ready().await;
        service
    }

    /// Starts a service on ports of its own.
    pub(crate) async fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::watch(Self::launch(arguments, environment).await)
    }

    /// The system chooses the ports, and the service says which: a port that was only found free
    /// here could be somebody else's by then.
    async fn launch(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(example("orders").await);
        command.envs(environment.iter().copied());
        command.args(["--control", "127.0.0.1:0"]).args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        piped(command)
    }

    /// Starts the app whose stop blocks its threads, and waits until it has started.
    pub(crate) async fn start_stuck() -> Self {
        let service = Self::watch(piped(Command::new(example("stuck").await)));
        service.until_said("started app=stuck").await;
        service
    }

    fn watch(mut child: Child) -> Self {
        let lines = Lines::default();
        let stdout = child.stdout.take().map(|stdout| tokio::spawn(lines.clone().read(stdout)));
        let stderr = child.stderr.take().map(|stderr| tokio::spawn(lines.clone().read(stderr)));
        let readers = stdout.into_iter().chain(stderr).collect();
        Self { child, client: Client::new(), lines, readers, unread: None }
    }

    async fn until_ready(&self) {
        let ready = async || self.lines.address(ORDERS_AT).is_some() && self.ready().await == 200;
        self.until("the service is ready", ready).await;
    }

    /// The address at which it takes orders.
    pub(crate) fn listen(&self) -> String {
        self.lines.address(ORDERS_AT).expect("a service that is ready has said where it listens")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    /// Places an order and returns the answer.
    pub(crate) async fn place(&self, product: &str, quantity: u32) -> reqwest::Result<Response> {
        let order = json!({ "product": product, "quantity": quantity });
        self.post_order(order.to_string()).await
    }

    pub(crate) async fn post_order(&self, body: String) -> reqwest::Result<Response> {
        self.client.post(format!("http://{}/orders", self.listen())).body(body).send().await
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Places this many orders of one piece each, 16 at a time, and returns the ids of those that
    /// were accepted.
    pub(crate) async fn place_many(&self, count: usize) -> Vec<String> {
        let mut accepted = Vec::new();
        let mut left = count;
        while left > 0 {
            let batch = left.min(16);
            let placing: Vec<_> = (0..batch).map(|_| self.place("p-1", 1)).collect();
            for placed in join_all(placing).await {
                let placed = placed.unwrap();
                assert_eq!(placed.status(), StatusCode::ACCEPTED);
                accepted.push(text(&json_of(placed).await["id"]));
            }
            left -= batch;
        }
        accepted
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", &format!("http://{}{path}", self.listen())).await
    }

    pub(crate) async fn control(&self, method: &str, path: &str) -> (u16, Value) {
        match self.lines.address(CONTROL_AT) {
            Some(address) => self.ask(method, &format!("http://{address}{path}")).await,
            None => (0, Value::Null),
        }
    }

    /// The metrics page and its type.
    pub(crate) async fn metrics(&self) -> (String, String) {
        let address = self.lines.address(CONTROL_AT).unwrap();
        let answer = self.client.get(format!("http://{address}/metrics")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    }

    /// The status of the readiness probe; 0 while nobody listens.
    pub(crate) async fn ready(&self) -> u16 {
        self.control("GET", "/health/ready").await.0
    }

    /// Whether it is ready, and has lost its link to the broker or not.
    pub(crate) async fn has_lost_its_link(&self) -> bool {
        let (status, body) = self.control("GET", "/health/ready").await;
        assert_eq!(status, 200, "a broker that is away takes nobody out of service: {body}");
        body["degraded"].to_string().contains("has no link")
    }

    pub(crate) async fn stats(&self) -> Value {
        self.get("/stats").await.1
    }

    /// Waits until nothing is pending, and checks that stock is neither lost nor made.
    pub(crate) async fn until_settled(&self, stock: i64) -> Value {
        self.until("nothing is pending", async || self.stats().await["pending"] == 0).await;
        let stats = self.stats().await;
        // Every order of these tests is of one piece of `p-1`.
        let left = stats["stock_left"]["p-1"].as_i64().unwrap_or(stock);
        let confirmed = stats["confirmed"].as_i64().unwrap();
        assert_eq!(left + confirmed, stock, "{stats}\n{:#?}", self.last_lines());
        stats
    }

    /// Asks again and again, until it is so or patience ends.
    pub(crate) async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        assert!(asked(so).await, "not so: {what}\n{:#?}", self.last_lines());
    }

    /// Waits until a line has these words.
    pub(crate) async fn until_said(&self, words: &str) {
        let said = async || self.lines().iter().any(|line| line.contains(words));
        self.until(words, said).await;
    }

    /// Sends a signal to the process, by its pid.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(mut self) -> Ended {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("it did not end\n{:#?}", self.last_lines());
        };
        for reader in std::mem::take(&mut self.readers) {
            reader.await.unwrap();
        }
        Ended { status: status.unwrap(), output: self.lines().join("\n") }
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub(crate) async fn stop(self) -> Ended {
        self.signal("TERM").await;
        self.ended().await
    }

    async fn ask(&self, method: &str, url: &str) -> (u16, Value) {
        let request = self.client.request(method.parse().unwrap(), url);
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), json_of(answer).await),
            Err(_) => (0, Value::Null),
        }
    }

    fn last_lines(&self) -> Vec<String> {
        let lines = self.lines();
        lines[lines.len().saturating_sub(20)..].to_vec()
    }
}

/// Asks again and again, until it is so or patience ends.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> bool) {
    assert!(asked(so).await, "not so: {what}");
}

async fn asked(so: impl AsyncFn() -> bool) -> bool {
    let asking = async {
        while !so().await {
            // tidy: between two questions; the answer, not the time, ends the wait
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.is_ok()
}

impl Lines {
    async fn read(self, from: impl AsyncRead + Unpin) {
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            self.push(line);
        }
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// The address after `words`, once there is a line that says it.
    fn address(&self, words: &str) -> Option<String> {
        let lines = self.0.lock().unwrap();
        let (_, rest) = lines.iter().find_map(|line| line.split_once(words))?;
        let ends = |c: char| c.is_whitespace() || c == '"';
        rest.split(ends).next().map(str::to_owned)
    }
}

pub(crate) async fn json_of(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or(Value::Null)
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Starts a process whose lines are read, and which is killed when dropped.
fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

/// An example's binary. It is built if it is not there: `cargo test` of the workspace builds it
/// before.
async fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let building = || {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let flags = ["build", "--quiet", "--workspace", "--all-features"];
        let examples = ["--example", "orders", "--example", "stuck"];
        let mut build = std::process::Command::new(cargo);
        // What cargo says to this test is not for the build: scripts of others go by it, and what
        // is built would be built anew.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        let built = build.args(flags).args(examples).status().unwrap();
        assert!(built.success(), "the examples do not build");
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("examples")
    };
    tokio::task::block_in_place(|| BUILT.get_or_init(building).join(name))
}
