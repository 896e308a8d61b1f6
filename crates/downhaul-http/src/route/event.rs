//! [`Event`]: what a stream of events says at a time.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;

/// An event of a [stream](crate::Sse), in the words of HTML's server-sent events.
///
/// # Examples
///
/// ```
/// use downhaul_http::Event;
///
/// // `event: settled`, `id: 17` and two lines of `data:`
/// let event = Event::new("order 17\nconfirmed").event("settled").id("17");
/// # let _ = event;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "an event says nothing until a stream sends it"]
pub struct Event {
    comment: Option<String>,
    event: Option<String>,
    data: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Event {
    /// An event with `data`, which may have several lines. Every kind of line break reaches the
    /// client as `\n`.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: Some(data.into()), ..Self::default() }
    }

    /// An event with a value as JSON.
    ///
    /// # Errors
    ///
    /// 500 if the value cannot be written as JSON, such as a map whose keys are not strings.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, Error> {
        serde_json::to_string(value).map(Self::new).map_err(Error::internal)
    }

    /// What kind of event it is; browsers call it `message` without. Line breaks are left out.
    pub fn event(mut self, kind: impl Into<String>) -> Self {
        self.event = Some(one_line(kind.into()));
        self
    }

    /// What a client that comes back [says](crate::Request::last_event_id) that it has seen last.
    /// Line breaks and NULs are left out: no client would take such an id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(one_line(id.into()));
        self
    }

    /// How long clients wait before they come back, in whole milliseconds.
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// Words that no client hears. An event of a comment alone, made by `default`, keeps a
    /// connection alive.
    pub fn comment(mut self, words: impl Into<String>) -> Self {
        self.comment = Some(words.into());
        self
    }

    /// As it is sent, with the empty line that ends it.
    pub(crate) fn encode(&self) -> Bytes {
        let mut text = String::new();
        let mut field = |name: &str, value: &str| {
            for line in lines(value) {
                text.extend([name, ": ", line, "\n"]);
            }
        };
        let retry = self.retry.map(|after| after.as_millis().to_string());
        let fields = [
            ("", &self.comment),
            ("event", &self.event),
            ("id", &self.id),
            ("retry", &retry),
            ("data", &self.data),
        ];
        for (name, value) in fields {
            value.iter().for_each(|value| field(name, value));
        }
        text.push('\n');
        text.into()
    }
}

fn one_line(mut text: String) -> String {
    text.retain(|c| !['\r', '\n', '\0'].contains(&c));
    text
}

/// The lines of a text, at least one. They end with `\r\n`, `\r` or `\n`, as they do for clients.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.find(['\r', '\n']);
        rest = end.map(|end| {
            let after = &text[end..];
            after.strip_prefix("\r\n").unwrap_or_else(|| &after[1..])
        });
        Some(end.map_or(text, |end| &text[..end]))
    })
}
