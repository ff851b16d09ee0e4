//! How a quota counts: windows of a minute in the three ways that such counters are built, and days.
//!
//! Which way Google's are is not published, so none may be relied on. What does not fit is refused
//! whole: a quota never serves a part.

use crate::clock::{MINUTE, Millis, midnight_after};
use std::collections::VecDeque;

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// How a minute is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// From a fixed second to the same second of the next minute.
    Fixed,
    /// The sixty seconds up to now, exactly.
    Sliding,
    /// A bucket that holds a minute's worth and is filled evenly.
    Bucket,
}

impl Shape {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Sliding, Self::Bucket];
}

/// What a quota of a minute has counted.
#[derive(Clone, Debug)]
pub(super) enum Minute {
    Fixed {
        phase: Millis,
        window: u64,
        used: u64,
    },
    Sliding {
        log: VecDeque<(Millis, u64)>,
        used: u64,
    },
    /// In sixty-thousandths, so that a millisecond's refill is a whole number.
    Bucket { drawn: u64, at: Millis },
}

impl Minute {
    pub(super) fn new(shape: Shape, phase: Millis) -> Self {
        match shape {
            Shape::Fixed => Self::Fixed {
                phase,
                window: 0,
                used: 0,
            },
            Shape::Sliding => Self::Sliding {
                log: VecDeque::new(),
                used: 0,
            },
            Shape::Bucket => Self::Bucket { drawn: 0, at: 0 },
        }
    }

    /// What of `limit` is left now.
    pub(super) fn left(&mut self, limit: u64, now: Millis) -> u64 {
        if limit == UNLIMITED {
            return UNLIMITED;
        }
        match self {
            Self::Fixed {
                phase,
                window,
                used,
            } => {
                let current = (now + *phase) / MINUTE;
                if current != *window {
                    (*window, *used) = (current, 0);
                }
                limit.saturating_sub(*used)
            }
            Self::Sliding { log, used } => {
                while let Some(&(at, amount)) = log.front()
                    && at + MINUTE <= now
                {
                    *used -= amount;
                    log.pop_front();
                }
                limit.saturating_sub(*used)
            }
            Self::Bucket { drawn, at } => {
                *drawn = drawn.saturating_sub(limit.saturating_mul(now - *at));
                *at = now;
                (limit * MINUTE).saturating_sub(*drawn) / MINUTE
            }
        }
    }

    /// Counts. What is counted beyond the limit (refused requests, where those count) is owed, up to one
    /// minute's worth.
    pub(super) fn take(&mut self, amount: u64, limit: u64, now: Millis) {
        if limit == UNLIMITED || amount == 0 {
            return;
        }
        let amount = amount.min(limit.saturating_mul(2));
        self.left(limit, now);
        match self {
            Self::Fixed { used, .. } => *used = (*used + amount).min(limit.saturating_mul(2)),
            Self::Sliding { log, used } => {
                if *used < limit.saturating_mul(2) {
                    *used += amount;
                    log.push_back((now, amount));
                }
            }
            Self::Bucket { drawn, .. } => {
                *drawn = (*drawn + amount * MINUTE).min(limit.saturating_mul(2 * MINUTE));
            }
        }
    }

    /// When `amount` fits, if nothing else comes before; `None`: never under this limit.
    pub(super) fn fits_at(&mut self, amount: u64, limit: u64, now: Millis) -> Option<Millis> {
        if amount > limit {
            return None;
        }
        if amount <= self.left(limit, now) {
            return Some(now);
        }
        Some(match self {
            Self::Fixed { phase, window, .. } => (*window + 1) * MINUTE - *phase,
            Self::Sliding { log, used } => {
                let mut left = *used;
                let mut when = now;
                for &(at, freed) in log.iter() {
                    if left + amount <= limit {
                        break;
                    }
                    left -= freed;
                    when = at + MINUTE;
                }
                when
            }
            Self::Bucket { drawn, .. } => {
                now + (*drawn + amount * MINUTE - limit * MINUTE).div_ceil(limit)
            }
        })
    }
}

/// What a quota of a day has counted.
#[derive(Clone, Debug)]
pub(super) struct Day {
    /// How far this project's clock is ahead of true time, in milliseconds.
    ahead: i64,
    ends: Millis,
    used: u64,
}

impl Day {
    pub(super) const fn new(ahead: i64) -> Self {
        Self {
            ahead,
            ends: 0,
            used: 0,
        }
    }

    pub(super) fn left(&mut self, limit: u64, now: Millis) -> u64 {
        if now >= self.ends {
            let shown = now.saturating_add_signed(self.ahead);
            self.ends = midnight_after(shown).saturating_add_signed(-self.ahead);
            self.used = 0;
        }
        limit.saturating_sub(self.used)
    }

    pub(super) fn take(&mut self, amount: u64, limit: u64, now: Millis) {
        self.left(limit, now);
        self.used = self.used.saturating_add(amount);
    }

    pub(super) fn fits_at(&mut self, amount: u64, limit: u64, now: Millis) -> Option<Millis> {
        if amount > limit {
            None
        } else if amount <= self.left(limit, now) {
            Some(now)
        } else {
            Some(self.ends)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SECOND, midnight_of};

    const START: Millis = 1_800_000_000_000;

    /// Takes one whenever it fits, at each of these seconds; gives those at which it did.
    fn served(shape: Shape, limit: u64, seconds: &[u64]) -> Vec<u64> {
        // Fixed windows begin at second 45.
        let mut minute = Minute::new(shape, 15 * SECOND);
        let mut served = Vec::new();
        for &second in seconds {
            let now = START + second * SECOND;
            let fits = minute.left(limit, now) >= 1;
            assert_eq!(fits, minute.fits_at(1, limit, now) == Some(now));
            if fits {
                minute.take(1, limit, now);
                served.push(second);
            }
        }
        served
    }

    #[test]
    fn a_fixed_window_starts_again_at_its_own_second() {
        assert_eq!(
            served(Shape::Fixed, 2, &[0, 10, 20, 44, 45, 46, 47, 104, 105]),
            [0, 10, 45, 46, 105]
        );
    }

    #[test]
    fn a_sliding_window_forgets_each_request_after_a_minute() {
        assert_eq!(
            served(Shape::Sliding, 2, &[0, 10, 20, 59, 60, 61, 69, 70, 71]),
            [0, 10, 60, 70]
        );
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_an_even_flow() {
        assert_eq!(
            served(Shape::Bucket, 2, &[0, 0, 0, 29, 30, 31, 59, 60, 61]),
            [0, 0, 30, 60]
        );
    }

    #[test]
    fn when_it_fits_is_exactly_when_it_fits() {
        for shape in Shape::ALL {
            let mut minute = Minute::new(shape, 7);
            for at in [0, 5, 900, 12_345] {
                minute.take(100, 400, START + at);
            }
            let now = START + 20_000;
            assert_eq!(minute.fits_at(401, 400, now), None);
            for amount in [50, 100, 250, 400] {
                let at = minute.clone().fits_at(amount, 400, now).unwrap();
                assert!(minute.clone().left(400, at) >= amount, "{shape:?} {amount}");
                if at > now {
                    assert!(
                        minute.clone().left(400, at - 1) < amount,
                        "{shape:?} {amount}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_owed_is_bounded() {
        for shape in Shape::ALL {
            let mut minute = Minute::new(shape, 0);
            for at in 0..10_000 {
                minute.take(1, 10, START + at);
            }
            let free = minute.fits_at(1, 10, START + 10_000).unwrap();
            assert!(free <= START + 10_000 + 2 * MINUTE, "{shape:?}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_by_the_projects_own_clock() {
        let midnight = midnight_of(2026, 11, 2);
        for ahead in [-2000_i64, 0, 1500] {
            let mut day = Day::new(ahead);
            let resets = midnight.saturating_add_signed(-ahead);
            day.take(3, 3, resets - 1000);
            assert_eq!(day.fits_at(1, 3, resets - 1000), Some(resets));
            assert_eq!(day.left(3, resets - 1), 0);
            assert_eq!(day.left(3, resets), 3);
        }
    }
}
