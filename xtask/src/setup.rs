//! Makes what the client tests need out of a clean checkout: virtual environments, `node_modules`,
//! Go's module cache. Everything is pinned, and everything installed is in folders that git
//! ignores.
//!
//! A language that is missing fails the setup with what to install; nothing is skipped for it,
//! since a suite that quietly did not run looks like one that passed. All that is missing is
//! said at once, before anything is installed.
//!
//! What is installed carries a *stamp*: the text of the lock it was made from. The same lock again
//! is then nothing to do, and a changed one starts from empty, because installing over what is
//! there can leave a mixture that no lock describes.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::say::say;

/// The Python environments. Their libraries exclude each other, so they are apart.
pub(crate) const PYTHON_SUITES: [&str; 3] = ["current", "genai1", "langchain"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Node,
    Go,
}

impl Language {
    pub(crate) const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Go];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
        }
    }

    /// The programs it needs, how each is asked its version, and the oldest that will do: what
    /// the pinned libraries say they need, and for Node what they were found to run on.
    fn needs(self) -> &'static [(&'static str, &'static [&'static str], (u32, u32))] {
        match self {
            Self::Python => &[
                (PYTHON, &["--version"], (3, 10)),
                (PYTHON, &["-m", "ensurepip", "--version"], (0, 0)),
            ],
            Self::Node => &[
                ("node", &["--version"], (20, 0)),
                (NPM, &["--version"], (9, 0)),
            ],
            Self::Go => &[("go", &["version"], (1, 25))],
        }
    }
}

/// Installs what the tests of these languages need into `clients`.
pub(crate) fn setup(clients: &Path, languages: &[Language]) -> Result<(), String> {
    let missing: Vec<String> = languages.iter().flat_map(|l| missing(*l)).collect();
    if !missing.is_empty() {
        return Err(format!(
            "the client tests need what is not here:\n  {}",
            missing.join("\n  ")
        ));
    }
    for language in languages {
        match language {
            Language::Python => python(&clients.join("python"))?,
            Language::Node => node(&clients.join("node"))?,
            Language::Go => go(&clients.join("go"))?,
        }
    }
    Ok(())
}

/// The interpreter of one of [`PYTHON_SUITES`].
pub(crate) fn interpreter(python: &Path, suite: &str) -> PathBuf {
    let inside = if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    };
    environment(python, suite).join(inside)
}

/// Runs a command to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

fn python(folder: &Path) -> Result<(), String> {
    for suite in PYTHON_SUITES {
        let lock = folder.join("requirements").join(format!("{suite}.txt"));
        let made = environment(folder, suite);
        install(&made, &lock, || {
            run(Command::new(PYTHON).args(["-m", "venv"]).arg(&made))?;
            run(Command::new(interpreter(folder, suite))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                // Everything is in the lock: what a package asks for besides is a mistake of ours.
                .args(["--no-deps", "-r"])
                .arg(&lock))
        })?;
    }
    Ok(())
}

/// Installs what a folder's `package-lock.json` says.
pub(crate) fn node(folder: &Path) -> Result<(), String> {
    install(
        &folder.join("node_modules"),
        &folder.join("package-lock.json"),
        || {
            // Install scripts compile optional native parts of gemini-cli that a run without a person
            // does not use, and would need a C++ compiler.
            run(Command::new(NPM)
                .args([
                    "ci",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                ])
                .current_dir(folder))
        },
    )
}

fn go(folder: &Path) -> Result<(), String> {
    run(Command::new("go")
        .args(["mod", "download"])
        .current_dir(folder))
}

/// Makes a folder by `make` unless its stamp says it was made from this very lock.
fn install(
    made: &Path,
    lock: &Path,
    make: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let wanted =
        fs::read_to_string(lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let stamp = made.join(".made-from");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    say!("setting up {}", made.display());
    if made.exists() {
        fs::remove_dir_all(made).map_err(|error| format!("{}: {error}", made.display()))?;
    }
    make()?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn environment(python: &Path, suite: &str) -> PathBuf {
    python.join(format!(".venv-{suite}"))
}

/// What of a language is not here, each as a line to show.
fn missing(language: Language) -> Vec<String> {
    let mut lines = Vec::new();
    for (program, arguments, oldest) in language.needs() {
        let asked = format!("{program} {}", arguments.join(" "));
        match first_line(program, *arguments) {
            None => lines.push(format!("{}: `{asked}` does not run", language.name())),
            Some(said) => match version(&said) {
                Some(found) if found >= *oldest => {}
                _ => lines.push(format!(
                    "{}: `{asked}` says {said:?}; {}.{} or newer is needed",
                    language.name(),
                    oldest.0,
                    oldest.1
                )),
            },
        }
    }
    lines
}

fn first_line<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The first `MAJOR.MINOR` in what a program said: `Python 3.11.7`, `v20.1.0`, `go version go1.26.8`.
fn version(said: &str) -> Option<(u32, u32)> {
    let digits = &said[said.find(|c: char| c.is_ascii_digit())?..];
    let mut parts = digits.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_from_what_each_program_says() {
        assert_eq!(version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version("v20.20.2"), Some((20, 20)));
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("pip 23.2.1"), Some((23, 2)));
        assert_eq!(version("no version here"), None);
    }
}
