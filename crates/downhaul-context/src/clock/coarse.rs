//! A clock that costs a quarter of the precise one and runs up to a tick of the kernel behind it.

use std::time::Duration;

#[cfg(all(target_os = "linux", not(miri)))]
use nix::time::ClockId;

/// How far a coarse clock may be behind. The kernel sets it at each of its ticks, which are 1 to 10
/// ms apart; the rest is for a machine whose ticks come late.
pub(super) const BEHIND: Duration = Duration::from_millis(100);

/// The nanoseconds of `CLOCK_MONOTONIC`, by which std's and so tokio's `Instant` goes on Linux.
#[cfg(all(target_os = "linux", not(miri)))]
pub(super) fn precise() -> Option<i64> {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The same as they were at the kernel's last tick.
#[cfg(all(target_os = "linux", not(miri)))]
#[inline]
pub(super) fn coarse() -> Option<i64> {
    read(ClockId::CLOCK_MONOTONIC_COARSE)
}

#[cfg(all(target_os = "linux", not(miri)))]
#[inline]
fn read(clock: ClockId) -> Option<i64> {
    let now = clock.now().ok()?;
    // Enough for 292 years since the machine was started.
    Some(now.tv_sec().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec()))
}

/// None: elsewhere there is no such clock, or it is not known to be that of `Instant`.
#[cfg(any(not(target_os = "linux"), miri))]
pub(super) fn precise() -> Option<i64> {
    None
}

/// As [`precise`].
#[cfg(any(not(target_os = "linux"), miri))]
#[inline]
pub(super) fn coarse() -> Option<i64> {
    None
}
