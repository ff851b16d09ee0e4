//! All that is known, and whose turn it is, in a form that outlasts a process.

use super::Pool;
use super::known::Learned;
use crate::event::{Change, Event, Subject};
use crate::facts::Surface;
use crate::key::KeyId;
use crate::relay::Turn;
use crate::ring::RingId;
use std::sync::Arc;

impl Pool {
    /// The events that would make another pool of these keys know the same.
    pub(crate) fn events(&self) -> Vec<Event> {
        let known = &self.known;
        let mut events = Vec::new();
        for (id, at) in &known.project_at {
            if let Some(project) = known.projects.get(*at) {
                blocks(&mut events, Subject::Project(*id), &project.blocks);
            }
        }
        for key in &known.keys {
            blocks(&mut events, Subject::Key(key.info.id), &key.blocks);
            for (surface, learned) in Surface::ALL.into_iter().zip(&key.carriers) {
                if let Some((stamp, carrier)) = *learned {
                    let change = Change::CarrierLearned(key.info.id, surface, carrier);
                    events.push(Event { stamp, change });
                }
            }
        }
        for (project, quota, stamp, violation) in known.budgets.limits() {
            let change = Change::LimitLearned(project, quota, violation);
            events.push(Event { stamp, change });
        }
        for (asked, (stamp, named)) in &known.named {
            events.push(Event {
                stamp: *stamp,
                change: Change::ModelNamed(Arc::clone(asked), Arc::clone(named)),
            });
        }
        events
    }

    pub(crate) fn turns(&self) -> Vec<Turn> {
        let turn = |(_, ring): (_, &crate::ring::Ring)| {
            let key = ring.next_key(&self.known)?;
            let about = ring.about();
            Some(Turn {
                model: about.models[0].map(Arc::from),
                kind: about.kind,
                next: self.known.keys.get(key)?.info.id,
            })
        };
        self.rings.iter().filter_map(turn).collect()
    }

    /// Gives everybody before this key their turn.
    pub(crate) fn begin_at(&mut self, ring: RingId, key: KeyId) {
        if let Some(&key) = self.known.key_at.get(&key)
            && let Some(ring) = self.rings.get_mut(ring)
        {
            ring.begin_at(&self.known, key);
        }
    }
}

fn blocks(events: &mut Vec<Event>, subject: Subject, blocks: &[Learned]) {
    for known in blocks {
        let block = known.block.clone();
        events.push(Event {
            stamp: known.stamp,
            change: if known.cleared {
                Change::Cleared(subject, block)
            } else {
                Change::Blocked(subject, block)
            },
        });
    }
}
