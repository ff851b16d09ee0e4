//! A relay to test, and what stands around it.

use super::super::clock::Clock;
use super::super::{Running, shared::Shared};
use super::client::{Ask, KEY_WORDS};
use crate::config;
use crate::options::layers;
use gemini_emulator::{Config, Emulator, Fault, Match, Outcome, Project};
use gemini_relay_core::{KeySpec, KeyText};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a scenario is run against: any relay in front of an emulator whose keys it holds.
pub(super) struct Target {
    pub(super) base_url: String,
    pub(super) emulator: Arc<Emulator>,
    pub(super) runs_on: RunsOn,
}

/// What a relay runs on, where a scenario must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunsOn {
    Native,
    /// Cloudflare's runtime behind its own bare HTTP server, which is not the one that stands before it in
    /// their network. It notices that a client left only when it writes to it; it ends a body of unknown
    /// length as if it were whole though the Worker broke it; and it resolves dots in a path before the
    /// Worker sees it. What a Worker does about each of these is the rest of the scenario.
    Workerd,
}

impl Target {
    pub(super) fn fault(&self, count: u64, fault: Fault) {
        self.emulator.fault(Match::default(), count, fault).unwrap();
    }

    /// Sends the same request straight to the emulator, with one of its keys.
    pub(super) async fn directly(&self, ask: Ask) -> super::client::Whole {
        ask.whole(&self.emulator.url()).await
    }

    /// How many requests a key was sent with.
    pub(super) fn used(&self, key: &str) -> u64 {
        self.emulator
            .stats()
            .by_key
            .get(key)
            .map_or(0, |stats| stats.requests)
    }

    pub(super) fn received(&self) -> usize {
        self.emulator.requests().len()
    }

    /// Waits until the newest request ended so.
    pub(super) async fn ended(&self, outcome: Outcome) {
        until(&format!("{outcome:?}"), || {
            self.emulator
                .requests()
                .last()
                .is_some_and(|request| request.outcome == outcome)
        })
        .await;
    }
}

/// This relay, in this process.
pub(super) struct Native {
    pub(super) running: Running,
    pub(super) base: String,
    pub(super) clock: Clock,
}

impl Native {
    pub(super) fn start(upstream: &str, keys: &[KeySpec], options: &[(&str, &str)]) -> Self {
        let clock = Clock::default();
        let running = Running::start(settings(upstream, options), keys, clock.clone()).unwrap();
        let scheme = match running.shared.config.tls {
            config::Tls::Off => "http",
            _ => "https",
        };
        let port = running.bound[0].port();
        Self {
            base: format!(
                "{scheme}://127.0.0.1:{port}{}",
                running.shared.config.base_path
            ),
            running,
            clock,
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Requests in progress, and how many of them wait.
    pub(super) fn in_progress(&self) -> (usize, usize) {
        self.shared().policy(|policy| policy.relay.in_progress())
    }
}

/// This relay in front of an emulator.
pub(super) struct Stand {
    pub(super) relay: Native,
    pub(super) target: Target,
}

impl Stand {
    /// The relay gets every key that the emulator has, and knows their projects.
    pub(super) async fn start(config: Config, options: &[(&str, &str)]) -> Self {
        let keys = keys_of(&config);
        let emulator = emulator(config).await;
        let relay = Native::start(&emulator.url(), &keys, options);
        let target = Target {
            base_url: relay.base.clone(),
            emulator: Arc::new(emulator),
            runs_on: RunsOn::Native,
        };
        Self { relay, target }
    }

    pub(super) fn base(&self) -> &str {
        &self.target.base_url
    }

    pub(super) fn emulator(&self) -> &Emulator {
        &self.target.emulator
    }
}

pub(super) async fn emulator(config: Config) -> Emulator {
    Emulator::start(config, ([127, 0, 0, 1], 0).into())
        .await
        .unwrap()
}

/// A pool of projects with one key each.
pub(super) fn projects(count: usize) -> Config {
    Config {
        projects: (0..count)
            .map(|at| Project::new(&format!("project-{at}"), [&*key(at)]))
            .collect(),
        ..Config::default()
    }
}

/// The text of the n-th key.
pub(super) fn key(at: usize) -> String {
    format!("{KEY_WORDS}-{at}-of-the-pool")
}

/// The n-th keys, for a relay without an emulator.
pub(super) fn bare_keys(count: usize) -> Vec<KeySpec> {
    (0..count)
        .map(|at| KeySpec::bare(KeyText::new(&key(at)).unwrap()))
        .collect()
}

pub(super) fn keys_of(config: &Config) -> Vec<KeySpec> {
    let mut specs = Vec::new();
    for project in &config.projects {
        for key in &project.keys {
            specs.push(KeySpec {
                project: Some(project.name.clone()),
                ..KeySpec::bare(KeyText::new(&key.value).unwrap())
            });
        }
    }
    specs
}

/// The options as an operator would set them, in the environment.
fn settings(upstream: &str, options: &[(&str, &str)]) -> config::Config {
    let usual = [
        ("LISTEN", "127.0.0.1:0"),
        ("UPSTREAM", upstream),
        ("WORKERS", "1"),
        ("PROXY", "none"),
    ];
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in usual.iter().chain(options) {
        let name = OsString::from(format!("GEMINI_RELAY_{name}"));
        variables.retain(|(known, _)| *known != name);
        variables.push((name, OsString::from(value)));
    }
    let given = layers::resolve([layers::from_variables(&variables).unwrap()]);
    config::check(&given, &variables).unwrap()
}

/// What does not come within this is taken not to come at all.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not come in time")
}

/// Looks until it holds.
pub(super) async fn until(what: &str, holds: impl FnMut() -> bool) {
    within(PATIENCE, what, holds).await;
}

/// Looks until it holds, so long and no longer.
pub(super) async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Far longer than anything here takes on a busy machine, and shorter than the relay's own limits.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(5);
