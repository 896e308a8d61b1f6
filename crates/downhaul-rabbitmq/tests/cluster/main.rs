//! Three nodes that are one cluster, of which one is killed and one is cut off from the others
//! while messages go through a quorum queue, and the oracle's word on it.
//!
//! It takes a minute and more, and is left out unless it is asked for, as
//! `cargo xtask test rabbitmq --long` does.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod load;
mod world;

use std::time::Duration;

use tokio::time::Instant;

use crate::load::Load;
use crate::world::World;

/// How long it may take until messages flow again. A leader is elected within seconds, and clients
/// notice within two heartbeats, of a second each.
const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes a minute: cargo xtask test rabbitmq --long"]
async fn a_cluster_whose_leader_is_killed_and_then_cut_off_loses_nothing_and_goes_on() {
    let begun = Instant::now();
    let mut world = World::new();
    println!("the cluster was formed in {:.1?}", begun.elapsed());
    let load = Load::begin(&world).await;
    load.goes_on(OUTAGE, "the start").await;

    let leader = world.leader();
    load.expect_repeats();
    world.cluster.node(leader).kill();
    load.goes_on(OUTAGE, "the leader was killed").await;
    world.restart(leader);
    world.is_whole().await;
    load.goes_on(OUTAGE, "it came back").await;

    let leader = world.leader();
    load.expect_repeats();
    world.cut_off(leader).await;
    load.goes_on(OUTAGE, "the leader was cut off").await;
    world.heal(leader);
    world.is_whole().await;
    load.goes_on(OUTAGE, "it was let in again").await;

    let (report, connections) = (load.end(&world).await, world.connections());
    println!("{report}\n{connections} connections");
    report.assert_clean();
    assert!(connections > 4, "nobody has lost a link");
}
