//! The modelled Google.
//!
//! It is built from what is published and seen of the real one (limits by project and model, days that
//! end at midnight in Los Angeles, the bodies of refusals) and, where nothing is known, from every
//! way it might be: how minutes are counted, whether refused requests count, what `RetryInfo` says, how
//! far a project's clock is off. It knows nothing of the relay, uses none of its types to count, and
//! tells it nothing but answers.
//!
//! **What a request weighs.** One request, or each item of a `batchEmbedContents`; and its input tokens.
//! Both are counted when it arrives at Google, which is some tens of milliseconds after it was sent, so
//! that requests overtake each other. Output tokens have no quota. A request heavier than a whole limit is
//! refused always.
//!
//! **In what order things refuse:** a ban of the address, a dead key, an overloaded model, a spell of
//! "Resource has been exhausted", a model that the project lacks, quotas. What fails before the quotas
//! counts against none.

mod meter;
mod window;
mod wire;
mod world;

pub use window::{Shape, UNLIMITED};
pub use wire::Wire;
pub use world::{Change, Death, Key, Limits, Model, Project, RetryInfo, Spell, Trouble, World};

use crate::clock::Millis;
use meter::Meter;

/// What a request weighs on quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Requests: one, or the items of a batch of embeddings.
    pub requests: u64,
    /// Input tokens.
    pub tokens: u64,
}

/// What Google answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Good.
    Served,
    /// A quota is used up.
    Quota(Exceeded),
    /// The project has none of this model: `limit: 0`.
    Tier,
    /// "Resource has been exhausted" and no more.
    Exhausted,
    /// 503.
    Overloaded,
    /// 400, `API_KEY_INVALID`.
    Invalid,
    /// 403, reported as leaked.
    Leaked,
    /// 403, an HTML page about automated queries.
    Banned,
}

impl Answer {
    /// The word in tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Quota(_) => "quota",
            Self::Tier => "tier",
            Self::Exhausted => "exhausted",
            Self::Overloaded => "overloaded",
            Self::Invalid | Self::Leaked => "dead key",
            Self::Banned => "banned",
        }
    }

    /// Whether a quota refused it, one of zero included.
    #[must_use]
    pub const fn is_quota(&self) -> bool {
        matches!(self, Self::Quota(_) | Self::Tier)
    }
}

/// The quotas that a request exceeded, in the order of [`Limits::each`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which of them.
    pub which: [bool; 4],
    /// The limits in force.
    pub limits: Limits,
    /// What `RetryInfo` says, where it is there.
    pub retry: Option<Millis>,
}

/// A [`World`] that counts.
#[derive(Clone, Debug)]
pub struct Google {
    world: World,
    /// By project and model.
    meters: Vec<Meter>,
    /// By project.
    keys: Vec<Vec<usize>>,
}

impl Google {
    /// Before the first request.
    #[must_use]
    pub fn new(world: &World, seed: u64, start: Millis) -> Self {
        let meters = (0..world.projects.len())
            .flat_map(|project| (0..world.models.len()).map(move |model| (project, model)))
            .map(|(project, model)| Meter::new(world, project, model, seed, start))
            .collect();
        let mut keys = vec![Vec::new(); world.projects.len()];
        for (at, key) in world.keys.iter().enumerate() {
            keys[key.project].push(at);
        }
        Self {
            world: world.clone(),
            meters,
            keys,
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// A request arrives. `now` never goes back.
    pub fn ask(&mut self, key: usize, model: usize, weight: Weight, now: Millis) -> Answer {
        if let Some(trouble) = self.world.trouble(model, now) {
            let dead = self.world.keys[key].death(now);
            return match (trouble, dead) {
                (Trouble::Ban, _) => Answer::Banned,
                (_, Some(death)) => death.answer(),
                (Trouble::Overloaded, None) => Answer::Overloaded,
                (Trouble::Exhausted, None) => Answer::Exhausted,
            };
        }
        if let Some(death) = self.world.keys[key].death(now) {
            return death.answer();
        }
        let at = self.world.keys[key].project;
        let meter = &mut self.meters[at * self.world.models.len() + model];
        meter.ask(&self.world.projects[at], weight, now)
    }

    /// A key of this project that is not dead.
    #[must_use]
    pub fn live_key(&self, project: usize, now: Millis) -> Option<usize> {
        let alive = |key: &&usize| self.world.keys[**key].death(now).is_none();
        self.keys[project].iter().find(alive).copied()
    }

    /// When this project's quotas would accept so much, if nothing else came before; `None`: never.
    pub fn fits_at(
        &mut self,
        project: usize,
        model: usize,
        weight: Weight,
        now: Millis,
    ) -> Option<Millis> {
        self.meter(project, model).fits_at(weight, now)
    }

    /// Of the scarcest of this project's quotas, which share is left: from 0 to 1.
    pub fn scarcest(&mut self, project: usize, model: usize, now: Millis) -> f64 {
        self.meter(project, model).scarcest(now)
    }

    fn meter(&mut self, project: usize, model: usize) -> &mut Meter {
        &mut self.meters[project * self.world.models.len() + model]
    }
}

#[cfg(test)]
mod tests;
