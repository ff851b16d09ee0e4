//! Waiting: who waits for what, and who goes first.
//!
//! A request waits either for an instant (a pause between tries, a storm's end) or in the queue of its
//! ring, for somebody to come back, until its patience ends. Queues are by model and kind, so one
//! starving model holds nobody else up.

use super::{Relay, RequestId, Step};
use crate::refusal::Refusal;
use crate::ring::{RingId, Want};
use crate::time::Time;
use std::time::Duration;

impl Relay {
    /// Nobody can be asked now.
    pub(super) fn wait_or_refuse(
        &mut self,
        id: RequestId,
        ring: RingId,
        exhausted: bool,
        now: Time,
    ) -> Step {
        let max_wait = self.settings.max_wait;
        let crowded = self.waiting >= self.settings.max_waiting;
        let back = self.pool.first_back(ring);
        let replayable = self
            .get_mut(id)
            .is_some_and(|request| request.facts.replayable);
        let someone_awake = self
            .pool
            .has_candidate(ring, &Want::anybody(replayable), now);
        let Some(request) = self.get_mut(id) else {
            return Step::Refuse(Refusal::Stopping);
        };
        if request.unheld {
            // What it found out is its own: those behind it in a queue may be served by whom it cannot use.
            return if self.rest_comes(id, ring, now) {
                let until = self.get_mut(id).and_then(|request| request.pause);
                self.wait_until(id, until.unwrap_or(now))
            } else {
                Step::Refuse(self.dry(id, ring, now))
            };
        }
        let patience = request.patience(max_wait);
        let queue_moves =
            someone_awake && request.tried_keys.is_empty() && request.tried_projects.is_empty();
        let soon = back.as_ref().is_some_and(|(until, _)| *until <= patience);
        if now < patience && !exhausted && (soon || queue_moves) {
            if crowded {
                let back = back.map_or(now, |(until, _)| until);
                return Step::Refuse(Refusal::Crowded { back });
            }
            self.enqueue(id, ring, patience);
            return Step::Wait;
        }
        Step::Refuse(self.dry(id, ring, now))
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

    /// Lets the first in a ring's queue go, one at a time and not all at once: a project that is back
    /// may have room for one or for a hundred, and its first refusal stops the rest.
    fn release_next(&mut self, ring: RingId, now: Time) -> Option<RequestId> {
        let (_, first) = *self.pool.ring_mut(ring)?.waiting.first()?;
        let request = self.requests.get(first.at as usize)?.request.as_ref()?;
        let want = Want::anybody(request.facts.replayable);
        if !self.pool.has_candidate(ring, &want, now) {
            // Somebody may be awake whom this request cannot use: do not ask again at once.
            self.pool.ring_mut(ring)?.next_release = now + IDLE_RELEASE;
            return None;
        }
        let at = self.pool.ring_mut(ring)?;
        if at.next_release > now {
            return None;
        }
        at.next_release = now + RELEASE_SPACING;
        self.leave_queue(first);
        let request = self.get_mut(first)?;
        request.released = true;
        Some(first)
    }

    pub(super) fn enqueue(&mut self, id: RequestId, ring: RingId, patience: Time) {
        let Some(request) = self.get_mut(id) else {
            return;
        };
        request.queued = Some(ring);
        request.released = false;
        // Whoever comes back is asked again.
        request.tried_keys.clear();
        request.tried_projects.clear();
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
        if std::mem::take(&mut request.counted) {
            self.waiting = self.waiting.saturating_sub(1);
        }
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
            if request.unheld && !std::mem::replace(&mut request.counted, true) {
                self.waiting += 1;
            }
        }
        self.timers.insert((until, id));
        Step::Wait
    }
}

/// Between two waiting requests that are let go: a refusal is back in about five of these.
const RELEASE_SPACING: Duration = Duration::from_millis(20);

/// How often a queue that somebody awake cannot serve is looked at.
const IDLE_RELEASE: Duration = Duration::from_millis(250);

const SWEEP: Duration = Duration::from_secs(60);
