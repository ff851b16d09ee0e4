//! What choosing costs and what is kept in mind, on this machine: the two figures that virtual time cannot give.
//!
//! Choosing is counted in instructions, which repeat on a busy machine too: this program starts itself under
//! callgrind, twice for each pool with different numbers of rounds, and the difference is what the rounds
//! cost. Without valgrind it is not judged.

use gemini_relay_core::google_error::{GoogleError, Violation};
use gemini_relay_core::relay::{Next, Relay, Step};
use gemini_relay_core::verdict::Outcome;
use gemini_relay_core::{ClientId, Facts, KeySpec, KeyText, Kind, Repeat, Settings, Surface, Time};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The word that makes this program only choose: `choose PROJECTS MODELS ROUNDS`.
pub(crate) const CHOOSE: &str = "choose";

/// Chooses and serves so many requests, for this program under callgrind.
pub(crate) fn choose(numbers: &[String]) -> Result<(), String> {
    let numbers: Option<Vec<usize>> = numbers.iter().map(|text| text.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[projects, models, rounds]) if projects > 0 && models > 0 => {
            Chooser::new(projects, models).round(rounds);
            Ok(())
        }
        _ => Err(format!(
            "{CHOOSE} takes PROJECTS MODELS ROUNDS, as whole numbers"
        )),
    }
}

/// Instructions of choosing and serving among 3 projects × 1 model, and among 200 × 20; `None` without valgrind.
pub(crate) fn of_choosing() -> Option<(f64, f64)> {
    Some((counted(3, 1)?, counted(200, 20)?))
}

fn counted(projects: usize, models: usize) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let out = std::env::temp_dir().join(format!("sim-{}.callgrind", std::process::id()));
    let mut totals = [0_u64; 2];
    for (rounds, total) in ROUNDS.into_iter().zip(&mut totals) {
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(&program)
            .args([
                CHOOSE.to_owned(),
                projects.to_string(),
                models.to_string(),
                rounds.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        let text = status
            .success()
            .then(|| std::fs::read_to_string(&out).ok())??;
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("totals:"))?;
        *total = line.trim().parse().ok()?;
    }
    let _ = std::fs::remove_file(&out);
    Some(totals[1].saturating_sub(totals[0]) as f64 / (ROUNDS[1] - ROUNDS[0]) as f64)
}

/// Megabytes that 1,000 projects × 50 models take, each of which has served and run into a quota; `None` where the
/// system does not say.
pub(crate) fn of_memory() -> Option<f64> {
    let before = resident()?;
    let mut chooser = Chooser::new(1000, 50);
    chooser.round(1000 * 50);
    chooser.exhaust();
    let after = resident()?;
    drop(chooser);
    Some((after - before) as f64 / 1024.0)
}

struct Chooser {
    relay: Relay,
    facts: Vec<Facts>,
    now: Time,
}

impl Chooser {
    fn new(projects: usize, models: usize) -> Self {
        let keys: Vec<KeySpec> = (0..projects)
            .filter_map(|at| KeyText::new(&format!("made-up-key-{at}")).ok())
            .map(KeySpec::bare)
            .collect();
        let settings = Settings {
            max_wait: Duration::ZERO,
            ..Settings::default()
        };
        let facts = |model| Facts {
            surface: Surface::Gemini,
            kind: Kind::Generate,
            method: 0,
            model: Some(Arc::from(format!("gemini-made-up-{model}"))),
            streams: false,
            repeat: Repeat::Freely,
            replayable: true,
            client: ClientId(0),
            conversation: None,
            items: 1,
            bytes: 0,
            deadline: None,
        };
        Self {
            relay: Relay::new(&keys, settings, 1, 1, 1),
            facts: (0..models).map(facts).collect(),
            now: Time::from_millis(1_800_000_000_000),
        }
    }

    /// So many requests, of each model in turn, all served.
    fn round(&mut self, requests: usize) {
        for number in 0..requests {
            self.now = self.now + Duration::from_millis(1);
            let id = self
                .relay
                .admit(self.facts[number % self.facts.len()].clone(), self.now);
            if let Step::Send(_) = self.relay.poll(id, self.now) {
                self.relay
                    .attempt_done(id, &Outcome::Served, true, self.now);
            }
            self.relay.finish(id, Some(100), self.now);
        }
    }

    /// Every project runs into a quota of every model.
    fn exhaust(&mut self) {
        for facts in self.facts.clone() {
            let model = facts.model.as_deref().map(str::to_owned);
            let violation = Violation {
                quota_id: "GenerateRequestsPerDayPerProjectPerModel-FreeTier".into(),
                metric: "generativelanguage.googleapis.com/generate_content_free_tier_requests"
                    .into(),
                model,
                value: Some(250),
                dimensions: true,
            };
            let error = GoogleError {
                violations: vec![violation],
                structured: true,
                ..GoogleError::default()
            };
            let outcome = Outcome::Refused { status: 429, error };
            let id = self.relay.admit(facts, self.now);
            while let Step::Send(_) = self.relay.poll(id, self.now) {
                if self.relay.attempt_done(id, &outcome, true, self.now).next != Next::Retry {
                    break;
                }
            }
            self.relay.finish(id, Some(100), self.now);
            self.relay.take_events();
        }
    }
}

/// Kilobytes that this process holds.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

/// The first covers what happens once: the keys, and the first request of each model.
const ROUNDS: [usize; 2] = [1_000, 21_000];
