//! The loop: clients ask, a scheduler decides, the modelled Google answers.
//!
//! Events in order of virtual time, and those of one instant in the order in which they came about; nothing
//! else decides what happens first, so a run is the same each time. Whatever needs chance draws it from what
//! it is (see [`rng`](crate::rng)).
//!
//! An attempt takes its way to Google (some tens of milliseconds, now and then a few hundred), counts there
//! when it *arrives*, and takes its way back. So two that were sent one after the other may arrive the other
//! way round, and a scheduler never knows what is on its way.

mod figures;
mod room;

pub use figures::{Figures, Minute, Spans, Tally, by_minute_of_day, share};

use crate::clock::{MINUTE, Millis, SECOND, midnight_after};
use crate::google::{Answer, Google, Weight, World};
use crate::rng::Rng;
use crate::scheduler::{Request, Scheduler, Step};
use crate::workload::{Load, Style};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// What is run: the same for each scheduler.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Seeds everything.
    pub seed: u64,
    /// A midnight in Los Angeles.
    pub start: Millis,
    /// Sessions begin before it.
    pub end: Millis,
    /// What Google has.
    pub world: World,
    /// What clients do.
    pub load: Load,
}

/// Runs a scheduler through a setting. `progress` is told the virtual time now and then.
pub fn run(
    setting: &Setting,
    scheduler: &mut dyn Scheduler,
    progress: &mut dyn FnMut(Millis),
) -> Figures {
    let mut all = Run::new(setting, scheduler);
    let mut told = setting.start;
    while let Some((now, event)) = all.next_event() {
        if now >= setting.end + AFTERWARDS {
            break;
        }
        if now >= told {
            told = now + PROGRESS;
            progress(now);
        }
        all.figures.events += 1;
        all.take(event, now);
    }
    all.figures
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The turn asks, for the first time or again.
    Ask(usize),
    /// Its attempt arrives at Google.
    Arrives(usize),
    /// The answer, or its beginning, arrives.
    Back(usize),
    /// The answer is there whole.
    Ends(usize),
    /// The scheduler wanted to be called.
    Wake,
    /// A session's next turn, which is kept in the slot.
    Begins(u32, u32),
    /// Somebody waits: is there room?
    Look,
}

/// A turn in progress.
#[derive(Clone, Debug)]
struct Turn {
    request: Request,
    /// When it first asked.
    begun: Millis,
    /// Times that its client asked.
    asked: u32,
    /// Attempts over all that.
    attempts: u32,
    sent: Millis,
    key: usize,
    probe: bool,
    answer: Answer,
    /// Since when it waits.
    waits: Option<Millis>,
    /// There was room when this was last looked at.
    had_room: bool,
    /// It was counted among those that waited, and waited with room.
    counted: (bool, bool, bool),
}

struct Run<'a> {
    setting: &'a Setting,
    scheduler: &'a mut dyn Scheduler,
    google: Google,
    figures: Figures,
    first_ends: Millis,
    events: BinaryHeap<Reverse<(Millis, u64, Event)>>,
    serial: u64,
    /// Sessions that wait for no other, in order of their beginning; and how many have begun.
    starts: Vec<u32>,
    begun: usize,
    turns: Vec<Turn>,
    free: Vec<usize>,
    /// By project and model: what was sent and has not arrived.
    on_its_way: Vec<Weight>,
    /// By model: who waits, since when.
    waiting: Vec<BTreeSet<(Millis, usize)>>,
    wakes_at: Option<Millis>,
    looks: bool,
    ready: Vec<(usize, Step)>,
}

impl<'a> Run<'a> {
    fn new(setting: &'a Setting, scheduler: &'a mut dyn Scheduler) -> Self {
        let sessions = &setting.load.sessions;
        let mut starts: Vec<u32> = (0..sessions.len() as u32)
            .filter(|at| !sessions[*at as usize].chained)
            .collect();
        starts.sort_by_key(|at| sessions[*at as usize].start);
        let models = setting.world.models.len();
        Self {
            google: Google::new(&setting.world, setting.seed, setting.start),
            figures: Figures {
                name: scheduler.name(),
                first: Tally::default(),
                later: Tally::default(),
                minutes: vec![
                    Minute::default();
                    setting.end.saturating_sub(setting.start).div_ceil(MINUTE) as usize
                ],
                events: 0,
            },
            setting,
            scheduler,
            first_ends: midnight_after(setting.start),
            events: BinaryHeap::new(),
            serial: 0,
            starts,
            begun: 0,
            turns: Vec::new(),
            free: Vec::new(),
            on_its_way: vec![
                Weight {
                    requests: 0,
                    tokens: 0
                };
                setting.world.projects.len() * models
            ],
            waiting: vec![BTreeSet::new(); models],
            wakes_at: None,
            looks: false,
            ready: Vec::new(),
        }
    }

    fn next_event(&mut self) -> Option<(Millis, Event)> {
        let sessions = &self.setting.load.sessions;
        let next = self
            .starts
            .get(self.begun)
            .map(|at| (sessions[*at as usize].start, *at));
        let due = self.events.peek().map(|Reverse((at, ..))| *at);
        match (next, due) {
            (Some((start, session)), due) if due.is_none_or(|due| start <= due) => {
                self.begun += 1;
                Some((start, Event::Begins(session, 0)))
            }
            _ => self.events.pop().map(|Reverse((at, _, event))| (at, event)),
        }
    }

    fn take(&mut self, event: Event, now: Millis) {
        match event {
            Event::Begins(session, turn) => self.begin(session, turn, now),
            Event::Ask(id) => self.ask(id, now),
            Event::Arrives(id) => self.arrive(id, now),
            Event::Back(id) => self.back(id, now),
            Event::Ends(id) => {
                self.scheduler.finish(&self.turns[id].request, true, now);
                self.over(id, true, now);
            }
            Event::Wake => {
                // One that was put off still comes.
                if self.wakes_at == Some(now) {
                    self.wakes_at = None;
                    self.wake(now);
                }
            }
            Event::Look => self.look(now),
        }
        self.arm(now);
    }

    fn begin(&mut self, session: u32, turn: u32, now: Millis) {
        let plan = &self.setting.load.sessions[session as usize];
        let ask = self.setting.load.ask(session, turn);
        let request = Request {
            id: 0,
            client: plan.client,
            session,
            turn,
            talks: plan.turns > 1,
            ask,
        };
        let fresh = Turn {
            request,
            begun: now,
            asked: 0,
            attempts: 0,
            sent: now,
            key: 0,
            probe: false,
            answer: Answer::Served,
            waits: None,
            had_room: false,
            counted: (false, false, false),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.turns[id] = fresh;
                id
            }
            None => {
                self.turns.push(fresh);
                self.turns.len() - 1
            }
        };
        self.turns[id].request.id = id;
        self.tally(now).offered += 1;
        self.minute(now, |minute| minute.offered += 1);
        self.ask(id, now);
    }

    fn ask(&mut self, id: usize, now: Millis) {
        self.turns[id].asked += 1;
        let step = self
            .scheduler
            .admit(&self.turns[id].request, &mut self.google, now);
        self.obey(id, step, now);
    }

    fn wake(&mut self, now: Millis) {
        let mut ready = std::mem::take(&mut self.ready);
        self.scheduler.woken(&mut self.google, now, &mut ready);
        for (id, step) in ready.drain(..) {
            self.obey(id, step, now);
        }
        self.ready = ready;
    }

    fn obey(&mut self, id: usize, step: Step, now: Millis) {
        if let Some(since) = self.turns[id].waits.take() {
            self.waiting[self.turns[id].request.ask.model].remove(&(since, id));
        }
        match step {
            Step::Send { key, probe } => self.send(id, key, probe, now),
            Step::Wait { believed_room } => self.wait(id, believed_room, now),
            Step::Deliver => self.deliver(id, now),
            Step::Refuse { why, back } => self.refuse(id, why, back, now),
        }
    }

    fn send(&mut self, id: usize, key: usize, probe: bool, now: Millis) {
        self.tally(now).attempts += 1;
        let turn = &mut self.turns[id];
        turn.attempts += 1;
        (turn.sent, turn.key, turn.probe) = (now, key, probe);
        if self.scheduler.is_instant() {
            self.arrive(id, now);
        } else {
            let way = self.way(id, THERE);
            let at = self.cell(id);
            let weight = self.turns[id].request.ask.weight();
            self.on_its_way[at].requests += weight.requests;
            self.on_its_way[at].tokens += weight.tokens;
            self.at(now + way, Event::Arrives(id));
        }
    }

    fn arrive(&mut self, id: usize, now: Millis) {
        let (ask, key) = (self.turns[id].request.ask, self.turns[id].key);
        let weight = ask.weight();
        let mut passed = 0;
        if self.scheduler.is_instant() {
            passed = self.way(id, THERE);
        } else {
            let at = self.cell(id);
            self.on_its_way[at].requests -= weight.requests;
            self.on_its_way[at].tokens -= weight.tokens;
        }
        let answer = self.google.ask(key, ask.model, weight, now);
        let probe = self.turns[id].probe;
        let takes = match answer {
            Answer::Served => ask.first,
            _ => REFUSING,
        };
        let tally = self.tally(now);
        match &answer {
            Answer::Served => {}
            refused if refused.is_quota() && probe => tally.probes_refused += 1,
            refused if refused.is_quota() => tally.quota_refused += 1,
            _ => tally.otherwise_refused += 1,
        }
        if answer != Answer::Served {
            self.minute(now, |minute| minute.wasted += 1);
        }
        self.turns[id].answer = answer;
        let way = self.way(id, BACK);
        self.at(now + passed + takes + way, Event::Back(id));
    }

    fn back(&mut self, id: usize, now: Millis) {
        let turn = &self.turns[id];
        let step = self
            .scheduler
            .answered(&turn.request, &turn.answer, &mut self.google, now);
        self.obey(id, step, now);
    }

    fn deliver(&mut self, id: usize, now: Millis) {
        let turn = &self.turns[id];
        match &turn.answer {
            Answer::Served => {
                let rest = turn.request.ask.rest;
                if rest == 0 {
                    self.scheduler.finish(&turn.request, true, now);
                    self.over(id, true, now);
                } else {
                    self.at(now + rest, Event::Ends(id));
                }
            }
            refused => {
                let back = match refused {
                    Answer::Quota(exceeded) => {
                        exceeded.retry.map(|retry| retry.div_ceil(SECOND) * SECOND)
                    }
                    _ => None,
                };
                let why = refused.name();
                self.refuse(id, why, back, now);
            }
        }
    }

    /// The client is refused: it comes again, or gives the turn up.
    fn refuse(&mut self, id: usize, why: &'static str, back: Option<Millis>, now: Millis) {
        self.scheduler.finish(&self.turns[id].request, false, now);
        *self.tally(now).refused.entry(why).or_default() += 1;
        self.minute(now, |minute| minute.refused += 1);
        let asked = self.turns[id].asked;
        let pause = back.unwrap_or(UNTOLD << (asked - 1)).max(SECOND);
        if asked > RETRIES || pause > self.setting.load.patience {
            self.over(id, false, now);
        } else {
            let late = self.chance(id, COMES_AGAIN).between(0, SECOND);
            self.at(now + pause + late, Event::Ask(id));
        }
    }

    fn over(&mut self, id: usize, served: bool, now: Millis) {
        let turn = &self.turns[id];
        let (request, added) = (turn.request, turn.sent - turn.begun);
        let tally = self.tally(now);
        if served {
            tally.served += 1;
            tally.wait.note(added);
            self.minute(now, |minute| {
                minute.served += 1;
                minute.wait += added;
            });
        } else {
            tally.given_up += 1;
        }
        self.free.push(id);
        let session = &self.setting.load.sessions[request.session as usize];
        let next = request.turn + 1;
        let abandoned = !served && matches!(session.style, Style::Agent { .. });
        if next < session.turns && !abandoned {
            self.at(
                now + request.ask.pause,
                Event::Begins(request.session, next),
            );
        } else if let Some(then) = session.then {
            let start = self.setting.load.sessions[then as usize].start.max(now);
            self.at(start, Event::Begins(then, 0));
        }
    }

    /// Sees to it that the scheduler is called when it wants to be.
    fn arm(&mut self, now: Millis) {
        if let Some(at) = self.scheduler.wakes_at().map(|at| at.max(now))
            && self.wakes_at.is_none_or(|armed| at < armed)
        {
            self.wakes_at = Some(at);
            self.at(at, Event::Wake);
        }
    }

    fn at(&mut self, at: Millis, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }

    /// How long this attempt's way takes.
    fn way(&self, id: usize, name: u64) -> Millis {
        (self.chance(id, name).log_normal(WAY, 0.6) as Millis).clamp(5, 2 * SECOND)
    }

    fn chance(&self, id: usize, name: u64) -> Rng {
        let turn = &self.turns[id];
        let request = &turn.request;
        let names = [
            name,
            u64::from(request.session),
            u64::from(request.turn),
            u64::from(turn.attempts + turn.asked),
        ];
        Rng::of(self.setting.seed, &names)
    }

    fn cell(&self, id: usize) -> usize {
        let turn = &self.turns[id];
        let world = &self.setting.world;
        world.keys[turn.key].project * world.models.len() + turn.request.ask.model
    }

    fn tally(&mut self, now: Millis) -> &mut Tally {
        if now < self.first_ends {
            &mut self.figures.first
        } else {
            &mut self.figures.later
        }
    }

    fn minute(&mut self, now: Millis, note: impl FnOnce(&mut Minute)) {
        let at = (now - self.setting.start) / MINUTE;
        if let Some(minute) = self.figures.minutes.get_mut(at as usize) {
            note(minute);
        }
    }
}

/// After the end of a run no session begins, and those that have begun may go on so long. What is not
/// served by then is not counted as served.
pub const AFTERWARDS: Millis = 30 * MINUTE;

/// A client comes again three times.
pub(crate) const RETRIES: u32 = 3;

/// When it was not told after how long; doubled each time.
const UNTOLD: Millis = 5 * SECOND;

/// One way between the relay and Google, in the middle.
const WAY: f64 = 35.0;

/// A refusal costs Google little.
const REFUSING: Millis = 15;

/// Of virtual time, between two words of progress.
const PROGRESS: Millis = 10 * MINUTE;

/// Names of streams of chance.
const THERE: u64 = 30;
const BACK: u64 = 31;
const COMES_AGAIN: u64 = 32;

#[cfg(test)]
mod tests;
