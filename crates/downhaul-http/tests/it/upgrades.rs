//! Connections that go on as something else than HTTP.

use std::time::Duration;

use downhaul_context::{Cause, CauseKind, Context};
use downhaul_http::{
    ConnectionPhase, DrainPlan, Listener, Phase, Request, Response, Router, Server,
};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Client, Fixture, NEVER, soon};

/// How many bytes one that only writes writes at a time.
const PIECE: usize = 1000;

const UPGRADE: &str =
    "GET /echo HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// `/echo` sends back what it reads, until the client leaves or, if it minds, its context ends; and
/// tells then why that was.
fn echo(minds: bool) -> (Router, mpsc::UnboundedReceiver<Option<Cause>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let router = Router::new().get("/echo", move |ctx: Context, req: Request| {
        let tell = tell.clone();
        async move {
            let upgrade = hyper::upgrade::on(req.into_http());
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let (mut read, mut write) = tokio::io::split(&mut io);
                let echoed = tokio::io::copy(&mut read, &mut write);
                let ended = match minds {
                    true => ctx.run(echoed).await.err(),
                    false => echoed.await.err().and_then(|_| ctx.cause()),
                };
                let _ = tell.send(ended);
            });
            switching()
        }
    });
    (router, told)
}

fn switching() -> Response {
    let mut answer = http::Response::new(axum::body::Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
    answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
    answer
}

/// A client whose connection echoes.
async fn upgraded(server: &Fixture) -> Client {
    let mut client = server.client().await;
    client.send(UPGRADE).await;
    assert_eq!(client.response().await.status, 101);
    client.send("said").await;
    let mut heard = [0; 4];
    soon(client.0.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"said");
    client
}

#[tokio::test]
async fn one_is_in_flight_and_its_context_lasts_until_it_is_over() {
    let (router, mut told) = echo(true);
    let server = Fixture::start(router).await;
    let mut client = upgraded(&server).await;
    let [request] = &server.running.snapshot()[..] else { panic!("not in flight") };
    assert_eq!((request.path.as_str(), request.phase), ("/echo", Phase::Upgraded));
    let [connection] = &server.running.connections()[..] else { panic!("not there") };
    assert_eq!((connection.phase, connection.requests), (ConnectionPhase::Upgraded, 1));
    client.0.shutdown().await.unwrap();
    assert!(soon(told.recv()).await.unwrap().is_none(), "its context ended before it did");
    server.quiet().await;
}

#[tokio::test]
async fn one_that_is_begun_under_a_lame_duck_is_not_told_to_close() {
    let (router, _told) = echo(true);
    let server = Fixture::start(router).await;
    let asks = async {
        let mut client = server.client().await;
        client.send(UPGRADE).await;
        client.response().await
    };
    tokio::select! {
        biased;
        () = server.running.lame_duck(Duration::MAX) => panic!("nobody closed it"),
        answer = asks => {
            assert_eq!((answer.status, answer.header("connection")), (101, Some("upgrade")));
        }
    }
}

#[tokio::test]
async fn one_ends_with_the_drain_that_asks_for_it() {
    let (router, mut told) = echo(true);
    let server = Fixture::start(router).await;
    let mut client = upgraded(&server).await;
    let brief = DrainPlan::default().without_lame_duck().finish(Duration::from_millis(20));
    let report = soon(server.running.drain(brief)).await;
    assert!(report.forced.is_empty() && report.cancelled == 1, "{report}");
    let cause = soon(told.recv()).await.unwrap().unwrap();
    assert_eq!(cause.kind(), CauseKind::DrainGraceOver);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn one_that_does_not_mind_its_context_is_closed_by_force_and_named() {
    let (router, mut told) = echo(false);
    let server = Fixture::start(router).await;
    let mut client = upgraded(&server).await;
    let brief = Duration::from_millis(20);
    let hurried =
        DrainPlan::default().without_lame_duck().finish(brief).cancel_grace(brief).force(NEVER);
    let report = soon(server.running.drain(hurried)).await;
    let [forced] = &report.forced[..] else { panic!("{report}") };
    assert_eq!((forced.path.as_str(), forced.phase), ("/echo", Phase::Upgraded));
    assert!(report.took < NEVER / 2, "{report}");
    assert!(soon(told.recv()).await.unwrap().is_some());
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn one_that_nobody_reads_or_writes_is_closed_by_force_and_named() {
    let router = Router::new().get("/echo", async |_: Context, req: Request| {
        let upgrade = hyper::upgrade::on(req.into_http());
        tokio::spawn(async move {
            let _kept = upgrade.await.unwrap();
            std::future::pending::<()>().await
        });
        switching()
    });
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(UPGRADE).await;
    assert_eq!(client.response().await.status, 101);
    let brief = Duration::from_millis(20);
    let hurried =
        DrainPlan::default().without_lame_duck().finish(brief).cancel_grace(brief).force(brief);
    let report = soon(server.running.drain(hurried)).await;
    let [forced] = &report.forced[..] else { panic!("{report}") };
    assert_eq!((forced.path.as_str(), forced.phase), ("/echo", Phase::Upgraded));
    assert!(client.rest().await.is_empty());
}

/// `/write` writes a piece every second, and reads nothing; it tells when it cannot any more.
fn write() -> (Router, mpsc::UnboundedReceiver<std::io::Error>) {
    let (tell, told) = mpsc::unbounded_channel();
    let router = Router::new().get("/echo", move |_: Context, req: Request| {
        let tell = tell.clone();
        async move {
            let upgrade = hyper::upgrade::on(req.into_http());
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let failed = loop {
                    if let Err(failed) = io.write_all(&[0; PIECE]).await {
                        break failed;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await; // tidy: the paused clock
                };
                let _ = tell.send(failed);
            });
            switching()
        }
    });
    (router, told)
}

#[tokio::test(start_paused = true)]
async fn one_that_only_writes_is_closed_by_force_whether_its_client_takes_it_or_not() {
    for is_taken in [true, false] {
        let (router, mut told) = write();
        let (listener, connector) = Listener::in_memory();
        let running = Server::on(listener).serve(Context::background(), router);
        let mut client = Client(connector.connect().await.unwrap());
        client.send(UPGRADE).await;
        assert_eq!(client.response().await.status, 101);
        let taking = async move {
            let mut taken = vec![0; PIECE];
            while is_taken && client.0.read_exact(&mut taken).await.is_ok() {}
            client
        };
        let taking = tokio::spawn(taking);
        // Until there is no room for more.
        tokio::time::sleep(Duration::from_secs(100)).await; // tidy: the paused clock
        let plan = DrainPlan::default().without_lame_duck();
        let report = running.drain(plan).await;
        assert_eq!(report.forced.len(), 1, "{report}");
        assert!(report.took < plan.total(), "{report}");
        soon(told.recv()).await.unwrap();
        taking.await.unwrap();
    }
}
