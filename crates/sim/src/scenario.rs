//! What is run: a workload, a pool, and what happens meanwhile.

use crate::clock::{DAY, HOUR, MINUTE, Millis, midnight_after, midnight_of};
use crate::google::{Change, Death, Limits, Model, Spell, Trouble, World};
use crate::pools::{EMBEDDING, FLASH, LITE, PRO, Recipe};
use crate::run::Setting;
use crate::workload::{self, Line, Load, Rate};

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// For the command line and file names.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// How many days it is run for.
    pub days: u64,
    /// After which part of the days limits change, where they do.
    pub change: Option<f64>,
    make: fn(&Scenario, Size, u64) -> (World, Load),
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the page has it.
    Whole,
    /// Two days and smaller loads and pools, for CI.
    Quick,
}

impl Size {
    const fn of(self, whole: u64) -> u64 {
        match self {
            Self::Whole => whole,
            Self::Quick => whole / 10,
        }
    }
}

impl Scenario {
    /// As many days of it as that takes.
    #[must_use]
    pub fn sized(&self, size: Size) -> Self {
        match size {
            Size::Whole => *self,
            Size::Quick => Self {
                days: self.days.min(2),
                ..*self
            },
        }
    }

    /// What to run.
    #[must_use]
    pub fn setting(&self, size: Size, seed: u64) -> Setting {
        let (mut world, load) = (self.make)(self, size, seed);
        if let Some(at) = self.changes_at() {
            for (number, project) in world.projects.iter_mut().enumerate() {
                // Half of them get less, the others more.
                let share = if number % 2 == 0 { 0.5 } else { 2.0 };
                project.changes.push(Change { at, share });
            }
        }
        Setting {
            seed,
            start: self.start(),
            end: self.end(),
            world,
            load,
        }
    }

    /// When limits change.
    #[must_use]
    pub fn changes_at(&self) -> Option<Millis> {
        self.change
            .map(|part| self.start() + (part * (self.days * DAY) as f64) as Millis)
    }

    fn start(&self) -> Millis {
        if self.name == AGENT {
            midnight_of(2026, 10, 31)
        } else {
            midnight_of(2026, 11, 3)
        }
    }

    fn end(&self) -> Millis {
        (0..self.days).fold(self.start(), |at, _| midnight_after(at))
    }
}

const AGENT: &str = "agent";

/// Every workload of the comparison.
pub const ALL: [Scenario; 10] = [
    Scenario {
        name: AGENT,
        title: "One person's agent",
        about: "Conversations of 5 to 60 turns with prompts of 10,000 to 150,000 tokens; 2 free projects with a key each. The clocks of Los Angeles change on the second day.",
        days: 4,
        change: None,
        make: |scenario, _, seed| {
            let world = Recipe::free(2).make(seed, scenario.start());
            (
                world,
                workload::agent(seed, scenario.start(), scenario.days, &[FLASH]),
            )
        },
    },
    Scenario {
        name: "team",
        title: "A team by day",
        about: "30 people, most with an agent and all with small questions; 8 free projects, a tenth of each used by others.",
        days: 3,
        change: None,
        make: |scenario, _, seed| {
            let recipe = Recipe {
                outside: 0.1,
                ..Recipe::free(8)
            };
            (
                recipe.make(seed, scenario.start()),
                workload::team(seed, scenario.start(), scenario.days, 30, &[FLASH, LITE]),
            )
        },
    },
    Scenario {
        name: "hidden",
        title: "Keys that share projects, untold",
        about: "12 people; 5 free projects with 2 to 4 keys each, of which the relay is not told that they belong together; a fifth of the keys beyond each project's first are dead.",
        days: 3,
        change: None,
        make: |scenario, _, seed| {
            let recipe = Recipe {
                keys: (2, 4),
                told: false,
                dead: 0.2,
                ..Recipe::free(5)
            };
            (
                recipe.make(seed, scenario.start()),
                workload::team(seed, scenario.start(), scenario.days, 12, &[FLASH, LITE]),
            )
        },
    },
    Scenario {
        name: "batch",
        title: "A steady batch, just within what there is",
        about: "Single requests around the clock for two models, 95 % of what 200 projects (20 of them paid, some keys dead) have a day.",
        days: 3,
        change: None,
        make: |scenario, size, seed| batch(scenario, size, seed, 0.95, 0.05),
    },
    Scenario {
        name: "over",
        title: "A steady batch over capacity",
        about: "The same with 130 % of what there is: a quarter cannot be served by anybody.",
        days: 3,
        change: None,
        make: |scenario, size, seed| batch(scenario, size, seed, 1.3, 0.0),
    },
    Scenario {
        name: "embed",
        title: "10,000 embedding calls",
        about: "Each day one job of 10,000 calls of 1 to 8 texts by 16 workers as fast as they are answered; 40 free projects and 2 that pay.",
        days: 3,
        change: None,
        make: |scenario, size, seed| {
            let recipe = Recipe {
                paid: 2,
                ..Recipe::free(40)
            };
            let calls = size.of(10_000) as u32;
            (
                recipe.make(seed, scenario.start()),
                workload::embeddings(seed, scenario.start(), scenario.days, calls, 16, EMBEDDING),
            )
        },
    },
    Scenario {
        name: "stampede",
        title: "A stampede at midnight Pacific",
        about: "300 clients with 12 requests each that begin at 00:00:00 by their own clocks, two seconds off at most; 20 free projects, which have 5,000 a day but 200 a minute.",
        days: 3,
        change: None,
        make: |scenario, _, seed| {
            let world = Recipe::free(20).make(seed, scenario.start());
            (
                world,
                workload::stampede(seed, scenario.start(), scenario.days, 300, 12, FLASH),
            )
        },
    },
    Scenario {
        name: "changes",
        title: "Limits that change",
        about: "A steady batch at 110 % of what there is; at noon of the third day half of the 30 free projects get half of their limits and the others twice, so that there is enough for all.",
        days: 5,
        change: Some(0.5),
        make: |scenario, _, seed| {
            let world = Recipe::free(30).make(seed, scenario.start());
            let load = even(&world, scenario, seed, 1.1);
            (world, load)
        },
    },
    Scenario {
        name: "faults",
        title: "Keys that die, overload, bans",
        about: "20 people; 10 free projects and 1 that pays, two keys each; keys die by and by; ten spells of overload of 10 s to 10 min, four of \"Resource has been exhausted\", two bans of the address.",
        days: 3,
        change: None,
        make: |scenario, _, seed| {
            let recipe = Recipe {
                paid: 1,
                keys: (2, 2),
                ..Recipe::free(10)
            };
            let mut world = recipe.make(seed, scenario.start());
            trouble(&mut world, scenario, seed);
            (
                world,
                workload::team(seed, scenario.start(), scenario.days, 20, &[FLASH, LITE]),
            )
        },
    },
    Scenario {
        name: "tiers",
        title: "A model that free projects lack",
        about: "A steady batch for a model of which 40 free projects have none and 4 paid ones 150 a minute and 1,000 a day.",
        days: 3,
        change: None,
        make: |scenario, _, seed| {
            let recipe = Recipe {
                paid: 4,
                ..Recipe::free(40)
            };
            let rate = Rate {
                a_day: 3_800,
                models: &[PRO],
            };
            (
                recipe.make(seed, scenario.start()),
                workload::steady(seed, scenario.start(), scenario.days, rate),
            )
        },
    },
];

/// Single requests for two models, so many of what a pool has a day.
fn batch(scenario: &Scenario, size: Size, seed: u64, part: f64, dead: f64) -> (World, Load) {
    let (free, paid) = match size {
        Size::Whole => (180, 20),
        Size::Quick => (36, 1),
    };
    let recipe = Recipe {
        paid,
        dead,
        ..Recipe::free(free)
    };
    let world = recipe.make(seed, scenario.start());
    let load = even(&world, scenario, seed, part);
    (world, load)
}

/// `part` of what the pool has of the smaller model a day, for each of the two.
fn even(world: &World, scenario: &Scenario, seed: u64, part: f64) -> Load {
    let day: u64 = (0..world.projects.len())
        .filter(|project| {
            world
                .keys
                .iter()
                .any(|key| key.project == *project && key.dies.is_none())
        })
        .map(|project| world.projects[project].limits[usize::from(FLASH)].requests_day)
        .sum();
    let rate = Rate {
        a_day: (2.0 * day as f64 * part) as u64,
        models: &[FLASH, LITE],
    };
    workload::steady(seed, scenario.start(), scenario.days, rate)
}

fn trouble(world: &mut World, scenario: &Scenario, seed: u64) {
    let mut rng = crate::rng::Rng::of(seed, &[TROUBLE]);
    let (from, to) = (scenario.start(), scenario.end());
    let mut spell = |trouble, most: Millis| {
        // In working hours.
        let day = rng.between(0, scenario.days - 1);
        let begins = from + day * DAY + rng.between(0, 8 * HOUR);
        let lasts = rng.between(10_000, most);
        let model = usize::from(rng.one_of(&[FLASH, LITE]));
        Spell {
            trouble,
            model,
            from: begins,
            to: begins + lasts,
        }
    };
    for _ in 0..10 {
        world.spells.push(spell(Trouble::Overloaded, 10 * MINUTE));
    }
    for _ in 0..4 {
        world.spells.push(spell(Trouble::Exhausted, 3 * MINUTE));
    }
    for _ in 0..2 {
        world.spells.push(spell(Trouble::Ban, 5 * MINUTE));
    }
    for at in (0..world.keys.len()).step_by(5) {
        let death = rng.one_of(&[Death::Invalid, Death::Leaked]);
        world.keys[at].dies = Some((rng.between(from, to), death));
    }
}

/// A trace against 20 free projects; models that no pool has get a free tier of their own.
#[must_use]
pub fn trace(lines: &[Line], seed: u64) -> (Scenario, Setting) {
    let scenario = Scenario {
        name: "trace",
        title: "A trace",
        about: "Requests from a file; 20 free projects and 2 that pay.",
        days: lines.last().map_or(1, |line| line.at / DAY + 1),
        change: None,
        make: |_, _, seed| (World::default(), Load::new(seed)),
    };
    let mut world = Recipe {
        paid: 2,
        ..Recipe::free(20)
    }
    .make(seed, scenario.start());
    for line in lines {
        if !world.models.iter().any(|model| model.name == line.model) {
            world.models.push(Model {
                name: line.model.clone(),
                embeds: line.embeds,
            });
            for project in &mut world.projects {
                project.limits.push(if project.free {
                    UNKNOWN_FREE
                } else {
                    UNKNOWN_PAID
                });
            }
        }
    }
    let place = |name: &str| {
        world
            .models
            .iter()
            .position(|model| model.name == name)
            .unwrap_or_default()
    };
    let load = workload::replay(seed, scenario.start(), lines, place);
    let setting = Setting {
        seed,
        start: scenario.start(),
        end: scenario.end(),
        world,
        load,
    };
    (scenario, setting)
}

/// Of models that a trace names and nobody knows here.
const UNKNOWN_FREE: Limits = Limits::new(10, 250_000, 250);
const UNKNOWN_PAID: Limits = Limits::new(1_000, 1_000_000, 10_000);

/// Name of a stream of chance.
const TROUBLE: u64 = 40;
