//! Waiting: who waits for what, and who goes first.
//!
//! A request waits either for an instant (a pause between tries, a storm's end) or in the queue of its
//! ring, for somebody to come back, until its patience ends. Queues are by model and kind, so one
//! starving model holds nobody else up.

use super::outcome::{LATELY, MOST_REFUSED};
use super::{Relay, RequestId, Step};
use crate::refusal::Refusal;
use crate::ring::{RingId, Want};
use crate::time::Time;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

impl Relay {
    /// Whether those who came earlier need not go first: its turn has come, or none of them can go.
    pub(super) fn is_first(&mut self, id: RequestId, ring: RingId, now: Time) -> bool {
        let waiting: Vec<RequestId> = match self.pool.ring_mut(ring) {
            Some(ring) if !ring.waiting.is_empty() => ring
                .waiting
                .iter()
                .take(LOOKED_AT)
                .map(|(_, id)| *id)
                .collect(),
            _ => return true,
        };
        self.get_mut(id).is_some_and(|request| request.released)
            || !waiting
                .into_iter()
                .any(|other| self.someone_for(other, ring, now))
    }

    /// Nobody can be asked now.
    pub(super) fn wait_or_refuse(
        &mut self,
        id: RequestId,
        ring: RingId,
        exhausted: bool,
        now: Time,
    ) -> Step {
        let crowded = self.waiting >= self.settings.max_waiting;
        let Some(comes) = self.who_comes(id, ring, exhausted, now) else {
            return Step::Refuse(self.dry(id, ring, now));
        };
        let max_wait = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else {
            return Step::Refuse(Refusal::Stopping);
        };
        if crowded {
            let in_hand = !request.suspicions.is_empty() || !request.unshown.is_empty();
            return Step::Refuse(if in_hand {
                self.dry(id, ring, now)
            } else {
                Refusal::Crowded { back: comes }
            });
        }
        // Whoever comes back is asked again.
        (request.tried_keys, request.tried_projects) = request.settled();
        request.resting.clear();
        let patience = request.patience(max_wait);
        self.enqueue(id, ring, patience);
        Step::Wait
    }

    /// When somebody can be asked for this request, if it may wait for that: whoever is next, or rests, or has rested
    /// since it was asked, or is being tried by another request.
    pub(super) fn who_comes(
        &mut self,
        id: RequestId,
        ring: RingId,
        exhausted: bool,
        now: Time,
    ) -> Option<Time> {
        let max_wait = self.settings.max_wait;
        let request = self
            .requests
            .get(id.at as usize)
            .and_then(|slot| slot.request.as_ref())?;
        let patience = request.patience(max_wait);
        if exhausted || now >= patience || request.unshown.len() >= MOST_REFUSED {
            return None;
        }
        let (keys, projects) = request.settled();
        let want = Want {
            tried_keys: &keys,
            tried_projects: &projects,
            ..request.want()
        };
        let mut doubt = request.doubt(patience);
        if self.served.is_some_and(|at| now.since(at) < LATELY) {
            // As many are asked at a time as may be.
            doubt.asked = 0;
        }
        let doubts = Want {
            passing: None,
            ..want
        };
        if self.pool.has_candidate(ring, &want, now)
            || self.pool.suspect(ring, &doubts, doubt, now).is_some()
        {
            return Some(now);
        }
        let back = self.pool.back_for(ring, &keys, &projects);
        back.filter(|back| *back <= patience).or_else(|| {
            let tried = self.pool.ring_mut(ring).is_some_and(|ring| ring.trials > 0);
            tried.then_some(now)
        })
    }

    /// Somebody who was tried is still out: those that wait for nobody else are told.
    pub(super) fn trial_failed(&mut self, ring: RingId, now: Time) {
        let Some(ring) = self.pool.ring_mut(ring) else {
            return;
        };
        let waiting = ring.waiting.iter().map(|(_, id)| (now, *id));
        self.timers.extend(waiting);
    }

    /// When [`ready`](Self::ready) must be asked again, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let ring = self
            .pool
            .rings()
            .filter(|(_, ring)| !ring.waiting.is_empty())
            .filter_map(|(_, ring)| {
                if ring.anyone_awake() {
                    Some(ring.next_release)
                } else {
                    ring.next_wake().map(|at| at.max(ring.next_release))
                }
            });
        timer.into_iter().chain(ring.min()).min()
    }

    /// Requests to be polled again, in the order in which they may go.
    pub fn ready(&mut self, now: Time) -> Vec<RequestId> {
        let mut ready = Vec::new();
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if self
                .get_mut(id)
                .is_some_and(|request| request.current.is_none())
            {
                self.leave_queue(id);
                ready.push(id);
            }
        }
        let rings: Vec<RingId> = self
            .pool
            .rings()
            .filter(|(_, ring)| !ring.waiting.is_empty())
            .map(|(id, _)| id)
            .collect();
        for ring in rings {
            if let Some(id) = self.release_next(ring, now) {
                ready.push(id);
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep(now);
        }
        ready
    }

    /// Lets the first in a ring's queue go whom somebody awake may serve, one at a time and not all at once: a
    /// project that is back may have room for one or for a hundred, and its first refusal stops the rest.
    fn release_next(&mut self, ring: RingId, now: Time) -> Option<RequestId> {
        if self.pool.ring_mut(ring)?.next_release > now {
            return None;
        }
        let mut last = None;
        loop {
            let waiting = &self.pool.ring_mut(ring)?.waiting;
            let next = match last {
                None => waiting.first(),
                Some(last) => waiting.range((Excluded(last), Unbounded)).next(),
            };
            let Some(&place) = next else {
                // Somebody may be awake whom none of them can use: do not ask again at once.
                self.pool.ring_mut(ring)?.next_release = now + IDLE_RELEASE;
                return None;
            };
            if self.someone_for(place.1, ring, now) {
                self.pool.ring_mut(ring)?.next_release = now + RELEASE_SPACING;
                self.leave_queue(place.1);
                self.get_mut(place.1)?.released = true;
                return Some(place.1);
            }
            last = Some(place);
        }
    }

    pub(super) fn enqueue(&mut self, id: RequestId, ring: RingId, patience: Time) {
        let Some(request) = self.get_mut(id) else {
            return;
        };
        request.queued = Some(ring);
        request.released = false;
        let arrived = request.arrived;
        if let Some(ring) = self.pool.ring_mut(ring) {
            ring.waiting.insert((arrived, id));
        }
        self.waiting += 1;
        self.timers.insert((patience, id));
    }

    pub(super) fn leave_queue(&mut self, id: RequestId) {
        let patience_limit = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else {
            return;
        };
        let (arrived, pause, patience) = (
            request.arrived,
            request.pause,
            request.patience(patience_limit),
        );
        let queued = request.queued.take();
        if let Some(pause) = pause {
            self.timers.remove(&(pause, id));
        }
        if let Some(ring) = queued {
            if let Some(ring) = self.pool.ring_mut(ring) {
                ring.waiting.remove(&(arrived, id));
            }
            self.waiting = self.waiting.saturating_sub(1);
            self.timers.remove(&(patience, id));
        }
    }

    pub(super) fn wait_until(&mut self, id: RequestId, until: Time) -> Step {
        if let Some(request) = self.get_mut(id) {
            request.pause = Some(until);
        }
        self.timers.insert((until, id));
        Step::Wait
    }
}

/// Between two waiting requests that are let go: a refusal is back in about five of these.
const RELEASE_SPACING: Duration = Duration::from_millis(20);

/// Of those that wait, if none of the first so many can be served, somebody who comes now may be: what they found out
/// is theirs.
const LOOKED_AT: usize = 8;

/// How often a queue that somebody awake cannot serve is looked at.
const IDLE_RELEASE: Duration = Duration::from_millis(250);

const SWEEP: Duration = Duration::from_secs(60);
