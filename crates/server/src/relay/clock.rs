//! The wall clock, and whether it jumped.
//!
//! While a laptop sleeps the monotonic clock stands still and the wall clock goes on; so a difference
//! between what the two have advanced means that the machine slept (or that somebody set its clock),
//! and either way connections from before are not to be trusted.

use gemini_relay_core::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, which tests may move forward.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    ahead: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn now(&self) -> Time {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
            + Duration::from_millis(self.ahead.load(Ordering::Relaxed))
    }

    /// As if the clock had been set back, once it was moved forward.
    #[cfg(test)]
    pub(crate) fn set_back(&self, by: Duration) {
        self.ahead.fetch_sub(
            u64::try_from(by.as_millis()).unwrap_or(0),
            Ordering::Relaxed,
        );
    }

    /// As if the machine had slept this long.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(
            u64::try_from(by.as_millis()).unwrap_or(0),
            Ordering::Relaxed,
        );
    }
}

/// Which way a clock jumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jumped {
    /// The machine slept, or its clock was behind.
    Ahead,
    /// Its clock was set back, by so much.
    Back(Duration),
}

/// Compares the two clocks each time it is asked: before every attempt, since the first request after a
/// sleep may be quicker than any timer.
pub(crate) struct Jump {
    began: Instant,
    /// By how many milliseconds the wall clock is ahead of the other.
    ahead: AtomicU64,
}

impl Jump {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            began: Instant::now(),
            ahead: AtomicU64::new(clock.now().as_millis()),
        }
    }

    /// How the wall clock, now at `now`, has jumped since this was last asked, if it has. Of several who ask at once, one
    /// is told.
    pub(crate) fn happened(&self, now: Time, instant: Instant) -> Option<Jumped> {
        let ran = u64::try_from(instant.duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let ahead = now.as_millis().saturating_sub(ran);
        let before = self.ahead.load(Ordering::Relaxed);
        if ahead.abs_diff(before) <= TOLERANCE {
            // Slewing adds up over days.
            if ahead != before {
                self.ahead.store(ahead, Ordering::Relaxed);
            }
            return None;
        }
        self.ahead
            .compare_exchange(before, ahead, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(match before.checked_sub(ahead) {
            Some(by) => Jumped::Back(Duration::from_millis(by)),
            None => Jumped::Ahead,
        })
    }
}

/// In milliseconds: more than any clock is slewed in a second, less than the shortest sleep that closes
/// connections.
const TOLERANCE: u64 = 3000;
