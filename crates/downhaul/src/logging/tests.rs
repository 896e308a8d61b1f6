//! What stands on a line.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, SpanFields};
use super::{LogFormat, layer};

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
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry().with(layer(format, move || writer.clone()));
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

/// Where events are from.
#[derive(Default)]
struct Callsites(Arc<Mutex<Vec<&'static Metadata<'static>>>>);

impl<S: Subscriber> Layer<S> for Callsites {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        self.0.lock().unwrap().push(event.metadata());
    }
}

#[test]
fn what_is_no_line_is_refused_once_and_what_a_line_may_bear_is_taken() {
    let seen = Callsites::default();
    let events = Arc::clone(&seen.0);
    let subscriber = tracing_subscriber::registry().with(seen);
    let span = tracing::subscriber::with_default(subscriber, || {
        tracing::debug!("unwanted");
        tracing::info!("wanted");
        tracing::debug_span!("work").metadata()
    });
    let lines = tracing_subscriber::registry().with(layer(LogFormat::Text, io::sink));
    let interest = |of| Subscriber::register_callsite(&lines, of);
    let [unwanted, wanted] = events.lock().unwrap()[..] else { panic!("two events") };
    assert!(interest(unwanted).is_never());
    assert!(interest(wanted).is_always() && interest(span.unwrap()).is_always());
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
