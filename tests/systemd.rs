//! What systemd hears of the service.

use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::service::Service;

/// A socket as systemd gives one to a unit of `Type=notify`.
struct Systemd {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    async fn hears(&self) -> String {
        let mut buffer = [0; 1024];
        let hearing = self.socket.recv(&mut buffer);
        let read = tokio::time::timeout(Duration::from_secs(60), hearing).await;
        String::from_utf8_lossy(&buffer[..read.expect("nothing was said").unwrap()]).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hears_of_readiness_of_progress_and_of_the_stop_and_its_grace() {
    let systemd = Systemd::new();
    let path = systemd.path();
    let environment = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "100000")];
    let service = Service::start_with(&["--grace", "20s"], &environment).await;
    let (mut ready, mut progress) = (0, 0);
    while ready == 0 || progress < 3 {
        match systemd.hears().await.trim() {
            "READY=1" => ready += 1,
            "WATCHDOG=1" => progress += 1,
            other => panic!("{other}"),
        }
    }
    service.signal("TERM").await;
    let mut heard = systemd.hears().await;
    while heard.trim() == "WATCHDOG=1" {
        heard = systemd.hears().await;
    }
    assert_eq!(heard.trim(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000");
    assert!(service.ended().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_that_waits_for_no_time_is_none() {
    let service = Service::start_with(&[], &[("WATCHDOG_USEC", "0")]).await;
    service.signal("TERM").await;
    assert!(service.ended().await.status.success());
}
