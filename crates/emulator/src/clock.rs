//! The emulator's clock: the real one, plus what tests have moved it by.
//!
//! Quota windows read this clock and nothing else, so a day passes when a test says so. Pauses in
//! an answer are real time: what waits there is a socket, and moving the clock does not shorten
//! it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Days, TimeZone, Utc};
use chrono_tz::America::Los_Angeles;

/// Milliseconds since 1970 on the emulator's clock.
pub(crate) type Ms = u64;

pub(crate) struct Clock {
    first: Ms,
    started: Instant,
    moved: Duration,
}

impl Clock {
    /// A clock that shows `first`, or the real time.
    pub(crate) fn start(first: Option<Ms>) -> Clock {
        Clock {
            first: first.unwrap_or_else(real_now),
            started: Instant::now(),
            moved: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Ms {
        self.first
            .saturating_add(millis(self.started.elapsed().saturating_add(self.moved)))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.moved = self.moved.saturating_add(by);
    }
}

/// The day in Los Angeles that holds `now`: its first instant and the next day's. It is 23, 24 or
/// 25 hours long.
pub(crate) fn los_angeles_day(now: Ms) -> (Ms, Ms) {
    day_around(now).unwrap_or_else(|| {
        let start = now - now % DAY;
        (start, start + DAY)
    })
}

/// `None` only for instants that chrono cannot write.
fn day_around(now: Ms) -> Option<(Ms, Ms)> {
    let utc: DateTime<Utc> = DateTime::from_timestamp_millis(i64::try_from(now).ok()?)?;
    let date = utc.with_timezone(&Los_Angeles).date_naive();
    // Los Angeles changes its clocks at two in the morning: midnight is always there, once.
    let midnight = |date: chrono::NaiveDate| {
        let at = Los_Angeles
            .from_local_datetime(&date.and_hms_opt(0, 0, 0)?)
            .earliest()?;
        u64::try_from(at.timestamp_millis()).ok()
    };
    Some((
        midnight(date)?,
        midnight(date.checked_add_days(Days::new(1))?)?,
    ))
}

fn real_now() -> Ms {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> Ms {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) const DAY: Ms = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(now: &str, start: &str, end: &str) {
        let ms = |text: &str| {
            u64::try_from(
                DateTime::parse_from_rfc3339(text)
                    .unwrap()
                    .timestamp_millis(),
            )
            .unwrap()
        };
        assert_eq!(los_angeles_day(ms(now)), (ms(start), ms(end)), "{now}");
    }

    #[test]
    fn a_day_ends_at_midnight_in_los_angeles_whatever_the_season() {
        check(
            "2026-01-15T12:00:00Z",
            "2026-01-15T08:00:00Z",
            "2026-01-16T08:00:00Z",
        );
        check(
            "2026-07-15T06:59:59Z",
            "2026-07-14T07:00:00Z",
            "2026-07-15T07:00:00Z",
        );
        check(
            "2026-07-15T07:00:00Z",
            "2026-07-15T07:00:00Z",
            "2026-07-16T07:00:00Z",
        );
    }

    #[test]
    fn the_days_on_which_clocks_change_are_23_and_25_hours_long() {
        check(
            "2026-03-08T20:00:00Z",
            "2026-03-08T08:00:00Z",
            "2026-03-09T07:00:00Z",
        );
        check(
            "2026-11-01T20:00:00Z",
            "2026-11-01T07:00:00Z",
            "2026-11-02T08:00:00Z",
        );
    }

    #[test]
    fn the_clock_moves_by_what_it_is_told() {
        let mut clock = Clock::start(Some(1_000));
        clock.advance(Duration::from_secs(60));
        assert!((61_000..70_000).contains(&clock.now()));
    }
}
