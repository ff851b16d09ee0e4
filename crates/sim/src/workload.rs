//! Who asks for what, and when.
//!
//! A **session** is what one client does one after the other: the turns of a conversation, the calls of
//! a worker that embeds, a single question. Its next turn begins when the answer is there and the tools
//! have run, so what comes depends on how soon it was served (a *closed loop*); when a session begins is
//! fixed, unless the one before it on the same chain is not over. What each turn asks is drawn from what
//! it is (seed, session, turn), so every scheduler meets the same sessions, prompts and answers, and the
//! differences between two are their own doing.
//!
//! **A client that is refused** does as agents do: it waits for what it was told (`Retry-After`, or five
//! seconds doubling), and asks again, three times at most. Told to wait for longer than its patience, or
//! refused four times, it gives the turn up: a conversation is abandoned, a job goes on with its next call.
//!
//! **Not modelled:** clients that hang up in the middle, retries inside a client's HTTP library below
//! these, prompts that depend on the answer, and output that differs by project.

mod agent;
mod jobs;
mod trace;

pub use agent::{agent, team};
pub use jobs::{Rate, embeddings, stampede, steady};
pub use trace::{Line, TraceError, parse as parse_trace, replay};

use crate::clock::{MINUTE, Millis, SECOND};
use crate::google::Weight;
use crate::rng::Rng;

/// What one client does one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// When it begins.
    pub start: Millis,
    /// Who.
    pub client: u32,
    /// How many turns it has.
    pub turns: u32,
    /// What they are like.
    pub style: Style,
    /// The session that waits for this one to be over.
    pub then: Option<u32>,
    /// Whether it waits for another.
    pub chained: bool,
}

/// What turns are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A coding agent's: prompts that grow from ten thousand tokens to a hundred and fifty thousand.
    Agent {
        /// Which model it asks.
        model: u8,
    },
    /// Small questions.
    Small {
        /// Which model it asks.
        model: u8,
    },
    /// Pieces of a long job, one by one.
    Piece {
        /// Which model it asks.
        model: u8,
    },
    /// Batches of texts to embed.
    Embed {
        /// Which model it asks.
        model: u8,
    },
    /// As a trace says.
    Recorded(u32),
}

/// What a turn asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which model.
    pub model: usize,
    /// Input tokens.
    pub tokens_in: u64,
    /// Output tokens.
    pub tokens_out: u64,
    /// Texts in a batch of embeddings, else one.
    pub items: u64,
    /// The size of the body, from which a relay may guess the tokens.
    pub bytes: u64,
    /// Whether the answer is a stream.
    pub streams: bool,
    /// From the request's arrival at Google to the first byte of the answer.
    pub first: Millis,
    /// From there to its end.
    pub rest: Millis,
    /// From the answer's end to the next turn.
    pub pause: Millis,
}

impl Ask {
    /// What it weighs on quotas.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        Weight {
            requests: self.items,
            tokens: self.tokens_in,
        }
    }
}

/// All sessions of a run.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// In order of their beginning, as far as they wait for no other.
    pub sessions: Vec<Session>,
    /// For [`Style::Recorded`].
    pub recorded: Vec<Ask>,
    /// The longest that a client waits before it asks again.
    pub patience: Millis,
    /// Seeds what turns ask.
    pub seed: u64,
}

impl Load {
    /// Nothing yet.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            sessions: Vec::new(),
            recorded: Vec::new(),
            patience: PATIENCE,
            seed,
        }
    }

    /// What a session's turn asks.
    #[must_use]
    pub fn ask(&self, session: u32, turn: u32) -> Ask {
        let mut rng = Rng::of(self.seed, &[ASK, u64::from(session), u64::from(turn)]);
        let rng = &mut rng;
        match self.sessions[session as usize].style {
            Style::Agent { model } => agent::turn(self.seed, session, turn, model, rng),
            Style::Small { model } => jobs::small(model, rng),
            Style::Piece { model } => jobs::piece(model, rng),
            Style::Embed { model } => jobs::embed(model, rng),
            Style::Recorded(at) => self.recorded[at as usize],
        }
    }

    /// How many turns there are.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.sessions
            .iter()
            .map(|session| u64::from(session.turns))
            .sum()
    }

    /// Adds both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let shift = self.sessions.len() as u32;
        let recorded = self.recorded.len() as u32;
        self.sessions
            .extend(other.sessions.into_iter().map(|mut session| {
                session.then = session.then.map(|then| then + shift);
                if let Style::Recorded(at) = &mut session.style {
                    *at += recorded;
                }
                session
            }));
        self.recorded.extend(other.recorded);
        self
    }

    /// Adds sessions that follow one another.
    fn chain(&mut self, mut sessions: Vec<Session>) {
        let first = self.sessions.len() as u32;
        let last = sessions.len().saturating_sub(1);
        for (at, session) in sessions.iter_mut().enumerate() {
            session.chained = at > 0;
            session.then = (at < last).then_some(first + at as u32 + 1);
        }
        self.sessions.extend(sessions);
    }
}

/// The bytes of a body of so many tokens: four each in English, fewer in code and many in JSON.
fn bytes(tokens: u64, rng: &mut Rng) -> u64 {
    (tokens as f64 * rng.log_normal(4.0, 0.15)) as u64 + 300
}

/// Between the pieces of a stream: what a fast model writes a second.
const TOKENS_A_SECOND: u64 = 120;

/// How long writing so many tokens takes.
const fn writing(tokens: u64) -> Millis {
    tokens * SECOND / TOKENS_A_SECOND
}

/// Agents wait for a minute's quota and not for a day's.
const PATIENCE: Millis = 5 * MINUTE;

/// Name of a stream of chance.
const ASK: u64 = 10;

#[cfg(test)]
mod tests;
