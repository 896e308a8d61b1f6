//! Connections under TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{CauseKind, Context, TraceContext};
use downhaul_http::observe::{Outcome, RequestHead};
use downhaul_http::{
    Certificate, DrainPlan, Listener, Request, RequestObserver, Router, Running, Server, Tls,
};
use http::Version;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tracing::Span;

use crate::support::{Client, NEVER, Told, ended, get, held, soon};

/// Soon over, and yet enough for a busy machine to get to a handshake.
const SHORT: Duration = Duration::from_millis(250);

/// Two files of PEM in a folder of their own that goes with them.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn chain(&self) -> PathBuf {
        self.0.join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// Writes a new certificate, and returns what a client needs to trust it alone.
    fn renew(&self) -> RootCertStore {
        let names = vec!["localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(self.chain(), cert.pem()).unwrap();
        std::fs::write(self.key(), signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        roots
    }

    fn load(&self) -> Certificate {
        Certificate::load(self.chain(), self.key()).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn serve(
    certificate: &Certificate,
    router: Router,
    set: impl FnOnce(Server) -> Server,
) -> Running {
    let server = Server::bind("127.0.0.1:0").await.unwrap().tls(Tls::new(certificate));
    set(server).serve(Context::background(), router)
}

async fn connect(
    running: &Running,
    roots: &RootCertStore,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
    soon(encrypt(tcp, roots, protocol)).await
}

async fn encrypt<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    roots: &RootCertStore,
    protocol: &[u8],
) -> std::io::Result<TlsStream<T>> {
    let mut config =
        ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await
}

#[tokio::test]
async fn http1_is_served_under_tls() {
    let files = Files::new("http1");
    let roots = files.renew();
    let running = serve(&files.load(), held().0.router(), |server| server).await;
    assert!(running.urls().all(|url| url.starts_with("https://127.0.0.1:")));
    let mut client = Client(connect(&running, &roots, b"http/1.1").await.unwrap());
    for _ in 0..2 {
        client.send(&get("/fast")).await;
        assert_eq!(client.response().await.body, "fast");
    }
}

#[tokio::test]
async fn http2_is_agreed_on_in_the_handshake() {
    let files = Files::new("http2");
    let roots = files.renew();
    let running = serve(&files.load(), held().0.router(), |server| server).await;
    let tls = connect(&running, &roots, b"h2").await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(tls);
    let (mut sender, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    let request = http::Request::get("https://localhost/fast");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(soon(sender.send_request(request)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_was_agreed_on_is_spoken_whatever_comes() {
    let files = Files::new("agreed");
    let roots = files.renew();
    let running = serve(&files.load(), held().0.router(), |server| server).await;
    let mut client = Client(connect(&running, &roots, b"h2").await.unwrap());
    client.send(&get("/fast")).await;
    let rest = client.rest().await;
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/"), "{rest:?}");
    let mut client = Client(connect(&running, &roots, b"http/1.1").await.unwrap());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_comes_next_and_a_broken_one_is_not() {
    let files = Files::new("renewed");
    let old = files.renew();
    let certificate = files.load();
    let running = serve(&certificate, held().0.router(), |server| server).await;
    let mut before = Client(connect(&running, &old, b"http/1.1").await.unwrap());
    let new = files.renew();
    assert!(connect(&running, &new, b"http/1.1").await.is_err(), "nobody has reloaded it yet");
    certificate.reload().unwrap();
    assert!(connect(&running, &old, b"http/1.1").await.is_err());
    connect(&running, &new, b"http/1.1").await.unwrap();

    std::fs::write(files.key(), "not a key").unwrap();
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem: holds no such PEM section"), "{error}");
    connect(&running, &new, b"http/1.1").await.unwrap();
    before.send(&get("/fast")).await;
    assert_eq!(before.response().await.status, 200);
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_with_its_file() {
    let (one, other) = (Files::new("one"), Files::new("other"));
    let words = |chain: &Path, key: &Path| Certificate::load(chain, key).unwrap_err().to_string();
    assert!(words(&one.chain(), &one.key()).contains("chain.pem: cannot be read: "));
    one.renew();
    other.renew();
    assert!(words(&one.chain(), &other.key()).contains("key.pem: the key does not fit"));
    assert!(words(&one.key(), &one.key()).contains("key.pem: holds no such PEM section"));
}

#[tokio::test]
async fn plain_text_and_half_a_handshake_are_closed_after_the_header_limit() {
    let files = Files::new("half");
    let roots = files.renew();
    let short = |server: Server| server.header_timeout(SHORT);
    let running = serve(&files.load(), held().0.router(), short).await;
    let address = running.address().tcp().unwrap();
    // The first bytes of a record that says that it is longer.
    let half = "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}";
    for said in [half, "", &get("/fast")] {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send(said).await;
        let rest = client.rest().await;
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/"), "{said:?}");
    }
    connect(&running, &roots, b"http/1.1").await.unwrap();
}

#[tokio::test]
async fn half_a_handshake_does_not_hold_a_drain() {
    let files = Files::new("drain");
    files.renew();
    // Its own limit would end it, too, and much later.
    let patient = |server: Server| server.header_timeout(2 * NEVER);
    let running = serve(&files.load(), held().0.router(), patient).await;
    let mut client = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
    client.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let plan = DrainPlan::default().without_lame_duck();
    let report = soon(running.drain(plan)).await;
    assert!(report.is_clean() && report.took < plan.finish, "{report}");
}

#[tokio::test]
async fn a_client_is_seen_to_leave_behind_what_it_sent_under_tls() {
    let files = Files::new("left");
    let roots = files.renew();
    let (held, mut told) = held();
    let running = serve(&files.load(), held.router(), |server| server).await;
    let mut client = Client(connect(&running, &roots, b"http/1.1").await.unwrap());
    client.send(&(get("/held") + &get("/fast"))).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
}

/// An observer that hands on how requests come.
struct Ways(mpsc::UnboundedSender<(&'static str, Version)>);

impl RequestObserver for Ways {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        self.0.send((head.scheme, head.version)).unwrap();
        (Span::none(), None)
    }

    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        self.0.send((outcome.scheme, outcome.version)).unwrap();
    }
}

#[tokio::test]
async fn an_observer_hears_of_each_request_whether_it_came_encrypted_whatever_its_target_says() {
    let files = Files::new("ways");
    let roots = files.renew();
    let (told, mut ways) = mpsc::unbounded_channel();
    let observer = Ways(told.clone());
    let running = serve(&files.load(), held().0.router(), |s| s.observer(observer)).await;
    let mut client = Client(connect(&running, &roots, b"http/1.1").await.unwrap());
    client.send("GET http://t/fast HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    for _ in ["open", "close"] {
        assert_eq!(soon(ways.recv()).await, Some(("https", Version::HTTP_11)));
    }
    let server = Server::bind("127.0.0.1:0").await.unwrap().observer(Ways(told));
    let running = server.serve(Context::background(), held().0.router());
    let mut client = Client(TcpStream::connect(running.address().tcp().unwrap()).await.unwrap());
    client.send("GET https://t/fast HTTP/1.0\r\nhost: t\r\n\r\n").await;
    for _ in ["open", "close"] {
        assert_eq!(soon(ways.recv()).await, Some(("http", Version::HTTP_10)));
    }
}

/// In memory, under the paused clock: there is room for 64 KiB, and the rest of the answer lies
/// with rustls, which takes it whole.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_under_tls_is_closed_after_the_write_limit() {
    const SECOND: Duration = Duration::from_secs(1);
    let files = Files::new("unread");
    let roots = files.renew();
    let (listener, connector) = Listener::in_memory();
    let server = Server::on(listener).tls(Tls::new(&files.load())).write_timeout(10 * SECOND);
    let large = Router::new().get("/", async |_: Context, _: Request| vec![0; 120_000]);
    let running = server.serve(Context::background(), large);
    let mut client =
        encrypt(connector.connect().await.unwrap(), &roots, b"http/1.1").await.unwrap();
    client.write_all(get("/").as_bytes()).await.unwrap();
    // A little is taken in between, and the time begins anew.
    sleep(6 * SECOND).await; // tidy: the paused clock
    let mut taken = [0; 1000];
    client.read_exact(&mut taken).await.unwrap();
    sleep(6 * SECOND).await; // tidy: the paused clock
    assert_eq!(running.connections().len(), 1);
    sleep(5 * SECOND).await; // tidy: the paused clock
    assert_eq!(running.connections().len(), 0);
}
