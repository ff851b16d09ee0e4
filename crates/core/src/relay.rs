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

mod dry;
mod outcome;
mod plan;
mod queue;

pub use plan::{Moved, Turn};

use crate::affinity::Affinity;
use crate::block::Reason;
use crate::event::{Change, Event, Stamp};
use crate::facts::{Facts, Route};
use crate::google_error::Violation;
use crate::key::{KeyId, KeySpec};
use crate::pool::{Carrier, Census, KeyInfo, Pool, ProjectId, UNPROVEN};
use crate::refusal::Refusal;
use crate::ring::{Doubt, Pick, RingId, Want, settled};
use crate::settings::Settings;
use crate::storm::{Storms, Why};
use crate::suspects::Passing;
use crate::time::{Time, is_of_before};
use crate::verdict::{Effect, Meaning};
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
    /// Keys that were refused with 401 what this one was served, if that is news: for a while requests of this
    /// surface, method, model and kind pass them over.
    pub passed_over: Vec<Arc<KeyInfo>>,
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
    /// Conversations that went elsewhere than planned.
    moved: Vec<Moved>,
    /// When anybody was served anything last.
    served: Option<Time>,
    /// When whoever still waits is to be told that the relay stops.
    stops: Option<Time>,
    next_sweep: Time,
    /// How often it was looked for requests whose shell has died.
    sweeps: u32,
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
    /// When it was sent last, and how long the longest of its attempts took.
    sent: Time,
    under_way: Duration,
    /// After its patience it went once more to whoever was back.
    overtime: bool,
    /// When the relay stops.
    stops: Option<Time>,
    /// At which sweep it was last heard of by its shell.
    seen: u32,
    attempts: u32,
    /// Attempts that nobody's fault cost.
    shared_tries: u32,
    tried_keys: Vec<usize>,
    tried_projects: Vec<usize>,
    epoch: u32,
    current: Option<Current>,
    /// A carrier still to be tried with the current key.
    other_carrier: Option<Current>,
    suspicions: Vec<Suspicion>,
    /// The keys that were refused however they were shown.
    unshown: Vec<usize>,
    /// Those of the tried keys that only rest, and their projects.
    resting: Vec<(usize, Option<usize>)>,
    pause: Option<Time>,
    queued: Option<RingId>,
    /// It had a place in a queue, and keeps it.
    has_waited: bool,
    /// Its turn has come, and it is nobody's to wait for.
    released: bool,
    empties: u32,
    earlier_tried: bool,
    /// Set aside for the conversation's project.
    insist: Option<ProjectId>,
    last_violation: Option<(Option<Arc<Violation>>, Reason)>,
    /// Whom to ask first, where that was planned elsewhere.
    plan: Vec<KeyId>,
}

/// A refusal that may be one project's own fault.
#[derive(Debug)]
struct Suspicion {
    key: Arc<KeyInfo>,
    meaning: Meaning,
    /// What it means for its key or project if another serves the request.
    effect: Option<Effect>,
    /// Others were served lately what it was refused: of a request it says little.
    known: bool,
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
    pub fn new(
        keys: &[KeySpec],
        settings: Settings,
        entropy: u64,
        origin: u64,
        generation: u64,
    ) -> Self {
        Self {
            pool: Pool::new(keys, settings.strategy),
            settings,
            requests: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            waiting: 0,
            affinity: Affinity::new(entropy),
            storms: Storms::default(),
            entropy,
            stamp: Stamp {
                origin,
                generation,
                ..Stamp::default()
            },
            events: Vec::new(),
            moved: Vec::new(),
            served: None,
            stops: None,
            next_sweep: Time::ZERO,
            sweeps: 0,
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

    /// The wall clock was set back by so much, to `now`. What was to end after a while still does, and so does waiting.
    pub fn clock_set_back(&mut self, by: Duration, now: Time) {
        let ids: Vec<RequestId> = self.live().map(|(id, _)| id).collect();
        for &id in &ids {
            self.leave_queue(id);
        }
        self.timers.clear();
        self.pool.clock_set_back(by, now);
        self.storms = Storms::default();
        self.served = self.served.map(|at| at.back(by));
        self.next_sweep = now;
        for id in ids {
            let Some(request) = self.get_mut(id) else {
                continue;
            };
            if is_of_before(request.arrived, now) {
                request.arrived = request.arrived.back(by);
                request.facts.deadline = request.facts.deadline.map(|at| at.back(by));
            }
            if is_of_before(request.sent, now) {
                request.sent = request.sent.back(by);
            }
            if request.current.is_none() {
                self.timers.insert((now, id));
            }
        }
    }

    /// The relay stops at `at`: whoever waits for somebody who is back later is told so now.
    pub fn stop(&mut self, at: Time, now: Time) {
        self.stops = Some(at);
        let ids: Vec<RequestId> = self.live().map(|(id, _)| id).collect();
        for id in ids {
            self.leave_queue(id);
            if let Some(request) = self.get_mut(id) {
                request.stops = Some(at);
                if request.current.is_none() {
                    self.timers.insert((now, id));
                }
            }
        }
    }

    /// Applies an event of another relay, of the store or of an administrator. Says whether it counts: of what is known by
    /// a later one it does not.
    pub fn apply(&mut self, event: &Event, now: Time) -> bool {
        self.pool.apply(event, now)
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
            sent: now,
            under_way: Duration::ZERO,
            overtime: false,
            stops: self.stops,
            seen: self.sweeps,
            attempts: 0,
            shared_tries: 0,
            tried_keys: Vec::new(),
            tried_projects: Vec::new(),
            epoch: self.pool.epoch(),
            current: None,
            other_carrier: None,
            suspicions: Vec::new(),
            unshown: Vec::new(),
            resting: Vec::new(),
            pause: None,
            queued: None,
            has_waited: false,
            released: false,
            empties: 0,
            earlier_tried: false,
            insist: None,
            last_violation: None,
            plan: Vec::new(),
        };
        if let Some(at) = self.free.pop()
            && let Some(slot) = self.requests.get_mut(at as usize)
        {
            slot.request = Some(request);
            return RequestId {
                at,
                serial: slot.serial,
            };
        }
        self.requests.push(Slot {
            serial: 0,
            request: Some(request),
        });
        RequestId {
            at: u32::try_from(self.requests.len() - 1).unwrap_or(u32::MAX),
            serial: 0,
        }
    }

    /// Says what to do with a request.
    pub fn poll(&mut self, id: RequestId, now: Time) -> Step {
        self.leave_queue(id);
        let (max_wait, sweeps) = (self.settings.max_wait, self.sweeps);
        self.renew(id, now);
        let Some(request) = self.get_mut(id) else {
            return Step::Refuse(Refusal::Stopping);
        };
        request.seen = sweeps;
        if let Some(current) = &request.current {
            let attempt = attempt(current, request.attempts);
            return Step::Send(attempt);
        }
        let patience = request.patience(max_wait);
        if request.facts.deadline.is_some_and(|deadline| {
            deadline <= now + SHORTEST_DEADLINE && request.spent(deadline, now)
        }) {
            self.drop_carrier(id, now);
            return Step::Refuse(Refusal::Deadline);
        }
        if let Some(until) = request.pause.take_if(|until| *until > now) {
            request.pause = Some(until);
            return self.wait_until(id, until);
        }
        request.pause = None;
        let (model, kind) = (request.facts.model.clone(), request.facts.kind);
        let (client, has_answer) = (request.facts.client, request.has_answer());
        if let Some((back, why)) = self.storms.until(model.as_deref(), kind, client, now) {
            if back > patience {
                self.drop_carrier(id, now);
                if has_answer {
                    return Step::Refuse(Refusal::Earlier);
                }
                return Step::Refuse(match why {
                    Why::Ban => Refusal::EgressBan { back },
                    Why::Capacity => Refusal::Capacity { back },
                    Why::Overload => Refusal::Overloaded { back },
                });
            }
            let until = back + self.jitter(STORM_JITTER);
            return self.wait_until(id, until);
        }
        let ring = self.pool.ring(model.as_ref(), kind, now);
        if let Some(step) = self.other_carrier(id, now) {
            return step;
        }
        self.choose(id, ring, now)
    }

    /// The other way to show a key is not tried.
    fn drop_carrier(&mut self, id: RequestId, now: Time) {
        let request = self.get_mut(id);
        if let Some(current) = request.and_then(|request| request.other_carrier.take()) {
            self.proved_nothing(id, &current, now);
        }
    }

    /// An attempt ends before it is known what comes of it: if it was a trial, that proves nothing.
    fn proved_nothing(&mut self, id: RequestId, current: &Current, now: Time) {
        if current.pick.trial
            && let Some(facts) = self.get_mut(id).map(|request| request.facts.clone())
        {
            self.retry_trial(&facts, &current.key, None, (now + UNPROVEN, now));
            self.trial_failed(current.ring, now);
        }
    }

    /// The same key, shown the other way, if that is still to be tried and the key is not out by now.
    fn other_carrier(&mut self, id: RequestId, now: Time) -> Option<Step> {
        let current = self.get_mut(id)?.other_carrier.take()?;
        if self.pool.is_out(current.ring, current.pick, now) {
            self.proved_nothing(id, &current, now);
            self.get_mut(id)?.resting.push((current.pick.key, None));
            return None;
        }
        if let Some(ring) = self.pool.ring_mut(current.ring) {
            ring.take(current.pick);
        }
        let request = self.get_mut(id)?;
        request.attempts += 1;
        request.sent = now;
        let step = attempt(&current, request.attempts);
        request.current = Some(current);
        Some(Step::Send(step))
    }

    /// Where the keys are others now, nothing is known of them, and whoever was waited for may be gone. Says whether
    /// they are.
    fn renew(&mut self, id: RequestId, now: Time) -> bool {
        let epoch = self.pool.epoch();
        if self
            .get_mut(id)
            .is_none_or(|request| request.epoch == epoch)
        {
            return false;
        }
        self.drop_carrier(id, now);
        if let Some(request) = self.get_mut(id) {
            request.epoch = epoch;
            request.tried_keys.clear();
            request.tried_projects.clear();
            request.resting.clear();
            request.unshown.clear();
            request.pause = None;
        }
        true
    }

    fn choose(&mut self, id: RequestId, ring: RingId, now: Time) -> Step {
        let (limit, max_wait) = (self.settings.attempts, self.settings.max_wait);
        let alone = self
            .pool
            .ring_mut(ring)
            .is_none_or(|ring| ring.waiting.is_empty());
        let stuck = !alone && self.is_stuck(ring, now);
        let affinity = self.settings.affinity;
        let Some(request) = self
            .requests
            .get_mut(id.at as usize)
            .and_then(|slot| slot.request.as_mut())
        else {
            return Step::Refuse(Refusal::Stopping);
        };
        let exhausted = limit.is_some_and(|limit| request.attempts >= limit);
        let patience = request.patience(max_wait);
        // Those who came earlier go first if any of them can go, as long as there is time.
        let its_turn = alone || request.released;
        if !exhausted && (its_turn || stuck || now >= patience) {
            let earlier = request.facts.conversation.and_then(|turns| turns.earlier);
            let insist = request.insist.take();
            let passing = insist.is_none().then(|| request.passing());
            let prefer = insist
                .or_else(|| {
                    earlier
                        .filter(|_| affinity)
                        .and_then(|turns| self.affinity.project_of(request.facts.client, turns))
                })
                .and_then(|project| self.pool.project_index(project));
            let mut want = Want {
                tried_keys: &request.tried_keys,
                tried_projects: &request.tried_projects,
                replayable: request.facts.replayable,
                prefer,
                passing,
            };
            let mut pick = self.pool.pick_planned(ring, &request.plan, &want, now);
            if pick.is_none() {
                want.passing = None;
                let doubt = request.doubt(patience);
                pick = self.pool.pick_suspect(ring, &want, doubt, now);
            }
            if let Some(pick) = pick
                && let Some(info) = self.pool.info(pick)
            {
                let key = Arc::clone(info);
                let route = request.facts.route();
                let carrier = self.pool.carrier(key.id, route.surface);
                // It was refused both ways lately, and was served this way before.
                let once = self.pool.is_suspect(ring, route, pick.key, now)
                    && !self.pool.is_news(key.id, route.surface, carrier);
                let current = Current {
                    key,
                    ring,
                    pick,
                    carrier,
                    carriers_tried: if once { 2 } else { 1 },
                };
                request.attempts += 1;
                request.sent = now;
                request.released = its_turn;
                let step = attempt(&current, request.attempts);
                request.current = Some(current);
                return Step::Send(step);
            }
        }
        self.wait_or_refuse(id, ring, exhausted, now)
    }

    /// The answer has gone to the client whole, or broke on the way.
    pub fn finish(&mut self, id: RequestId) {
        self.release_key(id);
        self.drop_request(id);
    }

    /// The client has gone, or the shell gives up.
    pub fn cancel(&mut self, id: RequestId, now: Time) {
        if let Some(current) = self.get_mut(id).and_then(|request| request.current.take()) {
            self.give_back(&current);
            self.proved_nothing(id, &current, now);
        }
        self.drop_carrier(id, now);
        self.leave_queue(id);
        self.finish(id);
    }

    /// The attempt is over; its key and project are less loaded.
    fn release_key(&mut self, id: RequestId) {
        if let Some(current) = self.get_mut(id).and_then(|request| request.current.take()) {
            self.give_back(&current);
        }
    }

    fn give_back(&mut self, current: &Current) {
        if let Some(ring) = self.pool.ring_mut(current.ring) {
            ring.give_back(current.pick);
        }
    }

    fn emit(&mut self, change: Change, now: Time) {
        self.stamp.at = now.max(self.stamp.at);
        self.stamp.sequence += 1;
        let event = Event {
            stamp: self.stamp,
            change,
        };
        self.tell(event, now);
    }

    fn tell(&mut self, event: Event, now: Time) {
        self.pool.apply(&event, now);
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        // splitmix64: one step is enough for spreading pauses.
        self.entropy = self.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.entropy;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (z ^ (z >> 31)) >> 11;
        Duration::from_micros(
            u64::try_from(most.as_micros())
                .unwrap_or(0)
                .saturating_mul(share >> 21)
                >> 32,
        )
    }

    /// Requests whose shell has not been heard of for longer than any answer may take. What counts is how often it was
    /// looked: the time in which a machine sleeps is nobody's.
    fn sweep(&mut self, now: Time) {
        self.sweeps = self.sweeps.wrapping_add(1);
        let sweeps = self.sweeps;
        let lost: Vec<RequestId> = self
            .live()
            .filter(|(_, request)| sweeps.wrapping_sub(request.seen) > EXPIRY)
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            self.cancel(id, now);
        }
    }

    fn live(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.requests.iter().enumerate().filter_map(|(at, slot)| {
            Some((
                RequestId {
                    at: u32::try_from(at).ok()?,
                    serial: slot.serial,
                },
                slot.request.as_ref()?,
            ))
        })
    }

    fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        let slot = self.requests.get_mut(id.at as usize)?;
        if slot.serial == id.serial {
            slot.request.as_mut()
        } else {
            None
        }
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
    /// How long it may wait: the operator's limit, to which the longest attempt does not count, and the client's own less what
    /// an answer needs.
    fn patience(&self, max_wait: Duration) -> Time {
        let own = self.arrived + max_wait + self.under_way;
        let own = self.stops.map_or(own, |stops| own.min(stops));
        match self.facts.deadline {
            Some(deadline) => {
                let latest = Time::from_millis(
                    deadline
                        .as_millis()
                        .saturating_sub(millis(SHORTEST_DEADLINE)),
                );
                own.min(latest)
            }
            None => own,
        }
    }

    /// Whether a refusal that it had may be its answer.
    fn has_answer(&self) -> bool {
        self.suspicions.iter().any(|it| !it.known)
    }

    /// What it asks of a choice, wherever its conversation was.
    fn want(&self) -> Want<'_> {
        Want {
            tried_keys: &self.tried_keys,
            tried_projects: &self.tried_projects,
            replayable: self.facts.replayable,
            prefer: None,
            passing: Some(self.passing()),
        }
    }

    /// What it asks of suspects, whom it passes over otherwise.
    fn doubt(&self, patience: Time) -> Doubt<'_> {
        Doubt {
            route: self.facts.route(),
            asked: self.unshown.len(),
            resting: &self.resting,
            patience,
        }
    }

    /// The keys and projects that it need not ask again once those that rest are back.
    fn settled(&self) -> (Vec<usize>, Vec<usize>) {
        settled(&self.want(), &self.resting)
    }

    /// Whom it passes over.
    fn passing(&self) -> (Passing, Route) {
        // What can be sent once goes where nobody doubts.
        let who = if self.unshown.is_empty() && self.facts.replayable {
            Passing::Alone
        } else {
            Passing::All
        };
        (who, self.facts.route())
    }

    /// Whether the client's time is too short because the relay has used some of it up, or because it
    /// was too short from the start. Ten seconds are enough, though recognising the request and a quick
    /// refusal took a moment of them.
    fn spent(&self, deadline: Time, now: Time) -> bool {
        now.since(self.arrived) > MOMENT
            || deadline.since(self.arrived) + READING < SHORTEST_DEADLINE
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn attempt(current: &Current, number: u32) -> Attempt {
    Attempt {
        key: Arc::clone(&current.key),
        carrier: current.carrier,
        number,
    }
}

/// Google refuses an `X-Server-Timeout` below ten seconds.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(10);

/// Of ten seconds, what a client would not miss.
const MOMENT: Duration = Duration::from_secs(1);

/// What may pass of a client's time before its request is let in, and not count.
const READING: Duration = Duration::from_millis(500);

/// When a storm is over they need not all come at once.
const STORM_JITTER: Duration = Duration::from_millis(250);

/// In sweeps, of which there is one a minute at most: longer than a 60-minute stream with the longest wait before it.
const EXPIRY: u32 = 120;

/// Events that the shell has not taken: it takes them after every call.
const MAX_EVENTS: usize = 65_536;

#[cfg(test)]
mod tests;
