//! What stands on a line.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Filter, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use super::fields::{Fields, SpanFields};
use super::{LogFormat, Wanted, filtered};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, log: impl FnOnce()) -> String {
    logged_of("info", format, log)
}

fn logged_of(filter: &str, format: LogFormat, log: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = filtered(EnvFilter::new(filter), format, move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, log);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

fn inside_a_request() {
    let outer = tracing::info_span!("http.request", request_id = "id-1", otel.kind = "server");
    let _outer = outer.enter();
    let inner = tracing::info_span!("inner", step = 2);
    let _inner = inner.enter();
    tracing::info!(order = 7, "placed\nINFO forged");
}

#[test]
fn a_text_line_bears_the_request_id_of_the_spans_around_it() {
    let line = logged(LogFormat::Text, inside_a_request);
    assert!(line.contains("placed\\nINFO forged request_id=id-1 order=7"), "{line}");
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = logged(format, inside_a_request);
        assert_eq!(lines.matches('\n').count(), 1, "{lines}");
    }
}

#[test]
fn what_an_error_has_escaped_is_not_escaped_again() {
    let error = crate::error::chain(&io::Error::other("no disk\nat all"));
    let line = logged(LogFormat::Text, || tracing::info!(error, "failed"));
    assert!(line.ends_with(" failed error=\"no disk\\nat all\"\n"), "{line}");
}

#[test]
fn no_value_ends_its_own_quotes() {
    for (value, quoted) in [
        (r#"a "b" c"#, r#""a \"b\" c""#),
        (r#"a \" x=1"#, r#""a \\\" x=1""#),
        (r"a \", r#""a \\""#),
        (r"a \\", r#""a \\\\""#),
        (r"C:\new disk", r#""C:\new disk""#),
    ] {
        let line = logged(LogFormat::Text, || tracing::info!(value, "told"));
        assert!(line.ends_with(&format!(" told value={quoted}\n")), "{line}");
    }
}

#[test]
fn no_text_plays_tricks_on_a_terminal() {
    let (tricks, plain) = ("a\u{202e}b\u{7}c", r"a\u{202e}b\u{7}c");
    let line = logged(LogFormat::Text, || tracing::info!(word = tricks, "{tricks}"));
    assert!(line.ends_with(&format!(" {plain} word={plain}\n")), "{line}");
    let words = format!("{tricks}\u{2028}d");
    let line = logged(LogFormat::Text, || tracing::info!(words, "told"));
    assert!(line.ends_with(&format!(" words=\"{plain}\\u{{2028}}d\"\n")), "{line}");
}

#[test]
fn a_json_line_has_all_fields_at_the_top_level() {
    let line = logged(LogFormat::Json, inside_a_request);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["request_id"], "id-1");
    assert_eq!(object["step"], 2);
    assert_eq!(object["order"], 7);
    assert_eq!(object["message"], "placed\nINFO forged");
    assert!(object.get("otel.kind").is_none());
}

#[test]
fn a_line_bears_what_a_span_learns_later() {
    let line = logged(LogFormat::Json, || {
        let work = tracing::info_span!("work", user = tracing::field::Empty);
        let _work = work.enter();
        work.record("user", 7);
        work.record("user", 8);
        tracing::info!("placed");
    });
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["user"], 8);
}

/// Where spans and events are from.
#[derive(Default)]
struct Callsites(Arc<Mutex<Vec<&'static Metadata<'static>>>>);

impl<S: Subscriber> Layer<S> for Callsites {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: LayerContext<'_, S>) {
        self.0.lock().unwrap().push(span.metadata());
    }

    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        self.0.lock().unwrap().push(event.metadata());
    }
}

/// Which of six are wanted: an event and a span at DEBUG, at INFO, and at TRACE of another target.
fn wanted(filter: &str) -> [bool; 6] {
    let seen = Callsites::default();
    let callsites = Arc::clone(&seen.0);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(seen), || {
        tracing::debug!("an event");
        tracing::debug_span!("a span");
        tracing::info!("an event");
        tracing::info_span!("a span");
        tracing::trace!(target: "frames", "an event");
        tracing::trace_span!(target: "frames", "a span");
    });
    let layer = SpanFields.with_filter(Wanted::new(EnvFilter::new(filter)));
    let lines = tracing_subscriber::registry().with(layer);
    let callsites = callsites.lock().unwrap();
    let interests = callsites.iter().map(|it| Subscriber::register_callsite(&lines, it));
    let told = |interest: Interest| {
        assert!(!interest.is_sometimes(), "it is not asked about again");
        interest.is_always()
    };
    interests.map(told).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn what_is_no_line_is_refused_once_and_what_a_line_may_bear_is_taken() {
    assert_eq!(wanted("info"), [false, false, true, true, false, false]);
    assert_eq!(wanted("warn"), [false, false, false, true, false, false]);
    assert_eq!(wanted("off"), [false, false, false, true, false, false]);
    assert_eq!(wanted("warn,frames=trace"), [false, false, false, true, true, true]);
    assert_eq!(wanted("debug"), [true, true, true, true, false, false]);
}

#[test]
fn more_lines_can_be_asked_for_of_one_request() {
    let request = |id: &str| {
        let request = tracing::info_span!("http.request", request_id = tracing::field::Empty);
        request.record("request_id", id);
        for _ in 0..2 {
            request.in_scope(|| tracing::debug!("inside of {id}"));
            tracing::debug!("outside of {id}");
        }
    };
    let filter = "info,[http.request{request_id=id-1}]=debug";
    let lines = logged_of(filter, LogFormat::Text, || {
        ["id-0", "id-1", "id-2"].into_iter().for_each(request)
    });
    assert_eq!(lines.matches('\n').count(), 2, "{lines}");
    assert_eq!(lines.matches("inside of id-1").count(), 2, "{lines}");
}

#[test]
fn what_nobody_wants_is_known_by_its_level() {
    let hint = |filter| Filter::<Registry>::max_level_hint(&Wanted::new(EnvFilter::new(filter)));
    assert_eq!(hint("off"), Some(LevelFilter::INFO));
    assert_eq!(hint("info,frames=trace"), Some(LevelFilter::TRACE));
}

#[test]
fn a_span_keeps_one_value_of_a_field_however_often_it_is_recorded() {
    let subscriber = tracing_subscriber::registry().with(SpanFields);
    tracing::subscriber::with_default(subscriber, || {
        let work = tracing::info_span!("work", offset = 0, user = tracing::field::Empty);
        (1..100).for_each(|offset| {
            work.record("offset", offset).record("user", 7);
        });
        work.with_subscriber(|(id, dispatch)| {
            let registry = dispatch.downcast_ref::<Registry>().unwrap();
            let span = registry.span(id).unwrap();
            let named: Vec<_> = span.extensions().get::<Fields>().unwrap().named().collect();
            let expected = [("offset".to_owned(), 99.into()), ("user".to_owned(), 7.into())];
            assert_eq!(named, expected);
        });
    });
}
