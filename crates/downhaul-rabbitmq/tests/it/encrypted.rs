//! Connections under TLS, with a node that wants certificates.

use std::time::Duration;

use downhaul_consumer::{Broker, BrokerErrorKind, Message, Outgoing, PublishOutcome, Verdict};
use downhaul_context::Context;
use downhaul_rabbitmq::{RabbitMq, Tls};
use downhaul_testkit::certificates::Authority;
use tokio::time::Instant;

use crate::support::{
    OwnNode, all, more, own_node_with, publish, sink, soon, source, subscription, take, texts,
};

/// What a node needs to have a certificate for `rabbit.test` and to want one of ours.
fn lines(authority: &Authority) -> String {
    let file = |name| authority.file(name).display().to_string();
    format!(
        "listeners.ssl.1 = 127.0.0.1:0\nssl_options.cacertfile = {}\n\
         ssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true",
        file("ca.pem"),
        file("rabbit.test.pem"),
        file("rabbit.test.key"),
    )
}

fn tls(authority: &Authority) -> Tls {
    Tls::new()
        .ca_file(authority.file("ca.pem"))
        .certificate_files(authority.file("client.pem"), authority.file("client.key"))
        .server_name("rabbit.test")
}

/// What [`tls`] says, as parameters.
fn parameters(authority: &Authority) -> String {
    let folder = authority.folder().display();
    format!(
        "cacertfile={folder}/ca.pem&certfile={folder}/client.pem&keyfile={folder}/client.key\
         &verify=verify_peer&server_name_indication=rabbit.test"
    )
}

/// A node with its authority, and the URL without parameters where it speaks TLS.
fn encrypted_node() -> (OwnNode, Authority, String) {
    let authority = Authority::new().unwrap();
    authority.sign("rabbit.test").unwrap();
    authority.sign("client").unwrap();
    let own = own_node_with(&lines(&authority));
    let port = own.node.ctl(&["eval", "ranch:get_port({acceptor, {127,0,0,1}, 0})."]).unwrap();
    let url = format!("amqps://guest:guest@127.0.0.1:{}/%2f", port.trim());
    (own, authority, url)
}

/// How a broker ends up: `Ok` if it can publish and consume.
async fn outcome(broker: &RabbitMq) -> Result<(), (BrokerErrorKind, String)> {
    if let Err(error) = soon("a sink", broker.sink(&Context::background())).await {
        return Err((error.kind(), error.chain()));
    }
    let subscription = subscription("encrypted");
    let (mut source, sink) = (source(broker, &subscription).await, sink(broker).await);
    let outgoing = Outgoing::to_topic(subscription.queue(), Message::new("secret"));
    assert!(matches!(publish(&*sink, &outgoing).await, PublishOutcome::Confirmed));
    assert_eq!(texts(&take(&mut *source, 1).await), ["secret"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_used_under_tls_where_each_side_trusts_the_other_and_not_else() {
    let (_own, authority, url) = encrypted_node();
    let broker = || RabbitMq::new(&url).unwrap();
    let read = |name| std::fs::read(authority.file(name)).unwrap();
    let by_url = RabbitMq::new(&format!("{url}?{}", parameters(&authority))).unwrap();
    outcome(&by_url).await.unwrap();
    outcome(&broker().tls(tls(&authority)).unwrap()).await.unwrap();
    let given = Tls::new()
        .ca_pem(read("ca.pem"))
        .certificate_pem(read("client.pem"), read("client.key"))
        .server_name("rabbit.test");
    outcome(&broker().tls(given).unwrap()).await.unwrap();
    let unverified = Tls::new()
        .dangerously_unverified()
        .certificate_files(authority.file("client.pem"), authority.file("client.key"));
    outcome(&broker().tls(unverified).unwrap()).await.unwrap();

    let other = Authority::new().unwrap();
    other.sign("client").unwrap();
    let nameless = Tls::new()
        .ca_file(authority.file("ca.pem"))
        .certificate_files(authority.file("client.pem"), authority.file("client.key"));
    let bare = Tls::new().ca_file(authority.file("ca.pem")).server_name("rabbit.test");
    let stranger =
        bare.clone().certificate_files(other.file("client.pem"), other.file("client.key"));
    for (tls, hint) in [
        (tls(&authority).ca_file(other.file("ca.pem")), "`cacertfile`"),
        (Tls::new(), "`cacertfile`"),
        (nameless, "`server_name_indication`"),
        (bare, "`certfile`"),
        (stranger, "`certfile`"),
    ] {
        let (kind, chain) = outcome(&broker().tls(tls).unwrap()).await.unwrap_err();
        // Whether the broker's last words arrive is chance, with TLS 1.3.
        let is_lost = kind == BrokerErrorKind::Unreachable && hint == "`certfile`";
        assert!(is_lost || kind == BrokerErrorKind::Configuration, "{hint}: {chain}");
        assert!(chain.contains(hint) && !chain.contains("guest"), "{hint}: {chain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_and_large_messages_pass_under_tls_and_the_end_of_the_broker_is_told_at_once() {
    let (mut own, authority, url) = encrypted_node();
    let broker = RabbitMq::new(&url).unwrap().tls(tls(&authority)).unwrap();
    let subscription = subscription("encrypted").with_prefetch(100);
    let (mut source, sink) = (source(&broker, &subscription).await, sink(&broker).await);
    let sizes = || (0..600_usize).map(|n| if n % 100 == 99 { 3_000_000 } else { n });
    let body = |(n, size): (usize, usize)| vec![u8::try_from(n % 251).unwrap(); size];
    let sending = async {
        let mut receipts = Vec::new();
        for numbered in sizes().enumerate() {
            let outgoing = Outgoing::to_topic(subscription.queue(), Message::new(body(numbered)));
            receipts.push(sink.send(&outgoing).await.unwrap());
        }
        for receipt in receipts {
            assert!(matches!(receipt.await, PublishOutcome::Confirmed));
        }
    };
    let receiving = async {
        let mut deliveries = Vec::new();
        while deliveries.len() < 600 {
            let before = deliveries.len();
            more(&mut *source, &mut deliveries).await;
            source.settle(&all(&deliveries[before..], Verdict::Ack)).await.unwrap();
        }
        deliveries
    };
    let ((), deliveries) = soon("all of it", async { tokio::join!(sending, receiving) }).await;
    for (numbered, delivery) in sizes().enumerate().zip(&deliveries) {
        assert!(delivery.message.payload()[..] == body(numbered)[..], "message {}", numbered.0);
    }

    own.node.kill();
    let killed = Instant::now();
    let error = soon("the end", source.next(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{}", error.chain());
    // Well below the heartbeat.
    assert!(killed.elapsed() < Duration::from_secs(5), "took {:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_count_from_the_next_connection_on_and_broken_ones_are_waited_for() {
    let (own, authority, url) = encrypted_node();
    let broker = RabbitMq::new(&format!("{url}?{}", parameters(&authority))).unwrap();
    let cut = || own.node.ctl(&["close_all_connections", "renewed"]).unwrap();
    outcome(&broker).await.unwrap();
    // Another key alone does not fit.
    let other = Authority::new().unwrap();
    other.sign("client").unwrap();
    std::fs::copy(other.file("client.key"), authority.file("client.key")).unwrap();
    cut();
    let refused = async {
        loop {
            // The cut is noticed in a moment.
            if let Err(error) = broker.sink(&Context::background()).await
                && error.chain().contains("client.key")
            {
                return error;
            }
        }
    };
    let error = soon("the key is looked at", refused).await;
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{}", error.chain());
    authority.sign("client").unwrap();
    outcome(&broker).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_told_from_a_broker_that_is_away() {
    let plain = downhaul_testkit::rabbitmq::shared();
    let host = plain.rsplit('@').next().unwrap().trim_start_matches("amqp://");
    let authority = Authority::new().unwrap();
    let broker = RabbitMq::new(&format!("amqps://guest:s3cret@{host}")).unwrap();
    let broker = broker.tls(Tls::new().ca_file(authority.file("ca.pem"))).unwrap();
    let (kind, chain) = outcome(&broker).await.unwrap_err();
    assert_eq!(kind, BrokerErrorKind::Configuration, "{chain}");
    assert!(chain.contains("5671") && !chain.contains("s3cret"), "{chain}");
}

#[test]
fn what_cannot_be_used_for_tls_is_named_when_the_broker_is_made() {
    let (one, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    one.sign("client").unwrap();
    other.sign("client").unwrap();
    let folder = one.folder().display();
    let by_url = |query: String| {
        RabbitMq::new(&format!("amqps://user:s3cret@localhost?{query}")).unwrap_err()
    };
    let chain = one.file("client.pem");
    let mixed = Tls::new().certificate_files(&chain, other.file("client.key"));
    let broker = || RabbitMq::new("amqps://user:s3cret@localhost").unwrap();
    for (error, words) in [
        (by_url(format!("cacertfile={folder}/none.pem")), "none.pem: cannot be read"),
        (by_url(format!("cacertfile={folder}/client.key")), "client.key: holds no certificate"),
        (by_url(format!("certfile={folder}/client.pem")), "`certfile` needs its `keyfile`"),
        (by_url(format!("keyfile={folder}/client.key")), "`keyfile` needs its `certfile`"),
        (by_url("verify=verify_none".to_owned()), "`Tls::dangerously_unverified`"),
        (by_url("verify=s3cret".to_owned()), "takes `verify_peer`"),
        (by_url("password=s3cret".to_owned()), "`password` is not supported"),
        (by_url("server_name_indication=a%20b".to_owned()), "`a b` is not the name of a host"),
        (broker().tls(mixed).unwrap_err(), "client.key: the key does not fit"),
        (broker().tls(Tls::new().ca_pem("x")).unwrap_err(), "in code: holds no certificate"),
        (
            broker().tls(Tls::new().certificate_files(&chain, &chain)).unwrap_err(),
            "client.pem: holds no key",
        ),
        (
            RabbitMq::new("amqp://user:s3cret@localhost").unwrap().tls(Tls::new()).unwrap_err(),
            "write `amqps`",
        ),
        (
            RabbitMq::new("amqp://user:s3cret@localhost?cacertfile=x").unwrap_err(),
            "of use with `amqps` only",
        ),
    ] {
        assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{}", error.chain());
        let chain = error.chain();
        assert!(chain.contains(words) && !chain.contains("s3cret"), "{words}: {chain}");
    }
}

#[test]
fn no_key_is_shown() {
    let authority = Authority::new().unwrap();
    authority.sign("client").unwrap();
    let key = std::fs::read_to_string(authority.file("client.key")).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    let chain = std::fs::read(authority.file("client.pem")).unwrap();
    let tls = Tls::new().certificate_pem(chain, key);
    let broker = RabbitMq::new("amqps://user:s3cret@localhost").unwrap().tls(tls.clone()).unwrap();
    let shown = format!("{tls:?} {tls:#?} {broker:?}");
    assert!(!shown.contains(&line) && !shown.contains("45, 45") && !shown.contains("s3cret"));
}
