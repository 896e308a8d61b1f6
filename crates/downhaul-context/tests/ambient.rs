//! For whom a thread works. Tracking is for a whole process, so these tests have one of their own,
//! and one test.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use downhaul_context::{Context, RequestId, ambient};

fn named(id: &str) -> Context {
    Context::background().with_value(RequestId::parse(id).unwrap())
}

fn current() -> Option<String> {
    ambient::value::<RequestId>().map(|id| id.to_string())
}

/// Says whom it saw when it was dropped.
struct Looks<'a>(&'a mut Option<String>);

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        *self.0 = current();
    }
}

#[test]
fn a_thread_works_for_whom_it_entered_last_once_that_is_tracked() {
    let (first, second) = (named("first"), named("second"));
    let before = ambient::enter(&first);
    assert_eq!(current(), None, "nobody tracks");
    ambient::track();
    drop(before);
    assert_eq!(current(), None, "what was entered before is not seen");

    let outer = ambient::enter(&first);
    let inner = ambient::enter(&second);
    assert_eq!(current().as_deref(), Some("second"));
    let elsewhere = std::thread::spawn(current).join().unwrap();
    assert_eq!(elsewhere, None, "another thread works for nobody");
    drop(inner);
    assert_eq!(current().as_deref(), Some("first"));
    drop(outer);
    assert_eq!(current(), None);

    a_future_is_polled_and_dropped_inside(&first, &second);
}

fn a_future_is_polled_and_dropped_inside(own: &Context, other: &Context) {
    let cx = &mut TaskContext::from_waker(Waker::noop());
    let _other = ambient::enter(other);
    let polled = pin!(ambient::within(own, poll_fn(|_| Poll::Ready(current()))));
    assert_eq!(polled.poll(cx), Poll::Ready(Some("first".to_owned())));
    assert_eq!(current().as_deref(), Some("second"), "between polls it is left");

    let mut dropped = None;
    let looks = Looks(&mut dropped);
    drop(ambient::within(own, async move {
        let _looks = looks;
        pending::<()>().await;
    }));
    assert_eq!(dropped.as_deref(), Some("first"));
}
