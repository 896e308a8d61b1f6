//! [`Site`]: the node, its queues, and the runtime that all sides share.

use std::sync::{Arc, OnceLock};

use downhaul_rabbitmq::{QueueType, RabbitMq};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use lapin::options::{QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use tokio::runtime::{Builder, Runtime};

use super::{MANY, loops};

pub(super) struct Site {
    runtime: Runtime,
    pub(super) url: String,
    /// Of the lapin loops, which consume or publish and do not do both at a time.
    pub(super) connection: Connection,
    classic: Place,
    quorum: Place,
}

/// A queue, and our broker that declares it so.
pub(super) struct Place {
    pub(super) queue: String,
    pub(super) rabbitmq: Arc<RabbitMq>,
    queue_type: QueueType,
}

impl Site {
    /// Made once, with a node that ends with the process.
    pub(super) fn get() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(Self::open)
    }

    fn open() -> Self {
        let url = shared();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let connecting = Connection::connect(&url, ConnectionProperties::default());
        let connection = runtime.block_on(connecting).expect("the node answers");
        let place = |queue_type| Place::new(&url, queue_type);
        let (classic, quorum) = (place(QueueType::Classic), place(QueueType::Quorum));
        let site = Self { runtime, url, connection, classic, quorum };
        site.runtime.block_on(async {
            site.declare(&site.classic).await;
            site.declare(&site.quorum).await;
        });
        site
    }

    pub(super) fn place(&self, is_quorum: bool) -> &Place {
        if is_quorum { &self.quorum } else { &self.classic }
    }

    /// Runs `work` as a task, as services do.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime.block_on(self.runtime.spawn(work)).expect("no side panics")
    }

    async fn declare(&self, place: &Place) {
        let channel = self.connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        if place.queue_type == QueueType::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        let queue = place.queue.as_str().into();
        channel.queue_declare(queue, options, arguments).await.expect("declared");
    }

    /// Puts a round's messages into the queue. They have nothing but their payload.
    pub(super) fn fill(&'static self, place: &'static Place) {
        self.run(async {
            loops::send(self, place, MANY).await;
        });
    }

    /// Empties the queue and returns how many messages were in it.
    pub(super) fn purge(&'static self, place: &'static Place) -> u32 {
        self.run(async {
            let channel = self.connection.create_channel().await.expect("a channel");
            let queue = place.queue.as_str().into();
            channel.queue_purge(queue, QueuePurgeOptions::default()).await.expect("purged")
        })
    }
}

impl Place {
    fn new(url: &str, queue_type: QueueType) -> Self {
        let rabbitmq = RabbitMq::new(url).expect("a URL").queue_type(queue_type);
        Self { queue: unique("bench"), rabbitmq: Arc::new(rabbitmq), queue_type }
    }
}
