//! How a round ends where the broker does not tell what waits in a queue.
//!
//! That a consumer has nothing to do says little: its group may be sharing partitions anew, which
//! takes as long as it takes. So a round goes by the oracle's log.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::crew::{all_run, all_stop};
use super::round::{CROWD, Round, STOCK};
use super::site::Site;
use super::{PATIENCE, all_idle, soon};
use crate::oracle::{Answer, End, Oracle, Record};

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl Round {
    /// Ends when all that is known to be published is known to be handled, or a dead letter.
    pub(super) async fn end_by_log(&self, site: &impl Site) {
        let letters = self.crew.buries(site);
        if timeout(PATIENCE, until_handled(&self.oracle)).await.is_err() {
            // What is lost by that is for the oracle to say.
            println!("not all is handled: {}", self.state(site));
        }
        let consumers: Vec<_> = self.consumers().chain(&letters).collect();
        soon("all is quiet", all_idle(&consumers)).await;
        site.inspect(self).await;
        all_stop(&consumers).await;
        if site.can_look_again() {
            self.look_again(site).await;
        }
    }

    /// What was settled last must not come again.
    async fn look_again(&self, site: &impl Site) {
        let stock = self.crew.stock(site, &format!("{STOCK}-again"));
        let crowd = self.crew.one_of_crowd(site, &format!("{CROWD}-again"));
        let both = [&stock, &crowd];
        all_run(site, &both).await.unwrap();
        soon("all is quiet again", all_idle(&both)).await;
        all_stop(&both).await;
    }
}

async fn until_handled(oracle: &Oracle) {
    let mut look = interval(LOOK);
    while unhandled(&oracle.records().unwrap()) > 0 {
        look.tick().await;
    }
}

/// How many messages are known to be published, and not known to be done with.
fn unhandled(records: &[Record]) -> usize {
    let mut open = BTreeSet::new();
    for record in records {
        if let Record::Published { id, outcome: Answer::Confirmed } = record {
            open.insert(id);
        }
    }
    for record in records {
        match record {
            Record::Ended { id, end: End::Acked | End::Dropped, .. } | Record::Dead { id, .. } => {
                open.remove(id);
            }
            _ => {}
        }
    }
    open.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(id: &str) -> Record {
        Record::Published { id: id.to_owned(), outcome: Answer::Confirmed }
    }

    fn ended(id: &str, end: End) -> Record {
        Record::Ended { instance: "one".to_owned(), number: 0, id: id.to_owned(), end }
    }

    #[test]
    fn what_is_acknowledged_dropped_or_found_dead_is_handled_whenever_its_publisher_hears_of_it() {
        let (acked, dropped) = (ended("a", End::Acked), ended("b", End::Dropped));
        let dead = Record::Dead { id: "c".to_owned(), reason: None, origin: None };
        let log = [acked, confirmed("a"), confirmed("b"), dropped, confirmed("c"), dead];
        assert_eq!(unhandled(&log), 0);
        assert_eq!(unhandled(&log[1..]), 1);
    }

    #[test]
    fn an_end_that_leads_to_more_is_none() {
        for end in [End::DeadLettered, End::Failed, End::Released, End::Cut] {
            assert_eq!(unhandled(&[confirmed("a"), ended("a", end)]), 1, "{end:?}");
        }
    }
}
