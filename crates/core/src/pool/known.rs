//! What is known of keys and projects: the part of the pool that rings read.
//!
//! All of it changes by events alone, each written once, by subject and by stamp, so that what comes twice
//! or late changes nothing.

use super::{Carrier, KeyInfo, ProjectId};
use crate::block::{About, Block, Reason};
use crate::budget::Budgets;
use crate::event::{Stamp, Subject};
use crate::facts::Surface;
use crate::key::{KeyId, KeySpec};
use crate::map::Map;
use crate::ring::Ring;
use crate::rotation::State;
use crate::secrets::Secrets;
use crate::time::{Time, is_of_before};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The part that rings read.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) keys: Vec<Key>,
    pub(crate) projects: Vec<Project>,
    pub(crate) groups: Vec<Group>,
    pub(super) key_at: Map<KeyId, usize>,
    pub(super) texts: Secrets,
    pub(super) project_at: Map<ProjectId, usize>,
    pub(super) named: Map<Arc<str>, (Stamp, Arc<str>)>,
    /// What was sent, and the limits that are known; of projects that are gone too, which may come back.
    pub(crate) budgets: Budgets,
    /// Counts the lists of keys: a place in one means nothing in the next.
    pub(super) epoch: u32,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) info: Arc<KeyInfo>,
    pub(crate) project: usize,
    pub(crate) group: usize,
    /// Its place in the group.
    pub(crate) slot: u32,
    pub(crate) weight: u32,
    pub(super) enabled: bool,
    pub(super) models: Vec<String>,
    pub(super) carriers: [Option<(Stamp, Carrier)>; Surface::COUNT],
    pub(super) blocks: Vec<Learned>,
}

#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) groups: Vec<usize>,
    pub(super) blocks: Vec<Learned>,
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
pub(super) struct Learned {
    pub(super) stamp: Stamp,
    pub(super) block: Block,
    pub(super) cleared: bool,
}

/// What a model's name among Google's came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    AsBefore,
    Anew,
}

impl Known {
    pub(super) fn new(specs: &[KeySpec], before: Option<&Self>) -> Self {
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
                    id: project_id,
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
            known.texts.add(&spec.text);
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
    pub(crate) fn key_state(&self, key: usize, about: About<'_>, now: Time) -> State {
        let Some(key) = self.keys.get(key) else {
            return State::Never;
        };
        let allowed = key.models.is_empty()
            || about.models[0]
                .is_none_or(|model| key.models.iter().any(|pattern| matches(pattern, model)));
        if !key.enabled || !allowed {
            return State::Never;
        }
        state(&key.blocks, about, now)
    }

    /// Whether anything stands against a key or its project; of what is tried again, only if it is not `tried`.
    pub(super) fn is_out(&self, key: usize, tried: bool, about: About<'_>, now: Time) -> bool {
        let Some(key) = self.keys.get(key) else {
            return true;
        };
        let project = self.projects.get(key.project);
        let blocks = key
            .blocks
            .iter()
            .chain(project.into_iter().flat_map(|it| &it.blocks));
        blocks.into_iter().any(|known| {
            let block = &known.block;
            !known.cleared
                && block.until > now
                && block.covers(about)
                && !(tried && block.strikes.is_some())
        })
    }

    pub(crate) fn project_state(&self, project: usize, about: About<'_>, now: Time) -> State {
        self.projects
            .get(project)
            .map_or(State::Never, |project| state(&project.blocks, about, now))
    }

    /// The clock was set back by so much: what ends after a while ends that much earlier by it, and a day still ends at
    /// midnight.
    pub(super) fn clock_set_back(&mut self, by: Duration, now: Time) {
        self.epoch += 1;
        let keys = self.keys.iter_mut().map(|key| &mut key.blocks);
        let projects = self.projects.iter_mut().map(|project| &mut project.blocks);
        for known in keys.chain(projects).flatten() {
            let block = &mut known.block;
            if !is_of_before(block.since, now) {
                continue;
            }
            let midnight = block
                .until
                .back(Duration::from_millis(1))
                .next_pacific_midnight();
            block.since = block.since.back(by);
            block.until = if block.reason == Reason::QuotaDay && block.until == midnight {
                block.until.min(now.next_pacific_midnight())
            } else {
                block.until.back(by)
            };
        }
    }

    pub(crate) fn name_of(&self, model: &str) -> Option<&Arc<str>> {
        self.named.get(model).map(|(_, named)| named)
    }

    pub(super) fn blocks(&self, subject: Subject) -> &[Learned] {
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

    pub(super) fn blocks_mut(&mut self, subject: Subject) -> Option<&mut Vec<Learned>> {
        match subject {
            Subject::Key(id) => Some(&mut self.keys.get_mut(*self.key_at.get(&id)?)?.blocks),
            Subject::Project(id) => {
                Some(&mut self.projects.get_mut(*self.project_at.get(&id)?)?.blocks)
            }
        }
    }

    /// Writes a block down and says one key of each group that it concerns; nothing, if a later one is known.
    pub(super) fn write(
        &mut self,
        subject: Subject,
        stamp: Stamp,
        (block, cleared): (&Block, bool),
        now: Time,
    ) -> Option<Vec<usize>> {
        let Some(blocks) = self.blocks_mut(subject) else {
            return Some(Vec::new());
        };
        let fresh = Learned {
            stamp,
            block: block.clone(),
            cleared,
        };
        match blocks
            .iter_mut()
            .find(|known| known.block.same_subject(block))
        {
            Some(known) if known.stamp >= stamp => return None,
            Some(known) => *known = fresh,
            None => {
                // What ended an hour before this is of no use even to late news.
                blocks.retain(|known| {
                    known.block.strikes.is_some() && !known.cleared
                        || known.block.until + REMEMBERED > now
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
        Some(match subject {
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
        })
    }

    /// Says whether no later word of it is known.
    pub(super) fn learn_carrier(
        &mut self,
        key: KeyId,
        surface: Surface,
        stamp: Stamp,
        carrier: Carrier,
    ) -> bool {
        let Some(key) = self.key_at.get(&key).and_then(|at| self.keys.get_mut(*at)) else {
            return true;
        };
        let Some(slot) = key.carriers.get_mut(surface.index()) else {
            return true;
        };
        let counts = slot.is_none_or(|(known, _)| known < stamp);
        if counts {
            *slot = Some((stamp, carrier));
        }
        counts
    }

    /// Nothing, if a later word of it is known, or there is no room.
    pub(super) fn learn_name(
        &mut self,
        asked: &Arc<str>,
        stamp: Stamp,
        named: &Arc<str>,
    ) -> Option<Named> {
        let known = self.named.get(asked);
        if known.is_some_and(|(known, _)| *known >= stamp)
            || known.is_none() && self.named.len() >= MAX_NAMES
        {
            return None;
        }
        let before = self
            .named
            .insert(Arc::clone(asked), (stamp, Arc::clone(named)));
        let same = before.is_some_and(|(_, before)| before == *named);
        Some(if same { Named::AsBefore } else { Named::Anew })
    }

    /// The block that a group is out for: its project's, or that of the first of its keys to return if that is later.
    pub(super) fn holding_block(&self, group: u32, ring: &Ring) -> Option<Block> {
        let group = self.groups.get(group as usize)?;
        let about = ring.about();
        let latest = |blocks: &[Learned]| {
            let holds = |known: &&Learned| !known.cleared && known.block.covers(about);
            let latest = blocks
                .iter()
                .filter(holds)
                .max_by_key(|known| known.block.until);
            latest.map(|known| known.block.clone())
        };
        let ends = |block: &Option<Block>| block.as_ref().map(|block| block.until);
        let keys = group.keys.iter().take(MAX_ASKED);
        let key = keys
            .filter(|key| self.key_state(**key, about, Time::ZERO) != State::Never)
            .filter_map(|key| Some(latest(&self.keys.get(*key)?.blocks)))
            .min_by_key(ends)
            .flatten();
        let project = latest(&self.projects.get(group.project)?.blocks);
        [key, project].into_iter().max_by_key(ends).flatten()
    }
}

fn state(blocks: &[Learned], about: About<'_>, now: Time) -> State {
    let mut state = State::Awake { trial: false };
    for known in blocks {
        let block = &known.block;
        if known.cleared || !block.covers(about) {
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
