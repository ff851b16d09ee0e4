//! The policy in a modelled world: keys, projects with quotas, a Google that refuses, virtual time.

mod clock;
mod credentials;
mod crowd;
mod planned;
mod promises;
mod rules;
mod trials;
mod unclear;
mod waiting;
mod world;
