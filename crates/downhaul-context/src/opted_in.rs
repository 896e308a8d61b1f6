//! [`WireValue`]: a value that opts in to leave the process and to be printed.

use std::any::Any;
use std::borrow::Cow;

/// A type of values that may cross to another process, by [`wire`](crate::wire), and be printed
/// with their context.
///
/// Bind them with [`Context::with_wire_value`](crate::Context::with_wire_value).
///
/// # Examples
///
/// ```
/// use downhaul_context::{Context, WireValue};
/// use std::borrow::Cow;
///
/// struct ApiKey(String);
///
/// impl WireValue for ApiKey {
///     const NAME: &'static str = "api-key";
///     const REDACTED: bool = true;
///     fn encode(&self) -> Cow<'_, str> {
///         Cow::Borrowed(&self.0)
///     }
///     fn decode(text: &str) -> Option<Self> {
///         Some(Self(text.to_owned()))
///     }
/// }
///
/// let ctx = Context::background().with_wire_value(ApiKey("s3cret".to_owned()));
/// assert_eq!(ctx.value::<ApiKey>().unwrap().0, "s3cret");
/// assert!(format!("{ctx:?}").contains(r#""api-key": <redacted>"#));
/// ```
pub trait WireValue: Any + Send + Sync + Sized {
    /// The name on the wire and in what is printed. Write it in lower case, and let it not begin
    /// with `x-`, which RabbitMQ keeps for itself.
    const NAME: &'static str;

    /// Whether it is a secret: it crosses the wire, but is not printed.
    const REDACTED: bool = false;

    /// The value as text that can stand in a header: without line breaks and other control
    /// characters.
    fn encode(&self) -> Cow<'_, str>;

    /// The value that `text` stands for; `None` if it is not valid.
    fn decode(text: &str) -> Option<Self>;
}

/// A binding of a value that opted in.
pub(crate) struct OptedIn<'a> {
    pub(crate) name: &'static str,
    pub(crate) text: Cow<'a, str>,
    pub(crate) redacted: bool,
}

pub(crate) fn opt_in<T: WireValue>(value: &T) -> OptedIn<'_> {
    OptedIn { name: T::NAME, text: value.encode(), redacted: T::REDACTED }
}
