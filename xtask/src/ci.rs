//! What says that a change is good: `cargo xtask ci`, and its parts.
//!
//! Everything is run even when something before it failed, so that one run tells everything; and
//! nothing is skipped: what is missing is installed where that needs no questions, and is an error
//! otherwise.

use crate::say::say;
use crate::setup;
use crate::{bench, clients, deploy, worker};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Format, lints, dependencies, core natively and on wasm32, every test, and the instruction counts.
pub(crate) fn ci() -> Result<(), String> {
    let mut steps = Steps::default();
    steps.run("format", || run_cargo(&["fmt", "--all", "--check"]));
    steps.run("clippy", || {
        run_cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ])
    });
    steps.run("dependencies", dependencies);
    steps.run("core on wasm32", wasm);
    steps.run("Windows and macOS", other_systems);
    steps.tests();
    steps.run("instruction counts", || bench::run(&["gate".to_owned()]));
    steps.finish()
}

/// Every test of the repository.
pub(crate) fn test() -> Result<(), String> {
    let mut steps = Steps::default();
    steps.tests();
    steps.finish()
}

/// The loops that CI runs short, whole: about an hour.
pub(crate) fn soak() -> Result<(), String> {
    let mut steps = Steps::default();
    steps.run("worlds and properties", || {
        let mut command = cargo(&["test", "--release", "-p", "gemini-relay-core"]);
        command.env("PROPTEST_CASES", "20000");
        setup::run(&mut command)
    });
    steps.run("end to end, fifty times", || {
        for _ in 0..50 {
            run_cargo(&["test", "--release", "-p", "gemini-relay", "--quiet"])?;
        }
        Ok(())
    });
    steps.run("clients, ten times", || {
        for _ in 0..10 {
            clients::clients(&[])?;
        }
        Ok(())
    });
    steps.finish()
}

/// Core's tests, compiled for the Worker's target and run in Node.
pub(crate) fn wasm() -> Result<(), String> {
    let runner = root().join("xtask/assets/wasm-runner.mjs");
    let mut command = wasm_command(&["test", "--package", "gemini-relay-core", "--lib"]);
    command.env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER",
        format!("node {}", runner.display()),
    );
    setup::run(&mut command).map_err(|error| {
        format!("{error} (the target is missing? `rustup target add wasm32-unknown-unknown`)")
    })
}

/// That the relay compiles for Windows and macOS, where their standard libraries can be had.
pub(crate) fn other_systems() -> Result<(), String> {
    let compiler = root().join("xtask/assets/no-compiler.sh");
    for target in ["x86_64-pc-windows-gnu", "x86_64-apple-darwin"] {
        if !has_target(target) {
            // Fails where the compiler is not rustup's.
            let _ = Command::new("rustup")
                .args(["target", "add", target])
                .status();
        }
        if !has_target(target) {
            say!("NOT CHECKED: {target} cannot be had here (`rustup target add {target}`)");
            continue;
        }
        let mut command = cargo(&["check", "--package", "gemini-relay", "--target", target]);
        command.args(["--target-dir", "target/other"]);
        command.env("CC", &compiler).env("AR", &compiler);
        setup::run(&mut command)?;
    }
    Ok(())
}

fn has_target(target: &str) -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output();
    asked.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        std::fs::read_dir(folder).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
            })
        })
    })
}

/// Cargo for the Worker's target, with artefacts in `target/wasm`.
pub(crate) fn wasm_command(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.args([
        "--target",
        "wasm32-unknown-unknown",
        // Of its own: the compiler may be another.
        "--target-dir",
        "target/wasm",
    ]);
    // A compiler that is there only for this target.
    if let (Some(cargo), Some(rustc), Some(linker)) = (
        std::env::var_os("WASM_CARGO"),
        std::env::var_os("WASM_RUSTC"),
        std::env::var_os("WASM_LINKER"),
    ) {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = Command::new(cargo);
        command
            .args(arguments)
            .current_dir(root())
            .env("RUSTC", rustc)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
            .env_remove("RUSTUP_TOOLCHAIN");
    }
    command
}

/// Licences, sources, duplicates and bans; not advisories, which need the network.
fn dependencies() -> Result<(), String> {
    let there = Command::new("cargo")
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        say!("installing cargo-deny {DENY} (some minutes, once)");
        run_cargo(&["install", "cargo-deny", "--locked", "--version", DENY])?;
    }
    // It looks at what other systems need too, which nothing has fetched on a new machine.
    run_cargo(&["fetch", "--locked"])?;
    run_cargo(&[
        "deny",
        "--offline",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ])
}

fn run_cargo(arguments: &[&str]) -> Result<(), String> {
    setup::run(&mut cargo(arguments))
}

/// The cargo that runs this task, in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Steps run one after the other, and what became of each.
#[derive(Default)]
struct Steps {
    lines: Vec<String>,
    failed: usize,
}

impl Steps {
    fn tests(&mut self) {
        self.run("Rust", || run_cargo(&["test", "--workspace"]));
        self.run("clients", || clients::clients(&[]));
        self.run("the Worker", worker::test);
        self.run("clients at the Worker", || {
            clients::clients(&["worker".to_owned()])
        });
        self.run("proxies in front", || deploy::check(root()));
    }

    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<(), String>) {
        say!("\n=== {name}");
        let begun = Instant::now();
        let outcome = step();
        let seconds = begun.elapsed().as_secs();
        self.lines.push(match &outcome {
            Ok(()) => format!("  passed  {name}, {seconds} s"),
            Err(error) => format!("  FAILED  {name}, {seconds} s: {error}"),
        });
        self.failed += usize::from(outcome.is_err());
    }

    fn finish(self) -> Result<(), String> {
        say!("");
        for line in &self.lines {
            say!("{line}");
        }
        say!(
            "{} passed, {} failed",
            self.lines.len() - self.failed,
            self.failed
        );
        if self.failed == 0 {
            Ok(())
        } else {
            Err("see above".to_owned())
        }
    }
}

/// Pinned, so that a new lint of it is a change here and not a surprise.
const DENY: &str = "0.20.2";
