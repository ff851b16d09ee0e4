//! A relay, a modelled Google, and a clock that only the test moves.

use crate::facts::{ClientId, Conversation, Facts, Kind, Repeat, Surface};
use crate::google_error::GoogleError;
use crate::key::{KeySpec, KeyText};
use crate::refusal::Refusal;
use crate::relay::{Attempt, Next, Relay, RequestId, Step};
use crate::settings::Settings;
use crate::time::Time;
use crate::verdict::Outcome;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// Noon of 22 November 2026, UTC.
pub(super) const NOON: Time = Time::from_millis(1_795_348_800_000);

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Served {
        key: String,
        attempts: u32,
    },
    Delivered {
        status: u16,
        attempts: u32,
        why: Option<&'static str>,
    },
    Refused {
        refusal: Refusal,
        attempts: u32,
    },
}

impl End {
    #[track_caller]
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Served { key, .. } => key,
            other => panic!("not served: {other:?}"),
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        match self {
            Self::Served { attempts, .. }
            | Self::Delivered { attempts, .. }
            | Self::Refused { attempts, .. } => *attempts,
        }
    }
}

/// What answers an attempt.
pub(super) type Google = Box<dyn FnMut(&Attempt, &Facts, Time) -> Outcome>;

pub(super) struct World {
    pub(super) relay: Relay,
    pub(super) now: Time,
    pub(super) google: Google,
    /// Labels of the keys that attempts were made with, in order.
    pub(super) attempts: Vec<String>,
}

impl World {
    /// Keys named `p.k` belong to project `p`; without a dot, to nobody known.
    pub(super) fn new(keys: &[&str], settings: Settings) -> Self {
        Self::with(
            &keys.iter().map(|key| spec(key)).collect::<Vec<_>>(),
            settings,
        )
    }

    pub(super) fn with(keys: &[KeySpec], settings: Settings) -> Self {
        Self {
            relay: Relay::new(keys, settings, 7, 1, 1),
            now: NOON,
            google: Box::new(|_, _, _| Outcome::Served),
            attempts: Vec::new(),
        }
    }

    pub(super) fn google(
        &mut self,
        google: impl FnMut(&Attempt, &Facts, Time) -> Outcome + 'static,
    ) {
        self.google = Box::new(google);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// Carries one request to its end, moving the clock while it waits.
    #[track_caller]
    pub(super) fn ask(&mut self, facts: Facts) -> End {
        let id = self.relay.admit(facts.clone(), self.now);
        let end = self.drive(id, &facts);
        self.relay.finish(id, None, self.now);
        end
    }

    #[track_caller]
    pub(super) fn drive(&mut self, id: RequestId, facts: &Facts) -> End {
        let mut attempts = 0;
        for _ in 0..100_000 {
            match self.relay.poll(id, self.now) {
                Step::Refuse(refusal) => return End::Refused { refusal, attempts },
                Step::Wait => self.sleep_until_ready(id),
                Step::Send(attempt) => {
                    attempts = attempt.number;
                    self.attempts.push(attempt.key.label.to_string());
                    let outcome = (self.google)(&attempt, facts, self.now);
                    let done = self
                        .relay
                        .attempt_done(id, &outcome, facts.replayable, self.now);
                    match done.next {
                        Next::Retry => {}
                        Next::Refuse(refusal) => return End::Refused { refusal, attempts },
                        Next::Deliver(why) => {
                            return match outcome {
                                Outcome::Served => End::Served {
                                    key: attempt.key.label.to_string(),
                                    attempts,
                                },
                                Outcome::Refused { status, .. } => End::Delivered {
                                    status,
                                    attempts,
                                    why,
                                },
                                _ => End::Delivered {
                                    status: 0,
                                    attempts,
                                    why,
                                },
                            };
                        }
                    }
                }
            }
        }
        panic!("a request went round in circles");
    }

    #[track_caller]
    fn sleep_until_ready(&mut self, id: RequestId) {
        for _ in 0..100_000 {
            if self.relay.ready(self.now).contains(&id) {
                return;
            }
            let next = self
                .relay
                .next_deadline()
                .expect("somebody waits for something");
            self.now = next.max(self.now + Duration::from_millis(1));
        }
        panic!("nobody woke the request");
    }
}

pub(super) fn spec(name: &str) -> KeySpec {
    let mut spec = KeySpec::bare(KeyText::new(&format!("made-up-{name}")).unwrap());
    spec.label = Some(name.to_owned());
    spec.project = name.split_once('.').map(|(project, _)| project.to_owned());
    spec
}

pub(super) fn generate(model: &str) -> Facts {
    Facts {
        surface: Surface::Gemini,
        kind: Kind::Generate,
        method: 0,
        model: Some(model.into()),
        streams: false,
        repeat: Repeat::Freely,
        replayable: true,
        client: ClientId::ANONYMOUS,
        conversation: None,
        items: 1,
        bytes: 0,
        deadline: None,
    }
}

pub(super) fn turns(model: &str, whole: u64, earlier: Option<u64>) -> Facts {
    Facts {
        conversation: Some(Conversation { whole, earlier }),
        ..generate(model)
    }
}

/// A refusal with a message alone.
pub(super) fn refused(status: u16, message: &str) -> Outcome {
    let body = json!({"error": {"code": status, "message": message, "status": "X"}}).to_string();
    Outcome::Refused {
        status,
        error: GoogleError::parse(body.as_bytes()),
    }
}

/// A 429 as Google words it today.
pub(super) fn quota(model: &str, quota_id: &str, limit: u64, delay: Duration) -> Outcome {
    let metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
    let mut violation = json!({"quotaMetric": metric, "quotaId": quota_id, "quotaDimensions": {"location": "global", "model": model}});
    if limit > 0 {
        violation["quotaValue"] = json!(limit.to_string());
    }
    let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": format!("You exceeded your current quota.\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}\nPlease retry in {}s.", delay.as_secs_f64()),
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", delay.as_secs())}]}});
    Outcome::Refused {
        status: 429,
        error: GoogleError::parse(body.to_string().as_bytes()),
    }
}

pub(super) const MINUTE_ID: &str = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
pub(super) const DAY_ID: &str = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";

/// Fixed windows of requests a minute and a day, for each project and model.
#[derive(Default)]
pub(super) struct Quotas {
    limits: HashMap<(String, String), (u64, u64)>,
    used: HashMap<(String, String, u64), u64>,
}

impl Quotas {
    pub(super) fn limit(mut self, project: &str, model: &str, minute: u64, day: u64) -> Self {
        self.limits
            .insert((project.into(), model.into()), (minute, day));
        self
    }

    /// Whether the project would serve the model now.
    pub(super) fn room(&self, project: &str, model: &str, now: Time) -> bool {
        let Some(&(minute, day)) = self.limits.get(&(project.into(), model.into())) else {
            return true;
        };
        let used = |window: u64| {
            self.used
                .get(&(project.into(), model.into(), window))
                .copied()
                .unwrap_or(0)
        };
        used(minute_of(now)) < minute && used(day_of(now)) < day
    }

    pub(super) fn ask(&mut self, project: &str, model: &str, now: Time) -> Outcome {
        let name = (project.to_owned(), model.to_owned());
        let Some(&(minute, day)) = self.limits.get(&name) else {
            return Outcome::Served;
        };
        let left = Duration::from_millis(60_000 - now.as_millis() % 60_000);
        if minute == 0 || day == 0 {
            return quota(model, DAY_ID, 0, left);
        }
        let by_day = self
            .used
            .entry((name.0.clone(), name.1.clone(), day_of(now)))
            .or_default();
        if *by_day >= day {
            // Google's delay for a day that is used up is short and wrong.
            return quota(model, DAY_ID, day, Duration::from_secs(20));
        }
        *by_day += 1;
        let by_minute = self
            .used
            .entry((name.0, name.1, minute_of(now)))
            .or_default();
        if *by_minute >= minute {
            if let Some(by_day) =
                self.used
                    .get_mut(&(project.to_owned(), model.to_owned(), day_of(now)))
            {
                *by_day -= 1;
            }
            return quota(model, MINUTE_ID, minute, left);
        }
        *by_minute += 1;
        Outcome::Served
    }
}

fn minute_of(now: Time) -> u64 {
    now.as_millis() / 60_000
}

/// Told apart from minutes by its size.
fn day_of(now: Time) -> u64 {
    now.next_pacific_midnight().as_millis()
}
