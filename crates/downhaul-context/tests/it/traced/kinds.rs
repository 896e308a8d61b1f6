//! Kinds decide, never text.

use std::io;

use downhaul_context::{CauseKind, Class, Context, Kind, Reason, Traced, TracedError};

use super::{OrderError, QueryError, handle, refused, request};

#[test]
fn the_kind_says_the_class_and_a_boxed_error_still_knows_it() {
    let error = TracedError::from(handle(&request()));
    assert_eq!((error.class(), error.error_type()), (Class::Unavailable, "unavailable"));
    let error = TracedError::from(Traced::new(&request(), "get", OrderError::NotFound(7)));
    assert_eq!((error.class(), error.is_permanent()), (Class::NotFound, false));
    let boxed: Box<dyn std::error::Error> = handle(&request()).into();
    assert_eq!(TracedError::find(&*boxed).map(TracedError::class), Some(Class::Unavailable));
}

#[test]
fn only_the_end_of_the_context_makes_more_of_a_kind_that_says_nothing() {
    let (ctx, canceller) = Context::root();
    let internal = || OrderError::Io(io::Error::other("deadline exceeded, cancelled, timed out"));
    assert_eq!(Traced::new(&ctx, "get", internal()).class(), Class::Internal);
    canceller.cancel();
    assert_eq!(Traced::new(&ctx, "get", internal()).class(), Class::Unavailable);
    assert_eq!(Traced::new(&ctx, "get", OrderError::NotFound(7)).class(), Class::NotFound);
}

/// And not that of `std::error::Error`, which is found first where the trait is in scope.
#[test]
fn an_error_without_its_type_tells_the_cause() {
    use std::error::Error as _;

    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());
    let error = TracedError::from(Traced::new(&ctx, "get", OrderError::NotFound(7)));
    assert_eq!(error.cause().map(|cause| cause.kind()), Some(CauseKind::ClientGone));
    assert!(error.source().is_some());
}

#[test]
fn text_alone_is_no_cancellation() {
    let words = io::Error::other("cancelled: deadline exceeded");
    let error = Traced::new(&request(), "get", words);
    assert!(!error.is_cancelled() && !error.is_deadline() && error.cause().is_none());
}

#[test]
fn io_errors_that_pass_are_worth_another_try() {
    assert_eq!(refused().class(), Class::Unavailable);
    assert_eq!(io::Error::from(io::ErrorKind::TimedOut).class(), Class::Timeout);
    assert_eq!(io::Error::other("disk on fire").class(), Class::Internal);
}

#[test]
fn a_cause_is_a_kind() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());
    assert_eq!(ctx.cause().unwrap().class(), Class::Unavailable);
    let (ctx, _canceller) = Context::background().with_timeout(std::time::Duration::ZERO);
    assert_eq!(ctx.cause().unwrap().class(), Class::Timeout);
}

#[test]
fn only_what_can_never_be_done_is_permanent_if_nothing_else_is_said() {
    #[derive(Debug, thiserror::Error)]
    #[error("text")]
    struct Of(Class);

    impl Kind for Of {
        fn class(&self) -> Class {
            self.0
        }
    }

    let all = [
        Class::Unauthenticated,
        Class::Forbidden,
        Class::NotFound,
        Class::Conflict,
        Class::Unavailable,
        Class::Timeout,
        Class::Internal,
    ];
    assert!(all.into_iter().all(|class| !Of(class).is_permanent()));
    assert!(Of(Class::Invalid).is_permanent());
    assert_eq!(Of(Class::Conflict).public(), None, "the text of an error is not for clients");
}

#[test]
fn a_kind_of_the_layer_below_decides_where_the_layer_above_asks_it() {
    let store = OrderError::Store(QueryError(refused()));
    assert_eq!(Traced::new(&request(), "get", store).class(), Class::Unavailable);
}
