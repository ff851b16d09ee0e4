//! Waiting: who waits for what, and who goes first.
//!
//! A request waits either for an instant (a pause between tries, a storm's end) or in the queue of its
//! ring, for somebody to come back, until its patience ends. Queues are by model and kind, so one
//! starving model holds nobody else up.

use super::outcome::MOST_REFUSED;
use super::{Relay, RequestId, Step};
use crate::refusal::Refusal;
use crate::ring::{RingId, Want};
use crate::time::Time;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

impl Relay {
    /// Whether none of those that wait can be served by whoever is awake.
    pub(super) fn is_stuck(&mut self, ring: RingId, now: Time) -> bool {
        self.pool.wake(ring, now);
        self.pool
            .ring_mut(ring)
            .is_some_and(|ring| ring.stuck.is_some())
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
            let request = self.get_mut(id);
            if request.is_some_and(|it| it.stops.is_some() && it.has_waited && !it.has_answer()) {
                return Step::Refuse(Refusal::Stopping);
            }
            return Step::Refuse(self.dry(id, ring, now));
        };
        let max_wait = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else {
            return Step::Refuse(Refusal::Stopping);
        };
        if crowded && !request.has_waited {
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
        request.overtime |= now >= patience;
        if let Some(ring) = self.pool.ring_mut(ring) {
            if comes <= now {
                ring.stuck = None;
            } else if ring.waiting.is_empty() {
                ring.stuck = Some(now + IDLE_RELEASE);
                // What was served before tells nothing of whoever comes back.
                ring.served_since = 0;
                ring.flows = None;
            }
        }
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
        // The walk itself may have taken longer than it would have waited.
        let late = now >= patience;
        if exhausted || late && request.overtime || request.unshown.len() >= MOST_REFUSED {
            return None;
        }
        let (keys, projects) = request.settled();
        let want = Want {
            tried_keys: &keys,
            tried_projects: &projects,
            ..request.want()
        };
        let doubts = Want {
            passing: None,
            ..want
        };
        if self.pool.has_candidate(ring, &want, now)
            || self
                .pool
                .suspect(ring, &doubts, request.doubt(patience), now)
                .is_some()
        {
            return Some(now);
        }
        if late {
            return None;
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
            .filter_map(|(_, ring)| match ring.stuck {
                _ if !ring.anyone_awake() => ring.next_wake().map(|at| at.max(ring.next_release)),
                Some(again) => ring.next_wake().into_iter().chain([again]).min(),
                None => Some(ring.next_release),
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
            self.release(ring, now, &mut ready);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep(now);
        }
        ready
    }

    /// Lets those in a ring's queue go whom somebody awake may serve, the first of them first, and not all at once: a
    /// project that is back may have room for one or for a hundred, and its first refusal stops the rest. The more
    /// are served meanwhile, and the longer nobody is refused, the faster; or a queue that once formed would outlast
    /// what it waited for wherever more come than are let go.
    fn release(&mut self, ring: RingId, now: Time, ready: &mut Vec<RequestId>) {
        self.pool.wake(ring, now);
        let Some(at) = self.pool.ring_mut(ring) else {
            return;
        };
        if at.next_release > now || at.stuck.is_some_and(|again| again > now) {
            return;
        }
        at.stuck = None;
        let flows = at.flows.map_or(Duration::ZERO, |since| now.since(since));
        let step = STEP.max(at.refuses_in);
        let steps = u32::try_from(flows.as_millis() / step.as_millis()).unwrap_or(u32::MAX);
        let pace = (PACE << steps.min(FASTEST)).saturating_add(at.served_since);
        let spacing = u64::try_from(RELEASE_SPACING.as_millis()).unwrap_or_default() * PACE;
        at.next_release = now + Duration::from_millis((spacing / pace).max(1));
        let mut last = None;
        for left in (0..=pace.div_ceil(spacing)).rev() {
            last = self.next_who_can_go(ring, last, now);
            let Some((_, id)) = last else {
                if let Some(at) = self.pool.ring_mut(ring) {
                    let many = u64::try_from(at.waiting.len()).unwrap_or_default();
                    at.stuck = Some(now + IDLE_RELEASE + Duration::from_millis(many));
                    at.flows = None;
                }
                return;
            };
            if left == 0 {
                // Whoever comes waits behind this one.
                return;
            }
            self.leave_queue(id);
            if let Some(request) = self.get_mut(id) {
                request.released = true;
            }
            if let Some(at) = self.pool.ring_mut(ring) {
                at.flows.get_or_insert(now);
            }
            ready.push(id);
        }
    }

    /// The first in a ring's queue, after this place, whom somebody awake may serve.
    fn next_who_can_go(
        &mut self,
        ring: RingId,
        mut last: Option<(Time, RequestId)>,
        now: Time,
    ) -> Option<(Time, RequestId)> {
        loop {
            let waiting = &self.pool.ring_mut(ring)?.waiting;
            let next = match last {
                None => waiting.first(),
                Some(last) => waiting.range((Excluded(last), Unbounded)).next(),
            };
            let place = *next?;
            if self.someone_for(place.1, ring, now) {
                return Some(place);
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
        request.has_waited = true;
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

/// Between two waiting requests that are let go, at first: a refusal is back in about five of these.
const RELEASE_SPACING: Duration = Duration::from_millis(20);

/// After so many were served, those who wait are let go twice as fast.
const PACE: u64 = 8;

/// And twice as fast after so long without a refusal, which is quicker than an answer; where refusals are slower, after as
/// long as one took.
const STEP: Duration = Duration::from_millis(500);

/// Fifty a second, doubled so often, is as many as anybody sends.
const FASTEST: u32 = 10;

/// How often a queue that somebody awake cannot serve is looked at, and a millisecond more for each in it.
const IDLE_RELEASE: Duration = Duration::from_millis(250);

const SWEEP: Duration = Duration::from_secs(60);
