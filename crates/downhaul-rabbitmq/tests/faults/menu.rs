//! What can happen to a node.

use downhaul_testkit::faults::{Draw, Fault, Menu, cuts, direction, links, millis};

pub(crate) fn menu() -> Menu {
    let mut quick = cuts();
    quick.push(|rng| Fault::Restart(rng.usize(..100)));
    Menu { each: [links(), others()].concat(), quick, missing: Vec::new() }
}

fn others() -> Vec<Draw> {
    vec![
        // The heartbeat is a second: after two the link counts as lost.
        |rng| Fault::Blackhole(direction(rng), millis(rng, 2_500..3_500)),
        |_| Fault::Close,
        |rng| Fault::CloseOne(rng.usize(..100)),
        |rng| Fault::Freeze(millis(rng, 200..900)),
        |rng| Fault::Freeze(millis(rng, 2_500..3_500)),
        |rng| Fault::Kill(millis(rng, 0..2_000)),
        |rng| Fault::Alarm(millis(rng, 0..1_500)),
        |rng| Fault::Pause(millis(rng, 0..1_000)),
        |rng| Fault::Restart(rng.usize(..100)),
    ]
}
