//! The Worker: built into a folder that needs nothing more than Node to be deployed, and tested on the
//! real workerd.
//!
//! Who deploys has no Rust, so everything is built here: the WebAssembly, its JavaScript, the glue,
//! `wrangler.toml` and what puts keys into KV, side by side.

use crate::bench::report;
use crate::ci::{cargo, root, wasm_command};
use crate::say::say;
use crate::setup;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the Worker into `target/worker-dist`.
pub(crate) fn dist() -> Result<PathBuf, String> {
    // Of its own: the compiler may be another.
    let built = root().join("target/wasm");
    let mut command = wasm_command(&["build", "--package", "gemini-relay-worker", "--release"]);
    setup::run(&mut command)?;
    let bindgen = bindgen()?;
    let out = root().join("target/worker-dist");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    let wasm = built.join("wasm32-unknown-unknown/release/gemini_relay_worker.wasm");
    setup::run(
        Command::new(bindgen)
            .args(["--target", "web", "--no-typescript", "--out-dir"])
            .arg(&out)
            .arg(&wasm),
    )?;
    let worker = root().join("crates/worker");
    let mut parts = files(&worker.join("glue"))?;
    parts.extend(files(&worker.join("deploy"))?);
    for file in parts {
        let name = file.file_name().unwrap_or_default();
        fs::copy(&file, out.join(name)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    say!("the Worker is in {}", out.display());
    Ok(out)
}

/// Builds the Worker, and runs its own tests and the native relay's scenarios against it.
pub(crate) fn test() -> Result<(), String> {
    let out = dist()?;
    let tests = root().join("crates/worker/tests");
    setup::node(&tests)?;
    let mut scenarios = cargo(&[
        "test",
        "--package",
        "gemini-relay",
        "--bin",
        "gemini-relay",
        "conformance",
        "--",
        // Each has a workerd of its own.
        "--test-threads",
        "3",
    ]);
    scenarios.env("GEMINI_RELAY_WORKER_DIST", &out);
    setup::run(&mut scenarios)?;
    let mut own = Command::new("node");
    // Named one by one: what a folder means there differs between versions.
    let mut named = files(&tests)?;
    named.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    named.sort();
    own.arg("--test")
        .args(named)
        .env("GEMINI_RELAY_WORKER_DIST", &out);
    setup::run(&mut own)
}

/// Builds the Worker, and gives a program that runs it on workerd and is started as the relay is.
pub(crate) fn program() -> Result<PathBuf, String> {
    dist()?;
    let tests = root().join("crates/worker/tests");
    setup::node(&tests)?;
    Ok(tests.join("relay.mjs"))
}

/// What the Worker costs, beside the same calls in JavaScript: `bench worker [--write] [--built FOLDER]`.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let mut words = arguments.iter().map(String::as_str);
    let (mut write, mut built) = (false, None);
    while let Some(word) = words.next() {
        match word {
            "--write" => write = true,
            "--built" => built = Some(words.next().ok_or("--built takes a folder")?.into()),
            other => {
                return Err(format!(
                    "bench worker does not know {other:?}: --write, --built FOLDER"
                ));
            }
        }
    }
    let out = match built {
        Some(folder) => folder,
        None => dist()?,
    };
    let tests = root().join("crates/worker/tests");
    setup::node(&tests)?;
    let found = Command::new("node")
        .arg(tests.join("bench/bench.mjs"))
        .arg(&out)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("node: {error}"))?;
    let text = String::from_utf8_lossy(&found.stdout);
    say!("{text}");
    // A figure over its bar is shown too.
    if write && text.contains("| bar |") {
        report::write("cloudflare.md", "bench worker", &text)?;
    }
    if found.status.success() {
        Ok(())
    } else {
        Err("over a bar, or not measured: see above".to_owned())
    }
}

/// The program that makes the JavaScript beside the WebAssembly: exactly the version of the library.
fn bindgen() -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("WASM_BINDGEN_BIN") {
        return Ok(PathBuf::from(given));
    }
    let version = locked("wasm-bindgen")?;
    let tools = root().join("target/tools");
    let program = tools
        .join("bin")
        .join(format!("wasm-bindgen{}", std::env::consts::EXE_SUFFIX));
    let there = Command::new(&program)
        .arg("--version")
        .output()
        .is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).trim() == format!("wasm-bindgen {version}")
        });
    if !there {
        say!("installing wasm-bindgen-cli {version} (some minutes, once)");
        let mut command = cargo(&[
            "install",
            "wasm-bindgen-cli",
            "--force",
            "--version",
            &version,
            "--root",
        ]);
        setup::run(command.arg(&tools))?;
    }
    Ok(program)
}

/// The version of a package in `Cargo.lock`.
fn locked(package: &str) -> Result<String, String> {
    let path = root().join("Cargo.lock");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mark = format!("name = \"{package}\"\nversion = \"");
    text.split_once(&mark)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version.to_owned())
        .ok_or_else(|| format!("Cargo.lock has no {package}"))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect())
}
