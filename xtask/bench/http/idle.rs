//! What a connection takes up on which nothing is said any more.

use downhaul_context::Context;
use downhaul_http::{Listener, Server};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};

use super::wire::{BUFFER, ask, runtime};
use super::{ours, theirs};
use crate::case::{Case, Goal};
use crate::lap::{Lap, Reading};
use crate::peers::HYPER;
use crate::probe::Probe;
use crate::samples::Samples;

const CONNECTIONS: u32 = 1000;

pub(super) fn cases() -> Vec<Case> {
    let name = "live bytes an idle connection";
    vec![Case::new(name, HYPER, Goal::LiveRatio(1.2), connections)]
}

/// Connections that have had a request each.
fn connections(probe: &Probe) -> Samples {
    probe.compare(
        |lap| {
            let runtime = runtime();
            let (listener, connector) = Listener::in_memory();
            let server = Server::on(listener);
            let _running = runtime.block_on(async {
                let running = server.serve(Context::background(), ours::router());
                // The listener has its task, and the first request makes what all others share.
                ask(&mut connector.connect().await.expect("it listens")).await;
                running
            });
            let connect = async || connector.connect().await.expect("it listens");
            runtime.block_on(kept(lap, connect))
        },
        |lap| {
            runtime().block_on(kept(lap, async || {
                let (client, server) = duplex(BUFFER);
                let io = TokioIo::new(server);
                tokio::spawn(http1::Builder::new().serve_connection(io, theirs::by_hand()));
                client
            }))
        },
    )
}

async fn kept(lap: &Lap<'_>, connect: impl AsyncFn() -> DuplexStream) -> Reading {
    let mut clients = Vec::with_capacity(CONNECTIONS as usize);
    lap.once_async(CONNECTIONS, async || {
        for _ in 0..CONNECTIONS {
            let mut client = connect().await;
            ask(&mut client).await;
            clients.push(client);
        }
    })
    .await
}
