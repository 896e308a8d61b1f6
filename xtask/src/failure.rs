//! `Failure`: the sentence a command ends with when it cannot do its work.

use std::error::Error;
use std::fmt;

/// What went wrong and, where it is known, what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The result of a check that has printed its findings.
    pub(crate) fn of(check: &str, findings: usize) -> Result<(), Self> {
        match findings {
            0 => Ok(()),
            n => Err(Self(format!("{check}: {n} to fix, see above"))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// With all that it comes from: the outermost error alone rarely says what to do.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            words.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self(words)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_says_also_what_its_error_comes_from() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot write the cookie")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::from(Outer(io::Error::other("the disk is full")));
        assert_eq!(failure.to_string(), "cannot write the cookie: the disk is full");
    }
}
