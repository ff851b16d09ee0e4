//! Pools of keys, with the projects behind them.
//!
//! Limits are those that were last documented or seen (API.md, *Quotas*): what matters is not their exact
//! height but that some are tight by the minute, some by tokens and some by the day. How each project
//! counts, what its refusals say and how far its clock is off are drawn at random, as nobody knows them.

use crate::clock::{MINUTE, Millis};
use crate::google::{Death, Key, Limits, Model, Project, RetryInfo, Shape, World};
use crate::rng::Rng;

/// The models that pools have, by their places.
pub const FLASH: u8 = 0;
/// A smaller one.
pub const LITE: u8 = 1;
/// One that free projects lack.
pub const PRO: u8 = 2;
/// The one for embeddings.
pub const EMBEDDING: u8 = 3;

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Projects of the free tier.
    pub free: usize,
    /// Projects that pay.
    pub paid: usize,
    /// Keys of each project, from and to.
    pub keys: (u64, u64),
    /// Whether the relay is told which keys share a project.
    pub told: bool,
    /// The share of keys that are dead from the beginning.
    pub dead: f64,
    /// What others use of each project's limits.
    pub outside: f64,
}

impl Recipe {
    /// Free projects with a key each, all alive, that nobody else uses.
    #[must_use]
    pub const fn free(free: usize) -> Self {
        Self {
            free,
            paid: 0,
            keys: (1, 1),
            told: true,
            dead: 0.0,
            outside: 0.0,
        }
    }

    /// The pool.
    #[must_use]
    pub fn make(&self, seed: u64, start: Millis) -> World {
        let mut world = World {
            models: models(),
            ..World::default()
        };
        for at in 0..self.free + self.paid {
            let mut rng = Rng::of(seed, &[POOL, at as u64]);
            world
                .projects
                .push(project(at < self.free, self.outside, &mut rng));
            for number in 0..rng.between(self.keys.0, self.keys.1) {
                // A project's first key lives, or the pool would be smaller than its recipe says.
                let dead = number > 0 && rng.happens(self.dead)
                    || self.keys.1 == 1 && rng.happens(self.dead);
                let death = rng.one_of(&[Death::Invalid, Death::Leaked]);
                world.keys.push(Key {
                    project: at,
                    told: self.told,
                    dies: dead.then_some((start.saturating_sub(MINUTE), death)),
                });
            }
        }
        // A person's list has no order.
        let mut rng = Rng::of(seed, &[POOL, u64::MAX]);
        for at in (1..world.keys.len()).rev() {
            world.keys.swap(at, rng.between(0, at as u64) as usize);
        }
        world
    }
}

fn models() -> Vec<Model> {
    [
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-2.5-pro",
        "gemini-embedding-001",
    ]
    .into_iter()
    .map(|name| Model {
        name: name.into(),
        embeds: name.contains("embedding"),
    })
    .collect()
}

fn project(free: bool, outside: f64, rng: &mut Rng) -> Project {
    Project {
        free,
        limits: if free { FREE.to_vec() } else { PAID.to_vec() },
        shape: rng.one_of(&Shape::ALL),
        ahead: rng.between(0, 2 * CLOCK_OFF) as i64 - CLOCK_OFF as i64,
        counts_refused: rng.happens(0.5),
        // Most bodies say the truth of a minute; some have lost their RetryInfo.
        retry: rng.one_of(&[
            RetryInfo::Exact,
            RetryInfo::Exact,
            RetryInfo::SomeSeconds,
            RetryInfo::Missing,
        ]),
        outside,
        changes: Vec::new(),
    }
}

/// The free tier's, by model.
const FREE: [Limits; 4] = [
    Limits::new(10, 250_000, 250),
    Limits::new(15, 250_000, 1_000),
    Limits::NONE,
    Limits::new(100, 30_000, 1_000),
];

/// The first paid tier's.
const PAID: [Limits; 4] = [
    Limits::new(1_000, 1_000_000, 10_000),
    Limits::new(4_000, 4_000_000, 50_000),
    Limits::new(150, 2_000_000, 1_000),
    Limits::new(3_000, 1_000_000, 50_000),
];

/// How far a project's clock may be off either way, in milliseconds.
const CLOCK_OFF: u64 = 2_000;

/// Name of a stream of chance.
const POOL: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_makes_what_it_says() {
        let recipe = Recipe {
            paid: 50,
            keys: (2, 4),
            told: false,
            dead: 0.2,
            ..Recipe::free(150)
        };
        let world = recipe.make(7, 1_800_000_000_000);
        assert_eq!(
            world.projects.iter().filter(|project| project.free).count(),
            150
        );
        assert!((400..=800).contains(&world.keys.len()));
        let dead = world.keys.iter().filter(|key| key.dies.is_some()).count();
        assert!(
            dead * 20 > world.keys.len() && dead * 4 < world.keys.len(),
            "{dead}"
        );
        for project in 0..200 {
            assert!(
                world
                    .keys
                    .iter()
                    .any(|key| key.project == project && key.dies.is_none())
            );
        }
        assert!(
            world
                .projects
                .iter()
                .all(|project| project.ahead.abs() <= 2000)
        );
        for shape in Shape::ALL {
            assert!(world.projects.iter().any(|project| project.shape == shape));
        }
    }
}
