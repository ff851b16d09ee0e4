//! The policy of gemini-relay.
//!
//! It does no I/O, reads no clock, draws no randomness, awaits nothing and keeps nothing global:
//! time and entropy are arguments, and what must be done is an answer. So the same code decides in
//! the native server, in a Cloudflare Worker and in a simulation of a million requests.

mod affinity;
pub mod block;
pub mod budget;
pub mod coding;
pub mod event;
pub mod facts;
pub mod frames;
pub mod google_error;
pub mod head;
pub mod headers;
pub mod hop;
pub mod host;
pub mod key;
pub mod keylist;
pub mod letin;
mod map;
pub mod options;
pub mod pool;
pub mod reading;
pub mod recognise;
pub mod redact;
pub mod refusal;
pub mod relay;
mod ring;
mod rotation;
pub mod scan;
pub mod secrets;
pub mod settings;
mod spelling;
mod storm;
mod suspects;
pub mod time;
pub mod value;
pub mod veil;
pub mod verdict;
pub mod watch;

pub use facts::{ClientId, Conversation, Facts, Kind, Kinds, Repeat, Surface};
pub use key::{KeyId, KeySpec, KeyText};
pub use settings::{Settings, Strategy};
pub use time::Time;
