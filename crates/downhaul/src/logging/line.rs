//! [`Line`]: one event as one line, whatever is in it.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::fields::{Fields, REQUEST_ID};
use crate::error;

pub(super) struct Line {
    pub(super) format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        cx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (mut fields, mut around) =
            (Fields::default(), Map::from_iter(Fields::ambient().named()));
        event.record(&mut fields);
        let own = fields.named().collect();
        // From the root inwards: the nearest span, and then the event itself, has the last word.
        for span in cx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                around.extend(fields.named());
            }
        }
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        match self.format {
            LogFormat::Text => text(&mut writer, level, target, own, around),
            LogFormat::Json => json(&mut writer, level, target, own, around),
        }
    }
}

fn text(
    writer: &mut Writer<'_>,
    level: Level,
    target: &str,
    mut own: Map<String, Value>,
    around: Map<String, Value>,
) -> fmt::Result {
    SystemTime.format_time(writer)?;
    write!(writer, " {level:>5} {target}:")?;
    if let Some(message) = own.remove("message") {
        writer.write_char(' ')?;
        one_line(writer, &plain(&message))?;
    }
    let id = around.get(REQUEST_ID).map(|id| (REQUEST_ID, id));
    let own = own.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in id.into_iter().chain(own) {
        write!(writer, " {name}=")?;
        one_line(writer, &quoted(&plain(value)))?;
    }
    writeln!(writer)
}

fn json(
    writer: &mut Writer<'_>,
    level: Level,
    target: &str,
    own: Map<String, Value>,
    around: Map<String, Value>,
) -> fmt::Result {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    let mut object = around;
    object.extend(own);
    object.insert("timestamp".to_owned(), time.into());
    object.insert("level".to_owned(), level.as_str().into());
    object.insert("target".to_owned(), target.into());
    writeln!(writer, "{}", Value::Object(object))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As it is where it is one word, else in quotes.
fn quoted(text: &str) -> String {
    let needs_quotes = |c: char| c.is_whitespace() || c == '"' || c == '=';
    if !text.is_empty() && !text.contains(needs_quotes) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // A backslash that nothing behind it could be taken with stays one: errors come with their
        // line breaks escaped.
        let is_taken = |next: Option<&char>| matches!(next, None | Some('"' | '\\'));
        if c == '"' || c == '\\' && is_taken(rest.peek()) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// What could break a line or play tricks on a terminal is escaped, so that no text from outside
/// begins a line of its own.
fn one_line(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    // Nearly all text is harmless, and costs no more than this look at it.
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        true => writer.write_str(text),
        false => writer.write_str(&error::plain(text)),
    }
}
