//! Errors with their context: what is printed, what is kept, and what decides.

mod kinds;
mod model;
mod situations;

use std::error::Error;
use std::fmt;
use std::io;

use downhaul_context::traced::one_line;
use downhaul_context::{Cause, Class, Context, Kind, RequestId, ResultExt, Traced, TracedError};

#[derive(Debug, thiserror::Error)]
#[error("the query failed")]
struct QueryError(#[source] io::Error);

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("no order {0}")]
    NotFound(u64),
    #[error("the orders cannot be read")]
    Store(#[source] QueryError),
    #[error("the end came first")]
    Ended(#[source] Cause),
    /// As many write it, who do not know that sources are printed, too.
    #[error("i/o: {0}")]
    Io(#[from] io::Error),
}

impl Kind for OrderError {
    fn class(&self) -> Class {
        match self {
            Self::NotFound(_) => Class::NotFound,
            Self::Store(QueryError(error)) | Self::Io(error) => error.class(),
            Self::Ended(_) => Class::Internal,
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")
}

fn find(ctx: &Context, id: u64) -> Result<(), Traced<QueryError>> {
    Err(QueryError(refused())).layer(ctx, "repo.find").kv("query", "SELECT 1").kv("order", id)
}

fn get(ctx: &Context, user: u64) -> Result<(), Traced<OrderError>> {
    find(ctx, 7).map_kind(OrderError::Store).layer(ctx, "orders.get").kv("user_id", user)
}

fn handle(ctx: &Context) -> Traced<OrderError> {
    get(ctx, 42).layer(ctx, "http.get_order").expect_err("the store refuses")
}

fn request() -> Context {
    Context::background().with_value(RequestId::parse("r-1").expect("an id"))
}

#[test]
fn one_line_has_the_layers_from_the_outside_in_then_the_error_its_sources_and_the_request() {
    let expected = "http.get_order: orders.get{user_id=42}: \
                    repo.find{query=\"SELECT 1\", order=7}: the orders cannot be read: \
                    the query failed: connection refused [request_id=r-1]";
    assert_eq!(handle(&request()).to_string(), expected);
}

#[test]
fn the_tree_has_a_line_for_each_layer_with_its_place_and_each_error() {
    let error = handle(&request());
    let places: Vec<String> = error.layers().map(|layer| layer.location().to_string()).collect();
    let expected = format!(
        "http.get_order at {}\n\
         └ orders.get{{user_id=42}} at {}\n  \
           └ repo.find{{query=\"SELECT 1\", order=7}} at {}\n    \
             └ the orders cannot be read\n      \
               └ the query failed\n        \
                 └ connection refused\n  \
           request_id=r-1",
        places[0], places[1], places[2]
    );
    assert_eq!(format!("{error:#}"), expected);
    assert_eq!(format!("{error:?}"), expected, "what a `main` that returns it prints");
    assert_eq!(format!("{:?}", TracedError::from(error)), expected);
}

#[test]
fn a_layer_names_the_line_that_added_it() {
    let line = line!() + 1;
    let error = Err::<(), _>(fmt::Error).layer(&request(), "inner").layer(&request(), "outer");
    for layer in error.unwrap_err().layers() {
        assert_eq!((layer.location().file(), layer.location().line()), (file!(), line));
    }
    let line = line!() + 1;
    let error = Traced::new(&request(), "inner", fmt::Error).layer("outer");
    assert!(error.layers().all(|layer| layer.location().line() == line));
}

/// What `anyhow`'s `{:#}`, and whoever else prints a chain, makes of it.
fn printed_by_others(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[test]
fn whoever_prints_the_sources_prints_each_text_once() {
    let boxed: Box<dyn Error + Send + Sync> = handle(&request()).into();
    let expected = "http.get_order: orders.get{user_id=42}: repo.find{query=\"SELECT 1\", order=7} \
                    [request_id=r-1]: the orders cannot be read: the query failed: connection \
                    refused";
    assert_eq!(printed_by_others(&*boxed), expected);
}

#[test]
fn whoever_walks_the_sources_finds_the_error_and_all_behind_it() {
    let boxed: Box<dyn Error> = handle(&request()).into();
    let error = boxed.source().unwrap();
    assert!(matches!(error.downcast_ref(), Some(OrderError::Store(_))));
    let source = error.source().and_then(Error::source).unwrap();
    assert_eq!(source.downcast_ref::<io::Error>().unwrap().kind(), refused().kind());
}

#[test]
fn what_is_behind_a_traced_error_is_found_by_its_type() {
    let error = handle(&request());
    assert!(error.find::<QueryError>().is_some() && error.find::<io::Error>().is_some());
    assert!(error.find::<fmt::Error>().is_none());
    assert!(matches!(error.error(), OrderError::Store(_)));
    assert!(matches!(error.into_error(), OrderError::Store(_)));
}

#[test]
fn a_source_that_the_error_above_it_says_already_is_not_said_again() {
    let error = Traced::new(&request(), "read", OrderError::from(refused()));
    assert_eq!(error.to_string(), "read: i/o: connection refused [request_id=r-1]");
    assert_eq!(one_line(error.error()).to_string(), "i/o: connection refused");
}

#[test]
fn one_line_prints_the_layers_of_whatever_is_in_a_chain() {
    #[derive(Debug, thiserror::Error)]
    #[error("the task failed")]
    struct TaskFailed(#[source] TracedError);

    let error = TaskFailed(handle(&request()).into());
    let text = one_line(&error).to_string();
    assert!(
        text.starts_with("the task failed: http.get_order: orders.get{user_id=42}: "),
        "{text}"
    );
    assert!(text.ends_with(": connection refused [request_id=r-1]"), "{text}");
}

#[test]
fn nothing_that_others_wrote_breaks_the_line_or_passes_for_a_value() {
    let forged = io::Error::other("refused\nERROR paid=true \u{202e}\u{1b}[2J");
    let error = Traced::new(&request(), "read", forged)
        .kv("path", "a\nERROR b")
        .kv("name", "x, admin=true}")
        .kv("quoted", "say \"no\"")
        .kv("empty", "");
    let text = error.to_string();
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    let values = r#"{path="a\nERROR b", name="x, admin=true}", quoted="say \"no\"", empty=""}"#;
    assert!(text.contains(values), "{text}");
    let lines = format!("{error:#}").lines().count();
    assert_eq!(lines, 3, "a layer, an error, and the request");
}

#[test]
fn of_a_long_value_the_beginning_is_kept() {
    let error = Traced::new(&request(), "read", fmt::Error).kv("body", "ä".repeat(10_000));
    let layer = error.layers().next().unwrap();
    let kept = layer.values().next().unwrap().1.unwrap().to_owned();
    assert_eq!(kept, format!("{}…", "ä".repeat(256)));
}

#[test]
fn a_result_is_as_small_as_a_pointer() {
    assert_eq!(size_of::<Result<(), Traced<OrderError>>>(), size_of::<usize>());
    assert_eq!(size_of::<Result<(), Traced<[u8; 1_000]>>>(), size_of::<usize>());
}

#[test]
fn a_failure_is_logged_once_whoever_asks_and_whatever_becomes_of_it() {
    let (mut lines, error) = (0, handle(&request()));
    error.log_once(|| lines += 1);
    let error = error.map_kind(|_| OrderError::NotFound(7)).layer("outer").kv("a", 1);
    error.log_once(|| lines += 1);
    let error = TracedError::from(error);
    error.log_once(|| lines += 1);
    assert_eq!(lines, 1);
}
