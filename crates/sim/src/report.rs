//! What was found: as tables, against the bars, and as plots.

mod bars;
mod page;
mod plot;
mod table;

pub use bars::{Bar, bars};
pub use page::{PageError, write};
pub use plot::plot;
pub use table::{bar_table, figures, summary};

use crate::bound::bound;
use crate::clock::{MINUTE, Millis, midnight_after};
use crate::run::{Figures, Setting, Tally, run};
use crate::scenario::Scenario;
use crate::scheduler::{DisableAfterThree, Omniscient, Ours, RoundRobin, Scheduler};
use gemini_relay_core::Strategy;

/// One scenario under every scheduler.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was run.
    pub scenario: Scenario,
    /// Turns that there are, if none is abandoned.
    pub turns: u64,
    /// What nobody can exceed.
    pub bound: u64,
    /// Minutes of the first day.
    pub first_minutes: usize,
    /// The minute of the run in which limits change.
    pub change_minute: Option<usize>,
    /// Who knows all first, then ours under each strategy, then the others.
    pub figures: Vec<Figures>,
}

impl Found {
    /// Who knows all.
    #[must_use]
    pub fn omniscient(&self) -> &Figures {
        &self.figures[OMNISCIENT]
    }

    /// The days on which limits may be known: those after the first, if there are any.
    #[must_use]
    pub const fn known<'a>(&self, figures: &'a Figures) -> &'a Tally {
        if self.scenario.days > 1 {
            &figures.later
        } else {
            &figures.first
        }
    }

    /// The relay's policy under each strategy.
    #[must_use]
    pub fn ours(&self) -> &[Figures] {
        &self.figures[OURS]
    }
}

/// Runs a scenario under every scheduler. `progress` is told which one, and how much of it is done.
pub fn compare(
    scenario: Scenario,
    setting: &Setting,
    progress: &mut dyn FnMut(&str, f64),
) -> Found {
    let span = (setting.end - setting.start) as f64;
    let mut figures = Vec::new();
    for mut scheduler in schedulers(setting) {
        let name = scheduler.name();
        let mut told = |now: Millis| progress(name, (now - setting.start) as f64 / span);
        figures.push(run(setting, &mut *scheduler, &mut told));
    }
    let minute = |at: Millis| ((at - setting.start) / MINUTE) as usize;
    Found {
        scenario,
        turns: setting.load.turns(),
        bound: bound(setting),
        first_minutes: minute(midnight_after(setting.start)),
        change_minute: scenario.changes_at().map(minute),
        figures,
    }
}

/// All that are compared.
fn schedulers(setting: &Setting) -> Vec<Box<dyn Scheduler>> {
    let keys = setting.world.keys.len();
    let ours = |strategy| Box::new(Ours::new(strategy, &setting.world, setting.seed));
    vec![
        Box::new(Omniscient::new()),
        ours(Strategy::RoundRobin),
        ours(Strategy::LeastLoaded),
        ours(Strategy::FillFirst),
        Box::new(RoundRobin::plain(keys)),
        Box::new(RoundRobin::retrying(keys)),
        Box::new(DisableAfterThree::new(keys)),
    ]
}

/// Places in [`Found::figures`].
const OMNISCIENT: usize = 0;
const OURS: std::ops::Range<usize> = 1..4;

#[cfg(test)]
mod tests;
