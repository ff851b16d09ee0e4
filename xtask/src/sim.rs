//! The policy against modelled quotas: `cargo xtask sim`, which is the program of `crates/sim`.

use crate::ci;
use crate::setup;

/// Runs it with the release profile, since it goes through days of requests, from the repository's root, where
/// it finds the page that it writes.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let mut command = ci::cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "gemini-relay-sim",
        "--",
    ]);
    command.args(arguments);
    setup::run(&mut command)
}
