//! The best that could be done without knowing the future.
//!
//! It reads every count, window and limit of the modelled Google, knows which keys share a project and
//! which are dead, and its requests arrive the instant they are sent, so that what it saw still holds: it
//! is never refused for quota. It does not know what will come: neither requests, nor what others will use,
//! nor when a spell of trouble ends, nor that a limit will change.
//!
//! It is bound as the relay is: requests for one model go in order of arrival, wait for at most
//! [`MAX_WAIT`], and a conversation's later turns go to the project of its earlier ones while that has
//! room. Otherwise it takes the project whose scarcest quota has the largest share left, so that all run
//! out together and a burst finds room everywhere. It lets a request wait only when no project has room, and
//! refuses at once when none will have within its patience.
//!
//! When it refuses, it says when to come again, and that is a decision too: clients that come back to a line that
//! is still full spend their tries in vain. So those who waited in vain while others waited are told a minute. In
//! a stampede this serves a seventh more than telling them when the first of the line may go.
//!
//! It is no proof of what could be done, only a good example: what is left to the end for others outside may be
//! theirs, so that a scheduler that uses one project up first can be served a little more. What nobody can exceed
//! is [`bound`](crate::bound).

use super::{MAX_WAIT, Request, Scheduler, Step};
use crate::clock::{MINUTE, Millis, SECOND};
use crate::google::{Answer, Google, Trouble, Weight};
use std::collections::{HashMap, VecDeque};

/// Knows everything but the future.
#[derive(Debug, Default)]
pub struct Omniscient {
    /// By model.
    queues: Vec<VecDeque<Waiting>>,
    /// Of sessions with several turns: the project that served the last.
    homes: HashMap<u32, usize>,
    wakes_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: Request,
    until: Millis,
}

/// What can be done for a request now.
enum Chance {
    /// This key has room.
    Now(usize),
    /// Some project has, then, if nobody else comes.
    At(Millis),
    /// It must be looked at again: trouble ends when it ends.
    Unknown,
    /// Never under these limits.
    Never,
}

impl Omniscient {
    /// Before the first request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn chance(&self, request: &Request, google: &mut Google, now: Millis) -> Chance {
        let (model, weight) = (request.ask.model, request.ask.weight());
        if google.world().trouble(model, now).is_some() {
            return Chance::Unknown;
        }
        if let Some(&home) = self.homes.get(&request.session)
            && let Some(key) = google.live_key(home, now)
            && google.fits_at(home, model, weight, now) == Some(now)
        {
            return Chance::Now(key);
        }
        let mut best: Option<(f64, usize)> = None;
        let mut first = None;
        for project in 0..google.world().projects.len() {
            let Some(key) = google.live_key(project, now) else {
                continue;
            };
            match google.fits_at(project, model, weight, now) {
                Some(at) if at <= now => {
                    let left = google.scarcest(project, model, now);
                    if best.is_none_or(|(most, _)| left > most) {
                        best = Some((left, key));
                    }
                }
                Some(at) => first = Some(first.map_or(at, |first: Millis| first.min(at))),
                None => {}
            }
        }
        match (best, first) {
            (Some((_, key)), _) => Chance::Now(key),
            (None, Some(at)) => Chance::At(at),
            (None, None) => Chance::Never,
        }
    }

    fn queue(&mut self, model: usize) -> &mut VecDeque<Waiting> {
        if self.queues.len() <= model {
            self.queues.resize_with(model + 1, VecDeque::new);
        }
        &mut self.queues[model]
    }

    fn wake_by(&mut self, at: Millis) {
        self.wakes_at = Some(self.wakes_at.map_or(at, |wakes| wakes.min(at)));
    }

    fn send(&mut self, request: &Request, key: usize, google: &Google) -> Step {
        if request.talks {
            self.homes
                .insert(request.session, google.world().keys[key].project);
        }
        Step::Send { key, probe: false }
    }
}

impl Scheduler for Omniscient {
    fn name(&self) -> &'static str {
        "omniscient"
    }

    fn admit(&mut self, request: &Request, google: &mut Google, now: Millis) -> Step {
        let until = now + MAX_WAIT;
        let chance = self.chance(request, google, now);
        let queue = self.queue(request.ask.model);
        let behind = !queue.is_empty();
        let again = match chance {
            Chance::Now(key) if !behind => return self.send(request, key, google),
            Chance::Now(_) => now + SECOND,
            Chance::At(at) if at <= until => at,
            Chance::Unknown => now + LOOK,
            Chance::At(at) => {
                return Step::Refuse {
                    why: "quota",
                    back: Some(at - now),
                };
            }
            Chance::Never => {
                return Step::Refuse {
                    why: "never fits",
                    back: None,
                };
            }
        };
        queue.push_back(Waiting {
            request: *request,
            until,
        });
        self.wake_by(again.min(until).min(now + SECOND));
        Step::Wait {
            believed_room: false,
        }
    }

    fn answered(
        &mut self,
        request: &Request,
        answer: &Answer,
        google: &mut Google,
        now: Millis,
    ) -> Step {
        match answer {
            // What it sees at the instant of sending is so. Were it not, it would ask again.
            Answer::Served => Step::Deliver,
            _ => self.admit(request, google, now),
        }
    }

    fn finish(&mut self, _: &Request, _: bool, _: Millis) {}

    fn wakes_at(&self) -> Option<Millis> {
        self.wakes_at
    }

    fn woken(&mut self, google: &mut Google, now: Millis, ready: &mut Vec<(usize, Step)>) {
        self.wakes_at = None;
        for model in 0..self.queues.len() {
            let mut again = None;
            // Those whose patience has ended.
            let before = self.queues[model].len();
            self.queues[model].retain(|waiting| {
                waiting.until > now || {
                    let step =
                        in_vain(google, model, waiting.request.ask.weight(), before > 1, now);
                    ready.push((waiting.request.id, step));
                    false
                }
            });
            while let Some(first) = self.queues[model].front().copied() {
                match self.chance(&first.request, google, now) {
                    Chance::Now(key) => {
                        let step = self.send(&first.request, key, google);
                        self.queues[model].pop_front();
                        // What it takes must be counted before the next one looks.
                        ready.push((first.request.id, step));
                        again = Some(now);
                        break;
                    }
                    Chance::At(at) => {
                        again = Some(at.min(first.until));
                        break;
                    }
                    Chance::Unknown => {
                        again = Some((now + LOOK).min(first.until));
                        break;
                    }
                    Chance::Never => {
                        self.queues[model].pop_front();
                        ready.push((
                            first.request.id,
                            Step::Refuse {
                                why: "never fits",
                                back: None,
                            },
                        ));
                    }
                }
            }
            if let Some(again) = again {
                // Limits may be raised, others leave room: look every second at the latest.
                self.wake_by(again.min(now + SECOND));
            }
        }
    }

    fn is_instant(&self) -> bool {
        true
    }
}

/// The refusal of one that has waited as long as it may. Where others wait too, they have the next room, and it
/// is told to come back when a minute's quotas are new; else when some project has room.
fn in_vain(google: &mut Google, model: usize, weight: Weight, crowded: bool, now: Millis) -> Step {
    match google.world().trouble(model, now) {
        Some(Trouble::Ban) => {
            return Step::Refuse {
                why: "banned",
                back: None,
            };
        }
        Some(Trouble::Overloaded) => {
            return Step::Refuse {
                why: "overloaded",
                back: None,
            };
        }
        Some(Trouble::Exhausted) => {
            return Step::Refuse {
                why: "exhausted",
                back: None,
            };
        }
        None => {}
    }
    let fits = (0..google.world().projects.len()).filter_map(|project| {
        google.live_key(project, now)?;
        google.fits_at(project, model, weight, now)
    });
    let soonest = fits.min().map(|at| at - now);
    let back = soonest.map(|soonest| {
        if crowded {
            soonest.max(MINUTE)
        } else {
            soonest
        }
    });
    Step::Refuse { why: "quota", back }
}

/// How often trouble is looked at.
const LOOK: Millis = SECOND / 4;
