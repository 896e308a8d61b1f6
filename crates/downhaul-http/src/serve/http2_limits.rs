//! [`Http2Limits`]: what bounds each connection of HTTP/2.

/// Limits of each connection of HTTP/2; [`Server::http2`](crate::Server::http2) sets them.
///
/// # Examples
///
/// ```
/// use downhaul_http::{Http2Limits, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Behind a proxy that sends all of its clients' requests over a few connections.
/// let many = Http2Limits::new().max_concurrent_streams(2_000).connection_window(16 << 20);
/// let server = Server::bind("127.0.0.1:0").await?.http2(many);
/// # let _ = server;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "give them to a server"]
pub struct Http2Limits {
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_pending_accept_reset_streams: usize,
    pub(crate) max_local_error_reset_streams: usize,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 200,
            max_pending_accept_reset_streams: 20,
            max_local_error_reset_streams: 100,
            // A quarter of the connection's, so that a handler that reads nothing leaves the others
            // theirs.
            stream_window: 1 << 18,
            connection_window: 1 << 20,
        }
    }
}

impl Http2Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many streams a client may have open at once; more are refused. At most as many of its
    /// requests run at once, those included that were reset and still run; beyond that it reads
    /// 503. Default: 200.
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// How many streams that the client has reset may wait at once to be begun; beyond that the
    /// connection is closed. Default: 20.
    pub fn max_pending_accept_reset_streams(mut self, streams: usize) -> Self {
        self.max_pending_accept_reset_streams = streams;
        self
    }

    /// How many streams of a connection may break the protocol, in all its life, so that the server
    /// has to reset them; beyond that it is closed. Default: 100.
    pub fn max_local_error_reset_streams(mut self, streams: usize) -> Self {
        self.max_local_error_reset_streams = streams;
        self
    }

    /// How many bytes of a body a client may send before a handler has read them. Default: 256 KiB;
    /// 2 GiB less a byte is the most that there is.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes.min(MAX_WINDOW);
        self
    }

    /// The same for all bodies of a connection together, and so for the memory that they take.
    /// Default: 1 MiB. It cannot be less than 65,535 bytes, which a client has from the start.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes.min(MAX_WINDOW);
        self
    }
}

/// RFC 9113 §6.9.1.
const MAX_WINDOW: u32 = (1 << 31) - 1;
