//! The answer when nobody can be asked.

use super::{Relay, RequestId};
use crate::block::{Block, Reason};
use crate::budget::Weight;
use crate::facts::Route;
use crate::google_error::Violation;
use crate::refusal::Refusal;
use crate::ring::{RingId, Want};
use crate::time::Time;
use std::sync::Arc;
use std::time::Duration;

impl Relay {
    /// The answer when nobody is left.
    pub(super) fn dry(&mut self, id: RequestId, ring: RingId, now: Time) -> Refusal {
        let untried = self.untried(id, ring, now);
        let weight = self
            .get_mut(id)
            .map_or(Weight::ONE, |request| request.weight);
        let back = self.pool.first_back(ring, weight, now);
        let trial = self.pool.first_trial(ring);
        let Some(request) = self.get_mut(id) else {
            return Refusal::Stopping;
        };
        let (attempts, model) = (request.attempts, request.facts.model.clone());
        let route = request.facts.route();
        if request.has_answer() {
            // Of whom was asked after it none had a say.
            return Refusal::Earlier;
        }
        let model = self.said_model(model.as_deref());
        if untried {
            return Refusal::Attempts {
                made: attempts,
                back: now + Duration::from_secs(1),
            };
        }
        if let Some((back, block)) = back {
            return match block {
                // Nobody's quota.
                Some(block) if block.reason == Reason::Capacity => Refusal::Capacity { back },
                block => quota_refusal(block, model, back),
            };
        }
        match trial {
            Some((back, Some(block))) if block.reason == Reason::Tier => Refusal::Tier {
                violation: block.violation.clone(),
                model,
                back,
            },
            Some((back, _)) => Refusal::AllDead {
                counts: self.counts(ring, route, now),
                back: Some(back),
            },
            None => {
                if self.pool.census_of(ring, route, now).usable > 0 {
                    if self
                        .pool
                        .ring_mut(ring)
                        .is_some_and(|ring| ring.anyone_awake())
                    {
                        // Somebody is asked meanwhile, or was found out by this request alone.
                        return quota_refusal(None, model, now + Duration::from_secs(1));
                    }
                    Refusal::NotAllowed { model }
                } else {
                    Refusal::AllDead {
                        counts: self.counts(ring, route, now),
                        back: None,
                    }
                }
            }
        }
    }

    /// Whether the limit of attempts alone keeps this request from another key: the next one goes on there.
    pub(super) fn untried(&mut self, id: RequestId, ring: RingId, now: Time) -> bool {
        let limit = self.settings.attempts;
        let request = self
            .requests
            .get(id.at as usize)
            .and_then(|slot| slot.request.as_ref());
        let Some(request) = request.filter(|request| {
            request.attempts > 0 && limit.is_some_and(|limit| request.attempts >= limit)
        }) else {
            return false;
        };
        let want = Want {
            replayable: true,
            ..request.want()
        };
        self.pool.has_candidate(ring, &want, now)
    }

    /// The answer to a request whose body is gone: another key may have room, but only for the client's
    /// own next try.
    pub(super) fn unrepeatable(&mut self, id: RequestId, ring: RingId, now: Time) -> Refusal {
        if self.another(id, now) {
            let (model, last) = self.get_mut(id).map_or((None, None), |request| {
                (request.facts.model.clone(), request.last_violation.clone())
            });
            let model = self.said_model(model.as_deref());
            let violation = last.and_then(|(violation, _)| violation).map(|violation| {
                Arc::new(Violation {
                    // Not the day: a client that reads it would give up though the next try is served.
                    quota_id: String::new(),
                    ..(*violation).clone()
                })
            });
            return Refusal::Quota {
                violation,
                model,
                day: false,
                back: now + Duration::from_secs(1),
            };
        }
        self.dry(id, ring, now)
    }

    fn said_model(&self, name: Option<&str>) -> Option<String> {
        name.map(|name| self.pool.said_model(name).into_owned())
    }

    pub(super) fn counts(&mut self, ring: RingId, route: Route, now: Time) -> String {
        let census = self.pool.census_of(ring, route, now);
        let mut parts: Vec<String> = census
            .out
            .iter()
            .map(|(reason, count)| format!("{count} {}", reason.words()))
            .collect();
        if census.disabled > 0 {
            parts.push(format!("{} switched off", census.disabled));
        }
        if census.usable > 0 {
            parts.push(format!("{} not for this model", census.usable));
        }
        if parts.is_empty() {
            "it has none".into()
        } else {
            parts.join(", ")
        }
    }
}

fn quota_refusal(block: Option<Block>, model: Option<String>, back: Time) -> Refusal {
    let day = block
        .as_ref()
        .is_some_and(|block| block.reason == Reason::QuotaDay);
    let violation = block.and_then(|block| block.violation);
    Refusal::Quota {
        violation,
        model,
        day,
        back,
    }
}
