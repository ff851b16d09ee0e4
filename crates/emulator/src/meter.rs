//! How much of one limit is used: fixed window, sliding log or token bucket.
//!
//! Nobody outside Google knows which of these a quota is, and they differ in what a refused client
//! should do: after a fixed window everything is back at once, after a sliding one a little, from
//! a bucket a trickle. So a quota says which it is, and a relay must live with all three.
//!
//! A meter is pure: the caller tells it the time, and asks [`Meter::wait`] before [`Meter::take`],
//! so that a request refused by one of several quotas is counted by none.

use std::collections::VecDeque;

use crate::clock::{DAY, Ms, los_angeles_day};
use crate::config::Window;

/// What a meter measures against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) limit: u64,
    pub(crate) window: Window,
    pub(crate) span: Span,
    /// An instant at which a fixed window began. It may be before the first request by any amount.
    pub(crate) origin: i128,
}

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    Length(Ms),
    LosAngelesDay,
}

#[derive(Debug)]
pub(crate) enum Meter {
    Fixed { ends: Ms, used: u64 },
    Sliding { log: VecDeque<(Ms, u64)>, used: u64 },
    Bucket { level: f64, at: Ms },
}

impl Meter {
    pub(crate) fn new(rule: &Rule, now: Ms) -> Meter {
        match rule.window {
            Window::Fixed => Meter::Fixed {
                ends: rule.window_end(now),
                used: 0,
            },
            Window::Sliding => Meter::Sliding {
                log: VecDeque::new(),
                used: 0,
            },
            Window::Bucket => Meter::Bucket {
                level: rule.limit as f64,
                at: now,
            },
        }
    }

    /// How long until `amount` fits; zero: now. What is more than the whole limit never fits: then
    /// it is the time until as much as possible is free, which is what Google's bodies say too.
    pub(crate) fn wait(&mut self, rule: &Rule, amount: u64, now: Ms) -> Ms {
        self.forget(rule, now);
        let never = amount > rule.limit;
        match self {
            Meter::Fixed { ends, used } => {
                if never || used.saturating_add(amount) > rule.limit {
                    ends.saturating_sub(now).max(1)
                } else {
                    0
                }
            }
            Meter::Sliding { log, used } => {
                let mut free = rule.limit.saturating_sub(*used);
                let wanted = amount.min(rule.limit);
                let mut wait = 0;
                for (at, spent) in log.iter() {
                    if free >= wanted {
                        break;
                    }
                    free = free.saturating_add(*spent);
                    wait = (at + rule.length()).saturating_sub(now).max(1);
                }
                if never { wait.max(1) } else { wait }
            }
            Meter::Bucket { level, .. } => {
                let lacking = amount.min(rule.limit) as f64 - *level;
                // Levels are sums of fractions: a millionth of a request is no request.
                if lacking > 1e-6 {
                    let per_ms = rule.limit as f64 / rule.length() as f64;
                    ((lacking / per_ms).ceil() as Ms).max(1)
                } else {
                    Ms::from(never)
                }
            }
        }
    }

    /// Counts `amount`, whether it fits or not.
    pub(crate) fn take(&mut self, rule: &Rule, amount: u64, now: Ms) {
        self.forget(rule, now);
        match self {
            Meter::Fixed { used, .. } => *used = used.saturating_add(amount),
            Meter::Sliding { log, used } => {
                log.push_back((now, amount));
                *used = used.saturating_add(amount);
            }
            Meter::Bucket { level, .. } => *level -= amount as f64,
        }
    }

    /// What is counted at this moment.
    pub(crate) fn used(&mut self, rule: &Rule, now: Ms) -> u64 {
        self.forget(rule, now);
        match self {
            Meter::Fixed { used, .. } | Meter::Sliding { used, .. } => *used,
            Meter::Bucket { level, .. } => (rule.limit as f64 - *level).max(0.0).round() as u64,
        }
    }

    fn forget(&mut self, rule: &Rule, now: Ms) {
        match self {
            Meter::Fixed { ends, used } => {
                if now >= *ends {
                    *ends = rule.window_end(now);
                    *used = 0;
                }
            }
            Meter::Sliding { log, used } => {
                while let Some((at, spent)) = log.front().copied()
                    && at + rule.length() <= now
                {
                    log.pop_front();
                    *used -= spent;
                }
            }
            Meter::Bucket { level, at } => {
                let per_ms = rule.limit as f64 / rule.length() as f64;
                *level = (*level + now.saturating_sub(*at) as f64 * per_ms).min(rule.limit as f64);
                *at = now;
            }
        }
    }
}

impl Rule {
    fn length(&self) -> Ms {
        match self.span {
            Span::Length(ms) => ms.max(1),
            Span::LosAngelesDay => DAY,
        }
    }

    fn window_end(&self, now: Ms) -> Ms {
        match self.span {
            Span::LosAngelesDay => los_angeles_day(now).1,
            Span::Length(_) => {
                let length = i128::from(self.length());
                let into = (i128::from(now) - self.origin).rem_euclid(length);
                now.saturating_add(Ms::try_from(length - into).unwrap_or(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(window: Window, limit: u64) -> Rule {
        Rule {
            limit,
            window,
            span: Span::Length(60_000),
            origin: 0,
        }
    }

    #[test]
    fn a_fixed_window_gives_everything_back_at_its_end() {
        let rule = rule(Window::Fixed, 2);
        let mut meter = Meter::new(&rule, 10_000);
        meter.take(&rule, 2, 10_000);
        assert_eq!(meter.wait(&rule, 1, 20_000), 40_000);
        assert_eq!(meter.wait(&rule, 1, 59_999), 1);
        assert_eq!(meter.wait(&rule, 2, 60_000), 0);
        assert_eq!(meter.used(&rule, 60_000), 0);
    }

    #[test]
    fn a_fixed_window_has_the_phase_it_is_given() {
        let rule = Rule {
            origin: -45_000,
            ..rule(Window::Fixed, 1)
        };
        let mut meter = Meter::new(&rule, 0);
        meter.take(&rule, 1, 0);
        assert_eq!(meter.wait(&rule, 1, 0), 15_000);
        meter.take(&rule, 1, 15_000);
        assert_eq!(meter.wait(&rule, 1, 15_000), 60_000);
    }

    #[test]
    fn a_sliding_window_forgets_each_request_by_itself() {
        let rule = rule(Window::Sliding, 2);
        let mut meter = Meter::new(&rule, 0);
        meter.take(&rule, 1, 0);
        meter.take(&rule, 1, 30_000);
        assert_eq!(meter.wait(&rule, 1, 30_000), 30_000);
        assert_eq!(meter.wait(&rule, 2, 30_000), 60_000);
        assert_eq!(meter.wait(&rule, 1, 60_000), 0);
        assert_eq!(meter.used(&rule, 60_000), 1);
    }

    #[test]
    fn a_bucket_fills_little_by_little() {
        let rule = rule(Window::Bucket, 6);
        let mut meter = Meter::new(&rule, 0);
        meter.take(&rule, 6, 0);
        assert_eq!(meter.wait(&rule, 1, 0), 10_000);
        assert_eq!(meter.wait(&rule, 1, 9_000), 1_000);
        assert_eq!(meter.wait(&rule, 1, 10_000), 0);
        assert_eq!(meter.wait(&rule, 6, 600_000), 0);
        assert_eq!(meter.used(&rule, 600_000), 0);
    }

    #[test]
    fn what_is_more_than_the_limit_never_fits() {
        for window in [Window::Fixed, Window::Sliding, Window::Bucket] {
            let rule = rule(window, 5);
            let mut meter = Meter::new(&rule, 0);
            assert!(meter.wait(&rule, 6, 0) > 0, "{window:?}");
            assert!(meter.wait(&rule, 6, 600_000) > 0, "{window:?}");
        }
    }

    #[test]
    fn a_real_day_ends_in_los_angeles() {
        let rule = Rule {
            span: Span::LosAngelesDay,
            ..rule(Window::Fixed, 1)
        };
        // 2026-03-08, the day with 23 hours, begins at 08:00 UTC.
        let begins = 1_772_956_800_000;
        let mut meter = Meter::new(&rule, begins);
        meter.take(&rule, 1, begins);
        assert_eq!(meter.wait(&rule, 1, begins), 23 * 3_600_000);
    }
}
