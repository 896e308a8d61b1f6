//! Several nodes, credentials that rotate, and what connections are called.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerErrorKind, Consumer, Incoming, Json, Message, Outgoing, Publisher, State,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{Credentials, RabbitMq};
use downhaul_testkit::proxy::{Cut, Direction, Proxy};
use downhaul_testkit::rabbitmq::{Node, shared, shared_ctl};
use downhaul_testkit::unique;
use tokio::sync::mpsc;

use crate::support::{broker_through, own_node, proxy_before, sink, soon, source, subscription};

/// Ports at which nobody is.
fn refusing() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

/// `user:password@` of the shared node, replaced.
fn shared_as(userinfo: &str) -> String {
    let url = shared();
    let host = url.rsplit('@').next().unwrap().trim_start_matches("amqp://").to_owned();
    format!("amqp://{userinfo}@{host}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_and_a_publisher_go_on_at_the_next_node_when_theirs_is_killed() {
    let own = own_node();
    let mut nodes = [own.node, Node::start().unwrap()];
    let urls = nodes.each_ref().map(Node::url);
    let broker = Arc::new(RabbitMq::cluster(&urls).unwrap().exchange(unique("exchange")));
    let (tell, mut told) = mpsc::unbounded_channel();
    let handle = move |_: Context, order: Incoming<Json<String>>| {
        let told = tell.send(order.body.0);
        async move { told.map_err(|_| downhaul_consumer::Failure::permanent("nobody listens")) }
    };
    let (service, _canceller) = Context::root();
    let subscription = subscription("failing-over");
    let topic = subscription.queue().to_owned();
    let consumer = Consumer::new(subscription, handle).spawn(&service, broker.clone());
    assert_eq!(soon("it runs", consumer.settled()).await, State::Running);
    let publisher = Publisher::new(broker.clone());
    let publish = |text: &'static str| {
        let order = Outgoing::to_topic(topic.clone(), Message::json(&text).unwrap());
        let publisher = publisher.clone();
        let ctx = service.clone();
        async move { soon("a publish", publisher.publish(&ctx, order)).await }
    };
    publish("before").await.unwrap();
    assert_eq!(soon("it comes", told.recv()).await.unwrap(), "before");

    let has_queue = |node: &Node| node.ctl(&["list_queues", "name"]).unwrap().contains(&topic);
    let used = nodes.iter().position(has_queue).expect("one of them is used");
    nodes[used].kill();
    // At the other node its topic is nobody's until the consumer has come, too.
    soon("a publish that is taken", async { while publish("after").await.is_err() {} }).await;
    assert_eq!(soon("it comes", told.recv()).await.unwrap(), "after");
    assert!(has_queue(&nodes[1 - used]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_every_node_that_was_tried() {
    let hosts = refusing();
    let urls = hosts.each_ref().map(|host| format!("amqp://guest:s3cret@{host}"));
    let broker = RabbitMq::cluster(&urls).unwrap();
    let error = soon("an error", broker.sink(&Context::background())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
    let chain = error.chain();
    assert!(hosts.iter().all(|host| chain.contains(host)) && !chain.contains("s3cret"), "{chain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_left_for_the_next_one() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("amqp://{}/%2f", silent.local_addr().unwrap());
    // Whichever is first.
    for _ in 0..6 {
        let broker = RabbitMq::cluster([silent.clone(), shared()]).unwrap();
        sink(&broker.connect_timeout(Duration::from_millis(300))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gave_up_waiting_for_one_node_tries_the_next_one_next_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [format!("amqp://{}/%2f", silent.local_addr().unwrap()), shared()];
    let ctx = Context::background();
    // Whichever is first.
    for _ in 0..6 {
        let broker = RabbitMq::cluster(&urls).unwrap();
        let broker = broker.connect_timeout(Duration::from_secs(3_600));
        let _held = tokio::select! {
            sink = broker.sink(&ctx) => {
                sink.unwrap();
                continue;
            }
            held = silent.accept() => held.unwrap(),
        };
        sink(&broker).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_answers_does_not_use_up_the_attempts_at_the_others() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [refusing, _] = refusing();
    let urls = [format!("amqp://{}", silent.local_addr().unwrap()), format!("amqp://{refusing}")];
    let broker = RabbitMq::cluster(&urls).unwrap().connect_timeout(Duration::from_millis(200));
    for _ in 0..8 {
        let error = soon("an error", broker.sink(&Context::background())).await.unwrap_err();
        let chain = error.chain();
        assert!(chain.contains("refused") && chain.contains("did not answer"), "{chain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_a_frozen_node_do_not_pile_up_while_another_one_is_lost_again_and_again() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = shared();
    let host = url.rsplit('@').next().unwrap().trim_start_matches("amqp://");
    let proxy = Proxy::start(host.split('/').next().unwrap().parse().unwrap()).unwrap();
    let urls = [silent.local_addr().unwrap(), proxy.address()].map(|at| format!("amqp://{at}"));
    let broker = RabbitMq::cluster(&urls).unwrap().connect_timeout(Duration::from_millis(500));
    let subscription = subscription("beside-a-frozen-node");
    for _ in 0..8 {
        let opened = async {
            loop {
                // With all attempts at the frozen node spent, its turn is over after the timeout.
                if let Ok(source) = broker.source(&Context::background(), &subscription).await {
                    return source;
                }
            }
        };
        let mut source = soon("it is opened again", opened).await;
        proxy.cut(Cut::Reset);
        soon("the end", source.next(&mut Vec::new())).await.unwrap_err();
    }
    silent.set_nonblocking(true).unwrap();
    let connections = std::iter::from_fn(|| silent.accept().ok()).count();
    assert!((1..=4).contains(&connections), "{connections} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_each_connection_and_their_failure_is_no_wrong_configuration() {
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = {
        let asked = Arc::clone(&asked);
        move || {
            let turn = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                match turn {
                    0 => Err(io::Error::other("the vault is sealed")),
                    1 => Ok(Credentials::new("guest", "s3cret")),
                    _ => Ok(Credentials::new("guest", "guest")),
                }
            }
        }
    };
    let broker = RabbitMq::new(&shared_as("nobody:wr0ng")).unwrap().credentials(ask);
    for words in ["the vault is sealed", "refused the credentials"] {
        let error = soon("an error", broker.sink(&Context::background())).await.unwrap_err();
        let shown = format!("{} {error:?} {broker:?}", error.chain());
        assert_eq!(error.kind(), BrokerErrorKind::Unreachable, "{shown}");
        assert!(shown.contains(words), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("wr0ng"), "{shown}");
    }
    sink(&broker).await;
    sink(&broker).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3, "a connection that lives asks nobody");
    source(&broker, &subscription("credentials")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 4, "once for each connection");
}

/// Whose they are may be somebody else in a moment, or be allowed more.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_may_not_who_was_asked_for_is_no_wrong_configuration() {
    let (user, ctx) = (unique("fresh"), Context::background());
    let ctl = |words: &[&str]| shared_ctl(words).map(|answer| drop(answer.unwrap()));
    if ctl(&["add_user", &user, "s3cret"]).is_none() {
        println!("SKIPPED: the node is somebody else's");
        return;
    }
    let fresh = user.clone();
    let ask = move || std::future::ready(Ok::<_, Infallible>(Credentials::new(&*fresh, "s3cret")));
    let broker = RabbitMq::new(&shared()).unwrap().exchange(unique("exchange")).credentials(ask);
    let subscription = subscription("fresh");
    // Neither the vhost, nor to declare anything in it.
    for allowed in [None, Some("^$")] {
        allowed.map(|configure| ctl(&["set_permissions", &user, configure, ".*", ".*"]));
        let refused = soon("an error", broker.source(&ctx, &subscription)).await.err().unwrap();
        assert_eq!(refused.kind(), BrokerErrorKind::Unreachable, "{}", refused.chain());
        let refused = soon("an error", broker.sink(&ctx)).await.err().unwrap();
        assert_eq!(refused.kind(), BrokerErrorKind::Unreachable, "{}", refused.chain());
        assert!(refused.chain().contains("refused"), "{}", refused.chain());
    }
    ctl(&["set_permissions", &user, ".*", ".*", ".*"]);
    source(&broker, &subscription).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_never_come_cost_the_connect_timeout() {
    let broker = RabbitMq::new(&shared()).unwrap().connect_timeout(Duration::from_millis(200));
    let broker = broker.credentials(std::future::pending::<Result<Credentials, Infallible>>);
    let error = soon("an error", broker.sink(&Context::background())).await.unwrap_err();
    assert_eq!(error.kind(), BrokerErrorKind::Unreachable);
    assert!(error.to_string().contains("200ms"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_at_the_broker_is_used_from_the_next_connection_on() {
    let own = own_node();
    own.node.ctl(&["add_user", "rotating", "first"]).unwrap();
    own.node.ctl(&["set_permissions", "rotating", ".*", ".*", ".*"]).unwrap();
    let password = Arc::new(Mutex::new("first"));
    let ask = {
        let password = Arc::clone(&password);
        move || {
            let credentials = Credentials::new("rotating", *password.lock().unwrap());
            async move { Ok::<_, Infallible>(credentials) }
        }
    };
    let broker = RabbitMq::new(&own.node.url()).unwrap().credentials(ask);
    let subscription = subscription("rotating");
    let mut before = source(&broker, &subscription).await;
    own.node.ctl(&["change_password", "rotating", "second"]).unwrap();
    *password.lock().unwrap() = "second";
    own.node.ctl(&["close_all_connections", "rotated"]).unwrap();
    soon("the end", before.next(&mut Vec::new())).await.unwrap_err();
    source(&broker, &subscription).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_outlives_its_password_is_told_the_next_one() {
    let own = own_node();
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = {
        let asked = Arc::clone(&asked);
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            let credentials = Credentials::new("guest", "guest");
            async move { Ok::<_, Infallible>(credentials.valid_for(Duration::from_millis(400))) }
        }
    };
    let broker = RabbitMq::new(&own.node.url()).unwrap().credentials(ask);
    sink(&broker).await;
    let folder =
        own.node.ctl(&["eval", "io:format(\"~s~n\", [hd(rabbit:log_locations())])."]).unwrap();
    let path = Path::new(folder.lines().next().unwrap()).with_file_name("node.log");
    let heard = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let log = std::fs::read_to_string(&path).unwrap();
            if log.matches("updated secret").count() >= 2 {
                return log;
            }
        }
    };
    let log = soon("the broker hears of it", heard).await;
    assert!(log.contains("the old one ends soon"), "{log}");
    assert_eq!(log.matches("user 'guest' authenticated").count(), 1, "it is still the same one");
    assert!(asked.load(Ordering::SeqCst) >= 3);
}

/// Which may take long at a node that is frozen.
#[tokio::test]
async fn a_password_ends_when_it_said_however_long_the_broker_took_to_answer() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let (proxy, (asked, mut turns)) = (proxy_before(&shared()), mpsc::unbounded_channel());
    proxy.blackhole(Direction::ToClient);
    let ask = move || {
        let _ = asked.send(());
        let credentials = Credentials::new("guest", "guest").valid_for(HOUR);
        async { Ok::<_, Infallible>(credentials) }
    };
    let broker = broker_through(&proxy).connect_timeout(HOUR).credentials(ask);
    let slowly = async {
        soon("it is asked", turns.recv()).await;
        soon("it connects", proxy.until(|counts| counts.to_client.taken > 0)).await;
        tokio::time::pause();
        tokio::time::advance(HOUR / 10 * 9).await;
        tokio::time::resume();
        proxy.heal();
    };
    let ctx = Context::background();
    let (sink, ()) = tokio::join!(broker.sink(&ctx), slowly);
    sink.unwrap();
    soon("it is asked for the next one", turns.recv()).await;
}

/// There is time for another try.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_do_not_come_in_time_for_a_renewal_are_asked_for_again() {
    let (asked, mut turns) = mpsc::unbounded_channel();
    let count = AtomicUsize::new(0);
    let ask = move || {
        let turn = count.fetch_add(1, Ordering::SeqCst);
        let _ = asked.send(turn);
        async move {
            if turn == 1 {
                std::future::pending::<()>().await;
            }
            let credentials = Credentials::new("guest", "guest");
            Ok::<_, Infallible>(credentials.valid_for(Duration::from_millis(400)))
        }
    };
    let broker = RabbitMq::new(&shared()).unwrap().credentials(ask);
    sink(&broker).await;
    for turn in 0..3 {
        assert_eq!(soon("it is asked", turns.recv()).await, Some(turn));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_named_in_the_brokers_listings() {
    let name = unique("named");
    let broker = RabbitMq::new(&shared()).unwrap().connection_name(name.clone());
    sink(&broker).await;
    source(&broker, &subscription("named")).await;
    let Some(listed) = shared_ctl(&["list_connections", "client_properties"]) else {
        println!("SKIPPED: the node is somebody else's");
        return;
    };
    let listed = listed.unwrap();
    let ends = ["consume", "publish"].map(|end| format!("{name}-{end}"));
    let named: BTreeSet<_> = ends.iter().filter(|end| listed.contains(*end)).collect();
    assert_eq!(named.len(), 2, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parameters_of_a_url_are_agreed_on_with_the_broker() {
    let name = unique("parameters");
    let query = "heartbeat=7&frame_max=8192&channel_max=9&auth_mechanism=amqplain";
    let broker = RabbitMq::new(&format!("{}?{query}", shared())).unwrap();
    let broker = broker.connection_name(name.clone());
    sink(&broker).await;
    let columns = ["auth_mechanism", "timeout", "frame_max", "channel_max", "client_properties"];
    let Some(listed) = shared_ctl(&[&["list_connections"][..], &columns].concat()) else {
        println!("SKIPPED: the node is somebody else's");
        return;
    };
    let listed = listed.unwrap();
    let ours = listed.lines().find(|line| line.contains(&name)).unwrap();
    assert!(ours.starts_with("AMQPLAIN\t7\t8192\t9\t"), "{ours}");
}

/// As in RabbitMQ's client in Java.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_timeout_of_zero_is_none() {
    sink(&RabbitMq::new(&format!("{}?connection_timeout=0", shared())).unwrap()).await;
}
