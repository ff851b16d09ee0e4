//! A request as a state machine, and all requests together.
//!
//! The shell admits a request, asks what to do ([`Relay::poll`]), does it, says what came of it
//! ([`Relay::attempt_done`]) and asks again, until there is an answer to deliver. It sleeps until
//! [`Relay::next_deadline`] and then wakes whom [`Relay::ready`] names. Nothing here waits.
//!
//! A request remembers which keys and projects it has found out, so no attempt repeats one; it has a
//! place in a queue while it waits; it can be cancelled at any moment; and if its shell dies it expires.
//!
//! **How far a request walks.** A refusal that is one key's or one project's own (quota, a dead key,
//! billing) costs an attempt and the request goes on, through the whole pool if need be. A refusal that
//! is nobody's (an overloaded model, capacity shared by all, a ban of the relay's address, a network
//! that is down) must not be paid by walking: it has a small number of tries of its own, with pauses,
//! and when several projects say the same the model backs off for everybody (see [`storm`](crate::storm)).
//! A refusal that may be one project's (a model that is not there, a 403 without a reason) is tried once
//! more elsewhere; only if that is served was it the first one's own.

use crate::affinity::Affinity;
use crate::block::{Block, Reason};
use crate::event::{Change, Event, Stamp};
use crate::facts::{Facts, Kinds, Repeat};
use crate::google_error::Violation;
use crate::key::KeySpec;
use crate::pool::{Carrier, Census, KeyInfo, Pool, ProjectId};
use crate::refusal::Refusal;
use crate::ring::{Pick, RingId, Want};
use crate::settings::Settings;
use crate::storm::Storms;
use crate::time::Time;
use crate::verdict::{Effect, Meaning, Outcome, Until, Whose, judge};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Names a request among those in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    at: u32,
    serial: u32,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send the request with this key, shown this way.
    Send(Attempt),
    /// Do nothing until [`Relay::ready`] names this request.
    Wait,
    /// Answer with this.
    Refuse(Refusal),
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The key.
    pub key: Arc<KeyInfo>,
    /// How to show it.
    pub carrier: Carrier,
    /// How many attempts this request has made, this one included.
    pub number: u32,
}

/// What an outcome comes to.
#[derive(Clone, Debug)]
pub struct Done {
    /// What the answer meant.
    pub meaning: Meaning,
    /// What to do.
    pub next: Next,
}

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Pass on what came; for an error the word says why no other key was asked, where one might have
    /// been.
    Deliver(Option<&'static str>),
    /// Forget what came and poll again.
    Retry,
    /// Forget what came and answer with this.
    Refuse(Refusal),
}

/// The policy at work: a pool and the requests in progress.
#[derive(Debug)]
pub struct Relay {
    settings: Settings,
    pool: Pool,
    requests: Vec<Slot>,
    free: Vec<u32>,
    timers: BTreeSet<(Time, RequestId)>,
    waiting: usize,
    affinity: Affinity,
    storms: Storms,
    /// For the jitter of pauses; seeded by the shell.
    entropy: u64,
    stamp: Stamp,
    events: Vec<Event>,
    next_sweep: Time,
}

#[derive(Debug)]
struct Slot {
    serial: u32,
    request: Option<Request>,
}

#[derive(Debug)]
struct Request {
    facts: Facts,
    arrived: Time,
    /// Last heard of by its shell.
    seen: Time,
    attempts: u32,
    /// Attempts that nobody's fault cost.
    shared_tries: u32,
    tried_keys: Vec<usize>,
    tried_projects: Vec<usize>,
    epoch: u32,
    current: Option<Current>,
    /// A carrier still to be tried with the current key.
    other_carrier: Option<Current>,
    /// What a refusal would mean for its key or project if another serves this request.
    suspicion: Option<(Arc<KeyInfo>, Meaning, Option<Effect>)>,
    pause: Option<Time>,
    queued: Option<RingId>,
    released: bool,
    empties: u32,
    earlier_tried: bool,
    /// Set aside for the conversation's project.
    insist: Option<ProjectId>,
    last_violation: Option<(Option<Violation>, Reason)>,
}

#[derive(Clone, Debug)]
struct Current {
    key: Arc<KeyInfo>,
    ring: RingId,
    pick: Pick,
    carrier: Carrier,
    carriers_tried: u8,
}

impl Relay {
    /// A relay for these keys. `entropy` seeds the jitter of pauses; `origin` and `generation` name this
    /// relay, and how often it was started, in its events.
    #[must_use]
    pub fn new(keys: &[KeySpec], settings: Settings, entropy: u64, origin: u64, generation: u64) -> Self {
        Self {
            pool: Pool::new(keys, settings.strategy),
            settings,
            requests: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            waiting: 0,
            affinity: Affinity::default(),
            storms: Storms::default(),
            entropy,
            stamp: Stamp { origin, generation, ..Stamp::default() },
            events: Vec::new(),
            next_sweep: Time::ZERO,
        }
    }

    /// The pool, to look at.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How the keys stand.
    #[must_use]
    pub fn census(&self, now: Time) -> Census {
        self.pool.census(now)
    }

    /// How many requests are in progress, and how many of them wait.
    #[must_use]
    pub fn in_progress(&self) -> (usize, usize) {
        (self.requests.len() - self.free.len(), self.waiting)
    }

    /// Takes a new list of keys. Requests in progress go on; those that wait look again.
    pub fn reload(&mut self, keys: &[KeySpec], now: Time) {
        let ids: Vec<RequestId> = self.live().map(|(id, _)| id).collect();
        for id in ids {
            self.leave_queue(id);
            if let Some(request) = self.get_mut(id)
                && request.current.is_none()
            {
                self.timers.insert((now, id));
            }
        }
        self.pool.reload(keys);
    }

    /// Applies an event of another relay, of the store or of an administrator.
    pub fn apply(&mut self, event: &Event, now: Time) {
        self.pool.apply(event, now);
    }

    /// The events since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Lets a request in.
    pub fn admit(&mut self, facts: Facts, now: Time) -> RequestId {
        let request = Request {
            facts,
            arrived: now,
            seen: now,
            attempts: 0,
            shared_tries: 0,
            tried_keys: Vec::new(),
            tried_projects: Vec::new(),
            epoch: self.pool.epoch(),
            current: None,
            other_carrier: None,
            suspicion: None,
            pause: None,
            queued: None,
            released: false,
            empties: 0,
            earlier_tried: false,
            insist: None,
            last_violation: None,
        };
        if let Some(at) = self.free.pop()
            && let Some(slot) = self.requests.get_mut(at as usize)
        {
            slot.request = Some(request);
            return RequestId { at, serial: slot.serial };
        }
        self.requests.push(Slot { serial: 0, request: Some(request) });
        RequestId { at: u32::try_from(self.requests.len() - 1).unwrap_or(u32::MAX), serial: 0 }
    }

    /// Says what to do with a request.
    pub fn poll(&mut self, id: RequestId, now: Time) -> Step {
        self.leave_queue(id);
        let max_wait = self.settings.max_wait;
        let epoch = self.pool.epoch();
        let Some(request) = self.get_mut(id) else { return Step::Refuse(Refusal::Stopping) };
        request.seen = now;
        if request.epoch != epoch {
            request.epoch = epoch;
            request.tried_keys.clear();
            request.tried_projects.clear();
            request.other_carrier = None;
        }
        if let Some(current) = &request.current {
            let attempt = attempt(current, request.attempts);
            return Step::Send(attempt);
        }
        let patience = request.patience(max_wait);
        if request.facts.deadline.is_some_and(|deadline| deadline <= now + SHORTEST_DEADLINE) && request.spent(now) {
            return Step::Refuse(Refusal::Deadline);
        }
        if let Some(until) = request.pause.take_if(|until| *until > now) {
            request.pause = Some(until);
            return self.wait_until(id, until);
        }
        request.pause = None;
        if let Some(current) = request.other_carrier.take() {
            request.attempts += 1;
            request.current = Some(current.clone());
            let step = attempt(&current, request.attempts);
            if let Some(ring) = self.pool.ring_mut(current.ring) {
                ring.take(current.pick);
            }
            return Step::Send(step);
        }
        let (model, kind) = (request.facts.model.clone(), request.facts.kind);
        if let Some((until, ban)) = self.storms.until(model.as_deref(), kind, now) {
            if until > patience {
                return Step::Refuse(if ban { Refusal::EgressBan { back: until } } else { Refusal::Overloaded { back: until } });
            }
            let until = until + self.jitter(STORM_JITTER);
            return self.wait_until(id, until);
        }
        let ring = self.pool.ring(model.as_ref(), kind, now);
        self.choose(id, ring, now)
    }

    fn choose(&mut self, id: RequestId, ring: RingId, now: Time) -> Step {
        let limit = self.settings.attempts;
        let queue = self.pool.ring_mut(ring).map_or(0, |ring| ring.waiting.len());
        let affinity = self.settings.affinity;
        let Some(request) = self.requests.get_mut(id.at as usize).and_then(|slot| slot.request.as_mut()) else {
            return Step::Refuse(Refusal::Stopping);
        };
        let exhausted = limit.is_some_and(|limit| request.attempts >= limit);
        // Those who came earlier go first.
        let may_go = queue == 0 || request.released;
        if may_go && !exhausted {
            let earlier = request.facts.conversation.and_then(|turns| turns.earlier);
            let prefer = request
                .insist
                .take()
                .or_else(|| earlier.filter(|_| affinity).and_then(|turns| self.affinity.project_of(request.facts.client, turns)))
                .and_then(|project| self.pool.project_index(project));
            let want = Want {
                tried_keys: &request.tried_keys,
                tried_projects: &request.tried_projects,
                replayable: request.facts.replayable,
                prefer,
            };
            if let Some(pick) = self.pool.pick(ring, &want, now)
                && let Some(info) = self.pool.info(pick)
            {
                let key = Arc::clone(info);
                let carrier = self.pool.carrier(key.id, request.facts.surface);
                let current = Current { key, ring, pick, carrier, carriers_tried: 1 };
                request.attempts += 1;
                request.released = false;
                let step = attempt(&current, request.attempts);
                request.current = Some(current);
                return Step::Send(step);
            }
        }
        self.wait_or_refuse(id, ring, exhausted, now)
    }

    /// Nobody can be asked now.
    fn wait_or_refuse(&mut self, id: RequestId, ring: RingId, exhausted: bool, now: Time) -> Step {
        let max_wait = self.settings.max_wait;
        let crowded = self.waiting >= self.settings.max_waiting;
        let back = self.pool.first_back(ring);
        let someone_awake = self.pool.ring_mut(ring).is_some_and(|ring| ring.anyone_awake());
        let Some(request) = self.get_mut(id) else { return Step::Refuse(Refusal::Stopping) };
        let patience = request.patience(max_wait);
        let queue_moves = someone_awake && request.tried_keys.is_empty() && request.tried_projects.is_empty();
        let soon = back.as_ref().is_some_and(|(until, _)| *until <= patience);
        if now < patience && !exhausted && (soon || queue_moves) {
            if crowded {
                return Step::Refuse(Refusal::Crowded);
            }
            self.enqueue(id, ring, patience);
            return Step::Wait;
        }
        Step::Refuse(self.dry(id, ring, now))
    }

    /// The answer when nobody is left.
    fn dry(&mut self, id: RequestId, ring: RingId, now: Time) -> Refusal {
        let back = self.pool.first_back(ring);
        let trial = self.pool.first_trial(ring);
        let Some(request) = self.get_mut(id) else { return Refusal::Stopping };
        let model = request.facts.model.as_deref().map(str::to_owned);
        let last = request.last_violation.clone();
        if let Some((back, block)) = back {
            return quota_refusal(block, model, back);
        }
        if let Some((violation, reason)) = last
            && reason != Reason::Tier
        {
            // Out of attempts while others have room: the next request is served.
            return Refusal::Quota { violation, model, day: reason == Reason::QuotaDay, back: now + Duration::from_secs(1) };
        }
        match trial {
            Some((back, Some(block))) if block.reason == Reason::Tier => {
                Refusal::Tier { violation: block.violation.as_deref().cloned(), model, back }
            }
            Some((back, _)) => Refusal::AllDead { counts: self.counts(now), back: Some(back) },
            None => {
                let census = self.pool.census(now);
                if census.usable > 0 {
                    Refusal::NotAllowed { model }
                } else {
                    Refusal::AllDead { counts: self.counts(now), back: None }
                }
            }
        }
    }

    /// Says what came of the attempt. `can_repeat`: the body is still at hand.
    pub fn attempt_done(&mut self, id: RequestId, outcome: &Outcome, can_repeat: bool, now: Time) -> Done {
        let stale = Done { meaning: Meaning::Client, next: Next::Deliver(None) };
        let Some(request) = self.get_mut(id) else { return stale };
        request.seen = now;
        let Some(current) = request.current.clone() else { return stale };
        let verdict = judge(&request.facts, outcome, now);
        let (facts, number) = (request.facts.clone(), request.attempts);
        let meaning = verdict.meaning;
        if meaning != Meaning::Served {
            self.release(id);
            self.note_tried(id, &current, meaning);
        }
        let next = match meaning {
            Meaning::Served => self.served(id, &facts, &current, now),
            Meaning::Quota | Meaning::Billing | Meaning::KeyDead => {
                self.block(&verdict.effect, &facts, &current, now);
                if let (Some(effect), Some(request)) = (&verdict.effect, self.get_mut(id)) {
                    request.last_violation = (meaning == Meaning::Quota).then(|| (effect.violation.clone(), effect.reason));
                }
                if can_repeat {
                    Next::Retry
                } else {
                    Next::Refuse(self.unrepeatable(id, current.ring, now))
                }
            }
            Meaning::Capacity => {
                self.block(&verdict.effect, &facts, &current, now);
                self.storms.capacity(facts.model.as_ref(), facts.kind, current.key.project_id, now);
                self.shared(id, can_repeat, CAPACITY_TRIES, Duration::ZERO, "shared-capacity", now)
            }
            Meaning::Carrier => self.carrier(id, &facts, current.clone(), can_repeat, now),
            Meaning::ModelMissing | Meaning::Denied => {
                self.elsewhere_once(id, &current, meaning, verdict.effect.clone(), can_repeat, now)
            }
            Meaning::EgressBan => {
                self.storms.ban(now);
                self.shared(id, can_repeat, BAN_TRIES, Duration::ZERO, "egress-ban", now)
            }
            Meaning::Signature => self.earlier_project(id, &current, can_repeat),
            Meaning::Server => {
                let refused = matches!(outcome, Outcome::Refused { status: 503, .. });
                self.storms.server(facts.model.as_ref(), current.key.project_id, now);
                let may = can_repeat && (refused || facts.repeat == Repeat::Freely);
                let pause = self.backoff(id, SERVER_PAUSE);
                self.shared(id, may, SERVER_TRIES, pause, "overloaded", now)
            }
            Meaning::Network => self.network(id, outcome, &facts, can_repeat, now),
            Meaning::Empty => self.empty(id, &facts, can_repeat),
            Meaning::Silent => Next::Refuse(Refusal::Silent),
            Meaning::NotOwner | Meaning::Client | Meaning::Location => Next::Deliver(None),
        };
        if meaning != Meaning::Served && meaning != Meaning::Carrier && current.pick.trial && verdict.effect.is_none() {
            self.pool.retry_trial(&current.key, current.ring, now);
        }
        debug_assert!(number > 0, "an outcome without an attempt");
        Done { meaning, next }
    }

    fn served(&mut self, id: RequestId, facts: &Facts, current: &Current, now: Time) -> Next {
        if let Some(turns) = facts.conversation
            && self.settings.affinity
        {
            self.affinity.remember(facts.client, turns.whole, current.key.project_id);
        }
        self.storms.served(facts.model.as_deref(), facts.kind);
        if current.carrier != self.pool.carrier(current.key.id, facts.surface) {
            self.emit(Change::CarrierLearned(current.key.id, facts.surface, current.carrier), now);
        }
        if current.pick.trial {
            for change in self.pool.cleared_by_trial(&current.key, current.ring) {
                self.emit(change, now);
            }
        }
        // Another was refused what this one got: it was its own fault.
        if let Some((key, _, Some(effect))) = self.get_mut(id).and_then(|request| request.suspicion.take())
            && key.project_id != current.key.project_id
        {
            let change = self.pool.change(&effect, &key, false, now);
            self.emit(change, now);
        }
        Next::Deliver(None)
    }

    fn carrier(&mut self, id: RequestId, facts: &Facts, mut current: Current, can_repeat: bool, now: Time) -> Next {
        let [first, second] = Carrier::of(facts.surface);
        if current.carriers_tried >= 2 {
            let effect = Effect {
                whose: Whose::Key,
                model: None,
                kinds: Kinds::ALL,
                reason: Reason::CredentialType,
                until: Until::TriedAgain,
                violation: None,
            };
            self.block(&Some(effect), facts, &current, now);
            return if can_repeat { Next::Retry } else { Next::Deliver(Some("body-not-repeatable")) };
        }
        if !can_repeat {
            return Next::Deliver(Some("body-not-repeatable"));
        }
        current.carrier = if current.carrier == first { second } else { first };
        current.carriers_tried += 1;
        if let Some(request) = self.get_mut(id) {
            request.other_carrier = Some(current);
        }
        Next::Retry
    }

    /// What may be one project's own fault: one other is asked.
    fn elsewhere_once(
        &mut self, id: RequestId, current: &Current, meaning: Meaning, effect: Option<Effect>, can_repeat: bool, now: Time,
    ) -> Next {
        let Some(request) = self.get_mut(id) else { return Next::Deliver(None) };
        if request.suspicion.is_some() {
            // Two agree: they are believed, and nothing is held against either.
            request.suspicion = None;
            return Next::Deliver(None);
        }
        if !can_repeat {
            return Next::Deliver(Some("body-not-repeatable"));
        }
        request.suspicion = Some((Arc::clone(&current.key), meaning, effect));
        if self.another(id, now) { Next::Retry } else { Next::Deliver(None) }
    }

    /// A thought signature of another project: the one of the earlier turns is asked, once.
    fn earlier_project(&mut self, id: RequestId, current: &Current, can_repeat: bool) -> Next {
        let Some(request) = self.requests.get_mut(id.at as usize).and_then(|slot| slot.request.as_mut()) else {
            return Next::Deliver(None);
        };
        let earlier = request.facts.conversation.and_then(|turns| turns.earlier);
        let project = earlier.and_then(|turns| self.affinity.project_of(request.facts.client, turns));
        match project {
            Some(project) if project != current.key.project_id && can_repeat && !request.earlier_tried => {
                request.earlier_tried = true;
                request.insist = Some(project);
                Next::Retry
            }
            _ => Next::Deliver(None),
        }
    }

    /// A refusal that is nobody's fault: a few tries with pauses, not a walk through the pool.
    fn shared(&mut self, id: RequestId, may: bool, tries: u32, pause: Duration, why: &'static str, now: Time) -> Next {
        let max_wait = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else { return Next::Deliver(None) };
        request.shared_tries += 1;
        let until = now + pause;
        let patience = request.patience(max_wait);
        let (model, kind) = (request.facts.model.clone(), request.facts.kind);
        if !may || request.shared_tries >= tries || until > patience {
            return Next::Deliver(Some(why));
        }
        request.pause = (pause > Duration::ZERO).then_some(until);
        if self.storms.until(model.as_deref(), kind, now).is_some_and(|(until, _)| until > patience) {
            return Next::Deliver(Some(why));
        }
        // After a pause the same project may be asked again; with only one there is no other.
        if let Some(request) = self.get_mut(id) {
            request.tried_keys.clear();
            request.tried_projects.clear();
        }
        Next::Retry
    }

    fn network(&mut self, id: RequestId, outcome: &Outcome, facts: &Facts, can_repeat: bool, now: Time) -> Next {
        let unreachable = matches!(outcome, Outcome::Unreachable);
        let pause = self.backoff(id, NETWORK_PAUSE);
        let may = can_repeat && (unreachable || facts.repeat == Repeat::Freely);
        match self.shared(id, may, if unreachable { CONNECT_TRIES } else { BROKEN_TRIES }, pause, "unreachable", now) {
            Next::Retry => Next::Retry,
            _ => Next::Refuse(if unreachable { Refusal::Unreachable } else { Refusal::Broken }),
        }
    }

    fn empty(&mut self, id: RequestId, facts: &Facts, can_repeat: bool) -> Next {
        let Some(request) = self.get_mut(id) else { return Next::Deliver(None) };
        request.empties += 1;
        if can_repeat && facts.repeat == Repeat::Freely && request.empties < 2 {
            // Nobody's fault: the same project may be asked if there is no other.
            request.tried_keys.clear();
            return Next::Retry;
        }
        Next::Deliver(Some("empty-answer"))
    }

    /// The answer has gone to the client whole, or broke on the way.
    pub fn finish(&mut self, id: RequestId) {
        self.release(id);
        self.drop_request(id);
    }

    /// The client has gone, or the shell gives up.
    pub fn cancel(&mut self, id: RequestId, now: Time) {
        if let Some(current) = self.get_mut(id).and_then(|request| request.current.clone())
            && current.pick.trial
        {
            self.pool.retry_trial(&current.key, current.ring, now);
        }
        self.leave_queue(id);
        self.finish(id);
    }

    /// When [`ready`](Self::ready) must be asked again, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let ring = self.pool.rings().filter(|(_, ring)| !ring.waiting.is_empty()).filter_map(|(_, ring)| {
            if ring.anyone_awake() { Some(ring.next_release) } else { ring.next_wake().map(|at| at.max(ring.next_release)) }
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
            if self.get_mut(id).is_some_and(|request| request.current.is_none()) {
                self.leave_queue(id);
                ready.push(id);
            }
        }
        let rings: Vec<RingId> = self.pool.rings().filter(|(_, ring)| !ring.waiting.is_empty()).map(|(id, _)| id).collect();
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
        let want = Want { tried_keys: &[], tried_projects: &[], replayable: request.facts.replayable, prefer: None };
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

    fn enqueue(&mut self, id: RequestId, ring: RingId, patience: Time) {
        let Some(request) = self.get_mut(id) else { return };
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

    fn leave_queue(&mut self, id: RequestId) {
        let patience_limit = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else { return };
        let (arrived, pause, patience) = (request.arrived, request.pause, request.patience(patience_limit));
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

    fn wait_until(&mut self, id: RequestId, until: Time) -> Step {
        if let Some(request) = self.get_mut(id) {
            request.pause = Some(until);
        }
        self.timers.insert((until, id));
        Step::Wait
    }

    /// The attempt is over; its key and project are less loaded.
    fn release(&mut self, id: RequestId) {
        let Some(current) = self.get_mut(id).and_then(|request| request.current.take()) else { return };
        if let Some(ring) = self.pool.ring_mut(current.ring) {
            ring.give_back(current.pick);
        }
    }

    fn note_tried(&mut self, id: RequestId, current: &Current, meaning: Meaning) {
        let epoch = self.pool.epoch();
        let project = self.pool.project_index(current.key.project_id);
        let Some(request) = self.get_mut(id) else { return };
        if request.epoch != epoch {
            return;
        }
        request.tried_keys.push(current.pick.key);
        if matches!(meaning, Meaning::Quota | Meaning::Capacity | Meaning::Billing | Meaning::ModelMissing | Meaning::Denied)
            && let Some(project) = project
        {
            request.tried_projects.push(project);
        }
    }

    fn block(&mut self, effect: &Option<Effect>, facts: &Facts, current: &Current, now: Time) {
        let Some(effect) = effect else { return };
        if let (Some(asked), Some(named)) = (&facts.model, &effect.model)
            && **asked != **named
        {
            self.emit(Change::ModelNamed(Arc::clone(asked), Arc::from(named.as_str())), now);
        }
        let change = self.pool.change(effect, &current.key, current.pick.trial, now);
        self.emit(change, now);
    }

    fn emit(&mut self, change: Change, now: Time) {
        self.stamp.at = now.max(self.stamp.at);
        self.stamp.sequence += 1;
        let event = Event { stamp: self.stamp, change };
        self.pool.apply(&event, now);
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    /// Whether anybody else could be asked right now.
    fn another(&mut self, id: RequestId, now: Time) -> bool {
        let limit = self.settings.attempts;
        let Some(request) = self.requests.get(id.at as usize).and_then(|slot| slot.request.as_ref()) else { return false };
        if limit.is_some_and(|limit| request.attempts >= limit) {
            return false;
        }
        let want = Want {
            tried_keys: &request.tried_keys,
            tried_projects: &request.tried_projects,
            replayable: request.facts.replayable,
            prefer: None,
        };
        let ring = self.pool.ring(request.facts.model.as_ref(), request.facts.kind, now);
        self.pool.has_candidate(ring, &want, now)
    }

    /// The answer to a request whose body is gone: another key may have room, but only for the client's
    /// own next try.
    fn unrepeatable(&mut self, id: RequestId, ring: RingId, now: Time) -> Refusal {
        if self.another(id, now) {
            let (model, last) = self.get_mut(id).map_or((None, None), |request| {
                (request.facts.model.as_deref().map(str::to_owned), request.last_violation.clone())
            });
            let violation = last.and_then(|(violation, _)| violation).map(|violation| Violation {
                // Not the day: a client that reads it would give up though the next try is served.
                quota_id: String::new(),
                ..violation
            });
            return Refusal::Quota { violation, model, day: false, back: now + Duration::from_secs(1) };
        }
        self.dry(id, ring, now)
    }

    fn counts(&self, now: Time) -> String {
        let census = self.pool.census(now);
        let mut parts: Vec<String> = census.out.iter().map(|(reason, count)| format!("{count} {}", reason.words())).collect();
        if census.disabled > 0 {
            parts.push(format!("{} switched off", census.disabled));
        }
        if census.usable > 0 {
            parts.push(format!("{} out for this model", census.usable));
        }
        if parts.is_empty() { "it has none".into() } else { parts.join(", ") }
    }

    /// Exponential, with half of it left to chance so that clients do not come back together.
    fn backoff(&mut self, id: RequestId, first: Duration) -> Duration {
        let tries = self.get_mut(id).map_or(0, |request| request.shared_tries).min(6);
        let full = first * (1 << tries);
        full / 2 + self.jitter(full / 2)
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        // splitmix64: one step is enough for spreading pauses.
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (z ^ (z >> 31)) >> 11;
        Duration::from_micros(u64::try_from(most.as_micros()).unwrap_or(0).saturating_mul(share >> 21) >> 32)
    }

    /// Requests whose shell has not been heard of for longer than any answer may take.
    fn sweep(&mut self, now: Time) {
        let lost: Vec<RequestId> =
            self.live().filter(|(_, request)| now.since(request.seen) > EXPIRY).map(|(id, _)| id).collect();
        for id in lost {
            self.cancel(id, now);
        }
    }

    fn live(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.requests.iter().enumerate().filter_map(|(at, slot)| {
            Some((RequestId { at: u32::try_from(at).ok()?, serial: slot.serial }, slot.request.as_ref()?))
        })
    }

    fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        let slot = self.requests.get_mut(id.at as usize)?;
        if slot.serial == id.serial { slot.request.as_mut() } else { None }
    }

    fn drop_request(&mut self, id: RequestId) {
        if let Some(slot) = self.requests.get_mut(id.at as usize)
            && slot.serial == id.serial
            && slot.request.take().is_some()
        {
            slot.serial = slot.serial.wrapping_add(1);
            self.free.push(id.at);
        }
    }
}

impl Request {
    /// How long it may wait: the operator's limit, and the client's own less what an answer needs.
    fn patience(&self, max_wait: Duration) -> Time {
        let own = self.arrived + max_wait;
        match self.facts.deadline {
            Some(deadline) => {
                let latest = Time::from_millis(deadline.as_millis().saturating_sub(millis(SHORTEST_DEADLINE)));
                own.min(latest)
            }
            None => own,
        }
    }

    /// Whether the relay has used up any of the client's time: an unreasonable deadline is otherwise
    /// Google's to refuse.
    fn spent(&self, now: Time) -> bool {
        self.attempts > 0 || now.since(self.arrived) > Duration::from_secs(1)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn attempt(current: &Current, number: u32) -> Attempt {
    Attempt { key: Arc::clone(&current.key), carrier: current.carrier, number }
}

fn quota_refusal(block: Option<Block>, model: Option<String>, back: Time) -> Refusal {
    let day = block.as_ref().is_some_and(|block| block.reason == Reason::QuotaDay);
    let violation = block.and_then(|block| block.violation).map(|violation| (*violation).clone());
    Refusal::Quota { violation, model, day, back }
}

/// Google refuses an `X-Server-Timeout` below ten seconds.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(10);

/// An overloaded model is overloaded for all: two more tries catch a spell of a second or two, more
/// would make it worse.
const SERVER_TRIES: u32 = 3;
const SERVER_PAUSE: Duration = Duration::from_millis(500);

/// "Resource has been exhausted": two projects, then twice more after the model's pause.
const CAPACITY_TRIES: u32 = 4;

/// A banned address: one more try when the ban may be over.
const BAN_TRIES: u32 = 2;

/// A network that is coming back (a laptop that wakes) is there within seconds: 0.1 s, 0.2 s … 3.2 s.
const CONNECT_TRIES: u32 = 7;
const NETWORK_PAUSE: Duration = Duration::from_millis(100);

/// A keep-alive connection that Google had closed: once more, and once more.
const BROKEN_TRIES: u32 = 3;

/// Between two waiting requests that are let go: a refusal is back in about five of these.
const RELEASE_SPACING: Duration = Duration::from_millis(20);

/// How often a queue that somebody awake cannot serve is looked at.
const IDLE_RELEASE: Duration = Duration::from_millis(250);

/// When a storm is over they need not all come at once.
const STORM_JITTER: Duration = Duration::from_millis(250);

/// Longer than a 60-minute stream with the longest wait before it.
const EXPIRY: Duration = Duration::from_secs(2 * 3600);

const SWEEP: Duration = Duration::from_secs(60);

/// Events that the shell has not taken: it takes them after every call.
const MAX_EVENTS: usize = 65_536;

#[cfg(test)]
mod tests;
