//! A WebSocket under a context: it ends when the client leaves, and when the server drains.

use std::error::Error as StdError;
use std::time::Duration;

// ANCHOR: server
use axum::extract::ws::{
    Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::response::Response;
use downhaul_context::Context;
use downhaul_http::{DrainPlan, Listener, Request, RouteLimits, Router, Server};

async fn chat(ctx: Context, mut req: Request) -> Result<Response, WebSocketUpgradeRejection> {
    let upgrade: WebSocketUpgrade = req.extract().await?;
    Ok(upgrade.on_upgrade(|socket| echo(ctx, socket)))
}

async fn echo(ctx: Context, mut socket: WebSocket) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            _ = ctx.draining() => return goodbye(socket).await,
        };
        let Some(Ok(Message::Text(text))) = message else { return };
        if socket.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
}

async fn goodbye(mut socket: WebSocket) {
    // The client may be gone already.
    let _ = socket.send(Message::Close(None)).await;
}
// ANCHOR_END: server

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message as Sent;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    // ANCHOR: serve
    // Without a deadline: a chat lasts as long as its client.
    let chats = Router::new().get("/chat", chat).limits(RouteLimits::new().no_timeout());
    let (listener, connector) = Listener::in_memory();
    let (ctx, _canceller) = Context::root();
    let running = Server::on(listener).serve(ctx, chats);
    // ANCHOR_END: serve

    let (mut client, _) =
        tokio_tungstenite::client_async("ws://test/chat", connector.connect().await?).await?;
    client.send(Sent::text("hello")).await?;
    let heard = client.next().await.ok_or("closed")??;
    assert_eq!(heard, Sent::text("hello"));
    assert_eq!(running.in_flight(), 1);

    // ANCHOR: drain
    let drain =
        running.drain(DrainPlan::default().without_lame_duck().finish(Duration::from_secs(20)));
    let (report, farewell) = tokio::join!(drain, client.next());
    assert!(report.is_clean() && report.finished == 1);
    assert!(matches!(farewell, Some(Ok(Sent::Close(_)))));
    // ANCHOR_END: drain
    Ok(())
}
