//! What an attempt's outcome comes to: retry, deliver or refuse, and what is held against whom.

use super::{Current, Done, Next, Relay, RequestId, Suspicion};
use crate::block::Reason;
use crate::budget::{Measure, Quota, Weight};
use crate::event::{Change, Subject};
use crate::facts::{Facts, Kinds, Repeat};
use crate::pool::{Came, Carrier, KeyInfo, UNPROVEN};
use crate::refusal::Refusal;
use crate::ring::RingId;
use crate::time::Time;
use crate::verdict::{Effect, Meaning, Outcome, Until, Verdict, judge};
use std::sync::Arc;
use std::time::Duration;

impl Relay {
    /// Says what came of the attempt. `can_repeat`: the body is still at hand.
    pub fn attempt_done(
        &mut self,
        id: RequestId,
        outcome: &Outcome,
        can_repeat: bool,
        now: Time,
    ) -> Done {
        let stale = Done {
            meaning: Meaning::Client,
            next: Next::Deliver(None),
            passed_over: Vec::new(),
        };
        let sweeps = self.sweeps;
        let Some(request) = self.get_mut(id) else {
            return stale;
        };
        request.seen = sweeps;
        let Some(mut current) = request.current.take() else {
            return stale;
        };
        let took = now.since(request.sent);
        request.under_way = request.under_way.max(took);
        let mut verdict = judge(&request.facts, outcome, now);
        let (facts, number) = (request.facts.clone(), request.attempts);
        if let Some(violation) = verdict
            .effect
            .as_mut()
            .and_then(|effect| effect.violation.as_mut())
        {
            self.pool.cover(violation);
        }
        let meaning = verdict.meaning;
        let mut renewed = false;
        if meaning != Meaning::Served {
            self.give_back(&current);
            renewed = self.renew(id, now);
            if renewed {
                current.ring = self.pool.ring(facts.model.as_ref(), facts.kind, now);
                current.pick.key = self.pool.index_of(current.key.id);
            }
            if current.pick.trial {
                self.trial_failed(current.ring, now);
            }
            self.note_tried(id, &current, meaning, verdict.effect.is_some());
        }
        let mut passed_over = Vec::new();
        let next = match meaning {
            Meaning::Served => {
                passed_over = self.served(id, &facts, &current, now);
                Next::Deliver(None)
            }
            Meaning::Quota | Meaning::Billing | Meaning::KeyDead => {
                self.slow_down(current.ring, meaning, took);
                self.learn_limits(outcome, &verdict.effect, &facts, &current, now);
                self.block(&verdict.effect, &facts, &current, now);
                if let (Some(effect), Some(request)) = (&verdict.effect, self.get_mut(id)) {
                    request.last_violation = (meaning == Meaning::Quota)
                        .then(|| (effect.violation.clone().map(Arc::new), effect.reason));
                }
                if verdict.effect.is_none()
                    && !self.another(id, now)
                    && !self.may_wait(id, current.ring, now)
                {
                    Next::Deliver(None)
                } else if can_repeat {
                    Next::Retry
                } else {
                    Next::Refuse(self.unrepeatable(id, current.ring, now))
                }
            }
            Meaning::Capacity => {
                self.slow_down(current.ring, meaning, took);
                self.block(&verdict.effect, &facts, &current, now);
                self.storms.capacity(
                    facts.model.as_ref(),
                    facts.kind,
                    (current.key.project_id, facts.client),
                    now,
                );
                self.shared(
                    id,
                    can_repeat,
                    CAPACITY_TRIES,
                    Duration::ZERO,
                    "shared-capacity",
                    now,
                )
            }
            // The keys are others: it may be there no more.
            Meaning::Carrier if renewed && can_repeat => Next::Retry,
            Meaning::Carrier => self.carrier(id, &facts, current.clone(), can_repeat, now),
            Meaning::ModelMissing | Meaning::Denied => {
                let effect = verdict.effect.clone();
                self.elsewhere_once(id, &current, meaning, effect, can_repeat, now)
            }
            Meaning::EgressBan => {
                let back = self.storms.ban(now);
                match self.shared(id, can_repeat, BAN_TRIES, Duration::ZERO, "egress-ban", now) {
                    // No client can read a page.
                    Next::Deliver(_) => Next::Refuse(Refusal::EgressBan { back }),
                    next => next,
                }
            }
            Meaning::Signature => self.earlier_project(id, &current, can_repeat),
            Meaning::Server => {
                let refused = matches!(outcome, Outcome::Refused { status: 503, .. });
                self.storms.server(
                    facts.model.as_ref(),
                    (current.key.project_id, facts.client),
                    refused,
                    now,
                );
                let may = can_repeat && (refused || facts.repeat == Repeat::Freely);
                let pause = self.backoff(id, SERVER_PAUSE);
                self.shared(id, may, SERVER_TRIES, pause, "overloaded", now)
            }
            Meaning::Network => self.network(id, outcome, &facts, can_repeat, now),
            Meaning::Empty => self.empty(id, &facts, can_repeat),
            Meaning::Silent => Next::Refuse(Refusal::Silent),
            Meaning::NotOwner | Meaning::Client | Meaning::Location => Next::Deliver(None),
        };
        self.after_probe(&mut current, &verdict, now);
        if current.pick.trial {
            let other_way = self
                .get_mut(id)
                .is_some_and(|it| it.other_carrier.is_some());
            self.after_trial(&facts, &mut current, &verdict, (other_way, now));
        }
        debug_assert!(number > 0, "an outcome without an attempt");
        let nobodys = matches!(
            meaning,
            Meaning::Server
                | Meaning::Network
                | Meaning::Capacity
                | Meaning::EgressBan
                | Meaning::Silent
                | Meaning::Empty
        );
        let next = match next {
            // What Google said before it was in trouble.
            Next::Deliver(_) | Next::Refuse(_)
                if nobodys && self.get_mut(id).is_some_and(|it| it.has_answer()) =>
            {
                Next::Refuse(Refusal::Earlier)
            }
            next => next,
        };
        if meaning == Meaning::Served
            && let Some(request) = self.get_mut(id)
        {
            request.current = Some(current);
        }
        Done {
            meaning,
            next,
            passed_over,
        }
    }

    /// What is known now of a budget.
    fn after_probe(&mut self, current: &mut Current, verdict: &Verdict, now: Time) {
        let came = match (verdict.meaning, &verdict.effect) {
            (Meaning::Served, _) => Came::Served,
            (Meaning::Quota, Some(effect)) => match effect.until {
                Until::At(back) => Came::Refused(back),
                Until::TriedAgain => Came::Nothing,
            },
            _ => Came::Nothing,
        };
        if current.pick.probe.is_some() || matches!(came, Came::Refused(_)) {
            self.pool.probed(current.ring, current.pick, came, now);
            current.pick.probe = None;
        }
    }

    /// What is known now of whoever was tried: all, if it was served; of one that ran into a quota, that its key is taken,
    /// and of one whose quota has a limit, that its project is too. What proved nothing is tried again soon.
    fn after_trial(
        &mut self,
        facts: &Facts,
        current: &mut Current,
        verdict: &Verdict,
        (other_way, now): (bool, Time),
    ) {
        if verdict.meaning == Meaning::Carrier && other_way {
            return;
        }
        let tried = self.pool.name(facts.model.as_ref(), facts.kind);
        let reason = match (verdict.meaning, &verdict.effect) {
            (Meaning::Quota | Meaning::Billing | Meaning::Capacity, Some(effect)) => {
                Some(effect.reason)
            }
            _ => None,
        };
        let served = verdict.meaning == Meaning::Served;
        let project = served || matches!(reason, Some(Reason::QuotaMinute | Reason::QuotaDay));
        let key = project || matches!(reason, Some(Reason::Quota | Reason::Tier | Reason::Billing));
        for change in self.pool.cleared_by_trial(&current.key, &tried) {
            if project || key && matches!(change, Change::Cleared(Subject::Key(_), _)) {
                self.emit(change, now);
            }
        }
        if served {
            // Its answer may be a long one, and nobody has to wait for the end of it.
            current.pick.trial = false;
            if let Some(ring) = self.pool.ring_mut(current.ring) {
                ring.trials = ring.trials.saturating_sub(1);
            }
            return;
        }
        let held = matches!(
            verdict.meaning,
            Meaning::Quota | Meaning::Billing | Meaning::KeyDead
        );
        let effect = verdict.effect.as_ref().filter(|_| held);
        let written = effect.map(|effect| self.pool.change(effect, &current.key, false, now));
        // A client whose requests are wrong must not be the only one that tries.
        let wrong = matches!(
            verdict.meaning,
            Meaning::Client
                | Meaning::NotOwner
                | Meaning::Signature
                | Meaning::Location
                | Meaning::ModelMissing
        );
        let due = if wrong { now } else { now + UNPROVEN };
        self.retry_trial(facts, &current.key, written.as_ref(), (due, now));
    }

    /// Nothing is known now of whoever was tried, but for what was `written`, and that is told to whoever takes turns.
    pub(super) fn retry_trial(
        &mut self,
        facts: &Facts,
        key: &KeyInfo,
        written: Option<&Change>,
        (due, now): (Time, Time),
    ) {
        let tried = self.pool.name(facts.model.as_ref(), facts.kind);
        for event in self.pool.unproven(key, &tried, written, (due, now)) {
            self.tell(event, now);
        }
    }

    /// Somebody's quota ran out: those who wait are let go one by one again.
    fn slow_down(&mut self, ring: RingId, meaning: Meaning, took: Duration) {
        if meaning != Meaning::KeyDead
            && let Some(ring) = self.pool.ring_mut(ring)
        {
            ring.served_since = 0;
            ring.flows = None;
            ring.refuses_in = took.max(ring.refuses_in / 2).min(SLOWEST);
        }
    }

    fn served(
        &mut self,
        id: RequestId,
        facts: &Facts,
        current: &Current,
        now: Time,
    ) -> Vec<Arc<KeyInfo>> {
        if let Some(turns) = facts.conversation
            && self.settings.affinity
        {
            self.affinity
                .remember(facts.client, turns.whole, current.key.project_id);
            self.note_moved(id, facts, current.key.project_id);
        }
        self.storms
            .served(facts.model.as_deref(), facts.kind, facts.client);
        let (key, route, carrier) = (current.key.id, facts.route(), current.carrier);
        let surface = route.surface;
        if self.pool.is_news(key, surface, carrier) {
            self.emit(Change::CarrierLearned(key, surface, carrier), now);
        }
        let refused = self
            .get_mut(id)
            .map(|request| std::mem::take(&mut request.unshown))
            .unwrap_or_default();
        let alone = self
            .pool
            .ring_mut(current.ring)
            .map(|ring| ring.serves(route, current.pick.key, &refused, now))
            .unwrap_or_default();
        let passed_over = alone
            .into_iter()
            .filter_map(|key| self.pool.info_at(key).cloned())
            .collect();
        self.served = Some(now);
        // Others were refused what this one got: it was their own fault.
        let suspicions = self
            .get_mut(id)
            .map(|request| std::mem::take(&mut request.suspicions))
            .unwrap_or_default();
        for Suspicion { key, effect, .. } in suspicions {
            if key.project_id != current.key.project_id
                && let Some(effect) = effect
            {
                let change = self.pool.change(&effect, &key, false, now);
                self.emit(change, now);
            }
        }
        passed_over
    }

    fn carrier(
        &mut self,
        id: RequestId,
        facts: &Facts,
        mut current: Current,
        can_repeat: bool,
        now: Time,
    ) -> Next {
        let [first, second] = Carrier::of(facts.surface);
        if current.carriers_tried >= 2 {
            return self.no_carrier(id, facts, &current, can_repeat, now);
        }
        if !can_repeat {
            // Whoever comes after it, and can be sent once, goes elsewhere.
            if let Some(ring) = self.pool.ring_mut(current.ring) {
                ring.suspects.add(facts.route(), current.pick.key, now);
            }
            return Next::Deliver(Some("body-not-repeatable"));
        }
        current.carrier = if current.carrier == first {
            second
        } else {
            first
        };
        current.carriers_tried += 1;
        if let Some(request) = self.get_mut(id) {
            request.other_carrier = Some(current);
        }
        Next::Retry
    }

    /// Neither way of showing the key was taken: by the key's fault, by the surface's or the model's (one type of
    /// key may be all that it takes), or because this is a thing that takes no keys (some want OAuth, and which
    /// they are is Google's to change). So others are asked first, and it is passed over by those who come.
    fn no_carrier(
        &mut self,
        id: RequestId,
        facts: &Facts,
        current: &Current,
        can_repeat: bool,
        now: Time,
    ) -> Next {
        if let Some(ring) = self.pool.ring_mut(current.ring) {
            ring.suspects.add(facts.route(), current.pick.key, now);
        }
        if let Some(request) = self.get_mut(id) {
            request.unshown.push(current.pick.key);
        }
        if !can_repeat {
            return Next::Deliver(Some("body-not-repeatable"));
        }
        if self.another(id, now)
            || self.untried(id, current.ring, now)
            || self.may_wait(id, current.ring, now)
        {
            return Next::Retry;
        }
        let in_hand = self.get_mut(id).is_some_and(|request| request.has_answer());
        if in_hand || self.rests(id, current.ring, now) {
            return Next::Refuse(self.dry(id, current.ring, now));
        }
        if self.served.is_some_and(|at| now.since(at) < LATELY) {
            return Next::Deliver(None);
        }
        Next::Refuse(Refusal::AllDead {
            counts: self.counts(current.ring, facts.route(), now),
            back: None,
        })
    }

    /// What may be one project's own fault: one other is asked; and of a model that somebody was served lately, all.
    fn elsewhere_once(
        &mut self,
        id: RequestId,
        current: &Current,
        meaning: Meaning,
        effect: Option<Effect>,
        can_repeat: bool,
        now: Time,
    ) -> Next {
        let known = effect.as_ref().is_some_and(|effect| {
            let change = self.pool.change(effect, &current.key, false, now);
            self.pool.was_blocked(&change, now)
        });
        let Some(request) = self
            .requests
            .get_mut(id.at as usize)
            .and_then(|slot| slot.request.as_mut())
        else {
            return Next::Deliver(None);
        };
        let ring = self.pool.ring_mut(current.ring);
        let served = ring.and_then(|ring| ring.served_at(request.facts.route()));
        let project = current.key.project_id;
        let others =
            |it: &Suspicion| !it.known && it.meaning == meaning && it.key.project_id != project;
        // A model that was served lately is there: of this request such a refusal says little.
        let known = known
            || meaning == Meaning::ModelMissing
                && served.is_some_and(|at| now.since(at) < LATELY)
                && request.suspicions.len() < MOST_REFUSED;
        if !known && request.suspicions.iter().any(others) {
            // Two agree: they are believed, and nothing is held against either.
            request.suspicions.clear();
            return Next::Deliver(None);
        }
        if !can_repeat {
            return Next::Deliver(Some("body-not-repeatable"));
        }
        request.suspicions.push(Suspicion {
            key: Arc::clone(&current.key),
            meaning,
            effect,
            known,
        });
        if self.another(id, now) || self.may_wait(id, current.ring, now) {
            Next::Retry
        } else if known && self.rests(id, current.ring, now) {
            // Whoever would serve it rests.
            Next::Refuse(self.dry(id, current.ring, now))
        } else {
            Next::Deliver(None)
        }
    }

    /// A thought signature of another project: the one of the earlier turns is asked, once.
    fn earlier_project(&mut self, id: RequestId, current: &Current, can_repeat: bool) -> Next {
        let Some(request) = self
            .requests
            .get_mut(id.at as usize)
            .and_then(|slot| slot.request.as_mut())
        else {
            return Next::Deliver(None);
        };
        let earlier = request.facts.conversation.and_then(|turns| turns.earlier);
        let project =
            earlier.and_then(|turns| self.affinity.project_of(request.facts.client, turns));
        match project {
            Some(project)
                if project != current.key.project_id && can_repeat && !request.earlier_tried =>
            {
                request.earlier_tried = true;
                request.insist = Some(project);
                Next::Retry
            }
            _ => Next::Deliver(None),
        }
    }

    /// A refusal that is nobody's fault: a few tries with pauses, not a walk through the pool.
    fn shared(
        &mut self,
        id: RequestId,
        may: bool,
        tries: u32,
        pause: Duration,
        why: &'static str,
        now: Time,
    ) -> Next {
        let max_wait = self.settings.max_wait;
        let Some(request) = self.get_mut(id) else {
            return Next::Deliver(None);
        };
        request.shared_tries += 1;
        let until = now + pause;
        let patience = request.patience(max_wait);
        let (model, kind) = (request.facts.model.clone(), request.facts.kind);
        let client = request.facts.client;
        if !may || request.shared_tries >= tries || until > patience {
            return Next::Deliver(Some(why));
        }
        request.pause = (pause > Duration::ZERO).then_some(until);
        if self
            .storms
            .until(model.as_deref(), kind, client, now)
            .is_some_and(|(until, _)| until > patience)
        {
            return Next::Deliver(Some(why));
        }
        // After a pause the same project may be asked again, with only one there is no other; but nobody that gave
        // an answer of its own.
        let Some(request) = self
            .requests
            .get_mut(id.at as usize)
            .and_then(|slot| slot.request.as_mut())
        else {
            return Next::Deliver(None);
        };
        let gave = request.suspicions.iter().map(|it| it.key.project_id);
        request.tried_projects = gave
            .filter_map(|project| self.pool.project_index(project))
            .collect();
        request.tried_keys.clone_from(&request.unshown);
        request.resting.clear();
        Next::Retry
    }

    fn network(
        &mut self,
        id: RequestId,
        outcome: &Outcome,
        facts: &Facts,
        can_repeat: bool,
        now: Time,
    ) -> Next {
        let unreachable = matches!(outcome, Outcome::Unreachable);
        let pause = self.backoff(id, NETWORK_PAUSE);
        let may = can_repeat && (unreachable || facts.repeat == Repeat::Freely);
        match self.shared(
            id,
            may,
            if unreachable {
                CONNECT_TRIES
            } else {
                BROKEN_TRIES
            },
            pause,
            "unreachable",
            now,
        ) {
            Next::Retry => Next::Retry,
            _ => Next::Refuse(if unreachable {
                Refusal::Unreachable
            } else {
                Refusal::Broken
            }),
        }
    }

    fn empty(&mut self, id: RequestId, facts: &Facts, can_repeat: bool) -> Next {
        let Some(request) = self.get_mut(id) else {
            return Next::Deliver(None);
        };
        request.empties += 1;
        if can_repeat && facts.repeat == Repeat::Freely && request.empties < 2 {
            // Nobody's fault: the same project may be asked if there is no other.
            request.tried_keys.clear();
            return Next::Retry;
        }
        Next::Deliver(Some("empty-answer"))
    }

    fn note_tried(&mut self, id: RequestId, current: &Current, meaning: Meaning, held: bool) {
        let epoch = self.pool.epoch();
        let project = self.pool.project_index(current.key.project_id);
        let Some(request) = self.get_mut(id) else {
            return;
        };
        if request.epoch != epoch {
            return;
        }
        if held && matches!(meaning, Meaning::Quota | Meaning::Capacity) {
            request.resting.push((current.pick.key, project));
        }
        request.tried_keys.push(current.pick.key);
        if matches!(
            meaning,
            Meaning::Quota
                | Meaning::Capacity
                | Meaning::Billing
                | Meaning::ModelMissing
                | Meaning::Denied
        ) && let Some(project) = project
        {
            request.tried_projects.push(project);
        }
    }

    /// A refusal may say what the limits are.
    fn learn_limits(
        &mut self,
        outcome: &Outcome,
        effect: &Option<Effect>,
        facts: &Facts,
        current: &Current,
        now: Time,
    ) {
        let (Outcome::Refused { error, .. }, Some(effect)) = (outcome, effect) else {
            return;
        };
        let kinds = Kinds::beside(facts.kind);
        if effect.kinds != kinds {
            // Of a part of them only, as of what searches.
            return;
        }
        let learned = error.violations.iter().filter_map(|violation| {
            violation.value.filter(|limit| *limit > 0)?;
            let measure = Measure::of(violation)?;
            let named = violation.model.as_deref().map(Arc::from);
            let quota = Quota {
                model: named.or_else(|| facts.model.clone()),
                kinds,
                measure,
            };
            let violation = Some(Arc::new(violation.clone()));
            Some(Change::LimitLearned(
                current.key.project_id,
                quota,
                violation,
            ))
        });
        let learned: Vec<Change> = learned.collect();
        for change in self.pool.limits_learned(&learned) {
            self.emit(change, now);
        }
    }

    pub(super) fn block(
        &mut self,
        effect: &Option<Effect>,
        facts: &Facts,
        current: &Current,
        now: Time,
    ) {
        let Some(effect) = effect else { return };
        if let (Some(asked), Some(named)) = (&facts.model, &effect.model)
            && **asked != **named
        {
            self.emit(
                Change::ModelNamed(Arc::clone(asked), Arc::from(named.as_str())),
                now,
            );
        }
        let change = self
            .pool
            .change(effect, &current.key, current.pick.trial, now);
        // Hundreds may be under way when a quota runs out, and each is told so.
        if !self.pool.says_nothing_new(&change) {
            self.emit(change, now);
        }
    }

    /// Whether anybody else could be asked right now.
    pub(super) fn another(&mut self, id: RequestId, now: Time) -> bool {
        let Some(request) = self.get_mut(id) else {
            return false;
        };
        let (model, kind) = (request.facts.model.clone(), request.facts.kind);
        let ring = self.pool.ring(model.as_ref(), kind, now);
        self.someone_for(id, ring, now)
    }

    /// Whether anybody rests who would be back at a known time.
    fn rests(&mut self, id: RequestId, ring: RingId, now: Time) -> bool {
        let weight = self
            .get_mut(id)
            .map_or(Weight::ONE, |request| request.weight);
        self.pool.first_back(ring, weight, now).is_some()
    }

    /// Whether it may wait for somebody.
    fn may_wait(&mut self, id: RequestId, ring: RingId, now: Time) -> bool {
        let limit = self.settings.attempts;
        let crowded = self.waiting >= self.settings.max_waiting;
        let attempts = self.get_mut(id).map_or(0, |request| request.attempts);
        let exhausted = crowded || limit.is_some_and(|limit| attempts >= limit);
        self.who_comes(id, ring, exhausted, now).is_some()
    }

    /// Whether anybody of this ring may be asked for a request right now.
    pub(super) fn someone_for(&mut self, id: RequestId, ring: RingId, now: Time) -> bool {
        let (limit, max_wait) = (self.settings.attempts, self.settings.max_wait);
        let Some(request) = self
            .requests
            .get(id.at as usize)
            .and_then(|slot| slot.request.as_ref())
        else {
            return false;
        };
        if limit.is_some_and(|limit| request.attempts >= limit)
            || request.unshown.len() >= MOST_REFUSED
        {
            return false;
        }
        let mut want = request.want();
        if self.pool.has_candidate(ring, &want, now) {
            return true;
        }
        want.passing = None;
        let doubt = request.doubt(request.patience(max_wait));
        self.pool.suspect(ring, &want, doubt, now).is_some()
            || self.pool.has_probe(ring, &want, false, now)
    }

    /// Exponential, with half of it left to chance so that clients do not come back together.
    pub(super) fn backoff(&mut self, id: RequestId, first: Duration) -> Duration {
        let tries = self
            .get_mut(id)
            .map_or(0, |request| request.shared_tries)
            .min(6);
        let full = first * (1 << tries);
        full / 2 + self.jitter(full / 2)
    }
}

/// No refusal is waited for longer than this.
const SLOWEST: Duration = Duration::from_secs(30);

/// An overloaded model is overloaded for all: two more tries catch a spell of a second or two, more
/// would make it worse.
const SERVER_TRIES: u32 = 3;
const SERVER_PAUSE: Duration = Duration::from_millis(500);

/// Where anybody was served anything within this time, what nobody is served is the request's own fault.
pub(super) const LATELY: Duration = Duration::from_secs(15 * 60);

/// No request is asked of more keys that refuse it with 401 than this; those who come later begin with others.
pub(super) const MOST_REFUSED: usize = 64;

/// "Resource has been exhausted": two projects, then twice more after the model's pause.
const CAPACITY_TRIES: u32 = 4;

/// A banned address: one more try when the ban may be over.
const BAN_TRIES: u32 = 2;

/// A network that is coming back (a laptop that wakes) is there within seconds: 0.1 s, 0.2 s … 3.2 s.
const CONNECT_TRIES: u32 = 7;
const NETWORK_PAUSE: Duration = Duration::from_millis(100);

/// A keep-alive connection that Google had closed: once more, and once more.
const BROKEN_TRIES: u32 = 3;
