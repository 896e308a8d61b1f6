//! [`blocking`]: calls of librdkafka that wait for brokers.

use std::thread;

use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

/// Makes a call that keeps its thread waiting, on a thread of its own.
///
/// Not on one of the runtime's: a runtime that shuts down waits for those, and a broker that is
/// stuck does not answer for a minute. Dropping this does not take the call back.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    let (answer, answered) = oneshot::channel();
    let calling = thread::Builder::new().name("kafka-call".to_owned());
    // Whether anybody still waits for it or not.
    let _ = calling.spawn(move || drop(answer.send(call())));
    answered.await.unwrap_or(Err(KafkaError::Canceled))
}
