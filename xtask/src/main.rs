//! What a contributor runs, needing only cargo: `cargo xtask TASK`.

mod clients;
mod say;
mod setup;

use std::process::ExitCode;

use crate::say::say;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((task, rest)) if task == "clients" => clients::clients(rest),
        _ => Err("usage: cargo xtask clients [python|node|go]...".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
