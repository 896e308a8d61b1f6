//! Shapes that break recursive trees.

use downhaul_context::{Canceller, Context};

// Miri interprets each step, and as many as these would take it an hour.
const DEPTH: usize = if cfg!(miri) { 1000 } else { 100_000 };
const WIDTH: usize = if cfg!(miri) { 200 } else { 10_000 };
const RACES: usize = if cfg!(miri) { 20 } else { 300 };

#[tokio::test]
async fn a_very_deep_chain_is_ended_and_dropped() {
    let (root, canceller) = Context::root();
    let mut cancellers: Vec<Canceller> = Vec::new();
    let mut leaf = root;
    for _ in 0..DEPTH {
        let (child, canceller) = leaf.child();
        cancellers.push(canceller);
        leaf = child;
    }
    // Waiting links all nodes, so that cancelling has to walk them.
    let waiter = tokio::spawn({
        let leaf = leaf.clone();
        async move { leaf.done().await }
    });
    tokio::task::yield_now().await;
    canceller.cancel();
    waiter.await.unwrap();
    cancellers.into_iter().for_each(Canceller::disarm);
    drop(leaf);
}

#[tokio::test]
async fn many_waiting_children_all_hear_of_the_end() {
    let (root, canceller) = Context::root();
    let tasks: Vec<_> = (0..WIDTH)
        .map(|_| {
            let (child, guard) = root.child();
            tokio::spawn(async move {
                let cause = child.done().await;
                drop(guard);
                cause
            })
        })
        .collect();
    tokio::task::yield_now().await;
    canceller.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deriving_waiting_and_cancelling_race_without_a_lost_wake() {
    for _ in 0..RACES {
        let (root, canceller) = Context::root();
        let waiters: Vec<_> = (0..8)
            .map(|depth| {
                let root = root.clone();
                tokio::spawn(async move {
                    let mut guards = Vec::new();
                    let mut ctx = root;
                    for _ in 0..depth {
                        let (child, guard) = ctx.child();
                        guards.push(guard);
                        ctx = child;
                    }
                    ctx.done().await
                })
            })
            .collect();
        let killer = tokio::spawn(async move { canceller.cancel() });
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert!(killer.await.unwrap());
    }
}
