//! [`IdempotencyKey`]: what a client calls a request that may come again.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use crate::error::Error;

const HEADER: &str = "idempotency-key";
const MOST: usize = 255;

/// The key that a client has sent, of 1 to 255 characters of ASCII: a value of the
/// [context](downhaul_context::Context::value), for handlers that call others who want one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key without the quotes that it may have been sent in.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of a request. By the draft it is a string in quotes; most clients leave them out.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Error> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::bad_request("there are two `Idempotency-Key`s; send one"));
        }
        let text = value.to_str().ok().map(str::trim);
        let key = text.and_then(|text| match text.strip_prefix('"') {
            Some(rest) => unquoted(rest),
            None => Some(text.to_owned()).filter(|text| text.bytes().all(is_bare)),
        });
        let valid = key.filter(|key| (1..=MOST).contains(&key.len())).ok_or_else(|| {
            Error::bad_request(format!(
                "the `Idempotency-Key` is not valid; send one string of 1 to {MOST} characters"
            ))
        })?;
        Ok(Some(Self(valid.into())))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may stand there without quotes: nothing that would end it in a list or begin parameters.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

/// The rest of a quoted string (RFC 8941 §3.3.3) without its last quote, after which nothing comes.
fn unquoted(rest: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next().filter(|c| ['"', '\\'].contains(c))?),
            c => text.push(c),
        }
    }
}
