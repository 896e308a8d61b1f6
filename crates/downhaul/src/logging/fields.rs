//! Fields as they are recorded, kept with their span.

use std::fmt;

use downhaul_context::{RequestId, ambient};
use serde_json::Value;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The fields of one span or event. Made for every span, and read only where a line is written.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

/// What a line says of the request or the message that it is for.
pub(super) const REQUEST_ID: &str = "request_id";

impl Fields {
    /// Where there is no span around, what is known of the one for whom this thread works.
    pub(super) fn ambient() -> Self {
        let id = ambient::value::<RequestId>();
        Self(id.map(|id| (REQUEST_ID, id.as_str().into())).into_iter().collect())
    }

    /// All of them by name. What was recorded twice is what it was last.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, Value)> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        // `otel.*` steers the exporter and says nothing that the other fields do not.
        if name.starts_with("otel.") {
            return;
        }
        // In its place, or a span that lives long would keep all that it was ever told.
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value.into(),
            None => self.0.push((name, value.into())),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// Keeps the fields of every span, for the lines inside it.
pub(super) struct SpanFields;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanFields {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let begins = span.parent().is_none();
        let mut fields = if begins { Fields::ambient() } else { Fields::default() };
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }
}
