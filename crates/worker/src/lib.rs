//! gemini-relay on Cloudflare Workers.
//!
//! The policy is core's, compiled to WebAssembly. What is here decides nothing either: it is the shell
//! that the native relay has in `service` and `exchange`, turned inside out, since on a Worker it is
//! JavaScript that has the sockets and the timers. So a request is a conversation: the glue says what
//! came ([`Engine::begin`], [`Engine::answered`], …), and is told in [`Said`] what to do next. No body
//! and no stream lives in here; pieces of them are shown, to be looked at.
//!
//! Everything but the thin skin towards JavaScript compiles on every machine and is tested there.
//!
//! [`Engine`] serves the requests of one isolate. [`PoolObject`] is the one place where turns are taken
//! and what is known comes together. They speak in the lines of [`wire`].

mod config;
mod engine;
mod keys;
mod log;
mod names;
mod object;
mod said;
#[cfg(target_arch = "wasm32")]
mod skin;
mod tokens;
pub mod wire;

pub use config::Config;
pub use engine::{End, Engine, Failure, Shown};
pub use keys::kept;
pub use object::PoolObject;
pub use said::{Body, Said};
