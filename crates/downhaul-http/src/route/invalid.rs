//! What a client reads of something that it sent and that is not what was wanted.

use std::borrow::Cow;
use std::fmt;

use crate::error::Error;

/// How much is repeated of what came, in bytes: clients choose how long a name is.
const LONGEST: usize = 200;

/// 400 that says where and why, with the place as the member `field` where it is known.
pub(crate) fn invalid<E: fmt::Display>(what: &str, error: &serde_path_to_error::Error<E>) -> Error {
    let (path, why) = (error.path().to_string(), error.inner().to_string());
    let why = shortened(&why);
    // A name that is missing has no place; one of a variant has none that can be said.
    if path == "." || path.ends_with('?') {
        return Error::bad_request(format!("the {what} is not valid: {why}"));
    }
    let path = shortened(&path);
    let error = Error::bad_request(format!("the {what} is not valid at `{path}`: {why}"));
    error.with("field", path.into_owned())
}

/// 400 for a parameter of a path that is no `T`.
pub(crate) fn invalid_param<T>(name: &str, error: impl fmt::Display) -> Error {
    let wanted = std::any::type_name::<T>();
    let wanted = wanted.rsplit("::").next().filter(|_| !wanted.contains('<')).unwrap_or("value");
    let why = error.to_string();
    Error::bad_request(format!("path parameter `{name}` is no {wanted}: {}", shortened(&why)))
}

fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_two_letters() {
        let long = "ä".repeat(LONGEST);
        assert_eq!(shortened(&long), format!("{}…", "ä".repeat(LONGEST / 2)));
        assert_eq!(shortened(&long[..LONGEST]), long[..LONGEST]);
    }
}
