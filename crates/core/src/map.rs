//! The hash map of the policy.
//!
//! Keyed by what operators choose and by a bounded number of models, so a fast hash without a seed is
//! safe; what clients can choose freely ([`affinity`](crate::affinity)) is seeded by the shell.

use foldhash::fast::FixedState;

pub(crate) type Map<K, V> = std::collections::HashMap<K, V, FixedState>;
