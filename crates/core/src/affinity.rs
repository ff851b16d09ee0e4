//! Which project served which conversation.
//!
//! Thought signatures and prompt caches live in a project, so a conversation's later turns are best
//! served where its earlier ones were. Remembered by hash, for each client apart, in two generations:
//! when the young one is full it becomes the old one and the old one is forgotten. That bounds memory
//! and forgets what was not used for longest, without a list to keep.

use crate::facts::ClientId;
use crate::map::Map;
use crate::pool::ProjectId;
use foldhash::fast::FixedState;

#[derive(Debug)]
pub(crate) struct Affinity {
    young: Map<(ClientId, u64), ProjectId>,
    old: Map<(ClientId, u64), ProjectId>,
}

impl Affinity {
    /// Nothing remembered; `seed` keeps clients from choosing what collides.
    pub(crate) fn new(seed: u64) -> Self {
        let map = || Map::with_hasher(FixedState::with_seed(seed));
        Self {
            young: map(),
            old: map(),
        }
    }

    pub(crate) fn remember(&mut self, client: ClientId, turns: u64, project: ProjectId) {
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert((client, turns), project);
    }

    pub(crate) fn project_of(&self, client: ClientId, turns: u64) -> Option<ProjectId> {
        let key = (client, turns);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }
}

/// Two generations of this many: about 3 MB, and several thousand conversations going on at a time.
const GENERATION: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_each_clients_own() {
        let mut affinity = Affinity::new(1);
        affinity.remember(ClientId(1), 0, ProjectId(7));
        assert_eq!(affinity.project_of(ClientId(1), 0), Some(ProjectId(7)));
        assert_eq!(affinity.project_of(ClientId(2), 0), None);
        for turns in 1..3 * GENERATION as u64 {
            affinity.remember(ClientId(1), turns, ProjectId(8));
        }
        assert!(affinity.young.len() + affinity.old.len() <= 2 * GENERATION);
        assert_eq!(affinity.project_of(ClientId(1), 0), None);
    }
}
