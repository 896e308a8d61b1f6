//! What connections do between, before and instead of requests.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};
use downhaul_http::observe::Ending;
use downhaul_http::{Request, Router, Server};
use tokio::sync::mpsc;

use crate::frames::{GOAWAY, NO_ERROR, Peer};
use crate::support::{Fixture, Pieces, Seen, Told, ended, get, held, soon, streamed};

/// Soon over, and yet enough for a busy machine to get to a request.
const SHORT: Duration = Duration::from_millis(250);

fn fast() -> Router {
    held().0.router()
}

#[tokio::test]
async fn garbage_is_a_400_or_a_close_and_the_server_goes_on() {
    let server = Fixture::start(fast()).await;
    let binary = String::from_utf8_lossy(&[0, 159, 1, 2, 13, 10, 13, 10]).into_owned();
    for garbage in
        ["\r\n\r\nnonsense\r\n\r\n", &binary, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame"]
    {
        let mut client = server.client().await;
        client.send(garbage).await;
        // HTTP/2 says it in a GOAWAY; then either way the connection is over.
        let rest = client.rest().await;
        let text = String::from_utf8_lossy(&rest);
        assert!(!text.contains(" 200 "), "{text}");
    }
    assert_eq!(server.get("/fast").await.status, 200);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_after_the_idle_limit() {
    let server = Fixture::with(fast(), |server| server.idle_timeout(SHORT)).await;
    let mut silent = server.client().await;
    assert!(silent.rest().await.is_empty());
}

#[tokio::test]
async fn a_half_sent_head_is_closed_after_the_header_limit() {
    let server = Fixture::with(fast(), |server| server.header_timeout(SHORT)).await;
    for half in ["G", "GET /fast HTTP/1.1\r\nhost:", "PRI * HTTP/2.0\r\n"] {
        let mut client = server.client().await;
        client.send(half).await;
        assert!(client.rest().await.is_empty(), "{half}");
    }
}

#[tokio::test]
async fn a_half_sent_second_head_is_closed_after_the_header_limit() {
    let server = Fixture::with(fast(), |server| server.header_timeout(SHORT)).await;
    let mut client = server.client().await;
    client.send(&get("/fast")).await;
    assert_eq!(client.response().await.status, 200);
    client.send("GET /fa").await;
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_idle_keep_alive_connection_is_closed_after_the_idle_limit() {
    let server = Fixture::with(fast(), |server| server.idle_timeout(SHORT)).await;
    let mut client = server.client().await;
    client.send(&get("/fast")).await;
    assert_eq!(client.response().await.status, 200);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_idle_limit_is_not_cut() {
    let (held, mut told) = held();
    let server = Fixture::with(held.router(), |server| {
        server.idle_timeout(SHORT).header_timeout(SHORT).timeout(SHORT * 5)
    })
    .await;
    assert_eq!(server.get("/held").await.status, 504);
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    assert_eq!(ended(&mut told).await, CauseKind::Deadline);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let router = Router::new()
        .get("/{name}", |_: Context, req: Request| async move { req.param::<String>("name") });
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&[get("/one"), get("/two"), get("/three")].concat()).await;
    for expected in ["one", "two", "three"] {
        assert_eq!(client.response().await.body, expected);
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_another_to_close() {
    let server = Fixture::with(fast(), |server| server.max_connections(1)).await;
    let mut first = server.client().await;
    first.send(&get("/fast")).await;
    assert_eq!(first.response().await.status, 200);
    let mut second = server.client().await;
    second.send(&get("/fast")).await;
    // The first is still served, and the second only when the first has gone.
    first.send(&get("/fast")).await;
    assert_eq!(first.response().await.status, 200);
    assert!(second.0.try_read(&mut [0; 1]).is_err());
    drop(first);
    assert_eq!(second.response().await.status, 200);
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_a_431() {
    let server = Fixture::with(fast(), |server| server.max_header_bytes(8 << 10)).await;
    let long = "x".repeat(9 << 10);
    let response =
        server.request(&format!("GET /fast HTTP/1.1\r\nhost: t\r\nlong: {long}\r\n\r\n")).await;
    assert_eq!(response.status, 431);
}

#[tokio::test]
async fn a_port_in_use_is_named_in_one_line() {
    let server = Fixture::start(fast()).await;
    let address = server.running.address().tcp().unwrap().to_string();
    let error = Server::bind(&address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: it is in use by another process")
    );
}

#[tokio::test]
async fn a_client_that_stops_reading_is_closed_after_the_write_limit() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let endless = Router::new().get("/", move |ctx: Context, _: Request| {
        tell.send(ctx).unwrap();
        async { streamed(Pieces::Endless) }
    });
    let (see, mut seen) = mpsc::unbounded_channel();
    let set = |server: Server| server.write_timeout(SHORT).observer(Seen(see));
    let server = Fixture::with(endless, set).await;
    let mut client = server.client().await;
    client.send(&get("/")).await;
    let ctx = soon(told.recv()).await.unwrap();
    assert_eq!(soon(ctx.done()).await.kind(), CauseKind::ClientGone);
    assert_eq!(soon(seen.recv()).await, Some((499, Ending::ClientStuck)));
    server.quiet().await;
    // What was in the sockets still arrives.
    assert!(client.rest().await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_client_of_http2_is_told_before_its_connection_is_closed() {
    let set = |server: Server| server.idle_timeout(SHORT).header_timeout(SHORT);
    let server = Fixture::with(fast(), set).await;
    let mut peer = Peer::connect(&server).await;
    let goaway = peer.next_of(GOAWAY).await.expect("a GOAWAY before the end");
    assert_eq!(goaway.word(4), NO_ERROR);
    // It does not answer, and is closed all the same.
    assert!(peer.next_of(GOAWAY).await.is_none());
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may_have() {
    let server = Fixture::with(fast(), |server| server.max_connections_per_ip(2)).await;
    let (mut one, mut two) = (server.client().await, server.client().await);
    for client in [&mut one, &mut two] {
        client.send(&get("/fast")).await;
        assert_eq!(client.response().await.status, 200);
    }
    assert!(server.client().await.rest().await.is_empty(), "a third is closed");
    drop(one);
    // Its place is free once the server has seen it go.
    soon(async {
        loop {
            let mut next = server.client().await;
            next.send(&get("/fast")).await;
            if next.read_response().await.is_some_and(|response| response.status == 200) {
                return;
            }
        }
    })
    .await;
    two.send(&get("/fast")).await;
    assert_eq!(two.response().await.status, 200);
}

/// The limits by a clock that nobody waits for: in memory, nothing else moves it.
mod exactly {
    use downhaul_http::{Connector, DrainPlan, Listener, Running};
    use tokio::io::{AsyncWriteExt, copy, sink, split};
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::frames;
    use crate::support::Client;

    const SECOND: Duration = Duration::from_secs(1);

    fn serve(router: Router) -> (Running, Connector) {
        let (listener, connector) = Listener::in_memory();
        (Server::on(listener).serve(Context::background(), router), connector)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_its_last_answer() {
        let (_running, connector) = serve(fast());
        let mut client = Client(connector.connect().await.unwrap());
        for _ in 0..3 {
            client.send(&get("/fast")).await;
            assert_eq!(client.read_response().await.unwrap().status, 200);
            sleep(40 * SECOND).await; // tidy: the paused clock
        }
        let last = Instant::now();
        client.send(&get("/fast")).await;
        assert_eq!(client.read_response().await.unwrap().status, 200);
        assert_eq!(client.read_response().await.map(|answer| answer.status), None);
        assert_eq!(last.elapsed().as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte() {
        let (_running, connector) = serve(fast());
        let mut client = Client(connector.connect().await.unwrap());
        client.send(&get("/fast")).await;
        assert_eq!(client.read_response().await.unwrap().status, 200);
        sleep(30 * SECOND).await; // tidy: the paused clock; the first look of the watch is long past
        let begun = Instant::now();
        client.send("GET /fa").await;
        assert!(client.read_response().await.is_none());
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_also_after_a_handler_that_ended_long_after_its_answer() {
        let (held, _told) = held();
        let (_running, connector) = serve(held.router());
        let mut client = Client(connector.connect().await.unwrap());
        client.send(&get("/deaf")).await;
        assert_eq!(client.read_response().await.unwrap().status, 504);
        let answered = Instant::now();
        let closed = timeout(600 * SECOND, client.read_response()).await;
        assert!(closed.expect("it is closed").is_none());
        assert_eq!(answered.elapsed().as_secs(), 75);
    }

    /// A client of HTTP/2 that does not answer the server's farewell.
    #[tokio::test(start_paused = true)]
    async fn a_drain_is_over_with_a_request_that_is_kept_beyond_its_answer() {
        let router = Router::new().get("/", async |_: Context, req: Request| {
            tokio::spawn(async move {
                sleep(15 * SECOND).await; // tidy: the paused clock
                drop(req);
            });
            "kept"
        });
        let (running, connector) = serve(router);
        let mut client = connector.connect().await.unwrap();
        let request = [frames::PREFACE, &frames::settings(&[]), &frames::get(1, "/")].concat();
        client.write_all(&request).await.unwrap();
        sleep(SECOND).await; // tidy: the paused clock
        let plan = DrainPlan::default().without_lame_duck().finish(100 * SECOND);
        let report = running.drain(plan).await;
        assert!(report.is_clean() && report.finished == 1, "{report}");
        assert_eq!(report.took.as_secs(), 14);
    }

    /// Each is half there at some of the looks, and none is looked at when it is whole.
    #[tokio::test(start_paused = true)]
    async fn heads_that_come_in_two_pieces_have_each_their_own_time() {
        let (_running, connector) = serve(fast());
        let mut client = Client(connector.connect().await.unwrap());
        let whole = get("/fast");
        let (first, second) = whole.split_at(9);
        for asked in 0..100 {
            client.send(first).await;
            sleep(SECOND / 2).await; // tidy: the paused clock
            client.send(second).await;
            let answer = client.read_response().await;
            assert_eq!(answer.map(|answer| answer.status), Some(200), "the answer {asked}");
            sleep(SECOND * 2 / 5).await; // tidy: the paused clock
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_when_a_lame_duck_stops() {
        let (running, connector) = serve(fast());
        let mut client = Client(connector.connect().await.unwrap());
        client.send(&get("/fast")).await;
        assert_eq!(client.read_response().await.unwrap().status, 200);
        let begun = Instant::now();
        let plan = DrainPlan::default().lame_duck(5 * SECOND);
        let (report, answer) = tokio::join!(running.drain(plan), client.read_response());
        assert!(report.is_clean() && answer.is_none(), "{report}");
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_old_ends_after_the_answer_to_what_is_begun() {
        let (held, mut told) = held();
        let (listener, connector) = Listener::in_memory();
        let server = Server::on(listener).timeout(Duration::MAX).idle_timeout(300 * SECOND);
        let aging = server.max_connection_age(100 * SECOND);
        let running = aging.serve(Context::background(), held.router());
        let mut busy = Client(connector.connect().await.unwrap());
        busy.send(&get("/held")).await;
        assert!(matches!(told.recv().await, Some(Told::Begun)));
        sleep(120 * SECOND).await; // tidy: the paused clock
        held.release.notify_one();
        let answer = busy.read_response().await.unwrap();
        assert!(answer.status == 200 && answer.closes());
        assert!(busy.read_response().await.is_none());

        let (mut idle, begun) = (Client(connector.connect().await.unwrap()), Instant::now());
        idle.send(&get("/fast")).await;
        assert_eq!(idle.read_response().await.unwrap().status, 200);
        assert!(idle.read_response().await.is_none());
        assert!((90..=110).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        assert_eq!(running.in_flight(), 0);
    }

    /// How long a client of HTTP/2 is let to ask for more, once a second, that takes its answers
    /// and says nothing to the server's farewell.
    async fn heedless(connector: Connector) -> Duration {
        let begun = Instant::now();
        let (mut answers, mut requests) = split(connector.connect().await.unwrap());
        tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
        requests.write_all(&[frames::PREFACE, &frames::settings(&[])].concat()).await.unwrap();
        for stream in (1..1_000).step_by(2) {
            if requests.write_all(&frames::get(stream, "/fast")).await.is_err() {
                break;
            }
            sleep(SECOND).await; // tidy: the paused clock
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http2_that_does_not_heed_its_age_is_closed_a_little_later() {
        let (listener, connector) = Listener::in_memory();
        let server = Server::on(listener).max_connection_age(100 * SECOND);
        let _running = server.serve(Context::background(), fast());
        let age = heedless(connector).await;
        assert!((100..=122).contains(&age.as_secs()), "{age:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http2_that_goes_on_asking_does_not_hold_the_drain() {
        let (running, connector) = serve(fast());
        let client = tokio::spawn(heedless(connector));
        sleep(SECOND / 2).await; // tidy: the paused clock
        let plan = DrainPlan::default().without_lame_duck().finish(100 * SECOND);
        let report = running.drain(plan).await;
        assert!(report.is_clean() && report.took < 12 * SECOND, "{report}");
        assert!(client.await.unwrap() < 14 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_http2_that_goes_on_asking_is_closed_when_the_drain_is_over() {
        let (running, connector) = serve(fast());
        let client = tokio::spawn(heedless(connector));
        sleep(SECOND / 2).await; // tidy: the paused clock
        let plan = DrainPlan::default().without_lame_duck().finish(SECOND).cancel_grace(SECOND);
        let report = running.drain(plan).await;
        assert!(report.took <= 2 * SECOND, "{report}");
        assert!(client.await.unwrap() <= 4 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_has_the_time_of_an_answer_to_write() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let endless = fast().get("/", move |ctx: Context, _: Request| {
            tell.send(ctx).unwrap();
            async { streamed(Pieces::Endless) }
        });
        let (listener, connector) = Listener::in_memory();
        let server = Server::on(listener).write_timeout(5 * SECOND);
        let _running = server.serve(Context::background(), endless);
        let mut client = Client(connector.connect().await.unwrap());
        client.send(&get("/fast")).await;
        assert_eq!(client.read_response().await.unwrap().status, 200);
        sleep(30 * SECOND).await; // tidy: the paused clock; the first look of the watch is long past
        let begun = Instant::now();
        client.send(&get("/")).await;
        let ctx = told.recv().await.unwrap();
        assert_eq!(ctx.done().await.kind(), CauseKind::ClientGone);
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
