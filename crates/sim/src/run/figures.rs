//! What is counted in a run.

use crate::clock::{DAY, MINUTE, Millis, SECOND};
use std::collections::BTreeMap;

/// All figures of one scheduler in one scenario.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The scheduler's.
    pub name: &'static str,
    /// Until the first midnight in Los Angeles: limits are unknown.
    pub first: Tally,
    /// After it.
    pub later: Tally,
    /// By minute of the whole run.
    pub minutes: Vec<Minute>,
    /// Events that the loop went through.
    pub events: u64,
}

/// Counts of the first day, or of those after it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Turns begun.
    pub offered: u64,
    /// Turns served.
    pub served: u64,
    /// Turns that their client gave up.
    pub given_up: u64,
    /// Refusals that a client saw, by why.
    pub refused: BTreeMap<&'static str, u64>,
    /// Attempts at Google.
    pub attempts: u64,
    /// Of them, those that a quota refused, probes left aside.
    pub quota_refused: u64,
    /// Those that looked for a raised limit and were refused.
    pub probes_refused: u64,
    /// Those that anything else refused.
    pub otherwise_refused: u64,
    /// Requests that were told to wait.
    pub waited: u64,
    /// Of them, those for whom the scheduler itself believed there was room.
    pub believed_room: u64,
    /// Of them, those for whom the modelled Google had room.
    pub true_room: u64,
    /// From a turn's first asking to the sending of the attempt that was served: waiting, attempts that
    /// were refused, and the client's own pauses after refusals.
    pub wait: Spans,
}

impl Tally {
    /// Refusals that clients saw.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The share of attempts that a quota refused.
    #[must_use]
    pub fn wasted_share(&self) -> f64 {
        share(self.quota_refused, self.attempts)
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.offered += other.offered;
        sum.served += other.served;
        sum.given_up += other.given_up;
        for (why, count) in &other.refused {
            *sum.refused.entry(why).or_default() += count;
        }
        sum.attempts += other.attempts;
        sum.quota_refused += other.quota_refused;
        sum.probes_refused += other.probes_refused;
        sum.otherwise_refused += other.otherwise_refused;
        sum.waited += other.waited;
        sum.believed_room += other.believed_room;
        sum.true_room += other.true_room;
        sum.wait.add(&other.wait);
        sum
    }
}

/// One minute of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Turns begun.
    pub offered: u32,
    /// Turns served.
    pub served: u32,
    /// Refusals that clients saw.
    pub refused: u32,
    /// Attempts that were not served.
    pub wasted: u32,
    /// Added to the turns served in it, in milliseconds.
    pub wait: u64,
}

/// How long things took: exact below a second, then to a hundredth.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    counts: BTreeMap<u64, u64>,
    number: u64,
    sum: u64,
}

impl Spans {
    /// One more.
    pub fn note(&mut self, span: Millis) {
        *self.counts.entry(coarse(span)).or_default() += 1;
        self.number += 1;
        self.sum += span;
    }

    /// In seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.number == 0 {
            0.0
        } else {
            self.sum as f64 / self.number as f64 / SECOND as f64
        }
    }

    /// In seconds: what `share` of them do not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.number as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (span, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return *span as f64 / SECOND as f64;
            }
        }
        0.0
    }

    fn add(&mut self, other: &Self) {
        for (span, count) in &other.counts {
            *self.counts.entry(*span).or_default() += count;
        }
        self.number += other.number;
        self.sum += other.sum;
    }
}

/// So that there are some hundreds of different ones and not millions.
const fn coarse(span: Millis) -> u64 {
    let mut step = 1;
    while span / step >= 1000 {
        step *= 10;
    }
    span / step * step
}

/// A part of a whole; of nothing, nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Every figure by minute of the Pacific day, as means over the days from `from` on.
#[must_use]
pub fn by_minute_of_day(minutes: &[Minute], from: usize, of: impl Fn(&Minute) -> f64) -> Vec<f64> {
    let day = (DAY / MINUTE) as usize;
    let days = minutes.get(from..).unwrap_or_default().chunks(day);
    let count = days.len().max(1) as f64;
    let mut sums = vec![0.0; day];
    for chunk in days {
        for (sum, minute) in sums.iter_mut().zip(chunk) {
            *sum += of(minute);
        }
    }
    sums.iter().map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_summed_exactly_and_ranked_closely() {
        let mut spans = Spans::default();
        for span in 1..=1000 {
            spans.note(span * 10);
        }
        assert!((spans.mean() - 5.005).abs() < 1e-9);
        assert!((spans.quantile(0.5) - 5.0).abs() < 0.011);
        assert!((spans.quantile(0.99) - 9.9).abs() < 0.011);
    }

    #[test]
    fn minutes_fold_into_a_day() {
        let mut minutes = vec![Minute::default(); 3 * 1440];
        minutes[1440 + 7].served = 4;
        minutes[2880 + 7].served = 8;
        let served = by_minute_of_day(&minutes, 1440, |minute| f64::from(minute.served));
        assert_eq!((served.len(), served[7], served[8]), (1440, 6.0, 0.0));
    }
}
