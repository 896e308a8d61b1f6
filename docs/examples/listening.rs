//! Where a server takes its connections from: several places at once.

use std::error::Error as StdError;

use downhaul_context::Context;
use downhaul_http::{Address, Certificate, Listener, Request, Router, Server, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// ANCHOR: handler
async fn whoami(_ctx: Context, req: Request) -> String {
    req.peer().map_or_else(String::new, Address::to_string)
}
// ANCHOR_END: handler

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let folder = std::env::temp_dir().join(format!("orders-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let socket = format!("unix:{}", folder.join("socket").display());

    // ANCHOR: listeners
    let public = Listener::bind("127.0.0.1:0").await?;
    let local = Listener::bind(&socket).await?;
    let (internal, connector) = Listener::in_memory();

    let server = Server::on(public).and(local).and(internal);
    let (ctx, _canceller) = Context::root();
    let running = server.serve(ctx, Router::new().get("/", whoami));

    let urls: Vec<&str> = running.urls().collect();
    assert!(urls[0].starts_with("http://127.0.0.1:"));
    assert_eq!(urls[1..], [socket.as_str(), "memory"]);
    // ANCHOR_END: listeners

    // ANCHOR: memory
    let mut client = connector.connect().await?;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nmemory"));
    // ANCHOR_END: memory

    assert_eq!(reqwest::get(urls[0]).await?.status(), 200);

    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(&chain, own.cert.pem())?;
    std::fs::write(&key, own.signing_key.serialize_pem())?;
    // ANCHOR: tls
    let certificate = Certificate::load(chain, key)?; // the paths of two PEM files
    let server = Server::bind("127.0.0.1:0").await?.tls(Tls::new(&certificate));
    // ANCHOR_END: tls
    let encrypted = server.serve(Context::background(), Router::new().get("/", whoami));
    assert!(encrypted.urls().all(|url| url.starts_with("https://127.0.0.1:")));

    drop(running);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
