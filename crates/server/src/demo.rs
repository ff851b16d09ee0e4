//! Placeholder.
use crate::cli::Flags;
use crate::config::Config;
use crate::keys::Sources;
pub(crate) struct Demo { pub(crate) config: Config, pub(crate) sources: Sources, pub(crate) emulator: () }
pub(crate) fn start(_: Flags) -> Result<Demo, String> { Err("x".to_owned()) }
