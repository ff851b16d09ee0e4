//! How fast the relay is, beside what the machine can do: `cargo xtask bench`.
//!
//! Figures of two machines, or of one machine on two days, cannot be compared. So everything is
//! measured in one run, in turns: a hit straight at the upstream, nginx in front of it, the relay in
//! front of it, and again from the beginning. What is judged is the relay *over nginx*, as the median
//! of the ratios of neighbouring windows: a machine that is busy with something else slows both. The
//! relay runs as it would for a person: client tokens, a log line a request to a file, metrics and
//! affinity on. nginx does nothing but pass on, and writes the log that Debian has it write.
//!
//! What is judged in CI is instructions, which repeat: `cargo xtask bench gate` counts those alone.

mod cases;
mod children;
mod instructions;
pub(crate) mod needs;
mod proxies;
pub(crate) mod report;
mod scratch;
mod window;

use crate::say::say;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `bench [--write] [--rounds N] [--built FOLDER]`, or `bench gate`.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    needs::programs(if asked.gate {
        &["valgrind"]
    } else {
        &["valgrind", "nginx"]
    })?;
    let built = match &asked.built {
        // The programs are started from another folder.
        Some(folder) => Built::within(
            &folder
                .canonicalize()
                .map_err(|error| format!("--built {}: {error}", folder.display()))?,
        ),
        None => build()?,
    };
    let scratch = scratch::Scratch::new()?;
    let mut found = report::Found::default();
    if !asked.gate {
        cases::measure(&built, &scratch, asked.rounds, &mut found)?;
    }
    instructions::relay(&built, &scratch, &mut found)?;
    if !asked.gate {
        instructions::nginx(&built, &scratch, &mut found)?;
    }
    instructions::choosing(&built, &scratch, &mut found)?;
    let text = found.text();
    say!("\n{text}");
    if asked.write {
        report::write("performance.md", "bench", &text)?;
    }
    found.judge()
}

/// The programs that are measured, and that measure.
struct Built {
    relay: PathBuf,
    tools: PathBuf,
}

impl Built {
    fn within(folder: &Path) -> Self {
        let program = |name: &str| {
            let mut path = folder.join(name);
            path.set_extension(std::env::consts::EXE_EXTENSION);
            path
        };
        Self {
            relay: program("gemini-relay"),
            tools: program("bench-tools"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    gate: bool,
    write: bool,
    rounds: usize,
    built: Option<PathBuf>,
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut asked = Self {
            gate: false,
            write: false,
            rounds: ROUNDS,
            built: None,
        };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "gate" => asked.gate = true,
                "--write" => asked.write = true,
                "--rounds" => {
                    asked.rounds = words
                        .next()
                        .and_then(|number| number.parse().ok())
                        .filter(|number| (1..=MOST_ROUNDS).contains(number))
                        .ok_or(format!("--rounds takes a number from 1 to {MOST_ROUNDS}"))?;
                }
                "--built" => {
                    asked.built = Some(words.next().ok_or("--built takes a folder")?.into());
                }
                other => return Err(format!("bench does not know {other:?}\n\n{USAGE}")),
            }
        }
        if asked.gate && asked.write {
            return Err("the page is written by a whole run, not by the gate".to_owned());
        }
        Ok(asked)
    }
}

/// Builds with the release profile, as it is shipped.
fn build() -> Result<Built, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    crate::setup::run(Command::new(&cargo).current_dir(root()).args([
        "build",
        "--release",
        "-p",
        "gemini-relay",
        "-p",
        "bench-tools",
    ]))?;
    let output = Command::new(&cargo)
        .current_dir(root())
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let target = metadata
        .get("target_directory")
        .and_then(serde_json::Value::as_str)
        .ok_or("cargo metadata names no target directory")?;
    Ok(Built::within(&PathBuf::from(target).join("release")))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

const USAGE: &str = "usage: cargo xtask bench [--write] [--rounds N] [--built FOLDER]
       cargo xtask bench gate [--built FOLDER]

  gate       instruction counts alone, under three minutes
  --write    put the figures into docs/performance.md
  --rounds   how often every window is repeated; medians are taken over them
  --built    the folder of gemini-relay and bench-tools to measure, instead of building them";

/// Odd, so that a median is a figure that was measured; seven windows outlast a neighbour's burst.
const ROUNDS: usize = 7;
const MOST_ROUNDS: usize = 101;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_an_error() {
        let parse = |words: &[&str]| {
            Asked::parse(
                &words
                    .iter()
                    .map(|&word| word.to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert!(parse(&["gate"]).unwrap().gate);
        assert_eq!(parse(&["--rounds", "3"]).unwrap().rounds, 3);
        assert!(parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["gate", "--write"]).is_err());
        assert!(parse(&["--wirte"]).is_err());
    }
}
