//! What tests of a service need: [`Client`] sends requests to a server in memory.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::{BoxError, Connector};

/// Asks a server on a [`Listener::in_memory`](crate::Listener::in_memory): without ports, also on
/// tokio's paused clock. Each request has a connection of its own.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::testing::Client;
/// use downhaul_http::{Error, Json, Listener, Request, Router, Server};
///
/// async fn double(_ctx: Context, mut req: Request) -> Result<Json<u64>, Error> {
///     Ok(Json(2 * req.json::<u64>().await?))
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let (listener, connector) = Listener::in_memory();
/// let routes = Router::new().post("/double", double);
/// let running = Server::on(listener).serve(Context::background(), routes);
///
/// let answer = Client::new(connector).post("/double", "21").await;
/// assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"42"[..]));
/// # drop(running);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connector: Connector,
}

impl Client {
    /// Makes a client of the server that listens to `connector`.
    pub fn new(connector: Connector) -> Self {
        Self { connector }
    }

    /// Asks for a path, such as `/orders/7`.
    ///
    /// # Panics
    ///
    /// As [`send`](Self::send), and if it is not a path.
    ///
    /// # Cancel safety
    ///
    /// As [`try_send`](Self::try_send).
    pub async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(Request::get(path).body(Bytes::new()).expect("a path")).await
    }

    /// Posts JSON to a path.
    ///
    /// # Panics
    ///
    /// As [`send`](Self::send), and if it is not a path.
    ///
    /// # Cancel safety
    ///
    /// As [`try_send`](Self::try_send).
    pub async fn post(&self, path: &str, json: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(json.into()).expect("a path")).await
    }

    /// Sends a request and reads the whole answer. It names a host if the request does not.
    ///
    /// # Panics
    ///
    /// If nobody listens, or the server does not answer to the end. For what a server does with a
    /// client that it lets down, use [`try_send`](Self::try_send).
    ///
    /// # Cancel safety
    ///
    /// As [`try_send`](Self::try_send).
    pub async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// As [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// If nobody listens, or the server does not answer to the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection: to the server the client is gone.
    pub async fn try_send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let host = http::HeaderValue::from_static("test");
        request.headers_mut().entry(header::HOST).or_insert(host);
        let io = TokioIo::new(self.connector.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        let asked = async {
            let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            drop(sender);
            Ok::<_, hyper::Error>(Response::from_parts(head, body))
        };
        let (answer, _closed) = tokio::join!(asked, connection);
        Ok(answer?)
    }
}
