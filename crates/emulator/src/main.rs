//! `gemini-emulator`: the emulator as a program.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use gemini_emulator::{Config, Emulator};

struct Options {
    listen: SocketAddr,
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&options()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "gemini-emulator: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Options {
    let listen = Arg::new("listen")
        .long("listen")
        .value_name("ADDRESS:PORT")
        .help("Where to listen; port 0 is any free one")
        .default_value("127.0.0.1:8700")
        .value_parser(value_parser!(SocketAddr));
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Projects, keys, quotas and models, as TOML")
        .value_parser(value_parser!(PathBuf));
    let mut matches = Command::new("gemini-emulator")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Gemini API to develop against with no network")
        .args([listen, config])
        .get_matches();
    Options {
        // The option has a default, so this one is for the compiler.
        listen: matches
            .remove_one("listen")
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8_700))),
        config: matches.remove_one("config"),
    }
}

fn run(options: &Options) -> Result<(), String> {
    let config = match &options.config {
        None => Config::default(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            Config::from_toml(&text).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let emulator = Emulator::start(config, options.listen)
            .await
            .map_err(|error| {
                format!(
                    "cannot listen on {}: {error}; choose another address with --listen",
                    options.listen
                )
            })?;
        // Read by whoever started it, through a pipe too.
        let mut out = io::stdout();
        writeln!(out, "listening on {}", emulator.url())
            .and_then(|()| out.flush())
            .map_err(|error| format!("cannot write to standard output: {error}"))?;
        stopped().await?;
        emulator.shutdown().await;
        Ok(())
    })
}

/// Waits for Ctrl-C, or for the signal that service managers send.
async fn stopped() -> Result<(), String> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|error| format!("cannot wait for a signal: {error}"))?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed.map_err(|error| format!("cannot wait for Ctrl-C: {error}")),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| format!("cannot wait for Ctrl-C: {error}"))
}
