//! What choosing costs and what is kept in mind, on this machine: the two figures that virtual time cannot give.
//!
//! Wall-clock time is noisy, so the fastest of several rounds is taken of each pool, in turns. How many
//! instructions choosing takes is counted by `cargo xtask bench`.

use gemini_relay_core::google_error::{GoogleError, Violation};
use gemini_relay_core::relay::{Next, Relay, Step};
use gemini_relay_core::verdict::Outcome;
use gemini_relay_core::{ClientId, Facts, KeySpec, KeyText, Kind, Repeat, Settings, Surface, Time};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Choosing and serving among 200 projects × 20 models, over the same among 3 × 1.
pub(crate) fn of_choosing() -> f64 {
    let (mut few, mut many) = (Chooser::new(3, 1), Chooser::new(200, 20));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(few.round(REQUESTS));
        best[1] = best[1].min(many.round(REQUESTS));
    }
    best[1].as_secs_f64() / best[0].as_secs_f64()
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
            model: Some(Arc::from(format!("gemini-made-up-{model}"))),
            streams: false,
            repeat: Repeat::Freely,
            replayable: true,
            client: ClientId(0),
            conversation: None,
            deadline: None,
        };
        Self {
            relay: Relay::new(&keys, settings, 1, 1, 1),
            facts: (0..models).map(facts).collect(),
            now: Time::from_millis(1_800_000_000_000),
        }
    }

    /// So many requests, of each model in turn, all served.
    fn round(&mut self, requests: usize) -> Duration {
        let begun = Instant::now();
        for number in 0..requests {
            self.now = self.now + Duration::from_millis(1);
            let id = self
                .relay
                .admit(self.facts[number % self.facts.len()].clone(), self.now);
            if let Step::Send(_) = self.relay.poll(id, self.now) {
                self.relay
                    .attempt_done(id, &Outcome::Served, true, self.now);
            }
            self.relay.finish(id);
        }
        begun.elapsed()
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
            self.relay.finish(id);
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

/// Enough that one of each is undisturbed.
const ROUNDS: usize = 15;

/// Milliseconds each.
const REQUESTS: usize = 20_000;
