//! The same servers over TCP.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use downhaul_context::Context;
use downhaul_http::{Listener, Server};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use super::{ours, theirs};

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
    Ours,
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
                Kind::Ours => {
                    let listener = Listener::from_tcp(listener).expect("it is bound");
                    let server = Server::on(listener).serve(Context::background(), ours::router());
                    std::future::pending::<()>().await;
                    drop(server);
                }
            }
        };
        // Not on the thread that started it, which is not one of the runtime's.
        tokio::spawn(serving).await.expect("nothing panics");
    });
    ExitCode::SUCCESS
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
