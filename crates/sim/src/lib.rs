//! The policy against modelled quotas, in virtual time.
//!
//! A relay that knows where every project stands can ask the one that will serve. How near it comes to that
//! is found out here: a modelled Google ([`google`]), which is not built on what the policy believes, clients
//! of many kinds ([`workload`]), pools of keys ([`pools`]), and schedulers ([`scheduler`]) that are driven
//! through the same day by one loop ([`run`]): the relay's own policy, what others do, and one who knows
//! everything but the future. A bound ([`bound`]) says what nobody could exceed.
//!
//! There is no clock here and no chance but from a seed: the same seed gives the same figures, byte by byte.

pub mod bound;
pub mod clock;
pub mod google;
pub mod pools;
pub mod report;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod scheduler;
pub mod workload;
