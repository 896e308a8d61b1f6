//! What can happen to a node.

use downhaul_testkit::faults::{Draw, Fault, Menu, direction, half_frame, millis, rate};
use downhaul_testkit::proxy::{Cut, Direction};

pub(crate) fn menu() -> Menu {
    Menu { each: [links(), others()].concat(), quick: quick(), missing: Vec::new() }
}

fn links() -> Vec<Draw> {
    vec![
        |_| Fault::Cut(Cut::Finish),
        |_| Fault::Cut(Cut::Reset),
        // Mid-publish and mid-delivery.
        |rng| half_frame(rng, Direction::ToUpstream),
        |rng| half_frame(rng, Direction::ToClient),
        // The heartbeat is a second: after two the link counts as lost.
        |rng| Fault::Blackhole(direction(rng), millis(rng, 200..900)),
        |rng| Fault::Blackhole(direction(rng), millis(rng, 2_500..3_500)),
        |rng| Fault::Delay(direction(rng), millis(rng, 50..400), millis(rng, 500..1_500)),
        |rng| Fault::Throttle(direction(rng), rate(rng), millis(rng, 500..1_500)),
        |rng| Fault::Refuse(millis(rng, 200..1_200)),
    ]
}

fn others() -> Vec<Draw> {
    vec![
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

fn quick() -> Vec<Draw> {
    vec![
        |_| Fault::Cut(Cut::Finish),
        |_| Fault::Cut(Cut::Reset),
        |rng| half_frame(rng, Direction::ToUpstream),
        |rng| half_frame(rng, Direction::ToClient),
        |rng| Fault::Restart(rng.usize(..100)),
    ]
}
