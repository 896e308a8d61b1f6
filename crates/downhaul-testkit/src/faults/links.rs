//! Faults of links, which are the same wherever a proxy can stand in front of a broker.

use super::fault::Fault;
use super::{last, soon};
use crate::proxy::{Cut, Proxy};

/// Makes a fault, lets it last, and heals it. Returns whether it is about links.
pub(super) async fn suffer(proxy: &Proxy, fault: Fault) -> bool {
    match fault {
        Fault::Cut(how) => proxy.cut(how),
        Fault::HalfFrame(direction, bytes) => {
            let before = proxy.counts().cut;
            proxy.half_frame(direction, bytes);
            soon("half a frame", proxy.until(|counts| counts.cut > before)).await;
        }
        Fault::Blackhole(direction, time) => {
            proxy.blackhole(direction);
            last(time).await;
        }
        Fault::Delay(direction, delay, time) => {
            proxy.delay(direction, delay);
            last(time).await;
        }
        Fault::Throttle(direction, rate, time) => {
            proxy.throttle(direction, rate);
            last(time).await;
        }
        Fault::Refuse(time) => {
            proxy.refuse();
            proxy.cut(Cut::Reset);
            last(time).await;
        }
        _ => return false,
    }
    proxy.heal();
    true
}
