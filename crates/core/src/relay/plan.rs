//! A plan: whom a request is to ask, in order, made in one place and carried out in another.
//!
//! Where requests are carried out by many processes that live briefly (the Worker's isolates), turns
//! must still be taken from one rotation, or each process would begin with the first key. So one relay
//! only plans: it takes the turn, and names those whom the request may ask after that. Another carries
//! the plan out, and walks it without asking again. What it knows itself counts for more than the plan,
//! which may be older: a key that it knows to be out is passed over, and past the plan's end it chooses
//! from its own rotation. So a plan that comes late, or not at all, costs a request nothing but an even turn.
//!
//! Which project serves a conversation is remembered when the plan is made, as if its first project were sure to
//! serve. Where another one did, the relay that carried it out says so ([`Relay::take_moved`]).
//!
//! With [`Strategy::LeastLoaded`] there is no plan: who is how loaded is known where requests are
//! carried out, and nowhere else.

use super::{Relay, RequestId};
use crate::budget::Weight;
use crate::event::Event;
use crate::facts::{ClientId, Facts, Kind};
use crate::key::KeyId;
use crate::pool::ProjectId;
use crate::ring::Want;
use crate::settings::Strategy;
use crate::time::Time;
use std::sync::Arc;

/// A conversation that was served by another project than planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Whose it is.
    pub client: ClientId,
    /// The hash of its turns.
    pub turns: u64,
    /// Who served it.
    pub project: ProjectId,
}

/// Whose turn is next for such requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The model.
    pub model: Option<Arc<str>>,
    /// The kind.
    pub kind: Kind,
    /// Who is next.
    pub next: KeyId,
}

impl Relay {
    /// Whom this request is to ask, `most` at most; the first one's turn is taken.
    pub fn plan(&mut self, facts: &Facts, most: usize, now: Time) -> Vec<KeyId> {
        let mut plan = Vec::new();
        if self.settings.strategy == Strategy::LeastLoaded {
            return plan;
        }
        let ring = self.pool.ring(facts.model.as_ref(), facts.kind, now);
        let ratio = self.pool.ring_mut(ring).map(|ring| ring.ratio);
        let weight = Weight {
            requests: facts.items,
            tokens: ratio.unwrap_or_default().tokens(facts.bytes),
        };
        let turns = facts.conversation.filter(|_| self.settings.affinity);
        let prefer = turns
            .and_then(|turns| turns.earlier)
            .and_then(|earlier| self.affinity.project_of(facts.client, earlier))
            .and_then(|project| self.pool.project_index(project));
        let want = Want {
            tried_keys: &[],
            tried_projects: &[],
            replayable: facts.replayable,
            prefer,
            passing: None,
            weight,
        };
        let Some(first) = self.pool.pick(ring, &want, now) else {
            return plan;
        };
        // Where it is carried out, nobody knows here.
        if let Some(ring) = self.pool.ring_mut(ring) {
            ring.give_back(first);
        }
        let mut keys = vec![first.key];
        let mut projects = Vec::new();
        if let Some(info) = self.pool.info(first) {
            plan.push(info.id);
            projects.extend(self.pool.project_index(info.project_id));
            if let Some(turns) = turns {
                self.affinity
                    .remember(facts.client, turns.whole, info.project_id);
            }
        }
        while plan.len() < most {
            let want = Want {
                tried_keys: &keys,
                tried_projects: &projects,
                // What is only to be tried is tried by the one whose turn it is.
                replayable: false,
                prefer: None,
                passing: None,
                weight,
            };
            match self.pool.next(ring, &want, now) {
                Some(next) => {
                    keys.push(next.key);
                    if let Some(info) = self.pool.info(next) {
                        plan.push(info.id);
                        projects.extend(self.pool.project_index(info.project_id));
                    }
                }
                // Every project once, and then their other keys.
                None if !projects.is_empty() => projects.clear(),
                None => break,
            }
        }
        plan
    }

    /// Lets a request in that is to ask these keys first, in this order.
    pub fn admit_planned(&mut self, facts: Facts, plan: Vec<KeyId>, now: Time) -> RequestId {
        let id = self.admit(facts, now);
        if self.settings.strategy != Strategy::LeastLoaded
            && let Some(request) = self.get_mut(id)
        {
            request.plan = plan;
        }
        id
    }

    /// The conversations served by others than planned, since this was last asked.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    /// Remembers who served a conversation.
    pub fn remember(&mut self, moved: Moved) {
        self.affinity
            .remember(moved.client, moved.turns, moved.project);
    }

    /// All that is known, as the events that it comes from.
    #[must_use]
    pub fn known(&self) -> Vec<Event> {
        self.pool.events()
    }

    /// Whose turn is next, for all that was asked for.
    #[must_use]
    pub fn turns(&self) -> Vec<Turn> {
        self.pool.turns()
    }

    /// Goes on where another relay left off.
    pub fn restore_turns(&mut self, turns: &[Turn], now: Time) {
        for turn in turns {
            let ring = self.pool.ring(turn.model.as_ref(), turn.kind, now);
            self.pool.begin_at(ring, turn.next);
        }
    }

    /// Notes a conversation that went elsewhere than its plan said.
    pub(super) fn note_moved(&mut self, id: RequestId, facts: &Facts, project: ProjectId) {
        let planned = self
            .get_mut(id)
            .and_then(|request| request.plan.first().copied())
            .and_then(|key| self.pool.project_of(key));
        if let (Some(planned), Some(turns)) = (planned, facts.conversation)
            && planned != project
            && self.moved.len() < MAX_MOVED
        {
            self.moved.push(Moved {
                client: facts.client,
                turns: turns.whole,
                project,
            });
        }
    }
}

/// Told to the planner within a second or so; what is lost costs a conversation one switch.
const MAX_MOVED: usize = 1024;
