//! The bars of issue 4, each judged in every scenario under every strategy: it holds when it holds in all.

use super::Found;
use crate::run::{Figures, Minute, share};

/// A figure and what it must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What is judged.
    pub what: &'static str,
    /// The worst found.
    pub found: String,
    /// Where that was.
    pub place: String,
    /// What it must be.
    pub limit: &'static str,
    /// In how many places it holds.
    pub holding: usize,
    /// In how many it was judged.
    pub judged: usize,
}

impl Bar {
    /// Whether it holds everywhere.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.holding == self.judged
    }
}

/// Every bar that this simulation can judge.
#[must_use]
pub fn bars(found: &[Found]) -> Vec<Bar> {
    let percent = |value: f64| format!("{:.2} %", 100.0 * value);
    let served = |ours: u64, best: u64| {
        if best == 0 {
            1.0
        } else {
            ours as f64 / best as f64
        }
    };
    let mut bars = vec![
        judge(
            found,
            "served, of what the omniscient serves, after the first day",
            "≥ 99.5 %",
            percent,
            |found, ours| {
                let value = served(ours.later.served, found.omniscient().later.served);
                has_later(found).then_some((value, value >= 0.995, -value))
            },
        ),
        judge(
            found,
            "attempts refused for quota, after the first day",
            "≤ 1 %",
            percent,
            |found, ours| most(ours.later.wasted_share(), 0.01).filter(|_| has_later(found)),
        ),
        judge(
            found,
            "served, of what the omniscient serves, on the first day",
            "≥ 97 %",
            percent,
            |found, ours| {
                let value = served(ours.first.served, found.omniscient().first.served);
                Some((value, value >= 0.97, -value))
            },
        ),
        judge(
            found,
            "attempts refused for quota, on the first day",
            "≤ 5 %",
            percent,
            |_, ours| most(ours.first.wasted_share(), 0.05),
        ),
        judge(
            found,
            "requests that waited though the relay believed that a project had room",
            "0",
            |value| format!("{value}"),
            |_, ours| {
                most(
                    (ours.first.believed_room + ours.later.believed_room) as f64,
                    0.0,
                )
            },
        ),
        judge(
            found,
            "requests that waited though a project had room in truth",
            "≤ 0.5 %",
            percent,
            |_, ours| {
                let all = ours.first.and(&ours.later);
                most(share(all.true_room, all.offered), 0.005)
            },
        ),
    ];
    let hours = |minutes: f64| {
        if minutes.is_finite() {
            format!("{:.1} h", minutes / 60.0)
        } else {
            "not within the run".into()
        }
    };
    bars.push(judge(
        found,
        "after limits changed, until within 1 % of the omniscient again",
        "≤ 24 h",
        hours,
        |found, ours| {
            let change = found.change_minute?;
            let after = recovery(&ours.minutes, &found.omniscient().minutes, change)
                .map_or(f64::INFINITY, |after| after as f64);
            Some((after, after <= 24.0 * 60.0, after))
        },
    ));
    bars.push(own_check(found));
    bars.retain(|bar| bar.judged > 0);
    bars
}

/// Judges one bar everywhere. `value` gives the figure, whether it holds, and how bad it is.
fn judge(
    found: &[Found],
    what: &'static str,
    limit: &'static str,
    show: impl Fn(f64) -> String,
    value: impl Fn(&Found, &Figures) -> Option<(f64, bool, f64)>,
) -> Bar {
    let mut bar = Bar {
        what,
        found: "–".into(),
        place: String::new(),
        limit,
        holding: 0,
        judged: 0,
    };
    let mut worst = f64::NEG_INFINITY;
    for found in found {
        for ours in found.ours() {
            let Some((value, holds, bad)) = value(found, ours) else {
                continue;
            };
            bar.judged += 1;
            bar.holding += usize::from(holds);
            if bad > worst {
                worst = bad;
                bar.found = show(value);
                bar.place = format!("{}: {}", found.scenario.name, ours.name);
            }
        }
    }
    bar
}

/// That nobody serves more than the bound, and that who knows all is never refused for quota: else the simulation
/// is wrong, and no other bar says anything.
fn own_check(found: &[Found]) -> Bar {
    let mut bar = Bar {
        what: "the simulation itself: served, of the bound; the omniscient never refused for quota",
        found: "–".into(),
        place: String::new(),
        limit: "≤ 100 %",
        holding: 0,
        judged: 0,
    };
    let mut most = 0.0;
    for found in found {
        for figures in &found.figures {
            let all = figures.first.and(&figures.later);
            let served = share(all.served, found.bound);
            let wrong = std::ptr::eq(figures, found.omniscient()) && all.quota_refused > 0;
            bar.judged += 1;
            bar.holding += usize::from(served <= 1.0 && !wrong);
            if served > most || wrong {
                most = if wrong { f64::INFINITY } else { served };
                bar.found = format!("{:.2} %", 100.0 * most);
                bar.place = format!("{}: {}", found.scenario.name, figures.name);
            }
        }
    }
    bar
}

/// Whether there are days after the first.
const fn has_later(found: &Found) -> bool {
    found.scenario.days > 1
}

/// A figure that must not exceed `limit`.
fn most(value: f64, limit: f64) -> Option<(f64, bool, f64)> {
    Some((value, value <= limit, value))
}

/// How many minutes after `change` an hour begins in which at least 99 % of what the best served was served.
fn recovery(ours: &[Minute], best: &[Minute], change: usize) -> Option<usize> {
    let served = |minutes: &[Minute]| {
        minutes
            .iter()
            .map(|minute| u64::from(minute.served))
            .sum::<u64>()
    };
    (change..best.len().saturating_sub(HOUR)).find_map(|at| {
        let (ours, best) = (
            served(ours.get(at..at + HOUR)?),
            served(best.get(at..at + HOUR)?),
        );
        (best > 0 && ours * 100 >= best * 99).then_some(at - change)
    })
}

/// Shorter than any day's quota takes to show, long enough that chance evens out.
const HOUR: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_when_an_hour_is_as_good_again() {
        let best = vec![
            Minute {
                served: 10,
                ..Minute::default()
            };
            600
        ];
        let mut ours = best.clone();
        for minute in &mut ours[100..250] {
            minute.served = 5;
        }
        assert_eq!(recovery(&ours, &best, 100), Some(149));
        assert_eq!(recovery(&ours, &best, 300), Some(0));
        for minute in &mut ours[250..] {
            minute.served = 5;
        }
        assert_eq!(recovery(&ours, &best, 100), None);
    }
}
