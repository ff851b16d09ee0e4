//! Whose turn it is: a rotation over items of which most may be asleep.
//!
//! Stride scheduling: every item has a *pass*, the item with the lowest pass is next, and being taken
//! moves its pass on by one stride divided by its weight. Equal weights give exact turns, a weight of
//! three gives three turns in the time of one, and nothing needs to be remembered of a round. An item
//! that slept goes on at the others' pass, so it neither catches up in a burst nor waits a round.
//!
//! Items that sleep are in sets of their own, ordered by when they wake, so choosing costs the
//! logarithm of those *awake*, however many sleep. Sleep with a known end and sleep without one are
//! kept apart: the first to return is what a client is told.

use crate::settings::Strategy;
use crate::time::Time;
use std::collections::BTreeSet;

/// Whether an item may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It may; `trial` if only to find out whether it may again.
    Awake { trial: bool },
    /// Not before `until`; `open` if nobody knows when, and it will be tried then.
    Asleep { until: Time, open: bool },
    /// It never may.
    Never,
}

impl State {
    /// What holds when both must be usable.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Awake { trial: a }, Self::Awake { trial: b }) => Self::Awake { trial: a || b },
            (Self::Asleep { until: a, open: x }, Self::Asleep { until: b, open: y }) => {
                Self::Asleep {
                    until: a.max(b),
                    open: x || y,
                }
            }
            (asleep @ Self::Asleep { .. }, _) | (_, asleep @ Self::Asleep { .. }) => asleep,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Rotation {
    strategy: Strategy,
    items: Vec<Item>,
    awake: BTreeSet<Rank>,
    asleep: BTreeSet<(Time, u32)>,
    open: BTreeSet<(Time, u32)>,
    /// The pass of the last item taken, for each level.
    clocks: Vec<u64>,
}

#[derive(Debug)]
struct Item {
    level: u32,
    stride: u64,
    pass: u64,
    load: u32,
    state: State,
}

/// Level, load, pass, slot: the order in which items are taken.
type Rank = (u32, u32, u64, u32);

impl Rotation {
    /// Items with their level (0 first, without gaps) and weight; all of them never, until set.
    pub(crate) fn new(strategy: Strategy, items: impl Iterator<Item = (u32, u32)>) -> Self {
        let items: Vec<Item> = items
            .map(|(level, weight)| Item {
                level,
                stride: STRIDE / u64::from(weight.max(1)),
                pass: 0,
                load: 0,
                state: State::Never,
            })
            .collect();
        let levels = items
            .iter()
            .map(|item| item.level as usize + 1)
            .max()
            .unwrap_or(0);
        Self {
            strategy,
            items,
            awake: BTreeSet::new(),
            asleep: BTreeSet::new(),
            open: BTreeSet::new(),
            clocks: vec![0; levels],
        }
    }

    /// Says what an item may do from now on.
    pub(crate) fn set(&mut self, slot: u32, state: State) {
        let Some(item) = self.items.get(slot as usize) else {
            return;
        };
        if item.state == state {
            return;
        }
        let was_awake = matches!(item.state, State::Awake { .. });
        self.remove(slot);
        let clock = self
            .clocks
            .get(item_level(&self.items, slot))
            .copied()
            .unwrap_or_default();
        let Some(item) = self.items.get_mut(slot as usize) else {
            return;
        };
        item.state = state;
        if !was_awake && self.strategy != Strategy::FillFirst {
            item.pass = item.pass.max(clock);
        }
        self.insert(slot);
    }

    /// The items awake, in the order of their turns.
    pub(crate) fn awake(&self) -> impl Iterator<Item = u32> + '_ {
        self.awake.iter().map(|(.., slot)| *slot)
    }

    pub(crate) fn state(&self, slot: u32) -> State {
        self.items
            .get(slot as usize)
            .map_or(State::Never, |item| item.state)
    }

    /// The next item whose sleep is over, if any; the caller must [`set`](Self::set) it.
    pub(crate) fn due(&self, now: Time) -> Option<u32> {
        let due = |set: &BTreeSet<(Time, u32)>| {
            set.first()
                .filter(|(until, _)| *until <= now)
                .map(|(_, slot)| *slot)
        };
        due(&self.asleep).or_else(|| due(&self.open))
    }

    /// The first to return at a known time.
    pub(crate) fn first_back(&self) -> Option<(Time, u32)> {
        self.asleep.first().copied()
    }

    /// Those that return at a known time, the first of them first.
    pub(crate) fn asleep(&self) -> impl Iterator<Item = (Time, u32)> + '_ {
        self.asleep.iter().copied()
    }

    /// The first to be tried of those that are out without a known end.
    pub(crate) fn first_trial(&self) -> Option<(Time, u32)> {
        self.open.first().copied()
    }

    /// What the whole rotation may do: what its best item may.
    pub(crate) fn overall(&self) -> State {
        if let Some((.., slot)) = self.awake.first() {
            return self.state(*slot);
        }
        match (self.first_back(), self.first_trial()) {
            (Some((until, _)), None) => State::Asleep { until, open: false },
            (None, Some((until, _))) => State::Asleep { until, open: true },
            (Some((back, _)), Some((trial, _))) => State::Asleep {
                until: back.min(trial),
                open: trial < back,
            },
            (None, None) => State::Never,
        }
    }

    /// Takes an item's turn.
    pub(crate) fn take(&mut self, slot: u32) {
        self.remove(slot);
        let level = item_level(&self.items, slot);
        if let Some(item) = self.items.get_mut(slot as usize) {
            match self.strategy {
                Strategy::FillFirst => {}
                Strategy::RoundRobin | Strategy::LeastLoaded => {
                    if let Some(clock) = self.clocks.get_mut(level) {
                        *clock = (*clock).max(item.pass);
                    }
                    item.pass = item.pass.saturating_add(item.stride);
                }
            }
            if self.strategy == Strategy::LeastLoaded {
                item.load += 1;
            }
        }
        self.insert(slot);
    }

    /// Takes the turns of all who are before this one; of nobody, if it is not awake.
    pub(crate) fn take_before(&mut self, slot: u32) {
        let before: Vec<u32> = self.awake().take_while(|first| *first != slot).collect();
        if before.len() < self.awake.len() {
            before.into_iter().for_each(|slot| self.take(slot));
        }
    }

    /// A request that had taken the item is over.
    pub(crate) fn give_back(&mut self, slot: u32) {
        if self.strategy == Strategy::LeastLoaded {
            self.remove(slot);
            if let Some(item) = self.items.get_mut(slot as usize) {
                item.load = item.load.saturating_sub(1);
            }
            self.insert(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(item) = self.items.get(slot as usize) else {
            return;
        };
        match item.state {
            State::Awake { .. } => drop(self.awake.remove(&item.rank(slot))),
            State::Asleep { until, open: false } => drop(self.asleep.remove(&(until, slot))),
            State::Asleep { until, open: true } => drop(self.open.remove(&(until, slot))),
            State::Never => {}
        }
    }

    fn insert(&mut self, slot: u32) {
        let Some(item) = self.items.get(slot as usize) else {
            return;
        };
        match item.state {
            State::Awake { .. } => drop(self.awake.insert(item.rank(slot))),
            State::Asleep { until, open: false } => drop(self.asleep.insert((until, slot))),
            State::Asleep { until, open: true } => drop(self.open.insert((until, slot))),
            State::Never => {}
        }
    }
}

impl Item {
    fn rank(&self, slot: u32) -> Rank {
        (self.level, self.load, self.pass, slot)
    }
}

fn item_level(items: &[Item], slot: u32) -> usize {
    items
        .get(slot as usize)
        .map_or(0, |item| item.level as usize)
}

/// Divides evenly enough for weights up to a million; 2³² turns of weight 1 fit before it saturates.
const STRIDE: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    const AWAKE: State = State::Awake { trial: false };

    fn turns(rotation: &mut Rotation, count: usize) -> Vec<u32> {
        (0..count)
            .filter_map(|_| {
                let slot = rotation.awake().next()?;
                rotation.take(slot);
                Some(slot)
            })
            .collect()
    }

    fn with(strategy: Strategy, items: &[(u32, u32)]) -> Rotation {
        let mut rotation = Rotation::new(strategy, items.iter().copied());
        for slot in 0..items.len() {
            rotation.set(u32::try_from(slot).unwrap(), AWAKE);
        }
        rotation
    }

    #[test]
    fn equal_items_take_exact_turns() {
        let mut rotation = with(Strategy::RoundRobin, &[(0, 1); 3]);
        assert_eq!(turns(&mut rotation, 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_weight_shifts_the_shares_smoothly() {
        let mut rotation = with(Strategy::RoundRobin, &[(0, 3), (0, 1)]);
        let taken = turns(&mut rotation, 400);
        assert_eq!(taken.iter().filter(|slot| **slot == 0).count(), 300);
        assert!(taken.windows(5).all(|five| five.contains(&1)));
    }

    #[test]
    fn a_level_is_exhausted_before_the_next() {
        let mut rotation = with(Strategy::RoundRobin, &[(1, 1), (0, 1), (0, 1)]);
        assert_eq!(turns(&mut rotation, 3), [1, 2, 1]);
        for slot in [1, 2] {
            rotation.set(
                slot,
                State::Asleep {
                    until: Time::from_millis(5),
                    open: false,
                },
            );
        }
        assert_eq!(turns(&mut rotation, 2), [0, 0]);
    }

    #[test]
    fn who_slept_goes_on_with_the_others() {
        let mut rotation = with(Strategy::RoundRobin, &[(0, 1); 2]);
        rotation.set(
            0,
            State::Asleep {
                until: Time::from_millis(5),
                open: false,
            },
        );
        turns(&mut rotation, 10);
        assert_eq!(rotation.due(Time::from_millis(4)), None);
        assert_eq!(rotation.due(Time::from_millis(5)), Some(0));
        rotation.set(0, AWAKE);
        let taken = turns(&mut rotation, 6);
        assert!(
            (3..=4).contains(&taken.iter().filter(|slot| **slot == 0).count()),
            "{taken:?}"
        );
    }

    #[test]
    fn fill_first_stays_and_least_loaded_follows_the_load() {
        let mut first = with(Strategy::FillFirst, &[(0, 1); 3]);
        assert_eq!(turns(&mut first, 3), [0, 0, 0]);
        let mut loaded = with(Strategy::LeastLoaded, &[(0, 1); 2]);
        assert_eq!(turns(&mut loaded, 3), [0, 1, 0]);
        loaded.give_back(0);
        loaded.give_back(0);
        assert_eq!(turns(&mut loaded, 1), [0]);
    }
}
