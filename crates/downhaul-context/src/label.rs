//! [`Label`]: what a context is called.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use smol_str::SmolStr;

/// What a context is called: a text of the program, a short one, or one that is shared; cheap to
/// clone.
///
/// # Examples
///
/// ```
/// use downhaul_context::Label;
/// use std::sync::Arc;
///
/// let shared: Arc<str> = Arc::from("GET /orders");
/// assert_eq!(&*Label::from(Arc::clone(&shared)), "GET /orders");
/// assert_eq!(Label::from("db.query").to_string(), "db.query");
/// ```
#[derive(Clone)]
pub struct Label(SmolStr);

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Label {
    fn from(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }
}

impl From<SmolStr> for Label {
    fn from(text: SmolStr) -> Self {
        Self(text)
    }
}

impl From<Arc<str>> for Label {
    fn from(text: Arc<str>) -> Self {
        Self(text.into())
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cow<'static, str>> for Label {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}
