//! Budgets: what is left of a project's quotas of a model, as far as that can be known from here.
//!
//! What was sent is counted, by the minute and by the day; limits are learned from the refusals that name them
//! (`quotaId` and `quotaValue`, <https://ai.google.dev/gemini-api/docs/rate-limits>). Where a limit is known a project
//! that would refuse is not asked, and is known to be back as soon as enough of what was sent is a minute old.
//!
//! How Google counts a minute is not published: from a fixed second, over the last sixty, or as a bucket that fills.
//! Of these the last sixty seconds are the strictest for whoever never sends more than the limit at once, so that is
//! what is believed. A refused request counts, since it may at Google.
//!
//! Other people's use of the same project is not seen. A refusal says that it is there: then the project is out for
//! as long as Google said (see [`block`](crate::block)), whatever was counted here.

use crate::block::Reason;
use crate::event::Stamp;
use crate::facts::Kinds;
use crate::google_error::Violation;
use crate::map::Map;
use crate::pool::ProjectId;
use crate::rotation::State;
use crate::time::Time;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Requests a minute.
    RequestsMinute,
    /// Input tokens a minute.
    TokensMinute,
    /// Requests a day.
    RequestsDay,
    /// Input tokens a day.
    TokensDay,
}

impl Measure {
    /// Every measure, each in its place.
    pub const ALL: [Self; 4] = [
        Self::RequestsMinute,
        Self::TokensMinute,
        Self::RequestsDay,
        Self::TokensDay,
    ];

    /// The name in documents and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsMinute => "rpm",
            Self::TokensMinute => "tpm",
            Self::RequestsDay => "rpd",
            Self::TokensDay => "tpd",
        }
    }

    /// Why a project is out of it.
    pub(crate) const fn reason(self) -> Reason {
        if self.is_of_the_day() {
            Reason::QuotaDay
        } else {
            Reason::QuotaMinute
        }
    }

    const fn index(self) -> usize {
        self as usize
    }

    const fn is_of_the_day(self) -> bool {
        matches!(self, Self::RequestsDay | Self::TokensDay)
    }

    const fn is_tokens(self) -> bool {
        matches!(self, Self::TokensMinute | Self::TokensDay)
    }

    /// What the quota of a violation limits, if its name says so.
    #[must_use]
    pub fn of(violation: &Violation) -> Option<Self> {
        let name = violation.quota_id.to_ascii_lowercase();
        let tokens = name.contains("token");
        let all = if name.contains("perminute") {
            [Self::RequestsMinute, Self::TokensMinute]
        } else if name.contains("perday") {
            [Self::RequestsDay, Self::TokensDay]
        } else {
            return None;
        };
        Some(all[usize::from(tokens)])
    }
}

/// What a request takes of its project's quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Requests, as Google counts them: of a batch of embeddings each text is one.
    pub requests: u32,
    /// Input tokens.
    pub tokens: u32,
}

impl Weight {
    /// The lightest that there is.
    pub const ONE: Self = Self {
        requests: 1,
        tokens: 1,
    };

    const fn of(self, measure: Measure) -> u64 {
        (if measure.is_tokens() {
            self.tokens
        } else {
            self.requests
        }) as u64
    }
}

/// How many tokens a byte of a body comes to, by what was asked lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    bytes: u64,
    tokens: u64,
}

impl Default for Ratio {
    /// A text of English words.
    fn default() -> Self {
        Self {
            bytes: 4000,
            tokens: 1000,
        }
    }
}

impl Ratio {
    /// What so many bytes will come to, at the least one token.
    pub(crate) fn tokens(&self, bytes: u64) -> u32 {
        let tokens = bytes.min(MOST_BYTES) * self.tokens / self.bytes.max(1);
        u32::try_from(tokens).unwrap_or(u32::MAX).max(1)
    }

    /// So many bytes came to so many tokens.
    pub(crate) fn learn(&mut self, bytes: u64, tokens: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes += bytes.min(MOST_BYTES);
        self.tokens += tokens.min(MOST_BYTES);
        if self.bytes > MEMORY {
            self.bytes /= 2;
            self.tokens /= 2;
        }
    }
}

/// One quota of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The model as Google counts it.
    pub model: Option<Arc<str>>,
    /// The kinds that draw on it.
    pub kinds: Kinds,
    /// What it limits.
    pub measure: Measure,
}

/// All budgets, each at a place that stays its own.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    all: Vec<Budget>,
    at: Map<(ProjectId, Option<Arc<str>>, Kinds), u32>,
    /// What one project taught is presumed of the others.
    taught: Map<(Option<Arc<str>>, Kinds), [Option<Arc<Violation>>; 4]>,
}

impl Budgets {
    pub(crate) fn find(
        &self,
        project: ProjectId,
        model: Option<&Arc<str>>,
        kinds: Kinds,
    ) -> Option<u32> {
        self.at.get(&(project, model.cloned(), kinds)).copied()
    }

    pub(crate) fn find_or_make(
        &mut self,
        project: ProjectId,
        model: Option<&Arc<str>>,
        kinds: Kinds,
    ) -> Option<u32> {
        let key = (project, model.cloned(), kinds);
        if let Some(at) = self.at.get(&key) {
            return Some(*at);
        }
        if self.all.len() >= MOST_BUDGETS {
            return None;
        }
        let at = u32::try_from(self.all.len()).ok()?;
        let mut budget = Budget::default();
        if let Some(taught) = self.taught.get(&(key.1.clone(), kinds)) {
            for (measure, violation) in Measure::ALL.into_iter().zip(taught) {
                if let Some(violation) = violation {
                    budget.presume(measure, violation);
                }
            }
        }
        self.all.push(budget);
        self.at.insert(key, at);
        Some(at)
    }

    /// What a project of the free tier was taught is presumed of all of whom nothing else is known. Says whether that is
    /// news.
    pub(crate) fn teach(&mut self, quota: &Quota, violation: &Arc<Violation>) -> bool {
        if !violation.quota_id.ends_with(FREE) {
            return false;
        }
        if self.taught.len() >= MOST_TAUGHT {
            self.taught.clear();
        }
        let about = (quota.model.clone(), quota.kinds);
        let taught = self.taught.entry(about).or_default();
        let Some(before) = taught.get_mut(quota.measure.index()) else {
            return false;
        };
        let value = |violation: &Arc<Violation>| violation.value;
        if before.as_ref().map(value) == Some(violation.value) {
            return false;
        }
        *before = Some(Arc::clone(violation));
        for ((_, model, kinds), at) in &self.at {
            if *model == quota.model
                && *kinds == quota.kinds
                && let Some(budget) = self.all.get_mut(*at as usize)
            {
                budget.presume(quota.measure, violation);
            }
        }
        true
    }

    /// The clock was set back: what was sent a while ago was sent as long ago as before.
    pub(crate) fn clock_set_back(&mut self, by: Duration) {
        for budget in &mut self.all {
            budget.clock_set_back(by);
        }
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Budget> {
        self.all.get(at as usize)
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Budget> {
        self.all.get_mut(at as usize)
    }

    /// All limits that are known, by whom and when.
    pub(crate) fn limits(
        &self,
    ) -> impl Iterator<Item = (ProjectId, Quota, Stamp, Option<Arc<Violation>>)> + '_ {
        self.at.iter().flat_map(|((project, model, kinds), at)| {
            let limits = self.get(*at).and_then(|budget| budget.limits.as_deref());
            Measure::ALL
                .into_iter()
                .zip(limits.into_iter().flatten())
                .filter_map(|(measure, limit)| {
                    let limit = limit.as_ref()?;
                    let (model, kinds) = (model.clone(), *kinds);
                    let quota = Quota {
                        model,
                        kinds,
                        measure,
                    };
                    Some((*project, quota, limit.stamp?, limit.violation.clone()))
                })
        })
    }
}

/// One project's budgets of one model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    limits: Option<Box<[Option<Limit>; 4]>>,
    minute: Minute,
    day: Day,
    probe: Probe,
}

/// Going beyond a limit that may not be one any more.
#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    /// Somebody does.
    under_way: bool,
    /// Not before then.
    after: Time,
    /// How often in a row that was in vain, and how often it was not.
    vain: u32,
    won: u32,
}

/// A limit that was learned.
#[derive(Clone, Debug)]
struct Limit {
    /// [`NONE`], if it is known no more.
    most: u64,
    /// By its own refusals; none, where it is presumed.
    stamp: Option<Stamp>,
    violation: Option<Arc<Violation>>,
}

impl Budget {
    /// Another project has this limit: of this one nothing else is known.
    fn presume(&mut self, measure: Measure, violation: &Arc<Violation>) {
        let limits = self.limits.get_or_insert_default();
        if let Some(known) = limits.get_mut(measure.index())
            && known.as_ref().is_none_or(|known| known.stamp.is_none())
        {
            *known = Some(Limit {
                most: violation.value.unwrap_or(NONE),
                stamp: None,
                violation: Some(Arc::clone(violation)),
            });
        }
    }

    /// What was refused says what the limit is; or it is known no more. Says whether that is news.
    pub(crate) fn learn(
        &mut self,
        measure: Measure,
        stamp: Stamp,
        violation: Option<Arc<Violation>>,
    ) -> bool {
        let limits = self.limits.get_or_insert_default();
        let Some(known) = limits.get_mut(measure.index()) else {
            return false;
        };
        if known
            .as_ref()
            .is_some_and(|known| known.stamp >= Some(stamp))
        {
            return false;
        }
        let most = violation.as_ref().and_then(|violation| violation.value);
        *known = Some(Limit {
            most: most.unwrap_or(NONE),
            stamp: Some(stamp),
            violation,
        });
        true
    }

    /// The limit, if it is known.
    pub(crate) fn limit(&self, measure: Measure) -> Option<u64> {
        let limit = self.limits.as_ref()?.get(measure.index())?.as_ref()?;
        (limit.most != NONE).then_some(limit.most)
    }

    /// The same, if this project itself ran into it.
    pub(crate) fn own_limit(&self, measure: Measure) -> Option<u64> {
        let limit = self.limits.as_ref()?.get(measure.index())?.as_ref()?;
        limit.stamp.and(self.limit(measure))
    }

    /// Whether a limit is known, or was.
    pub(crate) const fn is_limited(&self) -> bool {
        self.limits.is_some()
    }

    /// Counts what is sent.
    pub(crate) fn take(&mut self, weight: Weight, now: Time) {
        self.minute.take(weight, now);
        self.day.take(weight, now);
    }

    /// What was sent at `sent` weighed more or less than was thought.
    pub(crate) fn settle(&mut self, sent: Time, thought: Weight, weight: Weight) {
        self.minute.settle(sent, thought, weight);
        self.day.settle(sent, thought, weight);
    }

    /// When so much fits: now, or later. What is more than a limit fits when nothing else is counted.
    pub(crate) fn fits_at(&self, weight: Weight, now: Time) -> Time {
        let fits = Measure::ALL.into_iter();
        let fits = fits.map(|measure| self.measure_fits_at(measure, weight, now));
        fits.max().unwrap_or(now)
    }

    fn measure_fits_at(&self, measure: Measure, weight: Weight, now: Time) -> Time {
        match self.limit(measure) {
            None => now,
            Some(limit) if measure.is_of_the_day() => self.day.fits_at(measure, weight, limit, now),
            Some(limit) => self.minute.fits_at(measure, weight, limit, now),
        }
    }

    /// Whether anything may be sent.
    pub(crate) fn state(&self, now: Time) -> State {
        if self.is_limited() {
            let until = self.fits_at(Weight::ONE, now);
            if until > now {
                return State::Asleep { until, open: false };
            }
        }
        State::Awake { trial: false }
    }

    /// The quota that keeps so much from fitting, when that ends, and its violation.
    pub(crate) fn holding(
        &self,
        weight: Weight,
        now: Time,
    ) -> Option<(Measure, Time, Option<Arc<Violation>>)> {
        let until = |measure: Measure| self.measure_fits_at(measure, weight, now);
        let measure = Measure::ALL
            .into_iter()
            .max_by_key(|measure| until(*measure))?;
        let limit = self.limits.as_ref()?.get(measure.index())?.as_ref()?;
        let until = until(measure);
        (until > now).then(|| (measure, until, limit.violation.clone()))
    }

    /// Whether a request may go beyond what is thought to be left: one at a time, and seldom if it was in vain before; or
    /// `all`, who would be refused otherwise.
    pub(crate) fn may_probe(&self, all: bool, now: Time) -> bool {
        all || !self.probe.under_way && self.probe.after <= now
    }

    /// When one may.
    pub(crate) fn next_probe(&self) -> Option<Time> {
        (!self.probe.under_way).then_some(self.probe.after)
    }

    /// Whether one does.
    pub(crate) const fn is_probing(&self) -> bool {
        self.probe.under_way
    }

    /// One does.
    pub(crate) fn probes(&mut self) {
        self.probe.under_way = true;
    }

    /// Nothing came of it.
    pub(crate) fn probe_over(&mut self) {
        self.probe.under_way = false;
    }

    /// It was served: there is more than was thought. How much is found out step by step, each twice as large.
    pub(crate) fn probe_served(&mut self, now: Time) {
        let won = (self.probe.won + 1).min(MOST_WON);
        self.probe = Probe {
            won,
            ..Probe::default()
        };
        for measure in Measure::ALL {
            let used = self.used(measure, now);
            let more = if measure.is_tokens() {
                (used >> 4) << won
            } else {
                (1 << won) / 2
            };
            let limits = self.limits.as_deref_mut().into_iter().flatten();
            if let Some(Some(limit)) = limits.into_iter().nth(measure.index()) {
                limit.most = limit.most.max(used.saturating_add(more));
            }
        }
    }

    /// A quota refused it, or what was within the budget: then until `back`. Of a probe: each time in vain makes it
    /// rarer, up to one a day.
    pub(crate) fn refused(&mut self, was_probe: bool, back: Time, now: Time) {
        let vain = self.probe.vain + u32::from(was_probe);
        let rare = VAIN * (1 << vain.saturating_sub(1).min(15));
        let rare = if vain > 0 {
            rare.min(DAY)
        } else {
            Duration::ZERO
        };
        self.probe = Probe {
            under_way: self.probe.under_way && !was_probe,
            after: back.max(now + rare),
            vain,
            won: 0,
        };
    }

    fn used(&self, measure: Measure, now: Time) -> u64 {
        if !measure.is_of_the_day() {
            let recent = self
                .minute
                .sent
                .iter()
                .filter(|sent| sent.at + WINDOW > now);
            return recent.map(|sent| sent.weight.of(measure)).sum();
        }
        match measure {
            _ if now >= self.day.ends => 0,
            Measure::TokensDay => self.day.tokens,
            _ => self.day.requests,
        }
    }

    /// The clock was set back.
    pub(crate) fn clock_set_back(&mut self, by: Duration) {
        self.probe.after = self.probe.after.back(by);
        for sent in &mut self.minute.sent {
            sent.from = sent.from.back(by);
            sent.at = sent.at.back(by);
        }
    }
}

/// What was sent within the last minute.
#[derive(Clone, Debug, Default)]
struct Minute {
    sent: VecDeque<Sent>,
}

/// What was sent at about the same time.
#[derive(Clone, Copy, Debug)]
struct Sent {
    from: Time,
    at: Time,
    weight: Weight,
}

impl Minute {
    fn take(&mut self, weight: Weight, now: Time) {
        while self
            .sent
            .front()
            .is_some_and(|sent| sent.at + WINDOW <= now)
        {
            self.sent.pop_front();
        }
        let full = self.sent.len() >= MOST;
        match self.sent.back_mut() {
            // The later time of the two, so that nothing is thought to be gone too soon.
            Some(last) if full || now.since(last.from) < GRAIN => {
                last.at = last.at.max(now);
                last.weight = last.weight.and(weight);
            }
            _ => self.sent.push_back(Sent {
                from: now,
                at: now,
                weight,
            }),
        }
    }

    fn settle(&mut self, sent: Time, thought: Weight, weight: Weight) {
        let later = self.sent.iter_mut().find(|it| it.at >= sent);
        if let Some(it) = later {
            it.weight = it.weight.corrected(thought, weight);
        }
    }

    fn fits_at(&self, measure: Measure, weight: Weight, limit: u64, now: Time) -> Time {
        let recent = || self.sent.iter().filter(|sent| sent.at + WINDOW > now);
        let mut used: u64 = recent().map(|sent| sent.weight.of(measure)).sum();
        let wanted = weight.of(measure).min(limit);
        if used + wanted <= limit {
            return now;
        }
        for sent in recent() {
            used -= sent.weight.of(measure);
            if used + wanted <= limit {
                return sent.at + WINDOW;
            }
        }
        now
    }
}

/// What was sent since midnight in Los Angeles.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    ends: Time,
    requests: u64,
    tokens: u64,
}

impl Day {
    fn take(&mut self, weight: Weight, now: Time) {
        if now >= self.ends {
            *self = Self {
                ends: now.next_pacific_midnight(),
                ..Self::default()
            };
        }
        self.requests += u64::from(weight.requests);
        self.tokens += u64::from(weight.tokens);
    }

    fn settle(&mut self, sent: Time, thought: Weight, weight: Weight) {
        // Of yesterday's nothing is counted any more.
        if sent < self.ends && self.ends.since(sent) <= DAY {
            let corrected = |used: u64, thought: u32, weight: u32| {
                (used + u64::from(weight)).saturating_sub(thought.into())
            };
            self.requests = corrected(self.requests, thought.requests, weight.requests);
            self.tokens = corrected(self.tokens, thought.tokens, weight.tokens);
        }
    }

    fn fits_at(&self, measure: Measure, weight: Weight, limit: u64, now: Time) -> Time {
        let used = if measure.is_tokens() {
            self.tokens
        } else {
            self.requests
        };
        let wanted = weight.of(measure).min(limit);
        if now >= self.ends || used + wanted <= limit {
            return now;
        }
        self.ends
    }
}

impl Weight {
    const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    const fn corrected(self, thought: Self, weight: Self) -> Self {
        Self {
            requests: self
                .requests
                .saturating_add(weight.requests)
                .saturating_sub(thought.requests),
            tokens: self
                .tokens
                .saturating_add(weight.tokens)
                .saturating_sub(thought.tokens),
        }
    }
}

/// No limit is known.
const NONE: u64 = u64::MAX;

/// A minute, and what two requests may differ on their way to Google.
const WINDOW: Duration = Duration::from_millis(60_250);

/// What is sent within this time is remembered as one.
const GRAIN: Duration = Duration::from_millis(500);

/// Entries of a minute: as many as its grain makes.
const MOST: usize = 128;

/// Past a hundred megabytes nothing is sent.
const MOST_BYTES: u64 = 100_000_000;

/// What came before so many bytes counts half.
const MEMORY: u64 = 4_000_000;

/// A thousand projects with sixty models each.
const MOST_BUDGETS: usize = 65_536;

/// A day with the hour that it has more in autumn.
const DAY: Duration = Duration::from_secs(25 * 3600);

/// Ends the names of the free tier's quotas.
const FREE: &str = "-FreeTier";

/// More models and kinds than there are.
const MOST_TAUGHT: usize = 1024;

/// Steps grow so often.
const MOST_WON: u32 = 12;

/// After the first time in vain; twice as long after each further one.
const VAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon of 22 November 2026, UTC.
    const NOON: Time = Time::from_millis(1_795_348_800_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn limited(measure: Measure, limit: u64) -> Budget {
        let mut budget = Budget::default();
        let violation = Violation {
            value: Some(limit),
            ..Violation::default()
        };
        assert!(budget.learn(measure, stamp(1), Some(Arc::new(violation))));
        budget
    }

    fn stamp(sequence: u64) -> Stamp {
        Stamp {
            sequence,
            ..Stamp::default()
        }
    }

    const fn weight(requests: u32, tokens: u32) -> Weight {
        Weight { requests, tokens }
    }

    #[test]
    fn what_was_sent_counts_for_a_minute() {
        let mut budget = limited(Measure::RequestsMinute, 2);
        assert_eq!(budget.fits_at(Weight::ONE, NOON), NOON);
        budget.take(Weight::ONE, NOON);
        budget.take(Weight::ONE, NOON + 10 * SECOND);
        let now = NOON + 20 * SECOND;
        assert_eq!(budget.fits_at(Weight::ONE, now), NOON + WINDOW);
        assert_eq!(
            budget.fits_at(weight(2, 1), now),
            NOON + 10 * SECOND + WINDOW
        );
        budget.take(Weight::ONE, NOON + WINDOW);
        assert_eq!(
            budget.fits_at(Weight::ONE, NOON + WINDOW),
            NOON + 10 * SECOND + WINDOW
        );
    }

    #[test]
    fn tokens_fit_by_their_number_and_what_is_more_than_the_limit_when_nothing_else_is_there() {
        let mut budget = limited(Measure::TokensMinute, 1000);
        budget.take(weight(1, 700), NOON);
        assert_eq!(budget.fits_at(weight(1, 300), NOON), NOON);
        assert_eq!(budget.fits_at(weight(1, 301), NOON), NOON + WINDOW);
        assert_eq!(budget.fits_at(weight(1, 5000), NOON), NOON + WINDOW);
        budget.settle(NOON, weight(1, 700), weight(1, 100));
        assert_eq!(budget.fits_at(weight(1, 900), NOON), NOON);
        assert_eq!(budget.fits_at(weight(1, 901), NOON), NOON + WINDOW);
    }

    #[test]
    fn a_day_ends_at_midnight_in_los_angeles() {
        let mut budget = limited(Measure::RequestsDay, 3);
        let midnight = NOON.next_pacific_midnight();
        for _ in 0..3 {
            budget.take(Weight::ONE, NOON);
        }
        assert_eq!(budget.fits_at(Weight::ONE, NOON), midnight);
        assert_eq!(budget.fits_at(Weight::ONE, midnight), midnight);
        budget.take(weight(3, 1), midnight);
        // What was sent yesterday changes nothing of today's.
        budget.settle(NOON, weight(3, 1), weight(0, 0));
        let later = midnight;
        assert_eq!(
            budget.fits_at(Weight::ONE, later),
            later.next_pacific_midnight()
        );
    }

    #[test]
    fn the_longest_of_several_limits_counts_and_is_named() {
        let mut budget = limited(Measure::RequestsMinute, 1);
        let day = Violation {
            quota_id: "GenerateRequestsPerDayPerProjectPerModel-FreeTier".into(),
            value: Some(1),
            ..Violation::default()
        };
        let measure = Measure::of(&day).unwrap();
        assert_eq!(measure, Measure::RequestsDay);
        budget.learn(measure, stamp(2), Some(Arc::new(day.clone())));
        budget.take(Weight::ONE, NOON);
        let midnight = NOON.next_pacific_midnight();
        assert_eq!(budget.fits_at(Weight::ONE, NOON), midnight);
        let (measure, until, violation) = budget.holding(Weight::ONE, NOON).unwrap();
        assert_eq!((measure, until), (Measure::RequestsDay, midnight));
        assert_eq!(*violation.unwrap(), day);
        assert!(!budget.learn(measure, stamp(2), None), "not later");
        budget.learn(measure, stamp(3), None);
        assert_eq!(budget.fits_at(Weight::ONE, NOON), NOON + WINDOW);
    }

    #[test]
    fn a_minutes_memory_is_bounded_and_never_forgets_too_soon() {
        let mut budget = limited(Measure::RequestsMinute, 10_000);
        for at in 0..10_000 {
            budget.take(Weight::ONE, NOON + Duration::from_millis(at));
        }
        assert!(budget.minute.sent.len() <= MOST);
        let last = NOON + 10 * SECOND;
        let back = budget.fits_at(Weight::ONE, last);
        assert!(
            back >= NOON + WINDOW && back <= NOON + WINDOW + 2 * GRAIN,
            "{back:?}"
        );
    }
}
