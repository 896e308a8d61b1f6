//! Stopping: nothing that was begun is lost, and nothing holds the server longer than the plan.

use std::time::Duration;

use bytes::Bytes;
use downhaul_context::{CauseKind, Context};
use downhaul_http::observe::Ending;
use downhaul_http::{DrainPlan, Listener, Phase, Request, RequestInfo, Router, Server, StatusCode};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::frames::Peer;
use crate::support::{Client, Fixture, NEVER, Seen, StillClock, Told, ended, get, held, soon};

fn plan() -> DrainPlan {
    DrainPlan::default().without_lame_duck()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_in_flight_over_keep_alive_are_all_answered() {
    raise_the_bound_of_descriptors();
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let address = server.running.address().tcp().unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..1_000 {
        clients.spawn(async move {
            let mut client = Client(TcpStream::connect(address).await.unwrap());
            client.send(&get("/fast")).await;
            assert_eq!(client.response().await.status, 200);
            client.send(&get("/held")).await;
            let response = client.response().await;
            assert!(response.closes());
            (response.status, client.rest().await.len())
        });
    }
    for _ in 0..1_000 {
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    }
    assert_eq!(server.running.in_flight(), 1_000);
    let release = async {
        // Once the port is closed the drain has begun.
        while TcpStream::connect(address).await.is_ok() {}
        held.release.notify_waiters();
    };
    let (report, ()) = tokio::join!(soon(server.running.drain(plan())), release);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.finished, 1_000);
    while let Some(answered) = clients.join_next().await {
        assert_eq!(answered.unwrap(), (200, 0));
    }
}

#[tokio::test]
async fn idle_connections_close_and_hold_nothing() {
    let server = Fixture::start(held().0.router()).await;
    let mut idle = server.client().await;
    idle.send(&get("/fast")).await;
    assert_eq!(idle.response().await.status, 200);
    server.quiet().await;
    let report = soon(server.running.drain(plan())).await;
    assert!(report.is_clean());
    assert!(report.took < Duration::from_millis(900), "{report}");
    assert!(idle.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_do_not_hold_the_ten_that_are_busy() {
    raise_the_bound_of_descriptors();
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        let mut client = server.client().await;
        client.send(&get("/fast")).await;
        assert_eq!(client.response().await.status, 200);
        idle.push(client);
    }
    let mut busy = Vec::new();
    for _ in 0..10 {
        let mut client = server.client().await;
        client.send(&get("/held")).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        busy.push(client);
    }
    let clients = async {
        for client in &mut idle {
            assert!(client.rest().await.is_empty());
        }
        // The idle ones are closed while the others are still held.
        held.release.notify_waiters();
        for client in &mut busy {
            assert_eq!(client.response().await.body, "released");
            assert!(client.rest().await.is_empty());
        }
    };
    let (report, ()) = tokio::join!(soon(server.running.drain(plan())), clients);
    assert!(report.is_clean() && report.finished == 10, "{report}");
    assert!(report.took < plan().finish, "{report}");
}

/// Both ends of some thousand connections are in this process.
#[cfg(unix)]
fn raise_the_bound_of_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let raised = most.min(10_000);
    assert!(raised > 5_000, "{raised} descriptors are too few for this test");
    setrlimit(Resource::RLIMIT_NOFILE, raised, most).unwrap();
}

/// Elsewhere there is none that matters.
#[cfg(not(unix))]
fn raise_the_bound_of_descriptors() {}

#[tokio::test]
async fn a_half_sent_head_and_a_silent_client_do_not_hold_the_drain() {
    let server = Fixture::start(held().0.router()).await;
    let mut half = server.client().await;
    half.send("GET /fast HTTP/1.1\r\nhost:").await;
    let _silent = server.client().await;
    // A later connection was accepted, so these were.
    assert_eq!(server.get("/fast").await.status, 200);
    let report = soon(server.running.drain(plan())).await;
    assert!(report.is_clean() && report.took < plan().finish, "{report}");
}

#[tokio::test]
async fn a_client_of_http2_that_talks_and_does_not_answer_does_not_hold_the_drain() {
    let clock = StillClock::stop();
    for talks in [false, true] {
        let server = Fixture::start(held().0.router()).await;
        let mut peer = Peer::connect(&server).await;
        assert!(peer.ping().await.is_some());
        let plan = plan().finish(2 * NEVER);
        let talk = async {
            // Its answer to the ping of the server never comes.
            while peer.is_open() {
                clock.advance(Duration::from_millis(500)).await;
                if talks {
                    peer.ping().await;
                }
            }
        };
        let (report, ()) = tokio::join!(server.running.drain(plan), talk);
        assert!(report.took < plan.finish, "{report}");
    }
}

#[tokio::test]
async fn the_rest_of_a_head_that_is_on_its_way_is_waited_for() {
    let server = Fixture::start(held().0.router()).await;
    let mut half = server.client().await;
    half.send("GET /fast HTTP/1.1\r\nhost: t").await;
    assert_eq!(server.get("/fast").await.status, 200);
    let address = server.running.address().tcp().unwrap();
    let rest = async {
        while TcpStream::connect(address).await.is_ok() {}
        half.send("\r\n\r\n").await;
        half.response().await
    };
    let (report, response) = tokio::join!(soon(server.running.drain(plan())), rest);
    assert_eq!((response.status, response.closes()), (200, true));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_request_that_lies_in_the_socket_when_the_drain_begins_is_answered() {
    let server = Fixture::start(held().0.router()).await;
    for _ in 0..20 {
        let server = Fixture::start(held().0.router()).await;
        let mut client = server.client().await;
        client.send(&get("/fast")).await;
        assert_eq!(client.response().await.status, 200);
        server.quiet().await;
        // No await between: the server has not looked at its socket since.
        assert!(client.0.try_write(get("/fast").as_bytes()).is_ok());
        let (report, response) =
            tokio::join!(soon(server.running.drain(plan())), client.response());
        assert_eq!(response.status, 200);
        assert_eq!(report.finished, 1);
    }
    drop(server);
}

#[tokio::test]
async fn a_lame_duck_still_accepts_and_answers_and_asks_to_close() {
    let (held, _told) = held();
    let server = Fixture::start(held.router()).await;
    let mut kept = server.client().await;
    kept.send(&get("/fast")).await;
    assert!(!kept.response().await.closes());
    let lame = plan().lame_duck(Duration::from_millis(200));
    let meanwhile = async {
        let mut closes = false;
        while !closes {
            let response = server.get("/fast").await;
            assert_eq!(response.status, 200);
            closes = response.closes();
        }
        kept.send(&get("/fast")).await;
        kept.response().await
    };
    let (report, response) = tokio::join!(soon(server.running.drain(lame)), meanwhile);
    assert!(response.closes());
    assert!(report.is_clean() && report.took >= lame.lame_duck, "{report}");
}

#[tokio::test]
async fn the_report_of_a_drain_that_goes_on_is_about_all_of_it() {
    let (held, _told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    let first = async {
        client.send(&get("/fast")).await;
        client.response().await
    };
    tokio::select! {
        biased;
        () = server.running.lame_duck(Duration::MAX) => panic!("nobody closed it"),
        response = first => assert!(response.closes()),
    }
    let report = soon(server.running.drain(plan())).await;
    assert_eq!(report.finished, 1, "{report}");
    assert_eq!(server.running.drain(plan()).await.finished, 1, "a second call ends nothing");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_goes_on_after_its_lame_duck_has_no_second_one() {
    let (held, mut told) = held();
    let (listener, connector) = Listener::in_memory();
    let running = Server::on(listener).serve(Context::background(), held.router());
    let mut client = Client(connector.connect().await.unwrap());
    client.send(&get("/held")).await;
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    let plan = DrainPlan::default();
    assert!(timeout(2 * plan.lame_duck, running.drain(plan)).await.is_err());
    held.release.notify_one();
    let again = Instant::now();
    assert!(running.drain(plan).await.is_clean());
    assert!(again.elapsed() < plan.lame_duck, "{:?}", again.elapsed());
}

#[test]
fn the_phases_of_a_plan_add_up_to_the_time_that_it_was_made_for() {
    let millis = Duration::from_millis;
    for total in [Duration::ZERO, Duration::from_nanos(59), millis(30_001), Duration::MAX] {
        assert_eq!(DrainPlan::within(total).total(), total);
    }
}

#[tokio::test]
async fn a_lame_duck_also_closes_after_an_answer_that_names_an_upgrade_and_is_none() {
    let refuse =
        async |_: Context, _: Request| (StatusCode::UPGRADE_REQUIRED, [("upgrade", "websocket")]);
    let server = Fixture::start(Router::new().get("/", refuse)).await;
    tokio::select! {
        biased;
        () = server.running.lame_duck(Duration::MAX) => panic!("nobody closed it"),
        () = soon(async { while !server.get("/").await.closes() {} }) => {}
    }
}

#[tokio::test]
async fn what_does_not_finish_is_cancelled_with_a_cause_and_reads_503() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let hurried = plan().finish(Duration::from_millis(20));
    let (report, response) = tokio::join!(soon(server.running.drain(hurried)), client.response());
    assert_eq!((response.status, response.closes()), (503, true));
    assert_eq!(ended(&mut told).await, CauseKind::DrainGraceOver);
    assert_eq!((report.finished, report.cancelled, report.forced.len()), (0, 1, 0));
    assert!(!report.is_clean());
    assert_eq!(report.cut_short[0].path, "/held");
    assert!(report.to_string().contains("1 cancelled, 0 forced: GET /held ("), "{report}");
}

/// Handlers that heed their context are gone in the moment in which it ends, which is the one in
/// which the drain wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_that_is_cut_short_is_named_however_fast_it_ends() {
    for _ in 0..50 {
        let (held, mut told) = held();
        let server = Fixture::start(held.router()).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = server.client().await;
            client.send(&get("/held")).await;
            assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
            clients.push(client);
        }
        let hurried = plan().finish(Duration::from_millis(5));
        let report = soon(server.running.drain(hurried)).await;
        assert_eq!((report.cancelled, report.forced.len()), (5, 0), "{report}");
        assert_eq!(report.cut_short.len(), 5, "{report}");
    }
}

#[tokio::test]
async fn the_report_of_a_second_drain_names_what_the_first_has_cut_short_and_forced() {
    let (held, mut told) = held();
    let server = Fixture::with(held.router(), |server| server.cancel_grace(NEVER * 2)).await;
    let mut clients = Vec::new();
    for path in ["/held", "/deaf"] {
        let mut client = server.client().await;
        client.send(&get(path)).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        clients.push(client);
    }
    let hurried = plan().finish(Duration::from_millis(20)).cancel_grace(Duration::from_millis(20));
    for _ in 0..2 {
        let report = soon(server.running.drain(hurried)).await;
        assert_eq!((report.finished, report.cancelled), (0, 1), "{report}");
        let path = |requests: &[RequestInfo]| requests.first().map(|it| it.path.clone());
        let named = (path(&report.cut_short), path(&report.forced));
        assert_eq!(named, (Some("/held".to_owned()), Some("/deaf".to_owned())), "{report}");
    }
}

#[tokio::test]
async fn what_ignores_its_cancellation_is_aborted_and_named_in_the_report() {
    let (held, mut told) = held();
    let server = Fixture::with(held.router(), |server| server.cancel_grace(NEVER * 2)).await;
    let mut client = server.client().await;
    client.send(&get("/deaf")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let hurried = plan().finish(Duration::from_millis(20)).cancel_grace(Duration::from_millis(20));
    let report = soon(server.running.drain(hurried)).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Aborted)));
    let [forced] = &report.forced[..] else { panic!("{report}") };
    assert!(report.cancelled == 0 && report.cut_short.is_empty(), "{report}");
    assert!(!report.is_clean());
    assert!(report.took < Duration::from_secs(1), "{report}");
    assert_eq!((forced.path.as_str(), forced.phase), ("/deaf", Phase::Cancelled));
    assert!(report.to_string().contains("1 forced: GET /deaf ("), "{report}");
    assert_eq!(server.running.in_flight(), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_the_drain_no_longer_than_the_plan() {
    let large = Bytes::from(vec![0; 32 << 20]);
    let service = tower::service_fn(move |_: http::Request<downhaul_http::Body>| {
        let body = Full::new(large.clone());
        async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
    });
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), service);
    let mut client = Client(TcpStream::connect(running.address().tcp().unwrap()).await.unwrap());
    client.send(&get("/")).await;
    client.0.readable().await.unwrap();
    let hurried = plan()
        .finish(Duration::from_millis(50))
        .cancel_grace(Duration::from_millis(10))
        .force(Duration::from_secs(5));
    let report = soon(running.drain(hurried)).await;
    assert!(report.took < Duration::from_secs(3), "{report}");
}

#[tokio::test]
async fn the_end_of_the_servers_context_is_answered_with_503_and_closes_everything() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut busy = server.client().await;
    busy.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let mut idle = server.client().await;
    server.root.cancel();
    assert!(busy.rest().await.starts_with(b"HTTP/1.1 503"));
    assert!(idle.rest().await.is_empty());
    assert_eq!(ended(&mut told).await, CauseKind::Cancelled);
    let report = soon(server.running.drain(DrainPlan::default())).await;
    assert!(report.took < Duration::from_secs(1), "{report}");
}

#[tokio::test]
async fn what_the_end_of_the_servers_context_cuts_is_not_told_as_a_client_that_left() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let (held, mut told) = held();
    let hasty = |server: Server| server.cancel_grace(Duration::from_millis(20));
    let server = Fixture::with(held.router(), |server| hasty(server).observer(Seen(see))).await;
    let mut client = server.client().await;
    client.send(&get("/deaf")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    server.root.cancel();
    assert!(client.rest().await.starts_with(b"HTTP/1.1 503"));
    assert_eq!(soon(seen.recv()).await, Some((503, Ending::Cancelled)));
}

#[tokio::test]
async fn a_draining_context_alone_stops_nothing() {
    let server = Fixture::start(held().0.router()).await;
    server.root.drain(NEVER);
    assert_eq!(server.get("/fast").await.status, 200);
}

#[tokio::test]
async fn after_a_drain_the_port_is_free() {
    let server = Fixture::start(held().0.router()).await;
    let address = server.running.address().tcp().unwrap().to_string();
    assert!(soon(server.running.drain(plan())).await.is_clean());
    assert!(Server::bind(&address).await.is_ok());
}

#[tokio::test]
async fn dropping_a_running_server_closes_it() {
    let router = Router::new().get("/fast", async |_: Context, _: Request| "fast");
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&get("/fast")).await;
    assert_eq!(client.response().await.status, 200);
    drop(server.running);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn what_is_in_flight_when_a_running_server_is_dropped_is_not_logged_as_left_by_its_client() {
    let (held, mut told) = held();
    let (seen, mut endings) = mpsc::unbounded_channel();
    let server = Fixture::with(held.router(), |server| server.observer(Seen(seen))).await;
    let mut client = server.client().await;
    client.send(&get("/deaf")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(server.running);
    assert_eq!(soon(endings.recv()).await, Some((503, Ending::Cancelled)));
}
