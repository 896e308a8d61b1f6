//! What can happen to a stand-in for Kafka.

use downhaul_testkit::faults::{Draw, Fault, Menu, cuts, direction, links, millis};
use downhaul_testkit::kafka::{Gap, Kind};
use downhaul_testkit::proxy::Direction;

pub(crate) fn menu(kind: Kind) -> Menu {
    let mut menu = Menu { each: others(), quick: members(), missing: Vec::new() };
    if kind.lacks(Gap::Proxy) {
        menu.missing.push(("all of links", format!("{kind} {}", Gap::Proxy)));
    } else {
        menu.each.extend(links());
        menu.each.extend(long_breaks(kind));
        menu.quick.extend(cuts());
    }
    if kind == Kind::Noida {
        let why = "noida has been seen to let nobody in again when all sessions have ended";
        menu.missing.push(("Freeze beyond a session", why.to_owned()));
    } else {
        menu.each.push(|rng| Fault::Freeze(millis(rng, 4_000..5_000)));
    }
    if kind.lacks(Gap::Survival) {
        menu.missing.push(("Kill", format!("{kind} {}", Gap::Survival)));
    } else {
        menu.each.push(|rng| Fault::Kill(millis(rng, 0..2_000)));
        menu.each.push(|rng| Fault::Kill(millis(rng, 4_000..5_000)));
    }
    if kind.lacks(Gap::Fencing) {
        // What members have said arrives when it is over.
        let fault = "Blackhole(ToUpstream) beyond a session";
        menu.missing.push((fault, format!("{kind} {}", Gap::Fencing)));
    }
    if kind.lacks(Gap::Leaving) {
        menu.missing.push(("another look at the end", format!("{kind} {}", Gap::Leaving)));
    }
    for fault in ["Alarm", "Close", "CloseOne"] {
        menu.missing.push((fault, format!("{kind} has no word for it")));
    }
    menu
}

/// The session is 3 seconds where there are links to break: then the membership is gone.
fn long_breaks(kind: Kind) -> Vec<Draw> {
    let blackhole: Draw = match kind.lacks(Gap::Fencing) {
        true => |rng| Fault::Blackhole(Direction::ToClient, millis(rng, 4_000..5_000)),
        false => |rng| Fault::Blackhole(direction(rng), millis(rng, 4_000..5_000)),
    };
    vec![blackhole, |rng| Fault::Refuse(millis(rng, 4_000..5_000))]
}

fn others() -> Vec<Draw> {
    vec![
        |rng| Fault::Freeze(millis(rng, 500..1_500)),
        |rng| Fault::Pause(millis(rng, 0..1_000)),
        |rng| Fault::Restart(rng.usize(..100)),
        |rng| Fault::Abort(rng.usize(..100)),
        |rng| Fault::Join(millis(rng, 0..2_000)),
    ]
}

/// Each of them has the group share its partitions anew.
fn members() -> Vec<Draw> {
    vec![|rng| Fault::Restart(rng.usize(..100)), |rng| Fault::Abort(rng.usize(..100))]
}
