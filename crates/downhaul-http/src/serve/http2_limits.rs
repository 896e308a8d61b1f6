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
/// let many = Http2Limits::new().streams(2_000).connection_window(16 << 20);
/// let server = Server::bind("127.0.0.1:0").await?.http2(many);
/// # let _ = server;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "give them to a server"]
pub struct Http2Limits {
    pub(crate) streams: u32,
    pub(crate) early_resets: usize,
    pub(crate) faulty_streams: usize,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            streams: 200,
            early_resets: 20,
            faulty_streams: 100,
            stream_window: 1 << 20,
            connection_window: 1 << 20,
        }
    }
}

impl Http2Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many streams a client has open at once; more are refused. As many requests run at once,
    /// those counted that were reset and run on; beyond that the client reads 503. Default: 200.
    pub fn streams(mut self, streams: u32) -> Self {
        self.streams = streams;
        self
    }

    /// How many streams that the client has reset may wait at once to be begun; beyond that the
    /// connection is closed. Default: 20.
    pub fn early_resets(mut self, streams: usize) -> Self {
        self.early_resets = streams;
        self
    }

    /// How many streams of a connection may break the protocol, in all its life, so that the server
    /// has to reset them; beyond that it is closed. Default: 100.
    pub fn faulty_streams(mut self, streams: usize) -> Self {
        self.faulty_streams = streams;
        self
    }

    /// How many bytes of a body a client may send before a handler has read them. Default: 1 MiB;
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
