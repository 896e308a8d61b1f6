//! [`RabbitMq`]: the broker.

use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, BrokerError, Capabilities, Sink, Source, Subscription};
use downhaul_context::Context;
use std::sync::Arc;

use crate::address::Address;
use crate::error::gave_up;
use crate::link::{Link, Role};
use crate::options::{Options, QueueType};
use crate::sink::RabbitSink;
use crate::source::RabbitSource;

/// A RabbitMQ broker, or a cluster behind one address.
///
/// Nothing is connected before it is used: then one connection for all consumers and one for all
/// publishers.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::BrokerErrorKind;
/// use downhaul_rabbitmq::RabbitMq;
///
/// let broker = RabbitMq::new("amqp://guest:guest@localhost:5672")?.exchange("orders");
/// assert!(!format!("{broker:?}").contains("guest"));
///
/// let error = RabbitMq::new("http://localhost").unwrap_err();
/// assert_eq!(error.kind(), BrokerErrorKind::Configuration);
/// # Ok::<(), downhaul_consumer::BrokerError>(())
/// ```
#[derive(Debug)]
pub struct RabbitMq {
    address: Address,
    options: Options,
    consuming: Link,
    publishing: Link,
}

impl RabbitMq {
    /// Makes a broker of a URL: `amqp://user:password@host:port/vhost`.
    ///
    /// A slash within the name of a vhost is written `%2f`; the vhost `/` may be left out, together
    /// with the slash before it. Of the query, `heartbeat` (seconds), `connection_timeout`
    /// (milliseconds), `frame_max`, `channel_max` and `auth_mechanism` count.
    ///
    /// # Errors
    ///
    /// The URL is not valid. The error says why and does not repeat the URL.
    pub fn new(url: &str) -> Result<Self, BrokerError> {
        Ok(Self {
            address: Address::parse(url)?,
            options: Options::default(),
            consuming: Link::new(Role::Consume),
            publishing: Link::new(Role::Publish),
        })
    }

    /// Names the exchange that topics are routed by. Default `downhaul`; it is declared as a
    /// durable topic exchange.
    #[must_use]
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.options.exchange = exchange.into();
        self
    }

    /// How queues are kept. Default [`QueueType::Classic`].
    #[must_use]
    pub fn queue_type(mut self, queue_type: QueueType) -> Self {
        self.options.queue_type = queue_type;
        self
    }

    /// How long connecting may take, with the handshake. Default 5 s, unless the URL has a
    /// `connection_timeout`.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How often each side says that it is alive, in whole seconds; after twice that time of
    /// silence the link is lost. Default 10 s, unless the URL has a `heartbeat`. The broker may
    /// ask for less.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.address.set_heartbeat(heartbeat);
        self
    }

    /// How the connections are called in the broker's listings: this name with `-consume` and
    /// `-publish` behind it. Default `downhaul`.
    #[must_use]
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.options.connection_name = name.into();
        self
    }

    /// How many publishes of a sink may wait for the broker's answer at a time; more of them wait
    /// before they are sent. Default 1,000, at least 1.
    #[must_use]
    pub fn publish_window(mut self, window: usize) -> Self {
        self.options.window = window.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    async fn open_source(&self, subscription: &Subscription) -> Result<RabbitSource, BrokerError> {
        let line = self.consuming.line(&self.address, &self.options).await?;
        let opening = RabbitSource::open(line.clone(), &self.options, subscription);
        line.answer(opening).await
    }

    async fn open_sink(&self) -> Result<RabbitSink, BrokerError> {
        let line = self.publishing.line(&self.address, &self.options).await?;
        line.answer(RabbitSink::open(line.clone(), &self.options)).await
    }
}

#[async_trait]
impl Broker for RabbitMq {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_delay().with_order()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let opened = ctx.run(self.open_source(subscription)).await;
        let source = opened.map_err(|cause| gave_up("consume from RabbitMQ", cause))??;
        Ok(Box::new(source))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let opened = ctx.run(self.open_sink()).await;
        let sink = opened.map_err(|cause| gave_up("publish to RabbitMQ", cause))??;
        Ok(Arc::new(sink))
    }

    async fn close(&self, ctx: &Context) {
        // Told or not, the broker notices when the connections are dropped.
        let _ =
            ctx.run(async { tokio::join!(self.consuming.close(), self.publishing.close()) }).await;
    }
}
