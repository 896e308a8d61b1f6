//! [`RabbitMq`]: the broker.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, BrokerError, Capabilities, Sink, Source, Subscription};
use downhaul_context::{Canceller, Context, Reason};
use tokio::time::timeout;

use crate::credentials::{Credentials, Provider};
use crate::error::{closed, gave_up, said_to_fresh, short_of_room};
use crate::link::{Link, Role};
use crate::nodes::Nodes;
use crate::options::{Options, QueueType};
use crate::sink::RabbitSink;
use crate::source::RabbitSource;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::topology::Topology;

/// How long connections may take that are closed when the time for it is over.
const LATE: Duration = Duration::from_millis(250);

/// A RabbitMQ broker, or a cluster of them.
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
    nodes: Nodes,
    options: Options,
    consuming: Link,
    publishing: Link,
    /// Ends when the broker is closed, and with it all that is being opened.
    life: Context,
    canceller: Canceller,
}

impl RabbitMq {
    /// Makes a broker of a URL: `amqp://user:password@host:port/vhost`, or `amqps` for TLS, which is
    /// the feature `tls`.
    ///
    /// A slash within the name of a vhost is written `%2f`; the vhost `/` may be left out, together
    /// with the slash before it. Behind it, after a `?`, may stand the
    /// [parameters of RabbitMQ's own clients](https://www.rabbitmq.com/docs/uri-query-parameters):
    ///
    /// | parameter | is |
    /// |---|---|
    /// | `heartbeat` | see [`heartbeat`](Self::heartbeat), in seconds |
    /// | `connection_timeout` | see [`connect_timeout`](Self::connect_timeout), in ms; 0 is none |
    /// | `channel_max`, `frame_max` | limits to agree on with the broker |
    /// | `auth_mechanism` | `plain` (default), `amqplain`, `external`, `anonymous`; one of them |
    /// | `cacertfile` | the authorities to trust, instead of the system's |
    /// | `certfile`, `keyfile` | the certificate to show, and its key |
    /// | `server_name_indication` | whose certificate to expect, instead of the host's |
    /// | `verify` | `verify_peer`, which is what happens without it, too |
    ///
    /// All else is refused: `verify=verify_none`, for which there is
    #[cfg_attr(feature = "tls", doc = "[`Tls::dangerously_unverified`];")]
    #[cfg_attr(not(feature = "tls"), doc = "`Tls::dangerously_unverified`;")]
    /// the `password` of a key, `fail_if_no_peer_cert`, `depth`, and whatever is not known.
    ///
    /// # Errors
    ///
    /// The URL is not valid, or a file that it names cannot be used. The error says why and does
    /// not repeat the URL.
    pub fn new(url: &str) -> Result<Self, BrokerError> {
        Self::cluster([url])
    }

    /// Makes a broker of the URLs of several nodes of one cluster. Each is as for
    /// [`new`](Self::new), and they must agree on the vhost.
    ///
    /// The nodes are shuffled once, so that clients spread. Whenever a connection is needed, each
    /// node is tried once, from the one behind the last that was tried; each has its own connect
    /// timeout. If none can be used, the error names them all.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and if there is no URL.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_rabbitmq::RabbitMq;
    ///
    /// let nodes = "amqp://rabbit-1/shop,amqp://rabbit-2/shop";
    /// let broker = RabbitMq::cluster(nodes.split(','))?;
    /// # Ok::<(), downhaul_consumer::BrokerError>(())
    /// ```
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, BrokerError> {
        let (life, canceller) = Context::root();
        Ok(Self {
            nodes: Nodes::parse(urls)?,
            options: Options::default(),
            consuming: Link::new(Role::Consume),
            publishing: Link::new(Role::Publish),
            life,
            canceller,
        })
    }

    /// Encrypts and trusts as `tls` says, and not as the parameters of the URLs say.
    ///
    /// # Errors
    ///
    /// A URL does not begin with `amqps`, or a file cannot be used.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Result<Self, BrokerError> {
        for node in self.nodes.iter_mut() {
            node.set_tls(tls.clone())?;
        }
        Ok(self)
    }

    /// Asks for the credentials, for each attempt to connect, instead of taking those of the URLs.
    ///
    /// Asking counts against the connect timeout. If it fails, or if the broker refuses what was
    /// given, that is as if the broker were not there: it is tried again. The error is shown in
    /// logs, so it must not have the secret in it.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_rabbitmq::{Credentials, RabbitMq};
    ///
    /// async fn from_the_vault() -> std::io::Result<Credentials> {
    ///     Ok(Credentials::new("inventory", "of the hour"))
    /// }
    ///
    /// let broker = RabbitMq::new("amqp://rabbit.internal")?.credentials(from_the_vault);
    /// # Ok::<(), downhaul_consumer::BrokerError>(())
    /// ```
    #[must_use]
    pub fn credentials<F, R, E>(mut self, ask: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.options.credentials = Some(Provider::new(ask));
        self
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

    /// Declares all this before it is used: a source its queue and what leads there, a sink all of
    /// it. Each does so whenever it is opened, so also after a link was lost.
    ///
    /// What exists already with other properties is a configuration error that names it and the
    /// property. A queue that is not in the topology is declared as without one. Warnings are
    /// logged; see [`Topology::warnings`].
    ///
    /// # Errors
    ///
    /// The topology cannot be declared at any broker.
    pub fn topology(mut self, topology: Topology) -> Result<Self, BrokerError> {
        topology.check()?;
        for warning in topology.warnings() {
            tracing::warn!("{warning}");
        }
        self.options.topology = topology;
        Ok(self)
    }

    /// Declares nothing, for users without the permission to: what is needed is made by others, and
    /// looked for instead.
    ///
    /// A consumer needs its queue, bound to its topics, and `<queue>.dead`; a publisher to topics
    /// the [exchange](Self::exchange). What is not there is waited for, as a broker would be, and
    /// named meanwhile. The user needs the permission to read the queues, and to write to the
    /// exchange and to `amq.default`, by which dead letters go.
    ///
    /// Retries wait in hand, since the queues in which they would wait cannot be declared, and so a
    /// publish with a delay is refused. Of a [topology](Self::topology), the consumer timeouts
    /// count.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_rabbitmq::RabbitMq;
    ///
    /// let broker = RabbitMq::new("amqp://reader:secret@rabbit.internal")?.passive();
    /// # Ok::<(), downhaul_consumer::BrokerError>(())
    /// ```
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.options.passive = true;
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
        self.nodes.iter_mut().for_each(|node| node.set_heartbeat(heartbeat));
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

    /// How long the broker waits for the verdict on a message, if its `consumer_timeout` is not
    /// half an hour. Nothing is set by it at the broker, which closes the channel when the time is
    /// over; half of it is when a message that is held is warned of. `x-consumer-timeout` of a
    /// queue in the [topology](Self::topology) goes before.
    #[must_use]
    pub fn consumer_timeout(mut self, timeout: Duration) -> Self {
        self.options.consumer_timeout = timeout;
        self
    }

    async fn open_source(&self, subscription: &Subscription) -> Result<RabbitSource, BrokerError> {
        let line = self.consuming.line(&self.nodes, &self.options).await?;
        let opening = RabbitSource::open(line.clone(), &self.options, subscription);
        line.answer(opening).await
    }

    async fn open_sink(&self) -> Result<RabbitSink, BrokerError> {
        let line = self.publishing.line(&self.nodes, &self.options).await?;
        line.answer(RabbitSink::open(line.clone(), &self.options)).await
    }

    /// Opens something, as long as this is not closed.
    async fn while_open<T>(
        &self,
        opening: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let opened = self.life.run(opening).await.unwrap_or_else(|_| Err(closed("the broker")));
        match self.options.credentials {
            Some(_) => opened.map_err(said_to_fresh),
            None => opened,
        }
    }
}

#[async_trait]
impl Broker for RabbitMq {
    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    fn capabilities(&self) -> Capabilities {
        let able = Capabilities::NONE.with_order();
        if self.options.passive { able } else { able.with_delay() }
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let opened = ctx.run(self.while_open(self.open_source(subscription))).await;
        let source = opened.map_err(|cause| gave_up("consume from RabbitMQ", cause))??;
        Ok(Box::new(source))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let opened = ctx.run(self.while_open(self.open_sink())).await;
        match opened {
            Ok(sink) => Ok(Arc::new(sink?)),
            Err(_) if self.publishing.is_blocked() => Err(short_of_room()),
            Err(cause) => Err(gave_up("publish to RabbitMQ", cause)),
        }
    }

    async fn close(&self, ctx: &Context) {
        self.canceller.cancel_with(Reason::cancelled("the broker was closed"));
        let mut closing =
            pin!(async { tokio::join!(self.consuming.close(), self.publishing.close()) });
        // A broker that is well answers at once, and is told also when the time is over.
        if ctx.run(closing.as_mut()).await.is_err() {
            let _ = timeout(LATE, closing).await;
        }
    }
}
