//! Rings: one rotation for each model and kind that is asked for.
//!
//! Quota is counted by project, model and kind, so turns are taken by model and kind too: who is out
//! for one model still has its turn for another. A ring is made at the first request and told of every
//! block that concerns it; choosing from it then costs the same with ten keys and with ten thousand.
//! Rings are bounded in number, since clients choose the names of models: the one used longest ago,
//! with nobody in it, makes place.

use crate::block::{About, Block};
use crate::facts::{Kind, Route};
use crate::map::Map;
use crate::pool::{Census, Known};
use crate::relay::RequestId;
use crate::rotation::{Rotation, State};
use crate::settings::Strategy;
use crate::suspects::{Passing, Suspects};
use crate::time::Time;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A ring's place, and which of those that held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RingId {
    at: u32,
    serial: u32,
}

/// What a request asks of a choice.
#[derive(Debug)]
pub(crate) struct Want<'a> {
    /// Keys that this request has already found out.
    pub(crate) tried_keys: &'a [usize],
    /// Projects that it has.
    pub(crate) tried_projects: &'a [usize],
    /// Whether it can be sent again, so that it may try what is perhaps still out.
    pub(crate) replayable: bool,
    /// The project that served the conversation's earlier turns.
    pub(crate) prefer: Option<usize>,
    /// Which of those who were refused this with 401 lately to pass over.
    pub(crate) passing: Option<(Passing, Route)>,
}

impl Want<'_> {
    pub(crate) fn passes(&self, suspects: &Suspects, key: usize, now: Time) -> bool {
        self.passing
            .is_some_and(|(who, route)| suspects.passes(who, route, key, now))
    }
}

/// What a request that has nobody else asks of suspects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt<'a> {
    pub(crate) route: Route,
    /// How many have refused it with 401.
    pub(crate) asked: usize,
    /// Those of the tried keys that only rest, and their projects.
    pub(crate) resting: &'a [(usize, Option<usize>)],
    /// Until when it may wait.
    pub(crate) patience: Time,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) group: u32,
    pub(crate) key: usize,
    pub(crate) slot: u32,
    pub(crate) trial: bool,
}

#[derive(Debug)]
pub(crate) struct Ring {
    name: Name,
    groups: Rotation,
    /// For groups with more than one key, made when first chosen.
    keys: Map<u32, Rotation>,
    strategy: Strategy,
    /// Requests that were given a key and have not finished.
    pub(crate) in_flight: u32,
    /// Those of them that find out whether somebody who was out may be asked again.
    pub(crate) trials: u32,
    /// Requests that wait for somebody to come back, in order of arrival.
    pub(crate) waiting: BTreeSet<(Time, RequestId)>,
    /// Not before then is the next of them let go.
    pub(crate) next_release: Time,
    /// None of them can be served by whoever is awake; when to look again, if nothing changes before.
    pub(crate) stuck: Option<Time>,
    /// How many were served since somebody's quota ran out: the more, the faster those who wait are let go.
    pub(crate) served_since: u64,
    /// Since when they are let go without anybody's quota having run out.
    pub(crate) flows: Option<Time>,
    /// How long a quota took to refuse lately.
    pub(crate) refuses_in: Duration,
    /// Refused with 401 lately.
    pub(crate) suspects: Suspects,
    /// When anybody was served last, by what was asked.
    served: Map<Route, Time>,
    /// How its keys stood a moment ago: for a while nobody may be there for anybody, and each is told.
    pub(crate) census: Option<Counted>,
    /// Counts what was found out of its groups.
    pub(crate) refreshed: u64,
    /// Counts the turns of suspects in plans.
    pub(crate) gone_by: usize,
    used: u64,
}

/// A census, and of what.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) at: Time,
    /// Of what was refreshed, of suspects, and how it was asked.
    pub(crate) of: (u64, u64, Route),
    pub(crate) census: Census,
}

/// What a ring is about.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    model: Option<Arc<str>>,
    /// The model under which Google counts it, where that is another.
    counted: Option<Arc<str>>,
    kind: Kind,
}

impl Name {
    pub(crate) fn new(known: &Known, model: Option<&Arc<str>>, kind: Kind) -> Self {
        Self {
            model: model.cloned(),
            counted: model.and_then(|model| known.name_of(model)).cloned(),
            kind,
        }
    }

    pub(crate) fn about(&self) -> About<'_> {
        About {
            models: [self.model.as_deref(), self.counted.as_deref()],
            kind: self.kind,
        }
    }

    fn asked(&self) -> Asked {
        (self.model.clone(), self.kind)
    }
}

/// By what a ring is found.
type Asked = (Option<Arc<str>>, Kind);

impl Ring {
    fn new(known: &Known, strategy: Strategy, asked: &Asked, now: Time) -> Self {
        let (model, kind) = asked;
        let groups = Rotation::new(
            strategy,
            known.groups.iter().map(|group| (group.level, group.weight)),
        );
        let mut ring = Self {
            name: Name::new(known, model.as_ref(), *kind),
            groups,
            keys: Map::default(),
            strategy,
            in_flight: 0,
            trials: 0,
            waiting: BTreeSet::new(),
            next_release: Time::ZERO,
            stuck: None,
            served_since: 0,
            flows: None,
            refuses_in: Duration::ZERO,
            suspects: Suspects::default(),
            served: Map::default(),
            census: None,
            refreshed: 0,
            gone_by: 0,
            used: 0,
        };
        ring.refresh_all(known, now);
        ring
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn about(&self) -> About<'_> {
        self.name.about()
    }

    pub(crate) fn first_back(&self) -> Option<(Time, u32)> {
        self.groups.first_back()
    }

    /// When the first comes back that has a key which is none of these, of a project that is none of these.
    pub(crate) fn back_for(
        &self,
        known: &Known,
        keys: &[usize],
        projects: &[usize],
    ) -> Option<Time> {
        let is_new = |group: u32| {
            known.groups.get(group as usize).is_some_and(|group| {
                !projects.contains(&group.project)
                    && group.keys.iter().any(|key| !keys.contains(key))
            })
        };
        self.groups
            .asleep()
            .find_map(|(until, group)| is_new(group).then_some(until))
    }

    pub(crate) fn first_trial(&self) -> Option<(Time, u32)> {
        self.groups.first_trial()
    }

    /// When somebody wakes, be it only to be tried.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        let back = self.groups.first_back().map(|(until, _)| until);
        let trial = self.groups.first_trial().map(|(until, _)| until);
        back.into_iter().chain(trial).min()
    }

    pub(crate) fn anyone_awake(&self) -> bool {
        self.groups.awake().next().is_some()
    }

    /// A key was served what these were refused with 401. Gives those of whom that was not known.
    pub(crate) fn serves(
        &mut self,
        route: Route,
        key: usize,
        refused: &[usize],
        now: Time,
    ) -> Vec<usize> {
        self.served_since = self.served_since.saturating_add(1);
        if let Some(at) = self.served.get_mut(&route) {
            *at = now;
        } else {
            if self.served.len() >= MOST_ROUTES {
                // Clients choose what methods are called.
                self.served.clear();
            }
            self.served.insert(route, now);
        }
        if self.suspects.is_empty() {
            return Vec::new();
        }
        self.stuck = None;
        self.census = None;
        self.suspects.served(route, key, refused)
    }

    /// When anybody was served last what was asked so.
    pub(crate) fn served_at(&self, route: Route) -> Option<Time> {
        self.served.get(&route).copied()
    }

    /// Wakes whoever's time has come.
    pub(crate) fn wake(&mut self, known: &Known, now: Time) {
        while let Some(group) = self.groups.due(now) {
            self.refresh_group(known, group, now);
        }
    }

    /// Whom to ask. The turns of suspects that are passed over go by, or one would have all of them at once when it
    /// is none any more.
    pub(crate) fn choose(&mut self, known: &Known, want: &Want<'_>, now: Time) -> Option<Pick> {
        let mut passed = Vec::new();
        let pick = self.find(known, want, now, &mut passed)?;
        for group in passed {
            if self.is_passed(known, group, want, now) {
                self.groups.take(group);
                self.groups.give_back(group);
            }
        }
        self.keys_go_by(known, pick, want, now);
        Some(pick)
    }

    /// The same, and no turn goes by. Groups before the one found that have nothing for this request are `passed`.
    pub(crate) fn find(
        &mut self,
        known: &Known,
        want: &Want<'_>,
        now: Time,
        passed: &mut Vec<u32>,
    ) -> Option<Pick> {
        if let Some(project) = want.prefer
            && let Some(pick) = self.preferred(known, project, want, now)
        {
            return Some(pick);
        }
        // They are few, unless there are suspects.
        for at in 0..USUAL {
            let group = self.groups.awake().nth(at)?;
            if let Some(pick) = self.in_group(known, group, want, now) {
                return Some(pick);
            }
            passed.push(group);
        }
        let others: Vec<u32> = self.groups.awake().skip(USUAL).collect();
        for group in others {
            if let Some(pick) = self.in_group(known, group, want, now) {
                return Some(pick);
            }
            passed.push(group);
        }
        None
    }

    /// A suspect to ask. One that was refused what another was served is asked only where nobody comes back in time.
    pub(crate) fn suspect(
        &mut self,
        known: &Known,
        want: &Want<'_>,
        doubt: Doubt<'_>,
        now: Time,
    ) -> Option<Pick> {
        if self.suspects.is_empty() || !self.suspects.may_doubt(doubt.asked, now) {
            return None;
        }
        let (keys, projects) = settled(want, doubt.resting);
        let back = self.back_for(known, &keys, &projects);
        let all = now >= doubt.patience || back.is_none_or(|back| back > doubt.patience);
        if let Some(project) = want.prefer
            && let Some(pick) = self.preferred(known, project, want, now)
        {
            return Some(pick);
        }
        self.suspects
            .by_age(doubt.route, all)
            .find_map(|key| self.this_key(known, key, want, now))
    }

    /// The turns of a group's keys that were passed over before this one.
    fn keys_go_by(&mut self, known: &Known, pick: Pick, want: &Want<'_>, now: Time) {
        let (Some(rotation), Some(group), false) = (
            self.keys.get_mut(&pick.group),
            known.groups.get(pick.group as usize),
            self.suspects.is_empty(),
        ) else {
            return;
        };
        let before: Vec<u32> = rotation
            .awake()
            .take_while(|slot| *slot != pick.slot)
            .filter(|slot| {
                let key = group.keys.get(*slot as usize);
                key.is_some_and(|key| want.passes(&self.suspects, *key, now))
            })
            .collect();
        for slot in before {
            rotation.take(slot);
            rotation.give_back(slot);
        }
    }

    /// Whether a group is passed over for its keys' sake.
    fn is_passed(&self, known: &Known, group: u32, want: &Want<'_>, now: Time) -> bool {
        let keys = known.groups.get(group as usize).map(|group| &group.keys);
        keys.is_some_and(|keys| {
            keys.iter()
                .any(|key| want.passes(&self.suspects, *key, now))
        })
    }

    /// The first of these keys that may be used, unless the conversation's project can.
    pub(crate) fn planned(
        &mut self,
        known: &Known,
        plan: impl IntoIterator<Item = usize>,
        want: &Want<'_>,
        now: Time,
    ) -> Option<Pick> {
        if let Some(project) = want.prefer
            && let Some(pick) = self.preferred(known, project, want, now)
        {
            return Some(pick);
        }
        plan.into_iter()
            .find_map(|key| self.this_key(known, key, want, now))
    }

    /// The key whose turn is next, trials left aside.
    pub(crate) fn next_key(&self, known: &Known) -> Option<usize> {
        let group = self.groups.awake().next()?;
        let keys = &known.groups.get(group as usize)?.keys;
        let slot = self
            .keys
            .get(&group)
            .and_then(|keys| keys.awake().next())
            .unwrap_or(0);
        keys.get(slot as usize).copied()
    }

    /// Everybody before this key had their turn.
    pub(crate) fn begin_at(&mut self, known: &Known, key: usize) {
        let Some((group, slot)) = known.keys.get(key).and_then(|key| {
            let group = u32::try_from(key.group).ok()?;
            Some((group, key.slot))
        }) else {
            return;
        };
        self.groups.take_before(group);
        if let Some(keys) = known.groups.get(group as usize)
            && keys.keys.len() > 1
        {
            let rotation = self
                .keys
                .entry(group)
                .or_insert_with(|| key_rotation(known, self.strategy, &keys.keys));
            let about = self.name.about();
            settle(rotation, known, &keys.keys, about, Time::ZERO);
            rotation.take_before(slot);
        }
    }

    /// Takes a pick's turn in both rotations.
    pub(crate) fn take(&mut self, pick: Pick) {
        self.in_flight += 1;
        self.trials += u32::from(pick.trial);
        self.groups.take(pick.group);
        if let Some(keys) = self.keys.get_mut(&pick.group) {
            keys.take(pick.slot);
        }
    }

    /// A pick's request is over.
    pub(crate) fn give_back(&mut self, pick: Pick) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.trials = self.trials.saturating_sub(u32::from(pick.trial));
        self.groups.give_back(pick.group);
        if let Some(keys) = self.keys.get_mut(&pick.group) {
            keys.give_back(pick.slot);
        }
    }

    fn preferred(
        &mut self,
        known: &Known,
        project: usize,
        want: &Want<'_>,
        now: Time,
    ) -> Option<Pick> {
        let groups = &known.projects.get(project)?.groups;
        groups.iter().find_map(|group| {
            let group = u32::try_from(*group).ok()?;
            let awake = self.groups.state(group) == State::Awake { trial: false };
            awake
                .then(|| self.in_group(known, group, want, now))
                .flatten()
        })
    }

    fn this_key(&self, known: &Known, key: usize, want: &Want<'_>, now: Time) -> Option<Pick> {
        let entry = known.keys.get(key)?;
        let (group, project) = (u32::try_from(entry.group).ok()?, entry.project);
        if want.tried_keys.contains(&key)
            || want.tried_projects.contains(&project)
            || want.passes(&self.suspects, key, now)
        {
            return None;
        }
        let about = self.name.about();
        let state = known
            .project_state(project, about, now)
            .and(known.key_state(key, about, now));
        let State::Awake { trial } = state else {
            return None;
        };
        (want.replayable || !trial).then_some(Pick {
            group,
            key,
            slot: entry.slot,
            trial,
        })
    }

    fn in_group(&mut self, known: &Known, group: u32, want: &Want<'_>, now: Time) -> Option<Pick> {
        let keys = known.groups.get(group as usize)?;
        if want.tried_projects.contains(&keys.project) {
            return None;
        }
        let about = self.name.about();
        let project_trial =
            known.project_state(keys.project, about, now) == State::Awake { trial: true };
        let suspects = &self.suspects;
        let pick = |slot: u32, key: usize| {
            if want.passes(suspects, key, now) {
                return None;
            }
            let trial =
                project_trial || known.key_state(key, about, now) == State::Awake { trial: true };
            (!want.tried_keys.contains(&key) && (want.replayable || !trial)).then_some(Pick {
                group,
                key,
                slot,
                trial,
            })
        };
        if let [key] = keys.keys[..] {
            return pick(0, key);
        }
        let rotation = self
            .keys
            .entry(group)
            .or_insert_with(|| key_rotation(known, self.strategy, &keys.keys));
        settle(rotation, known, &keys.keys, about, now);
        rotation
            .awake()
            .find_map(|slot| pick(slot, *keys.keys.get(slot as usize)?))
    }

    fn refresh_all(&mut self, known: &Known, now: Time) {
        self.keys.clear();
        for group in 0..known.groups.len() {
            self.refresh_group(known, u32::try_from(group).unwrap_or(u32::MAX), now);
        }
    }

    fn refresh_group(&mut self, known: &Known, group: u32, now: Time) {
        let Some(members) = known.groups.get(group as usize) else {
            return;
        };
        let about = self.name.about();
        let project = known.project_state(members.project, about, now);
        let keys = if let Some(rotation) = self.keys.get_mut(&group) {
            settle(rotation, known, &members.keys, about, now);
            rotation.overall()
        } else {
            overall(
                members
                    .keys
                    .iter()
                    .map(|key| known.key_state(*key, about, now)),
            )
        };
        self.stuck = None;
        self.refreshed += 1;
        self.groups.set(group, project.and(keys));
    }

    fn refresh_key(&mut self, known: &Known, key: usize, now: Time) {
        let Some(key_known) = known.keys.get(key) else {
            return;
        };
        let Ok(group) = u32::try_from(key_known.group) else {
            return;
        };
        let about = self.name.about();
        if let Some(rotation) = self.keys.get_mut(&group) {
            rotation.set(key_known.slot, known.key_state(key, about, now));
        }
        self.refresh_group(known, group, now);
    }
}

/// The keys and projects that a request need not ask again once those that rest are back.
pub(crate) fn settled(
    want: &Want<'_>,
    resting: &[(usize, Option<usize>)],
) -> (Vec<usize>, Vec<usize>) {
    let mut rest: Vec<usize> = resting.iter().map(|(key, _)| *key).collect();
    let mut back: Vec<usize> = resting.iter().filter_map(|(_, project)| *project).collect();
    rest.sort_unstable();
    back.sort_unstable();
    let rests = |key: &usize| rest.binary_search(key).is_ok();
    let back = |project: &usize| back.binary_search(project).is_ok();
    let (keys, projects) = (want.tried_keys.iter(), want.tried_projects.iter());
    (
        keys.copied().filter(|key| !rests(key)).collect(),
        projects.copied().filter(|project| !back(project)).collect(),
    )
}

/// A rotation over a group's keys, all of them still to be settled.
fn key_rotation(known: &Known, strategy: Strategy, keys: &[usize]) -> Rotation {
    let weights = keys
        .iter()
        .map(|key| (0, known.keys.get(*key).map_or(1, |key| key.weight)));
    let mut rotation = Rotation::new(strategy, weights);
    for slot in 0..keys.len() {
        rotation.set(
            u32::try_from(slot).unwrap_or(u32::MAX),
            State::Asleep {
                until: Time::ZERO,
                open: false,
            },
        );
    }
    rotation
}

fn settle(rotation: &mut Rotation, known: &Known, keys: &[usize], about: About<'_>, now: Time) {
    while let Some(slot) = rotation.due(now) {
        let key = keys.get(slot as usize).copied().unwrap_or(usize::MAX);
        rotation.set(slot, known.key_state(key, about, now));
    }
}

/// What the best of several may do.
fn overall(states: impl Iterator<Item = State>) -> State {
    let mut best = State::Never;
    for state in states {
        best = match (best, state) {
            (_, awake @ State::Awake { trial: false }) => return awake,
            (State::Never, other) | (other, State::Never) => other,
            (State::Awake { trial }, _) | (_, State::Awake { trial }) => State::Awake { trial },
            (State::Asleep { until: a, open: x }, State::Asleep { until: b, open: y }) => {
                if a <= b {
                    State::Asleep { until: a, open: x }
                } else {
                    State::Asleep { until: b, open: y }
                }
            }
        };
    }
    best
}

/// All rings.
#[derive(Debug)]
pub(crate) struct Rings {
    strategy: Strategy,
    rings: Vec<Option<(u32, Ring)>>,
    at: Map<Asked, u32>,
    serial: u32,
    clock: u64,
}

impl Rings {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            rings: Vec::new(),
            at: Map::default(),
            serial: 0,
            clock: 0,
        }
    }

    /// Drops every ring: the keys are others now.
    pub(crate) fn forget(&mut self) {
        self.rings.clear();
        self.at.clear();
    }

    pub(crate) fn get(&self, id: RingId) -> Option<&Ring> {
        let (serial, ring) = self.rings.get(id.at as usize)?.as_ref()?;
        (*serial == id.serial).then_some(ring)
    }

    pub(crate) fn get_mut(&mut self, id: RingId) -> Option<&mut Ring> {
        let (serial, ring) = self.rings.get_mut(id.at as usize)?.as_mut()?;
        (*serial == id.serial).then_some(ring)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RingId, &Ring)> {
        self.rings.iter().enumerate().filter_map(|(at, ring)| {
            let (serial, ring) = ring.as_ref()?;
            Some((
                RingId {
                    at: u32::try_from(at).ok()?,
                    serial: *serial,
                },
                ring,
            ))
        })
    }

    pub(crate) fn find(&mut self, known: &Known, asked: Asked, now: Time) -> RingId {
        self.clock += 1;
        if let Some(&at) = self.at.get(&asked)
            && let Some((serial, ring)) = self.rings.get_mut(at as usize).and_then(Option::as_mut)
        {
            ring.used = self.clock;
            return RingId {
                at,
                serial: *serial,
            };
        }
        let mut ring = Ring::new(known, self.strategy, &asked, now);
        ring.used = self.clock;
        self.serial = self.serial.wrapping_add(1);
        let place = self.place();
        let at = u32::try_from(place).unwrap_or(u32::MAX);
        if place == self.rings.len() {
            self.rings.push(Some((self.serial, ring)));
        } else if let Some(slot) = self.rings.get_mut(place)
            && let Some((_, old)) = slot.replace((self.serial, ring))
        {
            self.at.remove(&old.name.asked());
        }
        self.at.insert(asked, at);
        RingId {
            at,
            serial: self.serial,
        }
    }

    /// Where a new ring goes: a new place, or that of the idle ring used longest ago.
    fn place(&self) -> usize {
        if self.rings.len() < MAX_RINGS {
            return self.rings.len();
        }
        let idle = self.rings.iter().enumerate().filter_map(|(at, ring)| {
            let (_, ring) = ring.as_ref()?;
            (ring.in_flight == 0 && ring.waiting.is_empty()).then_some((ring.used, at))
        });
        idle.min().map_or(self.rings.len(), |(_, at)| at)
    }

    /// Something changed about a key: every ring that `block` concerns looks at it anew.
    pub(crate) fn refresh(&mut self, known: &Known, key: usize, block: Option<&Block>, now: Time) {
        for (_, ring) in self.rings.iter_mut().flatten() {
            if block.is_none_or(|block| block.covers(ring.about())) {
                ring.refresh_key(known, key, now);
            }
        }
    }

    /// A model turned out to be counted under another's name.
    pub(crate) fn rename(&mut self, known: &Known, asked: &str, named: &Arc<str>, now: Time) {
        for (_, ring) in self.rings.iter_mut().flatten() {
            if ring.name.model.as_deref() == Some(asked) {
                ring.name.counted = Some(Arc::clone(named));
                ring.refresh_all(known, now);
            }
        }
    }
}

/// Groups that a request may have tried before a list of the others is made.
const USUAL: usize = 8;

/// More methods than a model has.
const MOST_ROUTES: usize = 64;

/// More models and kinds than anybody uses at a time.
const MAX_RINGS: usize = 256;
