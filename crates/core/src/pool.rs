//! The pool: all keys and projects, and what is known of them.
//!
//! Keys are grouped: a *group* is the keys of one project at one priority. A ring (see
//! [`ring`](crate::ring)) rotates over groups and, within a group, over its keys. What is known hangs
//! on projects and keys as [`Block`]s, so that a verdict is written down once and every ring that it
//! concerns is told; choosing then looks at nothing but the ring.

mod info;
mod snapshot;

pub use info::KeyInfo;

use crate::block::{Block, Reason, next_trial};
use crate::event::{Change, Event, Stamp, Subject};
use crate::facts::{Kind, Surface};
use crate::key::{KeyId, KeySpec};
use crate::map::Map;
use crate::ring::{Pick, Ring, RingId, Rings, Want};
use crate::rotation::State;
use crate::settings::Strategy;
use crate::time::Time;
use crate::verdict::{Effect, Until, Whose};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
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

/// The part that rings read.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) keys: Vec<Key>,
    pub(crate) projects: Vec<Project>,
    pub(crate) groups: Vec<Group>,
    key_at: Map<KeyId, usize>,
    project_at: Map<ProjectId, usize>,
    named: Map<Arc<str>, (Stamp, Arc<str>)>,
    /// Whether any key is restricted to some models, so that rings must ask.
    epoch: u32,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) info: Arc<KeyInfo>,
    pub(crate) project: usize,
    pub(crate) group: usize,
    /// Its place in the group.
    pub(crate) slot: u32,
    pub(crate) weight: u32,
    enabled: bool,
    models: Vec<String>,
    carriers: [Option<(Stamp, Carrier)>; Surface::COUNT],
    blocks: Vec<Known1>,
}

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) groups: Vec<usize>,
    blocks: Vec<Known1>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) project: usize,
    pub(crate) level: u32,
    pub(crate) weight: u32,
    pub(crate) keys: Vec<usize>,
}

/// A block and who learned it when; cleared ones stay a while so that late news of them is recognised.
#[derive(Clone, Debug)]
struct Known1 {
    stamp: Stamp,
    block: Block,
    cleared: bool,
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
        let mut census = Census::default();
        for key in &self.known.keys {
            let project = self
                .known
                .projects
                .get(key.project)
                .map_or(&[][..], |project| &project.blocks);
            let out = key.blocks.iter().chain(project).find(|known| {
                !known.cleared && known.block.model.is_none() && known.block.until > now
            });
            match out {
                _ if !key.enabled => census.disabled += 1,
                Some(known) => *census.out.entry(known.block.reason).or_default() += 1,
                None => census.usable += 1,
            }
        }
        census
    }

    /// Applies an event. Doing so twice, or in another order, comes to the same.
    pub fn apply(&mut self, event: &Event, now: Time) {
        let touched = match &event.change {
            Change::Blocked(subject, block) => {
                self.known.write(*subject, event.stamp, block, false)
            }
            Change::Cleared(subject, block) => self.known.write(*subject, event.stamp, block, true),
            Change::CarrierLearned(key, surface, carrier) => {
                self.known
                    .learn_carrier(*key, *surface, event.stamp, *carrier);
                Vec::new()
            }
            Change::ModelNamed(asked, named) => {
                if self.known.learn_name(asked, event.stamp, named) {
                    self.rings.rename(&self.known, asked, named, now);
                }
                Vec::new()
            }
        };
        self.version += 1;
        if let Change::Blocked(_, block) | Change::Cleared(_, block) = &event.change {
            for key in touched {
                self.rings.refresh(&self.known, key, Some(block), now);
            }
        }
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
    pub(crate) fn cleared_by_trial(&self, key: &KeyInfo, ring: RingId) -> Vec<Change> {
        let Some(ring) = self.rings.get(ring) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        for subject in [Subject::Key(key.id), Subject::Project(key.project_id)] {
            for known in self.known.blocks(subject) {
                if !known.cleared
                    && known.block.strikes.is_some()
                    && known.block.covers(ring.names(), ring.kind())
                {
                    changes.push(Change::Cleared(subject, known.block.clone()));
                }
            }
        }
        changes
    }

    /// A trial that proved nothing (an overloaded Google, a client that left): it is due again soon.
    pub(crate) fn retry_trial(&mut self, key: &KeyInfo, ring: RingId, now: Time) {
        self.postpone_trials(key, ring, now + UNPROVEN);
        self.refresh_key(key.id, now);
    }

    /// The ring for a model and kind, made if it is not there.
    pub(crate) fn ring(&mut self, model: Option<&Arc<str>>, kind: Kind, now: Time) -> RingId {
        self.rings.find(&self.known, model, kind, now)
    }

    pub(crate) fn ring_mut(&mut self, id: RingId) -> Option<&mut Ring> {
        self.rings.get_mut(id)
    }

    pub(crate) fn rings(&self) -> impl Iterator<Item = (RingId, &Ring)> {
        self.rings.iter()
    }

    /// Wakes whoever's time has come, and says whether anybody is awake that `want` admits.
    pub(crate) fn has_candidate(&mut self, ring: RingId, want: &Want<'_>, now: Time) -> bool {
        let Some(ring) = self.rings.get_mut(ring) else {
            return false;
        };
        ring.wake(&self.known, now);
        ring.choose(&self.known, want, now).is_some()
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
        let plan = plan.iter().filter_map(|key| self.known.key_at.get(key));
        let planned = ring.planned(&self.known, plan.copied(), want, now);
        let pick = planned.or_else(|| ring.choose(&self.known, want, now))?;
        self.take(id, pick, now)
    }

    /// Whose turn is next, without taking it.
    pub(crate) fn next(&mut self, id: RingId, want: &Want<'_>, now: Time) -> Option<Pick> {
        self.rings.get_mut(id)?.choose(&self.known, want, now)
    }

    fn take(&mut self, id: RingId, pick: Pick, now: Time) -> Option<Pick> {
        self.rings.get_mut(id)?.take(pick);
        if pick.trial {
            let info = Arc::clone(&self.known.keys.get(pick.key)?.info);
            // One request at a time finds out; the others go on elsewhere meanwhile.
            self.postpone_trials(&info, id, now + TRIAL);
            self.refresh_key(info.id, now);
        }
        Some(pick)
    }

    pub(crate) fn info(&self, pick: Pick) -> Option<&Arc<KeyInfo>> {
        self.known.keys.get(pick.key).map(|key| &key.info)
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

    /// Who comes back first in this ring, when, and what stands against it.
    pub(crate) fn first_back(&self, id: RingId) -> Option<(Time, Option<Block>)> {
        let ring = self.rings.get(id)?;
        let (until, group) = ring.first_back()?;
        Some((until, self.known.latest_block(group, ring)))
    }

    /// Of those out without a known end, who is tried first, when, and what stands against it.
    pub(crate) fn first_trial(&self, id: RingId) -> Option<(Time, Option<Block>)> {
        let ring = self.rings.get(id)?;
        let (until, group) = ring.first_trial()?;
        Some((until, self.known.latest_block(group, ring)))
    }

    fn postpone_trials(&mut self, key: &KeyInfo, ring: RingId, until: Time) {
        let Some(ring) = self.rings.get(ring) else {
            return;
        };
        for subject in [Subject::Key(key.id), Subject::Project(key.project_id)] {
            for known in self.known.blocks_mut(subject).into_iter().flatten() {
                if !known.cleared
                    && known.block.strikes.is_some()
                    && known.block.covers(ring.names(), ring.kind())
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

impl Known {
    fn new(specs: &[KeySpec], before: Option<&Self>) -> Self {
        let mut known = Self {
            epoch: before.map_or(0, |before| before.epoch + 1),
            ..Self::default()
        };
        if let Some(before) = before {
            known.named.clone_from(&before.named);
        }
        let levels: BTreeSet<u32> = specs.iter().map(|spec| spec.priority).collect();
        let level = |priority| u32::try_from(levels.range(..priority).count()).unwrap_or(u32::MAX);
        let mut groups: Map<(usize, u32), usize> = Map::default();
        for spec in specs {
            let id = spec.text.id();
            if known.key_at.contains_key(&id) {
                continue;
            }
            let label: Arc<str> = match &spec.label {
                Some(label) => Arc::from(label.as_str()),
                None => Arc::from(format!("key_{}", known.keys.len())),
            };
            let project_id = project_id(spec, id);
            let project = *known.project_at.entry(project_id).or_insert_with(|| {
                let blocks =
                    before.map(|before| before.blocks(Subject::Project(project_id)).to_vec());
                known.projects.push(Project {
                    groups: Vec::new(),
                    blocks: blocks.unwrap_or_default(),
                });
                known.projects.len() - 1
            });
            let level = level(spec.priority);
            let group = *groups.entry((project, level)).or_insert_with(|| {
                known.groups.push(Group {
                    project,
                    level,
                    weight: 1,
                    keys: Vec::new(),
                });
                if let Some(project) = known.projects.get_mut(project) {
                    project.groups.push(known.groups.len() - 1);
                }
                known.groups.len() - 1
            });
            let mut slot = 0;
            if let Some(group) = known.groups.get_mut(group) {
                slot = u32::try_from(group.keys.len()).unwrap_or(u32::MAX);
                group.keys.push(known.keys.len());
                group.weight = group.weight.max(spec.weight);
            }
            known.key_at.insert(id, known.keys.len());
            let old = before.and_then(|before| before.keys.get(*before.key_at.get(&id)?));
            known.keys.push(Key {
                info: Arc::new(KeyInfo::new(id, spec, label, project_id)),
                project,
                group,
                slot,
                weight: spec.weight,
                enabled: spec.enabled,
                models: spec.models.clone(),
                carriers: old.map_or([None; Surface::COUNT], |old| old.carriers),
                blocks: old.map_or_else(Vec::new, |old| old.blocks.clone()),
            });
        }
        known
    }

    /// What a key may do for these models and this kind, its project left aside.
    pub(crate) fn key_state(
        &self,
        key: usize,
        names: [Option<&str>; 2],
        kind: Kind,
        now: Time,
    ) -> State {
        let Some(key) = self.keys.get(key) else {
            return State::Never;
        };
        let allowed = key.models.is_empty()
            || names[0]
                .is_none_or(|model| key.models.iter().any(|pattern| matches(pattern, model)));
        if !key.enabled || !allowed {
            return State::Never;
        }
        state(&key.blocks, names, kind, now)
    }

    pub(crate) fn project_state(
        &self,
        project: usize,
        names: [Option<&str>; 2],
        kind: Kind,
        now: Time,
    ) -> State {
        self.projects.get(project).map_or(State::Never, |project| {
            state(&project.blocks, names, kind, now)
        })
    }

    pub(crate) fn name_of(&self, model: &str) -> Option<&Arc<str>> {
        self.named.get(model).map(|(_, named)| named)
    }

    fn blocks(&self, subject: Subject) -> &[Known1] {
        let found = match subject {
            Subject::Key(id) => self
                .key_at
                .get(&id)
                .and_then(|at| self.keys.get(*at))
                .map(|key| &key.blocks),
            Subject::Project(id) => self
                .project_at
                .get(&id)
                .and_then(|at| self.projects.get(*at))
                .map(|project| &project.blocks),
        };
        found.map_or(&[], |blocks| blocks)
    }

    fn blocks_mut(&mut self, subject: Subject) -> Option<&mut Vec<Known1>> {
        match subject {
            Subject::Key(id) => Some(&mut self.keys.get_mut(*self.key_at.get(&id)?)?.blocks),
            Subject::Project(id) => {
                Some(&mut self.projects.get_mut(*self.project_at.get(&id)?)?.blocks)
            }
        }
    }

    /// Writes a block down and says one key of each group that it concerns.
    fn write(
        &mut self,
        subject: Subject,
        stamp: Stamp,
        block: &Block,
        cleared: bool,
    ) -> Vec<usize> {
        let Some(blocks) = self.blocks_mut(subject) else {
            return Vec::new();
        };
        let fresh = Known1 {
            stamp,
            block: block.clone(),
            cleared,
        };
        match blocks
            .iter_mut()
            .find(|known| known.block.same_subject(block))
        {
            Some(known) if known.stamp >= stamp => return Vec::new(),
            Some(known) => *known = fresh,
            None => {
                // What ended an hour before this is of no use even to late news.
                blocks.retain(|known| {
                    known.block.strikes.is_some() && !known.cleared
                        || known.block.until + REMEMBERED > stamp.at
                });
                if blocks.len() >= MAX_BLOCKS
                    && let Some(oldest) = (0..blocks.len())
                        .min_by_key(|at| blocks.get(*at).map(|known| known.block.until))
                {
                    blocks.swap_remove(oldest);
                }
                blocks.push(fresh);
            }
        }
        match subject {
            Subject::Key(id) => self.key_at.get(&id).copied().into_iter().collect(),
            Subject::Project(id) => {
                let project = self
                    .project_at
                    .get(&id)
                    .and_then(|at| self.projects.get(*at));
                let groups = project.map_or(&[][..], |project| &project.groups);
                groups
                    .iter()
                    .filter_map(|group| self.groups.get(*group)?.keys.first().copied())
                    .collect()
            }
        }
    }

    fn learn_carrier(&mut self, key: KeyId, surface: Surface, stamp: Stamp, carrier: Carrier) {
        let Some(key) = self.key_at.get(&key).and_then(|at| self.keys.get_mut(*at)) else {
            return;
        };
        if let Some(slot) = key.carriers.get_mut(surface.index())
            && slot.is_none_or(|(known, _)| known < stamp)
        {
            *slot = Some((stamp, carrier));
        }
    }

    fn learn_name(&mut self, asked: &Arc<str>, stamp: Stamp, named: &Arc<str>) -> bool {
        let known = self.named.get(asked);
        if known.is_some_and(|(known, _)| *known >= stamp)
            || known.is_none() && self.named.len() >= MAX_NAMES
        {
            return false;
        }
        let before = self
            .named
            .insert(Arc::clone(asked), (stamp, Arc::clone(named)));
        before.is_none_or(|(_, before)| before != *named)
    }

    /// The block that keeps a group out the longest.
    fn latest_block(&self, group: u32, ring: &Ring) -> Option<Block> {
        let group = self.groups.get(group as usize)?;
        let project = self.projects.get(group.project)?;
        let keys = group
            .keys
            .iter()
            .take(MAX_ASKED)
            .filter_map(|key| self.keys.get(*key));
        let blocks = project
            .blocks
            .iter()
            .chain(keys.flat_map(|key| &key.blocks));
        blocks
            .filter(|known| !known.cleared && known.block.covers(ring.names(), ring.kind()))
            .max_by_key(|known| known.block.until)
            .map(|known| known.block.clone())
    }
}

fn state(blocks: &[Known1], names: [Option<&str>; 2], kind: Kind, now: Time) -> State {
    let mut state = State::Awake { trial: false };
    for known in blocks {
        let block = &known.block;
        if known.cleared || !block.covers(names, kind) {
            continue;
        }
        if block.until > now {
            state = state.and(State::Asleep {
                until: block.until,
                open: block.strikes.is_some(),
            });
        } else if block.strikes.is_some() {
            state = state.and(State::Awake { trial: true });
        }
    }
    state
}

fn project_id(spec: &KeySpec, key: KeyId) -> ProjectId {
    let digest = match &spec.project {
        Some(name) => Sha256::digest(format!("project:{name}")),
        None => Sha256::digest(format!("alone:{:016x}", key.0)),
    };
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    ProjectId(u64::from_be_bytes(first))
}

/// Whether `pattern` fits, `*` standing for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = rest.get(at + middle.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

/// As long as an attempt may take to answer: the default first-byte limit.
const TRIAL: Duration = Duration::from_secs(600);

/// A trial that proved nothing is due again after this.
const UNPROVEN: Duration = Duration::from_secs(60);

/// How long an ended block is kept for late news of it.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Blocks a key or project: as many models as Google has, a few reasons each.
const MAX_BLOCKS: usize = 512;

/// Pairs of models that Google counts together.
const MAX_NAMES: usize = 1024;

/// Keys of one group that are looked at for the answer to a client that nobody can serve.
const MAX_ASKED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, fits) in [
            ("gemini-2.5-*", "gemini-2.5-flash", true),
            ("*flash*", "gemini-2.5-flash-lite", true),
            ("gemini-2.5-flash", "gemini-2.5-flash-lite", false),
            ("*-lite", "gemini-2.5-flash", false),
            ("a*b*c", "a-c-b", false),
            ("a*b*c", "axxbyyc", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
