//! Where a server takes its connections from.

use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::{Address, DrainPlan, Listener, Request, Router, Server};

use crate::support::{Client, get, soon};

/// Answers whether the client is known by an address.
fn who() -> Router {
    Router::new().get("/", async |_: Context, req: Request| {
        req.peer().map_or_else(|| "nobody".to_owned(), ToString::to_string)
    })
}

#[tokio::test]
async fn several_listeners_are_one_server() {
    let (inner, connector) = Listener::in_memory();
    let outer = Listener::bind("127.0.0.1:0").await.unwrap();
    let running = Server::on(outer).and(inner).serve(Context::background(), who());
    let urls: Vec<_> = running.urls().collect();
    let address = running.address().tcp().unwrap();
    assert_eq!(urls, [format!("http://{address}"), "memory".to_owned()]);

    let mut from_memory = Client(connector.connect().await.unwrap());
    from_memory.send(&get("/")).await;
    assert_eq!(from_memory.response().await.body, "memory");
    let mut over_tcp = Client(tokio::net::TcpStream::connect(address).await.unwrap());
    over_tcp.send(&get("/")).await;
    let seen = over_tcp.response().await.body;
    assert_eq!(seen, over_tcp.0.local_addr().unwrap().to_string());

    let report = soon(running.drain(DrainPlan::default().without_lame_duck())).await;
    assert!(report.is_clean(), "{report}");
    assert!(connector.connect().await.is_err());
    assert!(from_memory.rest().await.is_empty() && over_tcp.rest().await.is_empty());
}

/// They are connected, as far as they can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_whom_the_system_has_greeted_when_a_server_stops_are_answered() {
    for _ in 0..50 {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let running = Server::on(listener).serve(Context::background(), who());
        let address = running.address().tcp().unwrap();
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let clients: Vec<_> = (0..20).map(|_| connect()).collect();
        let drain = running.drain(DrainPlan::default().without_lame_duck());
        let answers = async {
            for client in clients {
                client.set_nonblocking(true).unwrap();
                let mut client = Client(tokio::net::TcpStream::from_std(client).unwrap());
                client.send(&get("/")).await;
                assert_eq!(client.response().await.status, 200);
            }
        };
        let (_report, ()) = soon(async { tokio::join!(drain, answers) }).await;
    }
}

#[tokio::test]
async fn one_to_which_clients_never_stop_to_come_is_closed_all_the_same() {
    const CLIENTS: usize = 5_000;
    let (listener, connector) = Listener::in_memory();
    let server = Server::on(listener).max_connections(CLIENTS);
    let running = server.serve(Context::background(), who());
    let flood = async {
        let mut clients = Vec::new();
        while clients.len() < CLIENTS
            && let Ok(client) = connector.connect().await
        {
            clients.push(client);
        }
        clients.len()
    };
    let drain = running.drain(DrainPlan::default().without_lame_duck());
    let (_report, clients) = tokio::join!(drain, flood);
    assert!(clients < CLIENTS);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_nobody_comes_to_takes_no_place_from_the_others() {
    let ((silent, nobody), (busy, connector)) = (Listener::in_memory(), Listener::in_memory());
    let server = Server::on(silent).and(busy).max_connections(1);
    let running = server.serve(Context::background(), who());
    let mut first = Client(connector.connect().await.unwrap());
    first.send(&get("/")).await;
    assert_eq!(first.response().await.status, 200);
    // All places are taken, wherever one comes to.
    let (mut here, mut there) =
        (Client(nobody.connect().await.unwrap()), Client(connector.connect().await.unwrap()));
    here.send(&get("/")).await;
    there.send(&get("/")).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // tidy: the paused clock
    assert_eq!(running.connections().len(), 1);
    drop(first);
    assert_eq!(here.response().await.status, 200);
    drop(here);
    assert_eq!(there.response().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_memory_follows_the_paused_clock() {
    let (listener, connector) = Listener::in_memory();
    let slow = Router::new().get("/", async |_: Context, _: Request| {
        tokio::time::sleep(Duration::from_secs(3600)).await; // tidy: an hour of the paused clock
    });
    let _running = Server::on(listener).serve(Context::background(), slow);
    let mut client = Client(connector.connect().await.unwrap());
    let begun = tokio::time::Instant::now();
    client.send(&get("/")).await;
    assert_eq!(client.read_response().await.unwrap().status, 504);
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::net::UnixListener as StdListener;
    use std::path::PathBuf;

    use downhaul_context::CauseKind;
    use tokio::net::UnixStream;

    use super::*;
    use crate::support::{Told, ended, held};

    /// A path for a socket, in a folder of its own that goes with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("socket")
        }

        fn url(&self) -> String {
            format!("unix:{}", self.path().display())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_unix_socket_is_served_and_its_path_goes_with_the_server() {
        let place = Place::new("served");
        let server = Server::bind(&place.url()).await.unwrap();
        let running = server.serve(Context::background(), who());
        assert_eq!(running.urls().collect::<Vec<_>>(), [place.url()]);
        assert!(matches!(running.address(), Address::Unix(Some(_))));

        let mut client = Client(UnixStream::connect(place.path()).await.unwrap());
        client.send(&get("/")).await;
        assert_eq!(client.response().await.body, "unix");
        let report = soon(running.drain(DrainPlan::default().without_lame_duck())).await;
        assert!(report.is_clean(), "{report}");
        assert!(!place.path().exists());
    }

    #[tokio::test]
    async fn a_client_of_a_unix_socket_is_seen_to_leave_behind_a_pipelined_request() {
        let place = Place::new("left");
        let (held, mut told) = held();
        let server = Server::bind(&place.url()).await.unwrap();
        let _running = server.serve(Context::background(), held.router());
        let mut client = Client(UnixStream::connect(place.path()).await.unwrap());
        client.send(&(get("/held") + &get("/fast"))).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        drop(client);
        assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    }

    #[tokio::test]
    async fn a_path_that_is_somebody_elses_by_now_is_left_to_them() {
        let place = Place::new("unix-successor");
        let first = Listener::bind(&place.url()).await.unwrap();
        std::fs::remove_file(place.path()).unwrap();
        let _second = Listener::bind(&place.url()).await.unwrap();
        drop(first);
        assert!(UnixStream::connect(place.path()).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_nothing_else() {
        let place = Place::new("stale");
        drop(StdListener::bind(place.path()).unwrap());
        assert!(place.path().exists());
        let server = Server::bind(&place.url()).await.unwrap();

        let error = Server::bind(&place.url()).await.unwrap_err().to_string();
        let expected = format!("cannot listen on {}: it is in use", place.url());
        assert!(error.starts_with(&expected), "{error}");
        drop(server);

        std::fs::write(place.path(), "somebody's file").unwrap();
        assert!(Server::bind(&place.url()).await.is_err());
        assert_eq!(std::fs::read(place.path()).unwrap(), b"somebody's file");
    }
}

#[cfg(all(unix, feature = "systemd"))]
mod inherited {
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use tokio::net::TcpStream;

    use super::*;

    /// Runs in a process that was given a socket, as systemd gives it, by the test below.
    #[tokio::test]
    #[ignore = "is a part of a_socket_that_a_supervisor_has_opened_is_served"]
    async fn a_process_with_a_given_socket() {
        let mut listeners = Listener::inherited().unwrap();
        assert_eq!(listeners.len(), 1);
        assert!(Listener::inherited().unwrap().is_empty());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let router = Router::new().get("/", move |_: Context, _: Request| {
            let _ = tell.send(());
            async { "given" }
        });
        let running = Server::on(listeners.remove(0)).serve(Context::background(), router);
        soon(told.recv()).await.unwrap();
        let report = soon(running.drain(DrainPlan::default().without_lame_duck())).await;
        assert!(report.is_clean(), "{report}");
    }

    #[tokio::test]
    async fn a_socket_that_a_supervisor_has_opened_is_served() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let test = "listening::inherited::a_process_with_a_given_socket";
        let mut child = Command::new("sh")
            .arg("-c")
            // The first given socket is descriptor 3 (sd_listen_fds(3)).
            .arg("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --exact \"$1\" --ignored 3<&0 </dev/null")
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Nobody else listens here any more, so it is the child that answers.
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send(&get("/")).await;
        assert_eq!(client.response().await.body, "given");
        let ended = tokio::task::spawn_blocking(move || child.wait());
        assert!(soon(ended).await.unwrap().unwrap().success());
    }
}
