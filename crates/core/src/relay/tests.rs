//! The policy in a modelled world: keys, projects with quotas, a Google that refuses, virtual time.

mod credentials;
mod crowd;
mod planned;
mod promises;
mod rules;
mod unclear;
mod waiting;
mod world;
