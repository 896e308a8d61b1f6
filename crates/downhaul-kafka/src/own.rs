//! [`OwnTopics`]: the topics that belong to one group alone, and how they are called.
//!
//! What is published to a queue is for one group. Kafka has no such thing, so each group has topics
//! that nobody else reads: one for each step of delay, `<group>.retry.<step>`. In each, messages
//! are due nearly in the order in which they were appended, so that a short delay never waits
//! behind a long one. They are read as a group of their own, `<group>.retry`: an assignor counts
//! partitions, and in one group those that are empty as a rule would count like the ones with work.
//!
//! A queue for dead letters, `<group>.dead`, is a topic of that name, and a group of that name
//! reads it.

use std::time::Duration;

use downhaul_consumer::{BrokerError, Subscription};

use crate::error::unsendable;

/// What durations are written in, with their milliseconds.
const UNITS: [(u64, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
/// What a header is called that says when a message is due, in milliseconds since 1970, UTC.
pub(crate) const DUE: &str = "due-ms";

/// The steps of delay that there are, the shortest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnTopics {
    steps: Vec<Duration>,
}

impl OwnTopics {
    /// At least one step, each at least a millisecond, and whole ones: as they are called.
    pub(crate) fn new(steps: &[Duration]) -> Self {
        let whole = |step: &Duration| u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut steps: Vec<_> =
            steps.iter().map(|step| Duration::from_millis(whole(step))).collect();
        if steps.is_empty() {
            steps.push(Duration::from_secs(1));
        }
        steps.sort_unstable();
        steps.dedup();
        Self { steps }
    }

    /// What a group reads besides its topics.
    pub(crate) fn of(&self, group: &str) -> Vec<String> {
        let dead = Subscription::is_dead_letter_queue(group).then(|| group.to_owned());
        dead.into_iter().chain(self.steps.iter().map(|step| retry(group, *step))).collect()
    }

    /// The topic by which a message comes to a group after a delay.
    ///
    /// # Errors
    ///
    /// No step is so long.
    pub(crate) fn to(&self, group: &str, delay: Duration) -> Result<String, BrokerError> {
        if delay.is_zero() && Subscription::is_dead_letter_queue(group) {
            return Ok(group.to_owned());
        }
        let Some(step) = self.steps.iter().find(|step| **step >= delay) else {
            let longest = self.steps.last().map(|step| text(*step)).unwrap_or_default();
            let words =
                format!("a delay of {delay:?}: the longest step of the broker is {longest}");
            return Err(unsendable(words));
        };
        Ok(retry(group, *step))
    }
}

/// As which group one reads a topic.
pub(crate) fn reader(group: &str, topic: &str) -> String {
    if step(group, topic).is_some() { retry_group(group) } else { group.to_owned() }
}

/// The group that reads the topics for the retries of a group.
pub(crate) fn retry_group(group: &str) -> String {
    format!("{group}.retry")
}

/// The step of a topic for the retries of a group; `None` if it is another topic.
pub(crate) fn step(group: &str, topic: &str) -> Option<Duration> {
    let text = topic.strip_prefix(group)?.strip_prefix(".retry.")?;
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (millis, _) = UNITS.into_iter().find(|(_, name)| *name == unit)?;
    let step = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?);
    (retry(group, step) == topic).then_some(step)
}

fn retry(group: &str, step: Duration) -> String {
    format!("{group}.retry.{}", text(step))
}

/// A duration as `90s`, in the largest unit in which it is whole.
fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let whole = UNITS.into_iter().find(|(unit, _)| millis.is_multiple_of((*unit).into()));
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{}{name}", millis / u128::from(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> OwnTopics {
        OwnTopics::new(&[1_500, 10_000, 60_000, 86_400_000].map(Duration::from_millis))
    }

    #[test]
    fn a_delay_goes_to_the_shortest_step_that_is_long_enough() {
        let to = |millis| topics().to("q", Duration::from_millis(millis)).unwrap();
        assert_eq!(to(0), "q.retry.1500ms");
        assert_eq!(to(1_501), "q.retry.10s");
        assert_eq!(to(60_000), "q.retry.1m");
        assert_eq!(to(60_001), "q.retry.24h");
        let error = topics().to("q", Duration::from_secs(86_401)).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("24h"), "{error}");
    }

    #[test]
    fn steps_that_are_called_the_same_are_one() {
        let steps = [1_000_000, 1_200_000, 1_999_999].map(Duration::from_nanos);
        assert_eq!(OwnTopics::new(&steps).of("q"), ["q.retry.1ms"]);
    }

    #[test]
    fn a_topic_tells_its_step_and_only_if_it_is_the_groups() {
        for millis in [1, 1_500, 10_000, 60_000, 86_400_000] {
            let wanted = Duration::from_millis(millis);
            assert_eq!(step("q", &retry("q", wanted)), Some(wanted));
        }
        let others = ["q", "q.dead", "q.retry.1d", "q.retry.60s", "q.retry.s", "q.retry.01s"];
        for topic in others.into_iter().chain(["q2.retry.1s", "q.retry.1s.retry.1s"]) {
            assert_eq!(step("q", topic), None, "{topic}");
        }
    }

    #[test]
    fn a_dead_letter_queue_is_a_topic_of_its_name() {
        assert_eq!(topics().to("q.dead", Duration::ZERO).unwrap(), "q.dead");
        assert_eq!(topics().of("q.dead")[0], "q.dead");
        assert_eq!(topics().of("q").len(), 4);
    }
}
