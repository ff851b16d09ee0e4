//! Virtual time, and when a day begins at Google.
//!
//! Reckoned here from the American rule and not with core's function: a mistake there must not be
//! repeated on the other side, where nobody would notice it.

/// Milliseconds since 1970-01-01 UTC, or a span of them.
pub type Millis = u64;

/// A second.
pub const SECOND: Millis = 1000;
/// A minute.
pub const MINUTE: Millis = 60 * SECOND;
/// An hour.
pub const HOUR: Millis = 60 * MINUTE;
/// A day of twenty-four hours.
pub const DAY: Millis = 24 * HOUR;

/// The next midnight in Los Angeles, strictly after `now`.
#[must_use]
pub fn midnight_after(now: Millis) -> Millis {
    let local = now - offset(now);
    // Midnight is never skipped or doubled: the clocks change at two.
    let midnight = (local / DAY + 1) * DAY;
    let winter = midnight + WINTER;
    if is_summer(winter - HOUR) {
        winter - HOUR
    } else {
        winter
    }
}

/// The midnight in Los Angeles at which this date began.
#[must_use]
pub fn midnight_of(year: u64, month: u64, day: u64) -> Millis {
    midnight_after(days(year, month, day) * DAY + WINTER - 2 * HOUR)
}

/// How far Los Angeles is behind UTC.
fn offset(now: Millis) -> Millis {
    if is_summer(now) {
        WINTER - HOUR
    } else {
        WINTER
    }
}

/// From the second Sunday of March, 2:00, to the first Sunday of November, 2:00 (since 2007).
fn is_summer(now: Millis) -> bool {
    let year = year_of(now);
    let begins = sunday(year, 3, 2) * DAY + 2 * HOUR + WINTER;
    let ends = sunday(year, 11, 1) * DAY + 2 * HOUR + WINTER - HOUR;
    (begins..ends).contains(&now)
}

/// The day number of the `nth` Sunday of a month.
fn sunday(year: u64, month: u64, nth: u64) -> u64 {
    let first = days(year, month, 1);
    // 1970-01-01 was a Thursday.
    let weekday = (first + 4) % 7;
    first + (7 - weekday) % 7 + 7 * (nth - 1)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March put the leap day at their end.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468
}

fn year_of(now: Millis) -> u64 {
    let guess = 1970 + now / (366 * DAY);
    let mut year = guess;
    while days(year + 1, 1, 1) * DAY <= now {
        year += 1;
    }
    year
}

/// Pacific Standard Time behind UTC.
const WINTER: Millis = 8 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;
    use gemini_relay_core::Time;

    #[test]
    fn days_begin_at_midnight_in_los_angeles_all_year() {
        // Every 3 h 7 min of three years, beside core's, which asks the zone database.
        let mut now = midnight_of(2026, 1, 1);
        assert_eq!(now, 1_767_254_400_000);
        while now < midnight_of(2029, 1, 1) {
            let core = Time::from_millis(now).next_pacific_midnight().as_millis();
            assert_eq!(midnight_after(now), core, "{now}");
            now += 3 * HOUR + 7 * MINUTE;
        }
        for edge in [midnight_of(2026, 3, 8), midnight_of(2026, 11, 1)] {
            for now in [edge - 1, edge, edge + DAY - HOUR, edge + DAY] {
                let core = Time::from_millis(now).next_pacific_midnight().as_millis();
                assert_eq!(midnight_after(now), core, "{now}");
            }
        }
    }
}
