//! Whether a request waited although a project had room, as the modelled Google knows and the scheduler does not.
//!
//! That is asked at two moments. When a request that nobody is in line before is told to wait: whether some
//! project would accept it then, with all that is on its way counted as arrived. And each second for everybody
//! in line, in order, as if those before had just gone: whoever could have gone at two such looks on end (letting
//! a line go takes a moment) waited although there was room.

use super::{Event, Run};
use crate::clock::{Millis, SECOND};
use crate::google::Weight;

impl Run<'_> {
    /// A request is told to wait.
    pub(super) fn wait(&mut self, id: usize, believed_room: bool, now: Millis) {
        let model = self.turns[id].request.ask.model;
        let room = self.waiting[model].is_empty() && {
            let mut before = self.on_its_way_for(model);
            self.finds_room(id, &mut before, now)
        };
        self.waiting[model].insert((now, id));
        let turn = &mut self.turns[id];
        turn.waits = Some(now);
        turn.had_room = false;
        let counted = turn.counted;
        turn.counted = (true, counted.1 || believed_room, counted.2 || room);
        let tally = self.tally(now);
        tally.waited += u64::from(!counted.0);
        tally.believed_room += u64::from(believed_room && !counted.1);
        tally.true_room += u64::from(room && !counted.2);
        if !self.looks {
            self.looks = true;
            self.at(now + SECOND, Event::Look);
        }
    }

    /// Who in each line could have gone, one after the other.
    pub(super) fn look(&mut self, now: Millis) {
        self.looks = false;
        for model in 0..self.waiting.len() {
            let line: Vec<usize> = self.waiting[model].iter().map(|(_, id)| *id).collect();
            self.looks |= !line.is_empty();
            let mut before = self.on_its_way_for(model);
            let mut moves = true;
            for id in line {
                moves = moves && self.finds_room(id, &mut before, now);
                let had_room = std::mem::replace(&mut self.turns[id].had_room, moves);
                if moves && had_room && !std::mem::replace(&mut self.turns[id].counted.2, true) {
                    self.tally(now).true_room += 1;
                }
            }
        }
        if self.looks {
            self.at(now + SECOND, Event::Look);
        }
    }

    /// Whether a project would accept this request now, after all that goes `before` it there; and it is counted
    /// among those then.
    fn finds_room(&mut self, id: usize, before: &mut [Weight], now: Millis) -> bool {
        let ask = self.turns[id].request.ask;
        if self.setting.world.trouble(ask.model, now).is_some() {
            return false;
        }
        for (project, before) in before.iter_mut().enumerate() {
            let weight = Weight {
                requests: ask.items + before.requests,
                tokens: ask.tokens_in + before.tokens,
            };
            if self.google.live_key(project, now).is_some()
                && self.google.fits_at(project, ask.model, weight, now) == Some(now)
            {
                *before = weight;
                return true;
            }
        }
        false
    }

    /// By project: what was sent for this model and has not arrived.
    fn on_its_way_for(&self, model: usize) -> Vec<Weight> {
        let models = self.setting.world.models.len();
        self.on_its_way
            .iter()
            .skip(model)
            .step_by(models)
            .copied()
            .collect()
    }
}
