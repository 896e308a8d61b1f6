//! A collector behind TLS that wants to know who sends: rotel, with what ends the encryption before
//! it.

use std::path::Path;
use std::sync::Arc;

use downhaul::{App, Signal, Telemetry};
use downhaul_testkit::certificates::Authority;
use downhaul_testkit::telemetry::{Receiver, Rotel};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const AUTHORITY: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// What a collector has for certificates: of itself, and of who may send to it.
fn known() -> Authority {
    let authority = Authority::new().unwrap();
    authority.sign("localhost").unwrap();
    authority.sign("service").unwrap();
    authority
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

/// Ends TLS for who has a certificate of this authority, and passes on to a port without. Returns
/// its URL.
async fn encrypted(authority: &Authority, behind: String) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.file("ca.pem"))).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.file("localhost.key")).unwrap();
    let chain = vec![certificate(&authority.file("localhost.pem"))];
    let config = ServerConfig::builder().with_client_cert_verifier(clients);
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = behind.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // Who is not let in, or goes, is seen by what arrives.
                let Ok(mut outer) = acceptor.accept(socket).await else { return };
                let mut inner = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

/// Runs the test of this name again in a process of its own with this environment, where it runs an
/// app, and returns what that wrote.
async fn again(name: &str, environment: &[(&str, &str)]) -> String {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", &format!("otlp_tls::{name}"), "--nocapture"]);
    again.envs(environment.iter().copied());
    let ended = again.kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let written = text(&ended.stdout) + &text(&ended.stderr);
    assert!(ended.status.success(), "{written}");
    written
}

/// Runs an app with a span that is exported at its end, and says what became of that.
async fn run() {
    let telemetry = Telemetry::builder("alone").install().unwrap();
    tracing::info_span!("the last").in_scope(|| ());
    let (stop, signals) = mpsc::channel(1);
    stop.send(Signal::Terminate).await.unwrap();
    let report = App::new("alone").telemetry(telemetry).run_with(signals).await;
    println!("lost: {:?}", report.telemetry);
}

async fn a_span_arrives(name: &str, protocol: &str, plain: impl Fn(&Receiver) -> String) {
    if std::env::var_os(ENDPOINT).is_some() {
        return run().await;
    }
    let Some(rotel) = Rotel::find() else {
        return println!("SKIPPED: no rotel; `cargo xtask test` installs it");
    };
    let (receiver, authority) = (rotel.start().unwrap(), known());
    let endpoint = encrypted(&authority, plain(&receiver)).await;
    let [ca, certificate, key] = ["ca.pem", "service.pem", "service.key"]
        .map(|file| authority.file(file).display().to_string());
    let told = [(ENDPOINT, &*endpoint), (PROTOCOL, protocol), (AUTHORITY, &ca)];
    let stranger = again(name, &told).await;
    assert!(stranger.contains("lost: Some"), "without its certificate: {stranger}");

    let named = [&told[..], &[(CERTIFICATE, &certificate), (KEY, &key)]].concat();
    let known = again(name, &named).await;
    assert!(known.contains("lost: None"), "{known}");
    let there = async || receiver.log().unwrap().contains("the last");
    crate::service::until("the last span is written down", there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_over_https_is_told_who_sends_and_gets_the_last_span() {
    let name = "a_collector_over_https_is_told_who_sends_and_gets_the_last_span";
    a_span_arrives(name, "http/protobuf", Receiver::http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_over_grpc_and_tls_is_told_who_sends_and_gets_the_last_span() {
    let name = "a_collector_over_grpc_and_tls_is_told_who_sends_and_gets_the_last_span";
    a_span_arrives(name, "grpc", Receiver::grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_whose_authority_nobody_trusts_gets_nothing_and_the_report_says_so() {
    if std::env::var_os(ENDPOINT).is_some() {
        return run().await;
    }
    let name = "a_collector_whose_authority_nobody_trusts_gets_nothing_and_the_report_says_so";
    let endpoint = encrypted(&known(), "127.0.0.1:9".to_owned()).await;
    let lost = again(name, &[(ENDPOINT, &endpoint)]).await;
    assert!(lost.contains("lost: Some") && lost.contains("spans were not exported"), "{lost}");
}
