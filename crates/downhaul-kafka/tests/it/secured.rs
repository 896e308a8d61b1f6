//! Brokers that do not let everybody in, and that speak TLS.

use std::path::PathBuf;

use downhaul_consumer::{BrokerErrorKind, Message, Outgoing, PublishOutcome, Verdict};
use downhaul_kafka::Kafka;
use downhaul_testkit::kafka::{Broker, Gap, Kind, Setup, shared_kind};
use downhaul_testkit::unique;

use crate::support::{
    all, close, kafka, opening, publish, settle, sink, skips, source, subscription, take,
};

/// A broker of the test's own. `None`, which is printed, where none can be had.
async fn start(test: &str, needs: Gap, set_up: impl FnOnce(Kind) -> Setup) -> Option<Broker> {
    if !cfg!(feature = "tls") {
        skips(test, "it takes the feature `tls`");
        return None;
    }
    let Some(kind) = shared_kind() else {
        skips(test, "it sets its broker up, and this one is somebody else's");
        return None;
    };
    if kind.lacks(needs) {
        skips(test, format!("{kind} {needs}"));
        return None;
    }
    let setup = set_up(kind);
    let started = tokio::task::spawn_blocking(move || setup.start().unwrap());
    Some(started.await.unwrap())
}

#[tokio::test]
async fn a_wrong_password_is_permanent_and_not_told() {
    let test = "a_wrong_password_is_permanent_and_not_told";
    let set_up = |kind| Setup::new(kind).sasl("user", "right");
    let Some(broker) = start(test, Gap::Authentication, set_up).await else { return };
    let login = |password: &str| {
        kafka(&broker.bootstrap())
            .property("security.protocol", "sasl_plaintext")
            .property("sasl.mechanism", "SCRAM-SHA-256")
            .property("sasl.username", "user")
            .property("sasl.password", password)
    };
    let subscription = subscription("login");
    let error = opening(&login("hush"), &subscription).await;
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
    assert!(!error.chain().contains("hush"), "{}", error.chain());
    close(source(&login("right"), &subscription).await).await;
}

/// A certificate that vouches for itself, and its key, in files that go with this.
pub(crate) struct Certified {
    folder: PathBuf,
    pub(crate) made: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Certified {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("certified"));
        std::fs::create_dir_all(&folder).unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certified = Self { folder, made };
        std::fs::write(certified.certificate(), certified.made.cert.pem()).unwrap();
        std::fs::write(certified.key(), certified.made.signing_key.serialize_pem()).unwrap();
        certified
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }
}

impl Drop for Certified {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_broker_under_tls_is_used_by_who_trusts_it_and_a_wrong_configuration_to_others() {
    let test = "a_broker_under_tls_is_used_by_who_trusts_it_and_a_wrong_configuration_to_others";
    let ours = Certified::new();
    let set_up = |kind| Setup::new(kind).tls(&ours.certificate(), &ours.key());
    let Some(broker) = start(test, Gap::Encryption, set_up).await else { return };
    let trusting = |authority: &Certified| -> Kafka {
        let authority = authority.certificate().display().to_string();
        kafka(&broker.bootstrap())
            .property("security.protocol", "ssl")
            .property("ssl.ca.location", authority)
    };
    let subscription = subscription("secret");
    let error = opening(&trusting(&Certified::new()), &subscription).await;
    assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
    assert!(error.chain().contains("ssl.ca.location"), "{}", error.chain());

    let broker = trusting(&ours);
    let (mut source, sink) = (source(&broker, &subscription).await, sink(&broker).await);
    let outgoing = Outgoing::to_topic(subscription.queue(), Message::new("x").with_id("1"));
    let outcome = publish(&*sink, &outgoing).await;
    assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    let deliveries = take(&mut *source, 1).await;
    assert_eq!(deliveries[0].message.id(), "1");
    settle(&mut *source, &all(&deliveries, Verdict::Ack)).await;
    close(source).await;
}
