//! [`Settings`]: how much a consumer takes at a time, which can be changed while it runs.

use crate::rate::Rate;

/// How much a consumer takes at a time. Can be changed while it runs, with
/// [`ConsumerHandle::set`](crate::ConsumerHandle::set).
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Settings;
///
/// let settings = Settings::default();
/// assert_eq!((settings.concurrency, settings.prefetch()), (8, 16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many messages are handled at a time. At least 1; 0 counts as 1.
    pub concurrency: u16,
    /// How many may be unsettled at a time: being handled, waiting for another attempt, buffered
    /// and under way. `None` for what [`prefetch`](Self::prefetch) says.
    pub prefetch: Option<u16>,
    /// How many bytes of payload and headers may be buffered before the intake is closed, until
    /// half of them are gone. Messages that are under way already still come.
    pub buffered_bytes: usize,
    /// How many may begin in a time. `None` for no limit.
    pub rate: Option<Rate>,
    /// How many messages are handled in one call.
    pub(crate) batch: usize,
}

/// Eight at a time, 64 MiB buffered, no limit of the rate.
impl Default for Settings {
    fn default() -> Self {
        Self { concurrency: 8, prefetch: None, buffered_bytes: 64 << 20, rate: None, batch: 1 }
    }
}

impl Settings {
    /// The prefetch that is asked of the broker: what is set, or enough for twice the concurrency;
    /// with batches, for one batch more than that. Never less than what is handled at a time.
    pub fn prefetch(&self) -> u16 {
        let concurrency = self.concurrency();
        let calls = if self.batch > 1 {
            concurrency.saturating_add(1)
        } else {
            concurrency.saturating_mul(2)
        };
        let messages = |calls: u16| {
            u16::try_from(usize::from(calls).saturating_mul(self.batch)).unwrap_or(u16::MAX)
        };
        self.prefetch.unwrap_or_else(|| messages(calls)).max(messages(concurrency))
    }

    pub(crate) fn concurrency(&self) -> u16 {
        self.concurrency.max(1)
    }
}
