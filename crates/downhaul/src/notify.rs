//! What systemd is told of an app, when it has asked to be told.
//!
//! Without the feature `systemd`, and outside a unit of `Type=notify`, nothing happens here.

use std::time::Duration;

#[cfg(feature = "systemd")]
use sd_notify::NotifyState;

/// The app is ready.
pub(crate) fn ready() {
    #[cfg(feature = "systemd")]
    tell(&[NotifyState::Ready]);
}

/// The app stops, and may take as long as `grace`.
pub(crate) fn stopping(grace: Duration) {
    #[cfg(feature = "systemd")]
    {
        let usec = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(usec)]);
    }
    #[cfg(not(feature = "systemd"))]
    let _ = grace;
}

/// The app still makes progress.
pub(crate) fn alive() {
    #[cfg(feature = "systemd")]
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that the app makes progress, halved, if it does. Never is it
/// without a pause, whatever the variable says.
pub(crate) fn watchdog() -> Option<Duration> {
    #[cfg(feature = "systemd")]
    return sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero());
    #[cfg(not(feature = "systemd"))]
    None
}

#[cfg(feature = "systemd")]
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd was not told");
    }
}
