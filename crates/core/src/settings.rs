//! What an operator can set of the policy. The reasons for the defaults are in `docs/defaults.md`.

use std::time::Duration;

/// How the next project is chosen among those that could serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Each project in turn, and within a project each key in turn.
    #[default]
    RoundRobin,
    /// The first project of the list until it is out, then the second.
    FillFirst,
    /// The project with the fewest requests in flight for this model.
    LeastLoaded,
}

impl Strategy {
    /// The names used in options.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("round-robin", Self::RoundRobin),
        ("fill-first", Self::FillFirst),
        ("least-loaded", Self::LeastLoaded),
    ];
}

/// The settings of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the next project is chosen.
    pub strategy: Strategy,
    /// Whether a conversation's later turns go to the project that served its earlier ones.
    pub affinity: bool,
    /// The longest a request waits for quota to come back before it is refused.
    pub max_wait: Duration,
    /// How many requests may wait at once; the next is refused immediately.
    pub max_waiting: usize,
    /// The most upstream attempts a request makes; `None`: as many as there are keys.
    pub attempts: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::RoundRobin,
            affinity: true,
            max_wait: Duration::from_secs(30),
            max_waiting: 1024,
            attempts: None,
        }
    }
}
