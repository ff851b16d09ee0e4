//! What a contributor runs, needing only cargo: `cargo xtask TASK`.

mod bench;
mod ci;
mod clients;
mod deploy;
mod say;
mod setup;
mod sim;
mod worker;

use std::process::ExitCode;

use crate::say::say;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    // The simulation has a help of its own.
    let asks = |word: &String| word == "-h" || word == "--help";
    let task = match task {
        "sim" => task,
        _ if rest.iter().any(asks) => "help",
        _ => task,
    };
    let outcome = match task {
        "test" => ci::test(),
        "ci" => ci::ci(),
        "wasm" => ci::wasm(),
        "systems" => ci::other_systems(),
        "worker-dist" => worker::dist().map(drop),
        "worker" => worker::test(),
        "soak" => ci::soak(),
        "clients" => clients::clients(rest),
        "deploy" => deploy::check(ci::root()),
        "bench" => match rest.split_first() {
            Some((word, rest)) if word == "worker" => worker::bench(rest),
            _ => bench::run(rest),
        },
        "sim" => sim::run(rest),
        "help" | "-h" | "--help" => {
            say!("{HELP}");
            Ok(())
        }
        other => Err(format!("there is no task {other:?}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "usage: cargo xtask TASK

  test      every test: Rust, real clients in Python, Node and Go, the Worker, and a proxy in front
  clients   real clients alone; [python|node|go]... for some of them, `worker` before that for the Worker
  deploy    the configurations for proxies in front, with streams through them
  worker    the Worker on workerd, with the native relay's scenarios
  worker-dist
            the Worker as a folder that `npx wrangler deploy` takes
  wasm      core's tests on wasm32
  systems   whether the relay compiles for Windows and macOS
  ci        format, clippy, dependencies, wasm32, every test, instruction counts
  bench     the relay beside nginx; `bench gate` for the instruction counts alone,
            `bench worker` for the Worker beside the same calls in JavaScript; `--write` for the pages of docs/
  sim       the policy against modelled quotas, beside what others do; `sim --help` for more
  soak      the loops that ci runs short, whole";
