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

    /// As if the machine had slept this long.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(
            u64::try_from(by.as_millis()).unwrap_or(0),
            Ordering::Relaxed,
        );
    }
}

/// Compares the two clocks each time it is asked.
pub(crate) struct Jump {
    wall: Time,
    steady: Instant,
}

impl Jump {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            wall: clock.now(),
            steady: Instant::now(),
        }
    }

    /// Whether the wall clock has jumped since this was last asked.
    pub(crate) fn happened(&mut self, clock: &Clock) -> bool {
        let (wall, steady) = (clock.now(), Instant::now());
        let (walked, ran) = (wall.since(self.wall), steady.duration_since(self.steady));
        let back = wall < self.wall;
        (self.wall, self.steady) = (wall, steady);
        back || walked.abs_diff(ran) > TOLERANCE
    }
}

/// More than any clock is slewed in a second, less than the shortest sleep that closes connections.
const TOLERANCE: Duration = Duration::from_secs(3);
