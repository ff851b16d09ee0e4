//! A Gemini API to develop against with no network.
//!
//! It has projects, keys and quotas of its own, and answers as Google answers: the same paths, the
//! same streams, the same error bodies. What Google refuses it refuses, on purpose and in Google's
//! words, since a relay that is wrong must be seen to be wrong: two credentials, a path with a
//! doubled slash, another project's thought signature. What may go wrong on the way goes wrong
//! when it is told to: see [`Fault`].
//!
//! Inside a test it is a value that listens on a port of its own:
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use gemini_emulator::{Config, Emulator, Metric, Project, Quota};
//!
//! let config = Config {
//!     projects: vec![
//!         Project::new("alpha", ["made-up-key-1"]).quota(Quota::new("*", Metric::RequestsPerMinute, 2)),
//!         Project::new("beta", ["made-up-key-2"]),
//!     ],
//!     ..Config::default()
//! };
//! let google = Emulator::start(config, ([127, 0, 0, 1], 0).into()).await?;
//! // ... send requests to google.url() ...
//! google.advance(std::time::Duration::from_secs(60));
//! assert_eq!(google.requests().len(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! As a program it is `gemini-emulator`, steered over HTTP. The README beside this crate is the
//! contract of both.
//!
//! How it is made: `serve` is the way of a request and reads like a list of Google's checks;
//! `world` is what those checks look at, behind one lock; `script` is how an answer is played, with
//! its pauses and breaks; `errors` has the bodies.

mod answer;
mod base64;
mod catalog;
mod clock;
mod config;
mod connection;
mod control;
mod credentials;
mod emulator;
mod errors;
mod fault;
mod gzip;
mod journal;
mod kind;
mod ledger;
mod meter;
mod prompt;
mod route;
mod sample;
mod script;
mod serve;
mod signature;
mod ticket;
mod world;

pub use catalog::Model;
pub use config::{
    Config, ConfigError, Key, KeyState, Metric, Project, Quota, RetryStyle, Tier, Window,
};
pub use connection::Disturbance;
pub use credentials::Credential;
pub use emulator::Emulator;
pub use fault::{Fault, Match, ResetPoint};
pub use journal::{KeyStats, Outcome, Received, Stats};
pub use kind::Kind;
