//! The time, as the policy is told it.
//!
//! Wall-clock milliseconds, not a monotonic clock: a quota day ends at a wall-clock instant, what is
//! known must outlast a restart, and a laptop that slept must see that a cooldown has passed. The
//! shell reads the clock; core only compares.

use chrono::{DateTime, Days, TimeZone};
use chrono_tz::America::Los_Angeles;
use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// An instant: milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The instant `millis` milliseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it has not come yet.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// So much earlier, but not before the beginning of time.
    #[must_use]
    pub fn back(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(by))
    }

    /// The next midnight in Los Angeles, strictly after this instant.
    ///
    /// Google: "RPD quotas reset at midnight Pacific time"
    /// (<https://ai.google.dev/gemini-api/docs/rate-limits>). A day there has 23 or 25 hours twice a
    /// year; midnight itself is never skipped or doubled, since the clocks change at two.
    #[must_use]
    pub fn next_pacific_midnight(self) -> Self {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let midnight = DateTime::from_timestamp_millis(millis)
            .and_then(|utc| {
                Los_Angeles
                    .from_utc_datetime(&utc.naive_utc())
                    .date_naive()
                    .checked_add_days(Days::new(1))
            })
            .and_then(|day| day.and_hms_opt(0, 0, 0))
            .and_then(|local| Los_Angeles.from_local_datetime(&local).earliest());
        match midnight {
            Some(at) => Self(u64::try_from(at.timestamp_millis()).unwrap_or(u64::MAX)),
            // Beyond the calendar (year 262142): any later instant will do.
            None => self + Duration::from_secs(86_400),
        }
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match DateTime::from_timestamp_millis(millis) {
            Some(utc) => write!(f, "{}", utc.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// Reads a span as Google writes it: `51s`, `51.606482386s`, `856.559356ms`, `10h17m5.7s`.
///
/// `None` for anything else. Rounded down to the millisecond.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        total = total.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = rest.get(unit.len()..)?;
    }
    Some(total)
}

/// `ms` before `m`: the longer name first.
const UNITS: [(&str, f64); 7] = [
    ("ms", 1e-3),
    ("us", 1e-6),
    ("ns", 1e-9),
    ("d", 86_400.0),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

/// Whether something was written down by a clock that was set back to `now` since. It is noticed within a second or so,
/// and what was written down in that time is of the new one.
pub(crate) fn is_of_before(at: Time, now: Time) -> bool {
    at > now || now.since(at) > NOTICED
}

const NOTICED: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::from_millis(
            u64::try_from(
                DateTime::parse_from_rfc3339(text)
                    .unwrap()
                    .timestamp_millis(),
            )
            .unwrap(),
        )
    }

    #[test]
    fn midnight_in_los_angeles_follows_daylight_saving() {
        for (now, midnight) in [
            ("2026-07-01T12:00:00Z", "2026-07-02T07:00:00Z"),
            ("2026-12-01T12:00:00Z", "2026-12-02T08:00:00Z"),
            // The clocks go forward on 8 March 2026 and back on 1 November 2026, at two.
            ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-03-08T07:59:59Z", "2026-03-08T08:00:00Z"),
            ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
            ("2026-11-01T06:59:59Z", "2026-11-01T07:00:00Z"),
        ] {
            assert_eq!(at(now).next_pacific_midnight(), at(midnight), "{now}");
        }
    }

    #[test]
    fn spans_are_read_as_google_writes_them() {
        for (text, millis) in [
            ("51s", 51_000),
            ("51.606482386s", 51_606),
            ("856.559356ms", 856),
            ("10h17m5.723541104s", 37_025_723),
            ("2m", 120_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_span(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "soon", "12", "-5s", "5 s", "1e400s", "s"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }
}
