//! Opening: what is wrong, said at once and in words.

use std::net::TcpListener;
use std::time::Duration;

use downhaul_consumer::{Broker, BrokerError, BrokerErrorKind, Subscription};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::{shared, shared_ctl};
use downhaul_testkit::unique;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::time::Instant;

use crate::support::{Foreigner, shared_broker, soon, subscription};

/// The error of a source and of a sink, each of which came within a second.
async fn errors(broker: &RabbitMq, subscription: &Subscription) -> [BrokerError; 2] {
    let (ctx, begun) = (Context::background(), Instant::now());
    let Err(first) = soon("an error", broker.source(&ctx, subscription)).await else {
        panic!("a source opened")
    };
    let second = soon("an error", broker.sink(&ctx)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    [first, second]
}

/// The URL of the shared node with another user, password and vhost.
fn url_with(userinfo: &str, vhost: &str) -> String {
    let url = shared();
    let host = url.rsplit('@').next().unwrap().trim_start_matches("amqp://");
    format!("amqp://{userinfo}@{}/{vhost}", host.split('/').next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_vhost_is_a_wrong_configuration() {
    for (url, hint) in [
        (url_with("guest:s3cret", "%2f"), "password"),
        (url_with("nobody:s3cret", "%2f"), "password"),
        (url_with("guest:guest", "no-such-vhost"), "`no-such-vhost`"),
        (url_with("guest:guest", ""), "%2f"),
    ] {
        let broker = RabbitMq::new(&url).unwrap();
        for error in errors(&broker, &subscription("unopened")).await {
            assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{}", error.chain());
            let chain = error.chain();
            assert!(chain.contains(hint) && !chain.contains("s3cret"), "{chain}");
            assert!(!chain.contains('\n'), "{chain}");
        }
    }
}

/// Others may leave: those of a client that has died are there for a while, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_reached_is_no_wrong_configuration() {
    let name = unique("limited");
    let ctl = |words: &str| {
        shared_ctl(&words.split(' ').collect::<Vec<_>>()).map(|answer| drop(answer.unwrap()))
    };
    if ctl(&format!("add_vhost {name}")).is_none() {
        println!("SKIPPED: the node is somebody else's");
        return;
    }
    ctl(&format!("add_user {name} s3cret"));
    ctl(&format!("set_permissions -p {name} {name} .* .* .*"));
    let broker = RabbitMq::new(&url_with(&format!("{name}:s3cret"), &name)).unwrap();
    let (of_vhost, of_user) = (format!("vhost_limits -p {name}"), format!("user_limits {name}"));
    for (limits, limit) in [
        (&of_vhost, "max-connections"),
        (&of_user, "max-connections"),
        (&of_user, "max-channels"),
        (&of_vhost, "max-queues"),
    ] {
        let set = |most: i8| ctl(&format!("set_{limits} {{\"{limit}\":{most}}}"));
        set(0);
        let (ctx, unopened) = (Context::background(), subscription("unopened"));
        let opened = soon("an error", broker.source(&ctx, &unopened)).await;
        let error = opened.err().unwrap();
        let chain = error.chain();
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{limit}: {chain}");
        assert!(error.to_string().contains("limit"), "{chain}");
        set(-1);
    }
    soon("a source", broker.source(&Context::background(), &subscription("opened"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_refuses_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = RabbitMq::new(&format!("amqp://guest:s3cret@{free}")).unwrap();
    for error in errors(&broker, &subscription("unopened")).await {
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
        let chain = error.chain();
        assert!(chain.contains(&free.to_string()) && !chain.contains("s3cret"), "{chain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_costs_the_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://guest:s3cret@{}", silent.local_addr().unwrap());
    let by_option = RabbitMq::new(&url).unwrap().connect_timeout(Duration::from_millis(300));
    let by_url = RabbitMq::new(&format!("{url}?connection_timeout=300")).unwrap();
    for broker in [by_option, by_url] {
        for error in errors(&broker, &subscription("unopened")).await {
            assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
            assert!(error.to_string().contains("300ms"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_a_frozen_broker_do_not_pile_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://{}", silent.local_addr().unwrap());
    let broker = RabbitMq::new(&url).unwrap().connect_timeout(Duration::from_millis(50));
    for _ in 0..12 {
        soon("giving up", broker.sink(&Context::background())).await.unwrap_err();
    }
    silent.set_nonblocking(true).unwrap();
    let connections: Vec<_> = std::iter::from_fn(|| silent.accept().ok()).collect();
    assert!((1..=4).contains(&connections.len()), "{} connections", connections.len());

    // Once they are dropped, there is room for new ones.
    drop((connections, silent));
    let refused = async {
        while !broker.sink(&Context::background()).await.unwrap_err().chain().contains("refused") {}
    };
    soon("the port refuses", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_ends_is_waited_for_no_longer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = RabbitMq::new(&format!("amqp://{}", silent.local_addr().unwrap())).unwrap();
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(100));
    let error = soon("giving up", broker.sink(&ctx)).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_exists_with_other_properties_is_named() {
    let (broker, subscription) = (shared_broker(), subscription("mismatched"));
    let foreigner = Foreigner::at(&shared()).await;
    let (name, options) = (subscription.queue().into(), QueueDeclareOptions::default());
    foreigner.channel.queue_declare(name, options, FieldTable::default()).await.unwrap();
    let ctx = Context::background();
    let Err(error) = soon("an error", broker.source(&ctx, &subscription)).await else {
        panic!("it opened")
    };
    assert_eq!(error.kind(), BrokerErrorKind::Configuration);
    let words = error.to_string();
    assert!(words.contains(subscription.queue()) && words.contains("`durable`"), "{words}");
    // Another on the same connection is not disturbed.
    let other = crate::support::subscription("matched");
    soon("a source", broker.source(&ctx, &other)).await.unwrap();
}

/// Whoever has it will go, as a service does that is being replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_another_consumes_alone_is_no_wrong_configuration() {
    let (broker, subscription) = (shared_broker(), subscription("taken"));
    let (ctx, foreigner) = (Context::background(), Foreigner::at(&shared()).await);
    drop(soon("a source", broker.source(&ctx, &subscription)).await.unwrap());
    let gone = async { while foreigner.look(subscription.queue()).await.1 > 0 {} };
    soon("it is gone", gone).await;
    let alone = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
    let (queue, tag) = (subscription.queue().into(), "alone".into());
    let consuming = foreigner.channel.basic_consume(queue, tag, alone, FieldTable::default());
    let theirs = consuming.await.unwrap();
    let opened = soon("an error", broker.source(&ctx, &subscription)).await;
    let error = opened.err().unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{}", error.chain());
    assert!(error.to_string().contains("alone"), "{error}");
    drop((theirs, foreigner));
    let opened = async { while broker.source(&ctx, &subscription).await.is_err() {} };
    soon("a source", opened).await;
}

/// It goes with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_of_another_connection_alone_is_no_wrong_configuration() {
    let (broker, subscription) = (shared_broker(), subscription("owned"));
    let (ctx, foreigner) = (Context::background(), Foreigner::at(&shared()).await);
    let options = QueueDeclareOptions { durable: true, exclusive: true, ..Default::default() };
    let name = subscription.queue().into();
    foreigner.channel.queue_declare(name, options, FieldTable::default()).await.unwrap();
    let error = soon("an error", broker.source(&ctx, &subscription)).await.err().unwrap();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{}", error.chain());
    assert!(error.to_string().contains("owns it alone"), "{error}");
    drop(foreigner);
    let opened = async { while broker.source(&ctx, &subscription).await.is_err() {} };
    soon("a source", opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_too_long_or_missing_is_a_wrong_configuration() {
    let broker = shared_broker();
    for subscription in [
        Subscription::new("q".repeat(256)),
        Subscription::new("q".repeat(251)),
        Subscription::new(""),
        Subscription::new(unique("queue")).topic("t".repeat(256)),
    ] {
        let Err(error) = broker.source(&Context::background(), &subscription).await else {
            panic!("it opened")
        };
        assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{error}");
    }
}

#[test]
fn a_url_that_is_not_valid_is_refused_and_never_repeated() {
    for url in [
        "",
        "nonsense",
        "guest:s3cret@localhost:5672",
        "http://guest:s3cret@localhost",
        "amqps://guest:s3cret@localhost?verify=verify_none",
        "amqp://guest:s3cret@localhost:port",
        "amqp://guest:s3cret@localhost:99999",
        "amqp://guest:s3cret%ff@localhost",
        "amqp://guest:s3cret@localhost?heartbeat=soon",
        "amqp://guest:s3cret@localhost?hartbeat=5",
        "amqp://guest:12?s3cret@localhost",
        "amqp:guest:s3cret@localhost",
        "amqp://guest:s3cret@ho st",
        &format!("amqp://guest:s3cret@localhost/{}", "v".repeat(256)),
    ] {
        let error = RabbitMq::new(url).unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::Configuration, "{url}");
        let shown = format!("{} {error:?}", error.chain());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(!error.chain().contains('\n'));
    }
}

#[test]
fn no_password_is_shown() {
    let broker = RabbitMq::new("amqp://user:s3cret@localhost/%2f").unwrap();
    let shown = format!("{broker:?} {broker:#?}");
    assert!(shown.contains("localhost:5672") && !shown.contains("s3cret"), "{shown}");
}
