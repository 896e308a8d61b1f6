//! One connection, from its first byte to its last.
//!
//! Its future holds the socket: dropping it is how a server closes by force.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::yield_now;
use tower_service::Service;
use tracing::debug;

use crate::error::BoxError;
use crate::lifetime::body::Body;
use crate::lifetime::handle::handle;
use crate::listen::listener::Arrival;
use crate::serve::gathered::{Gathered, Unbegun};
use crate::serve::hub::Stage;
use crate::serve::io::Io;
use crate::serve::limits::Limits;
use crate::serve::link::Link;
use crate::serve::preface::Protocol;
use crate::serve::stream_executor::StreamExecutor;
use crate::serve::watch::{Alarm, Watch};

/// How a connection ended.
enum End {
    /// hyper was done with it.
    Over(hyper::Result<()>),
    /// A clock of it ran out.
    Overdue,
    /// The server closed it by force.
    Forced,
}

pub(crate) async fn serve<S, B>(arrival: Arrival, link: Arc<Link>, service: S)
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut watch = Watch::new(Arc::clone(&link));
    let opened = tokio::select! {
        biased;
        opened = open(arrival, &link) => opened,
        _ = watch.alarm() => return,
    };
    let (io, protocol) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return debug!(peer = %link.peer, %error, "connection ended before its first request");
        }
    };

    let handler = Arc::clone(&link);
    let requests =
        move |request: http::Request<Incoming>| handle(&handler, service.clone(), request);
    let io = TokioIo::new(io);
    let limits = &link.hub.limits;
    link.speak(protocol);
    let unbegun = Unbegun::default();
    let end = match protocol {
        Protocol::Http1 => {
            let conn = http1(limits).serve_connection(io, service_fn(requests)).with_upgrades();
            let conn = pin!(conn);
            drive(conn, &unbegun, http1::UpgradeableConnection::graceful_shutdown, watch).await
        }
        Protocol::Http2 => {
            // Each stream has a task, in which its handler is begun.
            let streams = service_fn(move |request| {
                let requests = requests.clone();
                async move { requests(request).await }
            });
            // In a box, or the others would have room for it, too.
            let executor = StreamExecutor(unbegun.clone());
            let mut conn = Box::pin(http2(limits, executor).serve_connection(io, streams));
            let shut_down = |conn: Pin<&mut http2::Connection<_, _, _>>| {
                link.clocks.tell_to_go();
                conn.graceful_shutdown();
            };
            drive(conn.as_mut(), &unbegun, shut_down, watch).await
        }
    };
    log(&link, &end);
}

/// Sees to the handshake, where there is one, and finds out the protocol.
async fn open(arrival: Arrival, link: &Arc<Link>) -> io::Result<(Io, Protocol)> {
    if let Err(error) = arrival.transport.tune() {
        debug!(peer = %link.peer, %error, "socket option refused");
    }
    // A handshake has the time of a head.
    link.bytes_came();
    let transport = arrival.open().await?;
    link.clocks.greeted();
    let mut io = Io::new(transport, Arc::clone(link));
    let protocol = poll_fn(|cx| io.poll_protocol(cx)).await?;
    Ok((io, protocol))
}

async fn drive<C>(
    mut conn: Pin<&mut C>,
    unbegun: &Unbegun,
    shut_down: impl FnOnce(Pin<&mut C>),
    mut watch: Watch,
) -> End
where
    C: Future<Output = hyper::Result<()>>,
{
    watch.look_for(Stage::Stopping);
    let alarm = tokio::select! {
        biased;
        result = Gathered::new(conn.as_mut(), unbegun) => return End::Over(result),
        alarm = watch.alarm() => alarm,
    };
    if alarm == Alarm::Overdue && !watch.is_rested() {
        return End::Overdue;
    }
    // A request may lie in the socket of a connection that looks idle. One turn of the runtime lets
    // its driver see that, and the poll that follows lets hyper begin it.
    tokio::select! {
        biased;
        result = conn.as_mut() => return End::Over(result),
        () = yield_now() => {}
    }
    if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(conn.as_mut().poll(cx))).await {
        return End::Over(result);
    }
    shut_down(conn.as_mut());
    if alarm == Alarm::Stage {
        watch.look_for(Stage::Closed);
    }
    loop {
        tokio::select! {
            biased;
            result = conn.as_mut() => return End::Over(result),
            alarm = watch.alarm() => match alarm {
                Alarm::Overdue => return End::Overdue,
                Alarm::Stage if watch.looks_for(Stage::Closed) => return End::Forced,
                // What was told to end by its age, or by the server, is told once.
                Alarm::Stage => watch.look_for(Stage::Closed),
                Alarm::Aged => {}
            },
        }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Watch` times heads and idleness apart, with one timer for a connection's life.
        .header_read_timeout(None::<Duration>)
        .max_headers(limits.headers)
        .max_header_size(limits.max_header_bytes);
    builder
}

fn http2(limits: &Limits, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.http2.max_concurrent_streams)
        .max_pending_accept_reset_streams(limits.http2.max_pending_accept_reset_streams)
        .max_local_error_reset_streams(limits.http2.max_local_error_reset_streams)
        .initial_stream_window_size(limits.http2.stream_window)
        .initial_connection_window_size(limits.http2.connection_window);
    builder
}

fn log(link: &Link, end: &End) {
    let peer = &link.peer;
    match end {
        End::Over(Ok(())) => {}
        End::Over(Err(error)) => {
            let source = error.source().map(ToString::to_string);
            debug!(%peer, %error, source, "connection ended with an error");
        }
        End::Overdue => debug!(%peer, "connection closed: its time was up"),
        End::Forced => debug!(%peer, "connection closed by force"),
    }
}
