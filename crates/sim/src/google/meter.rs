//! One project's quotas of one model, and what somebody outside the relay uses of them.
//!
//! Time only goes forward, so changes of limits and what comes from outside are caught up with whenever
//! somebody looks. What comes from outside comes by itself (Poisson) from a stream of its own, and is the
//! same whoever else asks; but it too is refused when nothing is left.

use super::window::{Day, Minute};
use super::{Answer, Exceeded, Limits, Project, RetryInfo, UNLIMITED, Weight, World};
use crate::clock::{DAY, MINUTE, Millis, SECOND};
use crate::rng::Rng;

#[derive(Clone, Debug)]
pub(super) struct Meter {
    first: Limits,
    limits: Limits,
    requests_minute: Minute,
    tokens_minute: Minute,
    requests_day: Day,
    tokens_day: Day,
    /// In order of time, those to come.
    changes: Vec<super::Change>,
    outside: Option<Outside>,
    /// For `RetryInfo` that says some seconds.
    rng: Rng,
}

#[derive(Clone, Debug)]
struct Outside {
    rng: Rng,
    next: Millis,
    /// Milliseconds between two.
    gap: f64,
    tokens: u64,
}

impl Meter {
    pub(super) fn new(
        world: &World,
        project: usize,
        model: usize,
        seed: u64,
        start: Millis,
    ) -> Self {
        let plan = &world.projects[project];
        let limits = plan.limits[model];
        let names = [project as u64, model as u64];
        let mut rng = Rng::of(seed, &[METER, names[0], names[1]]);
        let phase = rng.between(0, MINUTE - 1);
        let mut changes = plan.changes.clone();
        changes.reverse();
        Self {
            first: limits,
            limits,
            requests_minute: Minute::new(plan.shape, phase),
            tokens_minute: Minute::new(plan.shape, phase),
            requests_day: Day::new(plan.ahead),
            tokens_day: Day::new(plan.ahead),
            changes,
            outside: Outside::new(
                plan.outside,
                limits,
                Rng::of(seed, &[OUTSIDE, names[0], names[1]]),
                start,
            ),
            rng,
        }
    }

    pub(super) fn ask(&mut self, project: &Project, weight: Weight, now: Millis) -> Answer {
        self.catch_up(now);
        if self.limits.requests_minute == 0 {
            return Answer::Tier;
        }
        let left = self.left(now);
        let wants = weight.each();
        let mut which = [false; 4];
        for at in 0..4 {
            which[at] = wants[at] > left[at];
        }
        if which == [false; 4] {
            self.take(weight, now);
            return Answer::Served;
        }
        if project.counts_refused {
            self.take(weight, now);
        }
        let retry = match project.retry {
            RetryInfo::Exact => self.fits_at(weight, now).map(|at| at - now),
            RetryInfo::SomeSeconds => Some(self.rng.between(5 * SECOND, MINUTE)),
            RetryInfo::Missing => None,
        };
        Answer::Quota(Exceeded {
            which,
            limits: self.limits,
            retry,
        })
    }

    pub(super) fn fits_at(&mut self, weight: Weight, now: Millis) -> Option<Millis> {
        self.catch_up(now);
        let limits = self.limits;
        if limits.requests_minute == 0 {
            return None;
        }
        let [requests, tokens, ..] = weight.each();
        let day = self
            .requests_day
            .fits_at(requests, limits.requests_day, now)?
            .max(self.tokens_day.fits_at(tokens, limits.tokens_day, now)?);
        let minute = self
            .requests_minute
            .fits_at(requests, limits.requests_minute, now)?
            .max(
                self.tokens_minute
                    .fits_at(tokens, limits.tokens_minute, now)?,
            );
        Some(day.max(minute))
    }

    pub(super) fn scarcest(&mut self, now: Millis) -> f64 {
        self.catch_up(now);
        let left = self.left(now);
        self.limits
            .each()
            .iter()
            .zip(left)
            .filter(|(limit, _)| **limit != UNLIMITED)
            .map(|(limit, left)| left as f64 / (*limit).max(1) as f64)
            .fold(1.0, f64::min)
    }

    fn left(&mut self, now: Millis) -> [u64; 4] {
        let limits = self.limits;
        [
            self.requests_minute.left(limits.requests_minute, now),
            self.tokens_minute.left(limits.tokens_minute, now),
            self.requests_day.left(limits.requests_day, now),
            self.tokens_day.left(limits.tokens_day, now),
        ]
    }

    fn take(&mut self, weight: Weight, now: Millis) {
        let limits = self.limits;
        self.requests_minute
            .take(weight.requests, limits.requests_minute, now);
        self.tokens_minute
            .take(weight.tokens, limits.tokens_minute, now);
        self.requests_day
            .take(weight.requests, limits.requests_day, now);
        self.tokens_day.take(weight.tokens, limits.tokens_day, now);
    }

    fn catch_up(&mut self, now: Millis) {
        while let Some(change) = self.changes.pop_if(|change| change.at <= now) {
            self.others_until(change.at);
            self.limits = self.first.times(change.share);
        }
        self.others_until(now);
    }

    fn others_until(&mut self, now: Millis) {
        while let Some(outside) = &mut self.outside
            && outside.next <= now
        {
            let at = outside.next;
            let weight = Weight {
                requests: 1,
                tokens: outside.tokens,
            };
            outside.next += (outside.rng.exponential(outside.gap) as Millis).max(1);
            let left = self.left(at);
            if weight
                .each()
                .iter()
                .zip(left)
                .all(|(wants, left)| *wants <= left)
            {
                self.take(weight, at);
            }
        }
    }
}

impl Outside {
    /// As much as is `share` of what the project has a day, spread over it.
    fn new(share: f64, limits: Limits, mut rng: Rng, start: Millis) -> Option<Self> {
        let a_day = limits
            .requests_day
            .min(limits.requests_minute.saturating_mul(DAY / MINUTE));
        if share <= 0.0 || a_day == 0 {
            return None;
        }
        let gap = DAY as f64 / (a_day as f64 * share);
        // As heavy as would use both limits of a minute evenly, but no one request more than a tenth.
        let tokens = match limits.tokens_minute {
            UNLIMITED => 0,
            tokens => tokens / limits.requests_minute.max(10),
        };
        let next = start + rng.exponential(gap) as Millis;
        Some(Self {
            rng,
            next,
            gap,
            tokens,
        })
    }
}

impl Weight {
    /// In the order of [`Limits::each`].
    const fn each(&self) -> [u64; 4] {
        [self.requests, self.tokens, self.requests, self.tokens]
    }
}

/// Names of streams of chance.
const METER: u64 = 1;
const OUTSIDE: u64 = 2;
