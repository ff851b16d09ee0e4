//! What `cargo xtask bench` runs around the relay, in one program with three parts.
//!
//! - `upstream` answers with fixed bytes from memory, so that what it costs is the least an HTTP
//!   server can cost and the same whoever stands in front of it;
//! - `load` keeps a number of connections busy and says how long each answer took;
//! - `choosing` runs the policy alone, without a socket, for counting instructions.
//!
//! They are programs of their own and not threads of the task that starts them, so that the system
//! accounts for each by itself and each can be put on a processor core of its own.

mod choosing;
mod load;
mod payload;
mod times;
mod upstream;

use std::io::Write as _;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((part, rest)) if part == "upstream" => upstream::run(rest),
        Some((part, rest)) if part == "load" => load::run(rest),
        Some((part, rest)) if part == "choosing" => choosing::run(rest),
        _ => Err(USAGE.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench-tools: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line for whoever started this program. A reader that has gone ends it.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

const USAGE: &str = "usage: bench-tools upstream
       bench-tools load ADDRESS KIND CONNECTIONS (SECONDS | REQUESTS requests)
       bench-tools choosing KEYS COOLING ROUNDS
KIND is one of 1k, 2k, stream, json-1m, opaque-1m";
