//! Who decides which key a request gets, and what is done when none is good.
//!
//! One trait for all that are compared. The loop ([`run`](crate::run)) asks, does as it is told, and says
//! what came of it, as a relay's shell does; a scheduler keeps what it likes between two calls. They are
//! handed the modelled Google at every call: only [`Omniscient`] may look at it, and it is the only
//! one that uses the argument.

mod omniscient;
mod ours;
mod simple;

pub use omniscient::Omniscient;
pub use ours::Ours;
pub use simple::{DisableAfterThree, RoundRobin};

use crate::clock::{Millis, SECOND};
use crate::google::{Answer, Google};
use crate::workload::Ask;

/// A turn as a scheduler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Names it among those in progress.
    pub id: usize,
    /// Who asks.
    pub client: u32,
    /// The conversation.
    pub session: u32,
    /// Which turn of it.
    pub turn: u32,
    /// Whether there is more than one turn.
    pub talks: bool,
    /// What it asks. A relay would see the body and not the tokens.
    pub ask: Ask,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send it with this key.
    Send {
        /// The key.
        key: usize,
        /// Whether this looks for a limit that was raised: counted apart when it is refused.
        probe: bool,
    },
    /// Nothing, until [`Scheduler::woken`] names it.
    Wait {
        /// Whether the scheduler believes that a project has room for it all the same.
        believed_room: bool,
    },
    /// Pass on what came, good or bad.
    Deliver,
    /// Refuse it.
    Refuse {
        /// The word in tables.
        why: &'static str,
        /// After how long the client is told to come again.
        back: Option<Millis>,
    },
}

/// Decides.
pub trait Scheduler {
    /// In tables and plots.
    fn name(&self) -> &'static str;

    /// A client asks.
    fn admit(&mut self, request: &Request, google: &mut Google, now: Millis) -> Step;

    /// An attempt was answered.
    fn answered(
        &mut self,
        request: &Request,
        answer: &Answer,
        google: &mut Google,
        now: Millis,
    ) -> Step;

    /// A request is over: its answer has gone to the client whole, or it was refused.
    fn finish(&mut self, request: &Request, served: bool, now: Millis);

    /// When [`woken`](Self::woken) must be called, if nothing happens before.
    fn wakes_at(&self) -> Option<Millis> {
        None
    }

    /// Says which of the waiting go on, and how.
    fn woken(&mut self, _google: &mut Google, _now: Millis, _ready: &mut Vec<(usize, Step)>) {}

    /// Whether its attempts reach Google at the instant they are sent, so that what it knew still holds.
    fn is_instant(&self) -> bool {
        false
    }
}

/// How long a request waits for quota, for whoever lets requests wait: the relay's default.
pub const MAX_WAIT: Millis = 30 * SECOND;
