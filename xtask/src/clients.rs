//! `cargo xtask clients [worker] [python|node|go]...`: drives real client libraries at the release relay,
//! or at the Worker.
//!
//! The suites start the emulator and the relay themselves, each its own on ports that the system
//! chooses; this task builds the two, sets the languages up and runs one suite after the other.
//! All of them run even when one fails, so that one run tells everything.
//!
//! The Worker takes the relay's place as a program that is started and stopped as the relay is, so the
//! suites are the same and ask the same of it. gemini-cli alone does not come: it is a process for each
//! request, which takes minutes, and sends what @google/genai 1.30 sends, which does.
//!
//! With `RELAY_URL` and `EMULATOR_URL` set, nothing is built and the suites use what is there:
//! `clients/README.md` says what it must be.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::say::say;
use crate::setup::{self, Language, PYTHON_SUITES};
use crate::worker;

/// Runs the suites of the languages named, or of all.
pub(crate) fn clients(names: &[String]) -> Result<(), String> {
    let (at, languages) = parse(names)?;
    let root = root();
    let folder = root.join("clients");
    setup::setup(&folder, &languages)?;
    let binaries = if env::var_os("RELAY_URL").is_some_and(|url| !url.is_empty()) {
        None
    } else {
        Some(match at {
            At::Native => build(&root)?,
            At::Worker => Binaries {
                emulator: built(&root, &["gemini-emulator"])?.join(program("gemini-emulator")),
                relay: worker::program()?,
            },
        })
    };

    let mut failed = 0;
    let mut lines = Vec::new();
    for mut suite in languages.into_iter().flat_map(|l| suites(&folder, at, l)) {
        say!("\n== {}", suite.name);
        quiet(&mut suite.command);
        if let Some(Binaries { emulator, relay }) = &binaries {
            suite
                .command
                .env("CLIENTS_EMULATOR_BIN", emulator)
                .env("CLIENTS_RELAY_BIN", relay);
        }
        let begun = Instant::now();
        let outcome = setup::run(&mut suite.command);
        failed += usize::from(outcome.is_err());
        lines.push(summary(suite.name, begun.elapsed(), &outcome));
    }
    say!("\nclients:");
    for line in &lines {
        say!("{line}");
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} of {} client suites failed", lines.len()))
    }
}

/// Which relay is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Native,
    Worker,
}

struct Suite {
    name: &'static str,
    command: Command,
}

/// The programs that are tested.
pub(crate) struct Binaries {
    pub(crate) emulator: PathBuf,
    pub(crate) relay: PathBuf,
}

fn parse(names: &[String]) -> Result<(At, Vec<Language>), String> {
    let (at, names) = match names.split_first() {
        Some((first, rest)) if first == "worker" => (At::Worker, rest),
        _ => (At::Native, names),
    };
    if names.is_empty() {
        return Ok((at, Language::ALL.to_vec()));
    }
    let languages = names.iter().map(|name| {
        Language::ALL
            .into_iter()
            .find(|l| l.name() == name)
            .ok_or_else(|| {
                format!("{name:?} is no language of the client tests; they are python, node and go")
            })
    });
    Ok((at, languages.collect::<Result<_, _>>()?))
}

fn suites(folder: &Path, at: At, language: Language) -> Vec<Suite> {
    match language {
        Language::Python => PYTHON_SUITES
            .into_iter()
            .map(|name| {
                let folder = folder.join("python");
                let mut command = Command::new(setup::interpreter(&folder, name));
                command
                    .args(["-m", "pytest", "--suite", name])
                    .current_dir(folder);
                Suite {
                    name: python_name(name),
                    command,
                }
            })
            .collect(),
        Language::Node => {
            let mut command = Command::new("node");
            command
                .args(["--test", "--test-concurrency=1"])
                .args(node_tests(&folder.join("node"), at))
                .current_dir(folder.join("node"));
            vec![Suite {
                name: "node",
                command,
            }]
        }
        Language::Go => {
            let mut command = Command::new("go");
            // `-count=1`: a cached pass would say nothing about the binaries just built.
            command
                .args(["test", "-count=1", "./..."])
                .current_dir(folder.join("go"));
            vec![Suite {
                name: "go",
                command,
            }]
        }
    }
}

/// Node's test files by name: its own search for them differs from version to version. A folder
/// that cannot be read gives a file that is not there, which fails.
fn node_tests(folder: &Path, at: At) -> Vec<PathBuf> {
    let tests = folder.join("tests");
    let mut files: Vec<PathBuf> = match fs::read_dir(&tests) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(_) => vec![tests],
    };
    files.retain(|file| file.to_string_lossy().ends_with(".test.js") || file.is_dir());
    if at == At::Worker {
        files.retain(|file| !file.ends_with("gemini-cli.test.js"));
    }
    files.sort();
    files
}

fn python_name(suite: &str) -> &'static str {
    match suite {
        "current" => "python, current",
        "genai1" => "python, google-genai 1",
        _ => "python, langchain",
    }
}

/// Keeps the libraries on this machine and their output plain.
fn quiet(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name
            .to_string_lossy()
            .to_ascii_lowercase()
            .ends_with("_proxy")
        {
            command.env_remove(name);
        }
    }
    command
        .env("NO_PROXY", "127.0.0.1,localhost")
        .env("NO_COLOR", "1");
}

/// Builds them as they are released.
pub(crate) fn build(root: &Path) -> Result<Binaries, String> {
    let folder = built(root, &["gemini-emulator", "gemini-relay"])?;
    Ok(Binaries {
        emulator: folder.join(program("gemini-emulator")),
        relay: folder.join(program("gemini-relay")),
    })
}

/// Builds these packages' programs, and gives the folder that they are in.
fn built(root: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    setup::run(
        Command::new(&cargo)
            .args(["build", "--release", "--bins"])
            .args(packages.iter().flat_map(|package| ["-p", package]))
            .current_dir(root),
    )?;
    let told = Command::new(&cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let told: serde_json::Value =
        serde_json::from_slice(&told.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let target = told["target_directory"]
        .as_str()
        .ok_or("cargo metadata names no target directory")?;
    Ok(Path::new(target).join("release"))
}

fn program(name: &str) -> String {
    format!("{name}{}", env::consts::EXE_SUFFIX)
}

fn summary(name: &str, took: Duration, outcome: &Result<(), String>) -> String {
    let word = if outcome.is_ok() { "passed" } else { "FAILED" };
    format!("  {word}  {name:<24} {:>6.1} s", took.as_secs_f64())
}

/// The repository: the folder above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::{At, Language, parse};

    #[test]
    fn no_name_means_all_languages() {
        assert_eq!(parse(&[]), Ok((At::Native, Language::ALL.to_vec())));
        let worker = ["worker".to_owned()];
        assert_eq!(parse(&worker), Ok((At::Worker, Language::ALL.to_vec())));
    }

    #[test]
    fn an_unknown_language_is_an_error_and_not_skipped() {
        let go = ["worker".to_owned(), "go".to_owned()];
        assert_eq!(parse(&go), Ok((At::Worker, vec![Language::Go])));
        assert!(parse(&["go".to_owned(), "ruby".to_owned()]).is_err_and(|e| e.contains("ruby")));
    }
}
