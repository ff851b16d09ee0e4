//! gemini-relay: one base URL in front of several Gemini API keys.
//!
//! Reads what it was told, checks it, and hands it to [`relay`]. Whatever is wrong with what it was
//! told ends it with status 2 before a socket is open; what goes wrong later, with status 1.

mod banner;
mod cli;
mod config;
mod demo;
mod files;
mod keys;
mod logging;
mod options;
mod relay;
mod tls;
mod tokens;

use cli::{Asked, FlagsOf};
use config::Config;
use keys::Sources;
use options::Resolved;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Returns what bursts of large bodies took, and needs half the instructions of the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, status }) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(status)
        }
    }
}

fn run() -> Result<(), Failure> {
    match cli::parse(std::env::args_os()).map_err(usage)? {
        Asked::Show(text) => print(&text),
        Asked::Config { flags, json } => {
            let (given, config, sources) = told(flags)?;
            print(&config::report(&given, &config, &sources, json))
        }
        Asked::Serve(flags) => {
            let (_, config, sources) = told(flags)?;
            serve(config, sources)
        }
        Asked::PushKeys { flags, folder } => {
            let (_, _, sources) = told(flags)?;
            let pool = sources.load().map_err(usage)?;
            keys::push(&pool.keys, folder.as_ref()).map_err(usage)?;
            let count = match pool.keys.len() {
                1 => "1 key".to_owned(),
                many => format!("{many} keys"),
            };
            print(&format!(
                "{count}: known to the Worker within two minutes\n"
            ))
        }
        Asked::Demo(flags) => {
            let demo = demo::start(flags.0).map_err(usage)?;
            let served = serve(demo.config, demo.sources);
            drop(demo.emulator);
            served
        }
    }
}

/// What it was told, by flags, variables and file.
fn told(flags: FlagsOf) -> Result<(Resolved, Config, Sources), Failure> {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let given = config::load::load(flags.0, &variables).map_err(usage)?;
    let config = config::check(&given, &variables).map_err(usage)?;
    let sources = Sources::new(&config, &variables);
    Ok((given, config, sources))
}

fn serve(config: Config, sources: Sources) -> Result<(), Failure> {
    let pool = sources.load().map_err(|e| Failure {
        message: match e {
            keys::KeysError::Nothing { .. } => e.to_string(),
            e => format!("error: {e}"),
        },
        status: USAGE,
    })?;
    let log = logging::init(config.log).map_err(|e| Failure {
        message: format!("error: cannot start the log: {e}"),
        status: FAILED,
    })?;
    for note in &pool.notes {
        tracing::warn!("{note}");
    }
    let served = relay::run(config, pool.keys, sources);
    drop(log);
    served.map_err(|e| Failure {
        message: format!("error: {e}"),
        status: match e {
            relay::RunError::Told(_) => USAGE,
            relay::RunError::Failed(_) => FAILED,
        },
    })
}

struct Failure {
    message: String,
    status: u8,
}

fn usage(problem: impl Display) -> Failure {
    Failure {
        message: format!("error: {problem}"),
        status: USAGE,
    }
}

/// To standard output; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure {
            message: format!("error: cannot write: {e}"),
            status: FAILED,
        }),
        _ => Ok(()),
    }
}

/// What was asked for cannot be done as it was asked.
const USAGE: u8 = 2;

/// It ran, and failed.
const FAILED: u8 = 1;
