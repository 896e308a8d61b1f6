//! What a test says of a [`Report`].

use crate::report::{ComponentReport, Ending, Report};

/// Asserts, with feature `testing`. Each panics with the whole report.
impl Report {
    /// Everything that was begun was finished.
    ///
    /// # Panics
    ///
    /// If something was cut short or failed, or the app did not start.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.ending, Ending::Clean, "the end was not clean:\n{self}\n");
    }

    /// The app failed, or did not start, for a reason with these words in it.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    pub fn assert_failed(&self, words: &str) {
        let failed = match &self.ending {
            Ending::Failed(why) | Ending::NotStarted(why) => why.contains(words),
            _ => false,
        };
        assert!(failed, "the app did not fail with `{words}`:\n{self}\n");
    }

    /// How this component stopped.
    ///
    /// # Panics
    ///
    /// If there is no component of this name; the names are in the message.
    #[track_caller]
    pub fn component(&self, name: &str) -> &ComponentReport {
        let names: Vec<_> = self.components.iter().map(|part| part.name.as_str()).collect();
        let found = self.components.iter().find(|part| part.name == name);
        let Some(found) = found else {
            panic!("no component `{name}`, but {}:\n{self}\n", names.join(", "));
        };
        found
    }
}
