//! What is known of a message whose publish failed.

use std::time::Duration;

use downhaul_consumer::{Message, Outgoing, PublishErrorKind, Publisher};
use downhaul_context::{CauseKind, Context};

use crate::scripted::{Scripted, Send};

const SECOND: Duration = Duration::from_secs(1);

fn message() -> Outgoing {
    Outgoing::to_topic("t", Message::new("").with_id("one"))
}

async fn publish(sends: impl IntoIterator<Item = Send>) -> Result<(), PublishErrorKind> {
    let publisher = Publisher::new(Scripted::new(sends));
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    publisher.publish(&ctx, message()).await.map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_dead_sink_is_opened_again_and_the_message_sent_once() {
    let broker = Scripted::new([Send::Dead, Send::Dead, Send::Confirmed]);
    let publisher = Publisher::new(broker.clone());
    publisher.publish(&Context::background(), message()).await.unwrap();
    assert_eq!(*broker.opened.lock().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_never_sent_in_time_is_not_sent() {
    let dead = std::iter::repeat_n(Send::Dead, 1000);
    assert_eq!(publish(dead).await, Err(PublishErrorKind::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_nacked() {
    assert_eq!(publish([Send::Nacked]).await, Err(PublishErrorKind::Nacked));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_answer_was_lost_is_unknown_not_failed() {
    assert_eq!(publish([Send::Unanswered]).await, Err(PublishErrorKind::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_room_until_the_end_is_not_sent() {
    assert_eq!(publish([Send::Stuck]).await, Err(PublishErrorKind::NotSent));
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_the_end_of_the_context_where_that_was_the_reason() {
    let publisher = Publisher::new(Scripted::new([]));
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let error = publisher.publish(&ctx, message()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::NotSent);
    assert_eq!(error.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_message_is_sent_again_with_the_same_id_if_asked() {
    let broker = Scripted::new([Send::Unanswered, Send::Dead, Send::Confirmed]);
    let publisher = Publisher::new(broker.clone());
    publisher.publish_until_known(&Context::background(), message()).await.unwrap();
    assert_eq!(*broker.ids.lock().unwrap(), ["one"; 3]);
}

#[tokio::test(start_paused = true)]
async fn once_in_doubt_a_message_stays_unknown_whatever_is_said_of_a_later_try() {
    let never_sent = vec![Send::Dead; 1000];
    for later in [never_sent, vec![Send::Nacked], vec![Send::Refused]] {
        let said = format!("{:?}", later[0]);
        let publisher = Publisher::new(Scripted::new([vec![Send::Unanswered], later].concat()));
        let (ctx, _canceller) = Context::background().with_timeout(SECOND);
        let error = publisher.publish_until_known(&ctx, message()).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unknown, "{said}");
    }
}
