//! The policy alone, choosing: so many keys, so many of them cooling, so many requests.
//!
//! Keys are made to cool as they do in life: by a request that is refused with a day's quota. Every
//! key has a project of its own, which is the hardest pool, since all it knows is known per project.
//! Started twice with different numbers of rounds under a counter of instructions, the difference is
//! what a round costs, and preparing 10,000 keys drops out.

use crate::{Failure, USAGE, say};
use gemini_relay_core::google_error::{GoogleError, Violation};
use gemini_relay_core::relay::{Next, Relay, Step};
use gemini_relay_core::verdict::Outcome;
use gemini_relay_core::{ClientId, Facts, KeySpec, KeyText, Kind, Repeat, Settings, Surface, Time};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Runs the rounds.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let [keys, cooling, rounds] = arguments else {
        return Err(USAGE.into());
    };
    let (keys, cooling, rounds): (usize, usize, u32) =
        (keys.parse()?, cooling.parse()?, rounds.parse()?);
    let mut pool = Chooser::new(keys)?;
    pool.cool(cooling)?;
    // Every usable key twice, looking that no cooling one is among them; the counted rounds do not look,
    // since looking would cost instructions of its own.
    for _ in 0..2 * (keys - pool.cooling.len()) {
        let key = pool.round()?;
        if pool.cooling.contains(&key) {
            return Err("a cooling key was chosen".into());
        }
    }
    let mut sum = 0_u64;
    for _ in 0..rounds {
        sum = sum.wrapping_add(pool.round()?);
    }
    say(&format!(
        r#"{{"keys":{keys},"cooling":{},"rounds":{rounds},"check":{sum}}}"#,
        pool.cooling.len()
    ))
}

struct Chooser {
    relay: Relay,
    cooling: HashSet<u64>,
    facts: Facts,
    now: Time,
}

impl Chooser {
    fn new(keys: usize) -> Result<Self, Failure> {
        let keys: Result<Vec<KeySpec>, _> = (0..keys)
            .map(|number| KeyText::new(&format!("made-up-key-{number}")).map(KeySpec::bare))
            .collect();
        let settings = Settings {
            max_wait: Duration::ZERO,
            ..Settings::default()
        };
        Ok(Self {
            relay: Relay::new(&keys?, settings, 1, 1, 1),
            cooling: HashSet::new(),
            facts: Facts {
                surface: Surface::Gemini,
                kind: Kind::Generate,
                method: 0,
                model: Some(Arc::from(MODEL)),
                streams: false,
                repeat: Repeat::Freely,
                replayable: true,
                client: ClientId(0),
                conversation: None,
                items: 1,
                bytes: 0,
                deadline: None,
            },
            now: START,
        })
    }

    /// Makes so many keys cool until the day is over.
    fn cool(&mut self, wanted: usize) -> Result<(), Failure> {
        let day = Outcome::Refused {
            status: 429,
            error: out_of_day_quota(),
        };
        while self.cooling.len() < wanted {
            let id = self.relay.admit(self.facts.clone(), self.now);
            let Step::Send(attempt) = self.relay.poll(id, self.now) else {
                return Err("no key was left to cool".into());
            };
            self.relay.attempt_done(id, &day, true, self.now);
            self.relay.cancel(id, self.now);
            self.relay.take_events();
            self.cooling.insert(attempt.key.id.0);
        }
        Ok(())
    }

    /// One request that is served, and by which key.
    fn round(&mut self) -> Result<u64, Failure> {
        self.now = self.now + Duration::from_millis(1);
        let id = self.relay.admit(self.facts.clone(), self.now);
        let Step::Send(attempt) = self.relay.poll(id, self.now) else {
            return Err("a usable key was not chosen".into());
        };
        let done = self
            .relay
            .attempt_done(id, &Outcome::Served, true, self.now);
        if done.next != Next::Deliver(None) {
            return Err("what was served was not delivered".into());
        }
        self.relay.finish(id, Some(100), self.now);
        Ok(attempt.key.id.0)
    }
}

fn out_of_day_quota() -> GoogleError {
    GoogleError {
        code: Some(429),
        status: "RESOURCE_EXHAUSTED".into(),
        message: "You exceeded your current quota.".into(),
        violations: vec![Violation {
            metric: "generativelanguage.googleapis.com/generate_content_free_tier_requests".into(),
            quota_id: "GenerateRequestsPerDayPerProjectPerModel-FreeTier".into(),
            model: Some(MODEL.into()),
            value: Some(250),
            dimensions: true,
        }],
        structured: true,
        ..GoogleError::default()
    }
}

const MODEL: &str = "gemini-3-flash";

/// Noon in Los Angeles on a winter's day: the day's quota comes back half a day later, long after
/// the last round.
const START: Time = Time::from_millis(1_764_014_400_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooling_keys_are_never_chosen_and_the_others_all_are() {
        let mut pool = Chooser::new(100).unwrap();
        pool.cool(90).unwrap();
        let mut served = HashSet::new();
        for _ in 0..100 {
            let key = pool.round().unwrap();
            assert!(!pool.cooling.contains(&key));
            served.insert(key);
        }
        assert_eq!(served.len(), 10);
    }
}
