//! What others do: each key in turn, with and without trying the next.
//!
//! None of them reads what a refusal says, lets a request wait or knows of projects; what Google says
//! last goes to the client.

use super::{Request, Scheduler, Step};
use crate::clock::{HOUR, Millis};
use crate::google::{Answer, Google};

/// Each key in turn. `retries`: how many more keys a request that was refused is tried with; none is the
/// original tool.
#[derive(Debug)]
pub struct RoundRobin {
    keys: usize,
    next: usize,
    retries: u32,
    /// By request: attempts made.
    made: Vec<u32>,
}

impl RoundRobin {
    /// Without retry.
    #[must_use]
    pub const fn plain(keys: usize) -> Self {
        Self {
            keys,
            next: 0,
            retries: 0,
            made: Vec::new(),
        }
    }

    /// With the next key after each refusal. Ten tries are more than any popular pool makes by default (3
    /// mostly), and a key is not tried twice for one request.
    #[must_use]
    pub fn retrying(keys: usize) -> Self {
        Self {
            keys,
            next: 0,
            retries: MOST_TRIES.min(keys as u32) - 1,
            made: Vec::new(),
        }
    }

    fn send(&mut self) -> Step {
        let key = self.next;
        self.next = (self.next + 1) % self.keys;
        Step::Send { key, probe: false }
    }
}

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static str {
        if self.retries == 0 {
            "round-robin, no retry"
        } else {
            "round-robin, retries"
        }
    }

    fn admit(&mut self, request: &Request, _: &mut Google, _: Millis) -> Step {
        *slot(&mut self.made, request.id) = 1;
        self.send()
    }

    fn answered(&mut self, request: &Request, answer: &Answer, _: &mut Google, _: Millis) -> Step {
        let made = slot(&mut self.made, request.id);
        if *answer == Answer::Served || *made > self.retries {
            return Step::Deliver;
        }
        *made += 1;
        self.send()
    }

    fn finish(&mut self, _: &Request, _: bool, _: Millis) {}
}

/// A key that fails three times in a row, for whatever reason, is out for an hour, as in the pools that
/// people use most: three failures, three tries a request, and a look every hour that puts keys back.
/// When all are out, they are used all the same.
#[derive(Debug)]
pub struct DisableAfterThree {
    keys: Vec<Health>,
    next: usize,
    /// By request: attempts made, and the key in use.
    made: Vec<(u32, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    out_until: Millis,
}

impl DisableAfterThree {
    /// All keys in use.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self {
            keys: vec![Health::default(); keys],
            next: 0,
            made: Vec::new(),
        }
    }

    fn send(&mut self, id: usize, made: u32, now: Millis) -> Step {
        let count = self.keys.len();
        let turns = (0..count).map(|by| (self.next + by) % count);
        let key = turns
            .into_iter()
            .find(|key| self.keys[*key].out_until <= now)
            .unwrap_or(self.next);
        self.next = (key + 1) % count;
        *slot(&mut self.made, id) = (made, key);
        Step::Send { key, probe: false }
    }
}

impl Scheduler for DisableAfterThree {
    fn name(&self) -> &'static str {
        "out after three failures"
    }

    fn admit(&mut self, request: &Request, _: &mut Google, now: Millis) -> Step {
        self.send(request.id, 1, now)
    }

    fn answered(
        &mut self,
        request: &Request,
        answer: &Answer,
        _: &mut Google,
        now: Millis,
    ) -> Step {
        let (made, key) = *slot(&mut self.made, request.id);
        let health = &mut self.keys[key];
        if *answer == Answer::Served {
            health.failures = 0;
            return Step::Deliver;
        }
        health.failures += 1;
        if health.failures >= FAILURES {
            *health = Health {
                failures: 0,
                out_until: now + OUT,
            };
        }
        if made >= TRIES {
            Step::Deliver
        } else {
            self.send(request.id, made + 1, now)
        }
    }

    fn finish(&mut self, _: &Request, _: bool, _: Millis) {}
}

fn slot<T: Default + Clone>(slots: &mut Vec<T>, id: usize) -> &mut T {
    if slots.len() <= id {
        slots.resize(id + 1, T::default());
    }
    &mut slots[id]
}

/// See [`RoundRobin::retrying`].
const MOST_TRIES: u32 = 10;

/// In a row, before a key is out.
const FAILURES: u32 = 3;

/// A request's tries.
const TRIES: u32 = 3;

/// Until the next look at keys that are out.
const OUT: Millis = HOUR;
