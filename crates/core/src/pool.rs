//! The pool: all keys and projects, and what is known of them.
//!
//! Keys are grouped: a *group* is the keys of one project at one priority. A ring (see
//! [`ring`](crate::ring)) rotates over groups and, within a group, over its keys. What is known hangs
//! on projects and keys as [`Block`]s, so that a verdict is written down once and every ring that it
//! concerns is told; choosing then looks at nothing but the ring.

mod info;
mod known;
mod said;
mod snapshot;

pub use info::KeyInfo;
pub(crate) use known::Known;
use known::{Learned, Named};

use crate::block::{Block, Reason, next_trial};
use crate::event::{Change, Event, Stamp, Subject};
use crate::facts::{Kind, Route, Surface};
use crate::key::{KeyId, KeySpec};
use crate::ring::{Counted, Doubt, Name, Pick, Ring, RingId, Rings, Want};
use crate::settings::Strategy;
use crate::time::Time;
use crate::verdict::{Effect, Until, Whose};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A project's identity: from its name, or from its only key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(pub u64);

impl fmt::Debug for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How a key is shown to Google.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// `x-goog-api-key`.
    ApiKeyHeader,
    /// `Authorization: Bearer`.
    Bearer,
}

impl Carrier {
    /// The carriers to try on a surface, the usual one first.
    #[must_use]
    pub const fn of(surface: Surface) -> [Self; 2] {
        match surface {
            Surface::OpenAi => [Self::Bearer, Self::ApiKeyHeader],
            _ => [Self::ApiKeyHeader, Self::Bearer],
        }
    }
}

/// Keys, projects and what is known of them.
#[derive(Debug)]
pub struct Pool {
    pub(crate) known: Known,
    rings: Rings,
    /// Counts every change of what is known.
    version: u64,
}

impl Pool {
    /// A pool of these keys, of which nothing is known yet.
    ///
    /// Of two specs with the same text the first counts. Labels are made up where there are none.
    #[must_use]
    pub fn new(specs: &[KeySpec], strategy: Strategy) -> Self {
        Self {
            known: Known::new(specs, None),
            rings: Rings::new(strategy),
            version: 0,
        }
    }

    /// Takes a new list of keys; what is known of keys and projects that stay is kept.
    pub fn reload(&mut self, specs: &[KeySpec]) {
        self.known = Known::new(specs, Some(&self.known));
        self.rings.forget();
        self.version += 1;
    }

    /// The clock was set back: ends move with it. As after a [`reload`](Self::reload) rings are made anew.
    pub(crate) fn clock_set_back(&mut self, by: Duration, now: Time) {
        self.known.clock_set_back(by, now);
        self.rings.forget();
        self.version += 1;
    }

    /// Counts every change of what is known; the same number means the same pool.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Every key, in the order given.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyInfo>> {
        self.known.keys.iter().map(|key| &key.info)
    }

    /// How many projects there are, keys of unknown project counting as one each.
    #[must_use]
    pub const fn project_count(&self) -> usize {
        self.known.projects.len()
    }

    /// How many keys are usable for something, and how many are out for everything, by reason.
    #[must_use]
    pub fn census(&self, now: Time) -> Census {
        self.census_where(now, |block| block.model.is_none(), |_| false)
    }

    /// The same for what this ring is about, asked in this way.
    pub(crate) fn census_of(&mut self, id: RingId, route: Route, now: Time) -> Census {
        let Some(ring) = self.rings.get(id) else {
            return self.census(now);
        };
        let of = (ring.refreshed, ring.suspects.count(), route);
        let fresh = |it: &&Counted| it.of == of && it.at <= now && now.since(it.at) < COUNTED;
        if let Some(counted) = ring.census.as_ref().filter(fresh) {
            return counted.census.clone();
        }
        let is_suspect = |key| ring.suspects.has(route, key, now);
        let census = self.census_where(now, |block| block.covers(ring.about()), is_suspect);
        if let Some(ring) = self.rings.get_mut(id) {
            let census = census.clone();
            ring.census = Some(Counted {
                at: now,
                of,
                census,
            });
        }
        census
    }

    fn census_where(
        &self,
        now: Time,
        concerns: impl Fn(&Block) -> bool,
        is_suspect: impl Fn(usize) -> bool,
    ) -> Census {
        let mut census = Census::default();
        for (at, key) in self.known.keys.iter().enumerate() {
            let project = self
                .known
                .projects
                .get(key.project)
                .map_or(&[][..], |project| &project.blocks);
            // Whoever is out without a known end is out until a trial was served.
            let holds = |block: &Block| block.until > now || block.strikes.is_some();
            let out = key
                .blocks
                .iter()
                .chain(project)
                .find(|known| !known.cleared && holds(&known.block) && concerns(&known.block));
            match out {
                _ if !key.enabled => census.disabled += 1,
                Some(known) => *census.out.entry(known.block.reason).or_default() += 1,
                None if is_suspect(at) => {
                    *census.out.entry(Reason::CredentialType).or_default() += 1;
                }
                None => census.usable += 1,
            }
        }
        census
    }

    /// Applies an event. Doing so twice, or in another order, comes to the same. Says whether it counts: of what is known
    /// by a later one it does not.
    pub fn apply(&mut self, event: &Event, now: Time) -> bool {
        let stamp = event.stamp;
        let counts = match &event.change {
            Change::Blocked(subject, block) => self.write(*subject, stamp, (block, false), now),
            Change::Cleared(subject, block) => self.write(*subject, stamp, (block, true), now),
            Change::CarrierLearned(key, surface, carrier) => {
                self.known.learn_carrier(*key, *surface, stamp, *carrier)
            }
            Change::ModelNamed(asked, named) => {
                let counts = self.known.learn_name(asked, stamp, named);
                if counts == Some(Named::Anew) {
                    self.rings.rename(&self.known, asked, named, now);
                }
                counts.is_some()
            }
        };
        self.version += u64::from(counts);
        counts
    }

    fn write(
        &mut self,
        subject: Subject,
        stamp: Stamp,
        (block, cleared): (&Block, bool),
        now: Time,
    ) -> bool {
        let Some(touched) = self.known.write(subject, stamp, (block, cleared), now) else {
            return false;
        };
        for key in touched {
            self.rings.refresh(&self.known, key, Some(block), now);
        }
        true
    }

    /// The change that an effect on an attempt's key or project comes to.
    pub(crate) fn change(&self, effect: &Effect, key: &KeyInfo, trial: bool, now: Time) -> Change {
        let subject = match effect.whose {
            Whose::Key => Subject::Key(key.id),
            Whose::Project => Subject::Project(key.project_id),
        };
        let mut block = Block {
            model: effect.model.as_deref().map(Arc::from),
            kinds: effect.kinds,
            reason: effect.reason,
            since: now,
            until: now,
            strikes: None,
            violation: effect.violation.clone().map(Arc::new),
        };
        match effect.until {
            Until::At(until) => block.until = until,
            Until::TriedAgain => {
                let before = self
                    .known
                    .blocks(subject)
                    .iter()
                    .find(|known| !known.cleared && known.block.same_subject(&block))
                    .map(|known| &known.block);
                let strikes = before
                    .and_then(|block| block.strikes)
                    .map_or(0, |n| n.saturating_add(u8::from(trial)));
                block.strikes = Some(strikes);
                block.since = before.map_or(now, |before| before.since);
                block.until = now + next_trial(strikes);
            }
        }
        Change::Blocked(subject, block)
    }

    /// The changes that a trial which was served comes to: what was tried holds no longer.
    pub(crate) fn cleared_by_trial(&self, key: &KeyInfo, tried: &Name) -> Vec<Change> {
        let cleared =
            |(subject, known): (_, &Learned)| Change::Cleared(subject, known.block.clone());
        self.on_trial(key, tried).map(cleared).collect()
    }

    /// What a trial which proved nothing (an overloaded Google, a client that left) comes to, of all but what was
    /// written anew: it is `due` again soon; and what nobody has asked, at once. Each is said just after what it puts
    /// off, so that it never counts for more than what another trial proved.
    pub(crate) fn unproven(
        &self,
        key: &KeyInfo,
        tried: &Name,
        written: Option<&Change>,
        (due, now): (Time, Time),
    ) -> Vec<Event> {
        let (whose, anew) = match written {
            Some(Change::Blocked(whose, anew)) => (Some(*whose), Some(anew)),
            _ => (None, None),
        };
        let is_written = |subject, block| {
            whose == Some(subject) && anew.is_some_and(|anew| anew.same_subject(block))
        };
        // Whose key was refused was not asked itself.
        let asked = |subject| {
            !matches!(
                (whose, subject),
                (Some(Subject::Key(_)), Subject::Project(_))
            )
        };
        self.on_trial(key, tried)
            .filter(|(subject, known)| !is_written(*subject, &known.block))
            .map(|(subject, known)| {
                let mut block = known.block.clone();
                block.until = if asked(subject) { due } else { now };
                let mut stamp = known.stamp;
                stamp.sequence += 1;
                let change = Change::Blocked(subject, block);
                Event { stamp, change }
            })
            .collect()
    }

    /// What stands against a key or its project until a trial is served.
    fn on_trial<'a>(
        &'a self,
        key: &KeyInfo,
        tried: &'a Name,
    ) -> impl Iterator<Item = (Subject, &'a Learned)> + 'a {
        let subjects = [Subject::Key(key.id), Subject::Project(key.project_id)];
        subjects.into_iter().flat_map(move |subject| {
            let blocks = self.known.blocks(subject).iter();
            blocks
                .filter(|known| {
                    !known.cleared
                        && known.block.strikes.is_some()
                        && known.block.covers(tried.about())
                })
                .map(move |known| (subject, known))
        })
    }

    /// What such requests are about.
    pub(crate) fn name(&self, model: Option<&Arc<str>>, kind: Kind) -> Name {
        Name::new(&self.known, model, kind)
    }

    /// The ring for such requests, made if it is not there.
    pub(crate) fn ring(&mut self, model: Option<&Arc<str>>, kind: Kind, now: Time) -> RingId {
        self.rings.find(&self.known, (model.cloned(), kind), now)
    }

    pub(crate) fn ring_mut(&mut self, id: RingId) -> Option<&mut Ring> {
        self.rings.get_mut(id)
    }

    pub(crate) fn rings(&self) -> impl Iterator<Item = (RingId, &Ring)> {
        self.rings.iter()
    }

    /// Wakes whoever's time has come.
    pub(crate) fn wake(&mut self, ring: RingId, now: Time) {
        if let Some(ring) = self.rings.get_mut(ring) {
            ring.wake(&self.known, now);
        }
    }

    /// Wakes whoever's time has come, and says whether anybody is awake that `want` admits.
    pub(crate) fn has_candidate(&mut self, ring: RingId, want: &Want<'_>, now: Time) -> bool {
        let Some(ring) = self.rings.get_mut(ring) else {
            return false;
        };
        ring.wake(&self.known, now);
        ring.find(&self.known, want, now, &mut Vec::new()).is_some()
    }

    /// Chooses, and takes the turn.
    pub(crate) fn pick(&mut self, id: RingId, want: &Want<'_>, now: Time) -> Option<Pick> {
        let ring = self.rings.get_mut(id)?;
        ring.wake(&self.known, now);
        let pick = ring.choose(&self.known, want, now)?;
        self.take(id, pick, now)
    }

    /// The same, of the keys in `plan` before any other.
    pub(crate) fn pick_planned(
        &mut self,
        id: RingId,
        plan: &[KeyId],
        want: &Want<'_>,
        now: Time,
    ) -> Option<Pick> {
        if plan.is_empty() {
            return self.pick(id, want, now);
        }
        let ring = self.rings.get_mut(id)?;
        ring.wake(&self.known, now);
        let plan = plan
            .iter()
            .filter_map(|key| self.known.key_at.get(key).copied());
        let mut in_turn = plan.clone().peekable();
        let planned = match in_turn.peek() {
            // Who plans does not know of suspects, and the next in a plan would have all of such a one's turns.
            Some(first)
                if !want.tried_keys.contains(first) && want.passes(&ring.suspects, *first, now) =>
            {
                let mut others: Vec<usize> = plan.skip(1).collect();
                ring.gone_by = ring.gone_by.wrapping_add(1);
                let begin = ring.gone_by.checked_rem(others.len()).unwrap_or(0);
                others.rotate_left(begin);
                ring.planned(&self.known, others, want, now)
            }
            _ => ring.planned(&self.known, in_turn, want, now),
        };
        let pick = planned.or_else(|| ring.choose(&self.known, want, now))?;
        self.take(id, pick, now)
    }

    /// Of those who were refused this with 401, the one to ask again.
    pub(crate) fn pick_suspect(
        &mut self,
        id: RingId,
        want: &Want<'_>,
        doubt: Doubt<'_>,
        now: Time,
    ) -> Option<Pick> {
        let pick = self.suspect(id, want, doubt, now)?;
        self.rings.get_mut(id)?.suspects.doubted(now);
        self.take(id, pick, now)
    }

    /// The same, without asking it.
    pub(crate) fn suspect(
        &mut self,
        id: RingId,
        want: &Want<'_>,
        doubt: Doubt<'_>,
        now: Time,
    ) -> Option<Pick> {
        self.rings
            .get_mut(id)?
            .suspect(&self.known, want, doubt, now)
    }

    /// Whether whoever was picked is out by now: of one that is on trial, for another reason than that.
    pub(crate) fn is_out(&self, id: RingId, pick: Pick, now: Time) -> bool {
        self.rings
            .get(id)
            .is_some_and(|ring| self.known.is_out(pick.key, pick.trial, ring.about(), now))
    }

    /// Whether a key is a suspect of this route.
    pub(crate) fn is_suspect(&self, id: RingId, route: Route, key: usize, now: Time) -> bool {
        self.rings
            .get(id)
            .is_some_and(|ring| ring.suspects.has(route, key, now))
    }

    /// Whose turn is next, without taking it.
    pub(crate) fn next(&mut self, id: RingId, want: &Want<'_>, now: Time) -> Option<Pick> {
        self.rings
            .get_mut(id)?
            .find(&self.known, want, now, &mut Vec::new())
    }

    fn take(&mut self, id: RingId, pick: Pick, now: Time) -> Option<Pick> {
        self.rings.get_mut(id)?.take(pick);
        if pick.trial {
            let info = Arc::clone(&self.known.keys.get(pick.key)?.info);
            // One request at a time finds out; the others go on elsewhere meanwhile.
            let tried = self.rings.get(id)?.name().clone();
            self.postpone_trials(&info, &tried, now + TRIAL);
            self.refresh_key(info.id, now);
        }
        Some(pick)
    }

    pub(crate) fn info(&self, pick: Pick) -> Option<&Arc<KeyInfo>> {
        self.info_at(pick.key)
    }

    pub(crate) fn info_at(&self, key: usize) -> Option<&Arc<KeyInfo>> {
        self.known.keys.get(key).map(|key| &key.info)
    }

    /// Where a key is; nowhere, if it is gone.
    pub(crate) fn index_of(&self, key: KeyId) -> usize {
        self.known.key_at.get(&key).copied().unwrap_or(usize::MAX)
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.known.epoch
    }

    pub(crate) fn project_index(&self, id: ProjectId) -> Option<usize> {
        self.known.project_at.get(&id).copied()
    }

    pub(crate) fn project_of(&self, key: KeyId) -> Option<ProjectId> {
        let at = self.known.key_at.get(&key)?;
        Some(self.known.keys.get(*at)?.info.project_id)
    }

    /// The carrier that this key takes on this surface.
    pub(crate) fn carrier(&self, key: KeyId, surface: Surface) -> Carrier {
        let usual = Carrier::of(surface)[0];
        let key = self
            .known
            .key_at
            .get(&key)
            .and_then(|at| self.known.keys.get(*at));
        key.and_then(|key| key.carriers.get(surface.index()).copied().flatten())
            .map_or(usual, |(_, carrier)| carrier)
    }

    /// Whether it is news that this key is taken on this surface when it is shown this way.
    pub(crate) fn is_news(&self, key: KeyId, surface: Surface, carrier: Carrier) -> bool {
        let at = self.known.key_at.get(&key);
        let key = at.and_then(|at| self.known.keys.get(*at));
        key.is_some_and(|key| {
            let told = key.carriers.get(surface.index()).copied().flatten();
            told.map(|(_, told)| told) != Some(carrier)
        })
    }

    /// Who comes back first in this ring, when, and what stands against it.
    pub(crate) fn first_back(&self, id: RingId) -> Option<(Time, Option<Block>)> {
        let ring = self.rings.get(id)?;
        let (until, group) = ring.first_back()?;
        Some((until, self.known.holding_block(group, ring)))
    }

    /// When the first comes back who is none of these.
    pub(crate) fn back_for(&self, id: RingId, keys: &[usize], projects: &[usize]) -> Option<Time> {
        self.rings.get(id)?.back_for(&self.known, keys, projects)
    }

    /// Whether the same stands against its subject, to the same end or a moment longer.
    pub(crate) fn says_nothing_new(&self, change: &Change) -> bool {
        let Change::Blocked(subject, block) = change else {
            return false;
        };
        let mut known = self.known.blocks(*subject).iter();
        known.any(|known| {
            let ends = known.block.until;
            !known.cleared
                && known.block.same_subject(block)
                && block.strikes.is_none()
                && ends >= block.until
                && ends.since(block.until) < SAME
        })
    }

    /// Whether the same stood against its subject within the hour.
    pub(crate) fn was_blocked(&self, change: &Change, now: Time) -> bool {
        let Change::Blocked(subject, block) = change else {
            return false;
        };
        let mut known = self.known.blocks(*subject).iter();
        known.any(|known| {
            !known.cleared && known.block.same_subject(block) && known.block.until + WITHIN > now
        })
    }

    /// Of those out without a known end, who is tried first, when, and what stands against it.
    pub(crate) fn first_trial(&self, id: RingId) -> Option<(Time, Option<Block>)> {
        let ring = self.rings.get(id)?;
        let (until, group) = ring.first_trial()?;
        Some((until, self.known.holding_block(group, ring)))
    }

    fn postpone_trials(&mut self, key: &KeyInfo, tried: &Name, until: Time) {
        for subject in [Subject::Key(key.id), Subject::Project(key.project_id)] {
            for known in self.known.blocks_mut(subject).into_iter().flatten() {
                if !known.cleared
                    && known.block.strikes.is_some()
                    && known.block.covers(tried.about())
                {
                    known.block.until = until;
                }
            }
        }
    }

    fn refresh_key(&mut self, key: KeyId, now: Time) {
        if let Some(&at) = self.known.key_at.get(&key) {
            self.rings.refresh(&self.known, at, None, now);
        }
    }
}

/// How the keys stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Keys that may be used, at least for some model.
    pub usable: usize,
    /// Keys that their owner switched off.
    pub disabled: usize,
    /// Keys out for every model, by reason.
    pub out: BTreeMap<Reason, usize>,
}

/// Ends that differ by less are one end, told to several.
const SAME: Duration = Duration::from_secs(1);

/// A census is as good as new for so long, if nothing happened.
const COUNTED: Duration = Duration::from_secs(1);

/// As long as an attempt may take to answer: the default first-byte limit.
const TRIAL: Duration = Duration::from_secs(600);

/// So long after its end a block still tells something of its key's word.
const WITHIN: Duration = Duration::from_secs(3600);

/// A trial that proved nothing is due again after this.
pub(crate) const UNPROVEN: Duration = Duration::from_secs(60);
