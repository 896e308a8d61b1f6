//! What a running server tells about its requests and its connections.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};
use downhaul_http::{
    Address, ConnectionInfo, ConnectionPhase, DrainPlan, Phase, Request, RequestInfo, RouteLimits,
    Router,
};

use crate::frames::{self, Peer};
use crate::support::{
    Client, Fixture, NEVER, Pieces, StillClock, Told, ended, get, held, soon, streamed,
};

const SECOND: Duration = Duration::from_secs(1);

fn local(client: &Client) -> Address {
    client.0.local_addr().unwrap().into()
}

fn only(server: &Fixture) -> RequestInfo {
    let mut requests = server.running.snapshot();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

/// What is known of a client's connection, once it is what it is to be.
async fn becomes(server: &Fixture, peer: &Address, phase: ConnectionPhase) -> ConnectionInfo {
    let is_it = |info: &ConnectionInfo| info.peer == *peer && info.phase == phase;
    soon(async {
        loop {
            if let Some(info) = server.running.connections().into_iter().find(is_it) {
                return info;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_request_says_who_asks_how_old_it_is_and_how_long_it_has_yet() {
    let clock = StillClock::stop();
    let (held, mut told) = held();
    let server = Fixture::with(held.router(), |server| server.timeout(10 * SECOND)).await;
    for (headers, remaining) in [("", 7), ("x-request-timeout-ms: 5000\r\n", 2)] {
        let mut client = server.client().await;
        client.send(&format!("GET /held HTTP/1.1\r\nhost: t\r\n{headers}\r\n")).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        clock.advance(3 * SECOND).await;
        let request = only(&server);
        assert_eq!(request.peer, local(&client));
        assert_eq!((request.age, request.remaining), (3 * SECOND, Some(remaining * SECOND)));
        held.release.notify_one();
        assert_eq!(client.response().await.body, "released");
        server.quiet().await;
    }
}

#[tokio::test]
async fn one_says_whether_it_reads_its_body_or_sends_its_answer_or_has_outlived_its_time() {
    let (held, _told) = held();
    let quick = held.router().limits(RouteLimits::new().timeout(Duration::from_millis(30)));
    let router = Router::new()
        .post("/body", async |_: Context, mut req: Request| req.bytes().await)
        .get("/endless", async |_: Context, _: Request| streamed(Pieces::Endless))
        .nest("", quick);
    let server = Fixture::with(router, |server| server.cancel_grace(NEVER)).await;
    let half = "POST /body HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nhello";
    for (request, phase) in [
        (half, Phase::ReadingBody),
        (&get("/endless"), Phase::Answering),
        (&get("/deaf"), Phase::Cancelled),
    ] {
        let mut client = server.client().await;
        client.send(request).await;
        let is_so = || server.running.snapshot().iter().any(|request| request.phase == phase);
        soon(async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn one_that_was_granted_another_time_says_that() {
    let clock = StillClock::stop();
    let (held, mut told) = held();
    let (own, release) = (held.clone(), held.release.clone());
    let asking = Router::new().get("/asking", move |ctx: Context, req: Request| {
        let (ctx, release) = (req.set_timeout(&ctx, 20 * SECOND), release.clone());
        async move { ctx.run(release.notified()).await.map_err(downhaul_http::Error::from) }
    });
    let endless = Router::new().nest("/endless", own.router());
    let endless = endless.limits(RouteLimits::new().no_timeout());
    let router = Router::new().nest("", asking).nest("", endless);
    let server = Fixture::with(router, |server| server.max_timeout(60 * SECOND)).await;
    for (path, remaining) in [("/asking", Some(18 * SECOND)), ("/endless/held", None)] {
        let mut client = server.client().await;
        client.send(&get(path)).await;
        soon(async {
            while server.running.in_flight() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        clock.advance(2 * SECOND).await;
        assert_eq!(only(&server).remaining, remaining, "{path}");
        held.release.notify_one();
        assert_eq!(client.response().await.status, 200);
        server.quiet().await;
    }
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
}

#[tokio::test]
async fn one_that_is_drained_has_what_the_drain_leaves_it() {
    let clock = StillClock::stop();
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let plan = DrainPlan::default().without_lame_duck().finish(4 * SECOND);
    let drain = server.running.drain(plan);
    let looks = async {
        clock.advance(SECOND).await;
        assert_eq!(only(&server).remaining, Some(3 * SECOND));
        // A timer fires within the millisecond that follows.
        clock.advance(4 * SECOND).await;
        assert_eq!(ended(&mut told).await, CauseKind::DrainGraceOver);
        assert_eq!(client.response().await.status, 503);
    };
    let (report, ()) = tokio::join!(drain, looks);
    assert_eq!(report.cancelled, 1);
}

#[tokio::test]
async fn connections_say_who_is_there_and_what_is_spoken() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;

    let silent = server.client().await;
    becomes(&server, &local(&silent), ConnectionPhase::Opening).await;

    let mut half = server.client().await;
    half.send("PRI * HTTP/2.0\r\n").await;
    becomes(&server, &local(&half), ConnectionPhase::Opening).await;

    let mut idle = server.client().await;
    idle.send(&get("/fast")).await;
    assert_eq!(idle.response().await.body, "fast");
    server.quiet().await;
    let info = becomes(&server, &local(&idle), ConnectionPhase::Http1).await;
    assert_eq!(info.requests, 0);

    let mut multiplexed = Peer::connect(&server).await;
    multiplexed.send(&[frames::get(1, "/held"), frames::get(3, "/held")].concat()).await;
    for _ in 0..2 {
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    }
    let connections = server.running.connections();
    let is_http2 = |info: &&ConnectionInfo| info.phase == ConnectionPhase::Http2;
    let info = connections.iter().find(is_http2).expect("HTTP/2 is spoken");
    assert_eq!(info.requests, 2);
    let text = info.to_string();
    assert!(text.starts_with(&format!("{}, HTTP/2, 2 requests, ", info.peer)), "{text}");
    assert_eq!(connections.len(), 4);
}

#[tokio::test]
async fn requests_are_listed_oldest_first_whatever_the_order_of_their_connections() {
    let clock = StillClock::stop();
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.client().await);
        becomes(&server, &local(&clients[clients.len() - 1]), ConnectionPhase::Opening).await;
    }
    clients.rotate_left(2);
    for client in &mut clients {
        client.send(&get("/held")).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        clock.advance(SECOND).await;
    }
    let peers: Vec<_> = server.running.snapshot().into_iter().map(|info| info.peer).collect();
    assert_eq!(peers, clients.iter().map(local).collect::<Vec<_>>());
}

#[tokio::test]
async fn they_are_listed_oldest_first_and_until_they_are_gone() {
    let clock = StillClock::stop();
    let server = Fixture::start(held().0.router()).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = server.client().await;
        becomes(&server, &local(&client), ConnectionPhase::Opening).await;
        clients.push(client);
        clock.advance(SECOND).await;
    }
    let ages: Vec<_> = server.running.connections().iter().map(|info| info.age).collect();
    assert_eq!(ages, [3 * SECOND, 2 * SECOND, SECOND]);
    let (gone, left) = (clients.remove(0), local(&clients[0]));
    drop(gone);
    soon(async {
        while server.running.connections().len() > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.running.connections()[0].peer, left);
}
