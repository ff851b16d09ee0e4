//! What the scenarios are run against: this binary's relay, or the built Worker on workerd.
//!
//! The Worker, where `GEMINI_RELAY_WORKER_DIST` names the folder that `cargo xtask worker-dist` makes; that
//! is what `cargo xtask worker` does. Each scenario gets a Worker of its own, in a process of its own that
//! ends with it.

use super::super::client::Ask;
use super::super::stand::{Native, RunsOn, Target, emulator, keys_of};
use gemini_emulator::Config;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A relay in front of an emulator.
pub(super) struct Subject {
    _relay: Relay,
    pub(super) target: Target,
}

enum Relay {
    Native(#[expect(dead_code, reason = "it serves until it is dropped")] Native),
    Worker(Child),
}

impl Subject {
    /// The relay gets every key that the emulator has, and knows their projects.
    pub(super) async fn start(config: Config, options: &[(&str, &str)]) -> Self {
        let (keys, list) = (keys_of(&config), list(&config));
        let emulator = emulator(config).await;
        let (relay, base_url, runs_on) = match std::env::var("GEMINI_RELAY_WORKER_DIST") {
            Ok(dist) => {
                let (relay, base) = worker(Path::new(&dist), &emulator.url(), &list, options).await;
                (relay, base, RunsOn::Workerd)
            }
            Err(_) => {
                let relay = Native::start(&emulator.url(), &keys, options);
                let base = relay.base.clone();
                (Relay::Native(relay), base, RunsOn::Native)
            }
        };
        Self {
            _relay: relay,
            target: Target {
                base_url,
                emulator: Arc::new(emulator),
                runs_on,
            },
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.target.base_url
    }
}

async fn worker(
    dist: &Path,
    upstream: &str,
    keys: &str,
    options: &[(&str, &str)],
) -> (Relay, String) {
    let mut bindings = Map::new();
    for (name, value) in options {
        bindings.insert(format!("GEMINI_RELAY_{name}"), (*value).into());
    }
    bindings.insert("GEMINI_RELAY_UPSTREAM".into(), upstream.into());
    if !options.iter().any(|(name, _)| *name == "TOKENS") {
        bindings.insert("GEMINI_RELAY_ALLOW_ANONYMOUS".into(), "on".into());
    }
    let given = json!({"bindings": bindings, "kv": {"GEMINI_API_KEYS_CONFIG": keys}});
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/tests/host.mjs");
    let mut child = Command::new("node")
        .arg(host)
        .arg(dist)
        .arg(given.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let stdout = child.stdout.take().unwrap();
    let base = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(stdout).lines();
        let base = lines.next().unwrap().unwrap();
        // What the Worker logs must be read, or it would stop to be written.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        base
    });
    let origin = base.await.unwrap();
    // The first request makes it read its keys, which is not what is tested.
    let path = options.iter().find(|(name, _)| *name == "BASE_PATH");
    let base = format!("{origin}{}", path.map_or("", |(_, path)| path));
    Ask::get("/-/ready").whole(&base).await.is(200);
    (Relay::Worker(child), base)
}

/// The list that an operator would put into KV.
fn list(config: &Config) -> String {
    let mut list: Vec<Value> = Vec::new();
    for project in &config.projects {
        for key in &project.keys {
            list.push(json!({"value": key.value, "project": project.name}));
        }
    }
    Value::from(list).to_string()
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Self::Worker(child) = self {
            // The end of its input makes it end, and workerd with it.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
