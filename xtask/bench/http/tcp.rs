//! The same servers over TCP.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{Parser, ValueEnum};
use downhaul::{App, HttpServer, Telemetry};
use downhaul_context::Context;
use downhaul_http::{Listener, Router, Server};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::{ours, theirs};
use crate::glue::{collector, served};

/// Serves on a port of loopback that the system chooses, prints its address, and serves until it is
/// killed.
#[derive(Parser)]
struct ServeCli {
    server: Kind,
    protocol: Protocol,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Hyper,
    Axum,
    AxumFull,
    /// Ours as a component of an app, without telemetry.
    App,
    /// The same with telemetry, by the environment.
    AppTraced,
    /// The same with no spans but those that are kept.
    AppSampled,
    Ours,
    /// No server to be asked, but where the last but one sends its spans.
    Collector,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Http1,
    Http2,
}

/// The program that serves over TCP: on one thread, so that a load has the other core.
///
/// # Panics
///
/// If the system has neither a thread nor a port to spare.
pub fn serve() -> ExitCode {
    let ServeCli { server, protocol } = ServeCli::parse();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let serving = async move {
            match server {
                Kind::Hyper => accept(listener, protocol, theirs::by_hand()).await,
                Kind::Axum => accept(listener, protocol, theirs::bare()).await,
                Kind::AxumFull => accept(listener, protocol, theirs::all()).await,
                Kind::Ours => serve_ours(listener, ours::router()).await,
                Kind::App => run(App::new("bench"), listener).await,
                Kind::AppTraced => run(traced(served::traced()), listener).await,
                Kind::AppSampled => run(traced(served::sampled()), listener).await,
                Kind::Collector => serve_ours(listener, collector::router()).await,
            }
        };
        // Not on the thread that started it, which is not one of the runtime's.
        tokio::spawn(serving).await.expect("nothing panics");
    });
    ExitCode::SUCCESS
}

async fn serve_ours(listener: TcpListener, router: Router) {
    let listener = Listener::from_tcp(listener).expect("it is bound");
    let _running = Server::on(listener).serve(Context::background(), router);
    std::future::pending::<()>().await;
}

fn traced(telemetry: Telemetry) -> App {
    App::new("bench").telemetry(telemetry)
}

async fn run(mut app: App, listener: TcpListener) {
    let listener = Listener::from_tcp(listener).expect("it is bound");
    let once = Mutex::new(Some(listener));
    let open = move || {
        let listener = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(listener.map(|it| vec![it]).ok_or_else(|| "it starts once".into()))
    };
    app.add("http", HttpServer::listening(open, ours::router()), []);
    let report = app.run().await;
    println!("{report}");
}

async fn accept<S, B>(listener: TcpListener, protocol: Protocol, service: S)
where
    S: HttpService<Incoming, ResBody = B, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).expect("the option exists");
        let (io, service) = (TokioIo::new(tcp), service.clone());
        tokio::spawn(async move {
            // How the load ends a connection is its business.
            let _ = match protocol {
                Protocol::Http1 => http1::Builder::new().serve_connection(io, service).await,
                Protocol::Http2 => {
                    http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
                }
            };
        });
    }
}
