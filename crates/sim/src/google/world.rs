//! What a modelled Google is made of, before anything was counted.

use super::{Answer, Shape, UNLIMITED};
use crate::clock::Millis;

/// Limits of one project for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Requests a minute; 0: the project lacks this model.
    pub requests_minute: u64,
    /// Input tokens a minute.
    pub tokens_minute: u64,
    /// Requests a day.
    pub requests_day: u64,
    /// Input tokens a day.
    pub tokens_day: u64,
}

impl Limits {
    /// Requests and tokens a minute and requests a day, as Google lists them; tokens a day unlimited.
    #[must_use]
    pub const fn new(requests_minute: u64, tokens_minute: u64, requests_day: u64) -> Self {
        Self {
            requests_minute,
            tokens_minute,
            requests_day,
            tokens_day: UNLIMITED,
        }
    }

    /// Of a model that the project lacks.
    pub const NONE: Self = Self::new(0, 0, 0);

    /// In a fixed order: requests a minute, tokens a minute, requests a day, tokens a day.
    #[must_use]
    pub const fn each(&self) -> [u64; 4] {
        [
            self.requests_minute,
            self.tokens_minute,
            self.requests_day,
            self.tokens_day,
        ]
    }

    /// Each of them times `share`, where there is one.
    #[must_use]
    pub fn times(&self, share: f64) -> Self {
        let of = |limit: u64| {
            if limit == UNLIMITED {
                limit
            } else {
                (limit as f64 * share).round() as u64
            }
        };
        Self {
            requests_minute: of(self.requests_minute),
            tokens_minute: of(self.tokens_minute),
            requests_day: of(self.requests_day),
            tokens_day: of(self.tokens_day),
        }
    }
}

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// As clients ask for it.
    pub name: String,
    /// Whether it makes embeddings.
    pub embeds: bool,
}

/// What `RetryInfo` says, and the text beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryInfo {
    /// The time until the request would fit.
    Exact,
    /// Some seconds, whatever the window: real bodies say "51s" to a day that is used up.
    SomeSeconds,
    /// It is missing.
    Missing,
}

/// All limits of a project become `share` of what they were at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// From when on.
    pub at: Millis,
    /// Half, twice.
    pub share: f64,
}

/// A Google Cloud project.
#[derive(Clone, Debug)]
pub struct Project {
    /// Whether its quotas are the free tier's, which shows in their names.
    pub free: bool,
    /// By model.
    pub limits: Vec<Limits>,
    /// How its minutes are counted.
    pub shape: Shape,
    /// How far its clock is ahead, in milliseconds.
    pub ahead: i64,
    /// Whether requests that a quota refused count too.
    pub counts_refused: bool,
    /// What its refusals say.
    pub retry: RetryInfo,
    /// The share of its limits that somebody else uses.
    pub outside: f64,
    /// In order of time.
    pub changes: Vec<Change>,
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Deleted or expired.
    Invalid,
    /// Reported as leaked.
    Leaked,
}

impl Death {
    pub(super) const fn answer(self) -> Answer {
        match self {
            Self::Invalid => Answer::Invalid,
            Self::Leaked => Answer::Leaked,
        }
    }
}

/// An API key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its project.
    pub project: usize,
    /// Whether the relay is told so.
    pub told: bool,
    /// When it dies, and of what.
    pub dies: Option<(Millis, Death)>,
}

impl Key {
    pub(super) fn death(&self, now: Millis) -> Option<Death> {
        self.dies
            .filter(|(at, _)| *at <= now)
            .map(|(_, death)| death)
    }
}

/// What is wrong with Google for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A model answers 503 to every project.
    Overloaded,
    /// A model answers "Resource has been exhausted" to every project.
    Exhausted,
    /// The relay's address is refused.
    Ban,
}

/// A time of trouble.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// What.
    pub trouble: Trouble,
    /// For which model; a ban is for all.
    pub model: usize,
    /// From when.
    pub from: Millis,
    /// Until when.
    pub to: Millis,
}

/// Everything there is at Google.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Models.
    pub models: Vec<Model>,
    /// Projects.
    pub projects: Vec<Project>,
    /// Keys, as the relay has them.
    pub keys: Vec<Key>,
    /// Times of trouble.
    pub spells: Vec<Spell>,
}

impl World {
    /// What is wrong for this model now; the worst first.
    #[must_use]
    pub fn trouble(&self, model: usize, now: Millis) -> Option<Trouble> {
        let mut found = None;
        for spell in &self.spells {
            if (spell.from..spell.to).contains(&now) {
                match spell.trouble {
                    Trouble::Ban => return Some(Trouble::Ban),
                    other if spell.model == model => found = found.or(Some(other)),
                    _ => {}
                }
            }
        }
        found
    }
}
