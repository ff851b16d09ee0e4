//! Changes of what is known.
//!
//! Everything that is known of the pool changes only by applying events. An event says who learned it
//! and when, so that applying is idempotent and does not depend on order: of two events about the same
//! subject the later stamp holds, whichever arrives last. Hence one mechanism serves a store that
//! replays them, other nodes that follow them, and whoever watches.

use crate::block::Block;
use crate::budget::Quota;
use crate::facts::Surface;
use crate::google_error::Violation;
use crate::key::KeyId;
use crate::pool::{Carrier, ProjectId};
use crate::time::Time;
use std::sync::Arc;

/// When and by whom something was learned. Ordered: the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// When.
    pub at: Time,
    /// How often the origin had been started.
    pub generation: u64,
    /// The event's number there.
    pub sequence: u64,
    /// Which relay.
    pub origin: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When and by whom.
    pub stamp: Stamp,
    /// What.
    pub change: Change,
}

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A key.
    Key(KeyId),
    /// A project.
    Project(ProjectId),
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It must not be used, within the block's model and kinds, until the block's end.
    Blocked(Subject, Block),
    /// A block about the same model, kinds and reason no longer holds.
    Cleared(Subject, Block),
    /// On this surface the key was served, shown this way. Said again every few minutes while that is so.
    CarrierLearned(KeyId, Surface, Carrier),
    /// A limit of a project's is known, as the violation says, or is not any more.
    LimitLearned(ProjectId, Quota, Option<Arc<Violation>>),
    /// Google counts the first model's quota under the second's name.
    ModelNamed(Arc<str>, Arc<str>),
}
