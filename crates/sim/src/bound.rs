//! How many turns anybody could have served, the future known.
//!
//! Two counts for each model, each of which nobody can exceed, and the smaller of them. Both are of a *flow*:
//! turns come in no earlier than they could, wait as long as they may, and go out no faster than all projects together allow.
//!
//! **When turns come in.** A turn follows the one before it, so it comes soonest if nothing ever waited: each
//! answer at once, no refusal, no time on the way. What a turn asks does not depend on who serves it, so
//! that earliest time is the same for all, and no real turn is earlier.
//!
//! **What goes out.** In the time from `s` to `t` a quota of `n` a minute accepts at most `n` times the
//! minutes between them, and `2n` more, in whichever of the three ways it counts: a fixed window may be met
//! at its end and the next at its beginning, a sliding one likewise, a bucket may be full. That is a bucket
//! of `2n` filled evenly with `n` a minute, and of all projects together one with the sum. A day's quota
//! accepts what it is, between two midnights; as clocks may be off by two seconds, what is left of a day may
//! still be used in the minute after midnight, and the new day's in the minute before. A project without a
//! live key, and any model in a whole minute of trouble, accepts nothing. What others use is left out, which
//! only makes the bound higher.
//!
//! **When turns go.** A single request whose client asks at a fixed time is gone when the client has given up: four
//! times of waiting and three pauses later. The turns of a conversation, and of a chain, wait without limit.
//!
//! **Why serving as early as possible is most.** One request counts one (of embeddings as many as it has
//! items), one resource at a time: whatever a schedule serves later it could serve now, if there is room now,
//! and use that later room for what comes then; among those that weigh the same, whoever gives up first goes
//! first, which serves the most. With weights that differ, giving up is left out and the lightest of those that are
//! there goes first, as in shortest-remaining-time-first, which has finished the most at every moment; a
//! request may be served in parts, which again only makes the bound higher.

use crate::clock::{MINUTE, Millis, SECOND, midnight_after};
use crate::google::{Limits, UNLIMITED};
use crate::run::{AFTERWARDS, RETRIES, Setting};
use crate::scheduler::MAX_WAIT;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The most turns that could be served in all.
#[must_use]
pub fn bound(setting: &Setting) -> u64 {
    let coming = coming(setting);
    coming
        .into_iter()
        .enumerate()
        .map(|(model, turns)| {
            let by_requests = flow(
                setting,
                model,
                &turns,
                |turn| turn.items,
                |limits| (limits.requests_minute, limits.requests_day),
            );
            let by_tokens = flow(
                setting,
                model,
                &turns,
                |turn| turn.tokens,
                |limits| (limits.tokens_minute, limits.tokens_day),
            );
            by_requests.min(by_tokens)
        })
        .sum()
}

/// A turn, as far as the bound needs it.
#[derive(Clone, Copy, Debug)]
struct Coming {
    at: Millis,
    /// When its client has given up at the latest; [`Millis::MAX`] where that depends on others.
    until: Millis,
    items: u64,
    tokens: u64,
}

/// Every turn at the earliest, by model and in order of time.
fn coming(setting: &Setting) -> Vec<Vec<Coming>> {
    let mut turns = vec![Vec::new(); setting.world.models.len()];
    let sessions = &setting.load.sessions;
    let latest = latest(setting.load.patience);
    for first in (0..sessions.len()).filter(|at| !sessions[*at].chained) {
        let (mut next, mut now) = (Some(first as u32), 0);
        while let Some(session) = next {
            let plan = &sessions[session as usize];
            now = plan.start.max(now);
            let alone = plan.turns == 1 && !plan.chained;
            for turn in 0..plan.turns {
                let ask = setting.load.ask(session, turn);
                turns[ask.model].push(Coming {
                    at: now,
                    until: if alone { now + latest } else { Millis::MAX },
                    items: ask.items,
                    tokens: ask.tokens_in,
                });
                now += ask.first + ask.rest + ask.pause;
            }
            next = plan.then;
        }
    }
    for turns in &mut turns {
        turns.sort_by_key(|turn| turn.at);
    }
    turns
}

fn flow(
    setting: &Setting,
    model: usize,
    turns: &[Coming],
    weight: impl Fn(&Coming) -> u64,
    limits: impl Fn(&Limits) -> (u64, u64),
) -> u64 {
    // Those that weigh the same go by who gives up first; others by their weight.
    let alike = turns.iter().all(|turn| weight(turn) == 1);
    let mut waiting: BinaryHeap<Reverse<(Millis, u64)>> = BinaryHeap::new();
    let mut coming = turns.iter().peekable();
    let alive = alive_until(setting);
    let mut now = setting.start - setting.start % MINUTE;
    // A full bucket, and what a slow clock leaves of the day before.
    let (mut minute, mut day) = (UNLIMITED, capacity(setting, model, now, &alive, &limits).1);
    let mut midnight = setting.start;
    let mut served = 0;
    while now < setting.end + AFTERWARDS {
        let (a_minute, a_day) = capacity(setting, model, now, &alive, &limits);
        // A minute before midnight the new day is there, and a minute after it the old one has gone.
        if now + MINUTE >= midnight {
            day = day.saturating_add(a_day);
            midnight = midnight_after(midnight.max(now));
        }
        if midnight_after(now - 2 * MINUTE) <= now - MINUTE {
            day = day.min(a_day);
        }
        minute = minute
            .saturating_add(a_minute)
            .min(a_minute.saturating_mul(3));
        while let Some(turn) = coming.next_if(|turn| turn.at < now + MINUTE) {
            waiting.push(Reverse((if alike { turn.until } else { 0 }, weight(turn))));
        }
        while alike
            && waiting
                .peek()
                .is_some_and(|Reverse((until, _))| *until < now)
        {
            waiting.pop();
        }
        let troubled = |at| setting.world.trouble(model, at).is_some();
        let open = if troubled(now) && troubled(now + MINUTE - 1) {
            0
        } else {
            minute.min(day)
        };
        let mut room = open;
        while room > 0
            && let Some(Reverse((until, lightest))) = waiting.pop()
        {
            if lightest > room {
                waiting.push(Reverse((until, lightest - room)));
                room = 0;
            } else {
                room -= lightest;
                served += 1;
            }
        }
        let used = open - room;
        if minute != UNLIMITED {
            minute -= used;
        }
        if day != UNLIMITED {
            day -= used;
        }
        now += MINUTE;
    }
    served
}

/// Of all projects together, in a minute and in a day, at the highest of the limits that are in force
/// about this minute, or on this day.
fn capacity(
    setting: &Setting,
    model: usize,
    now: Millis,
    alive: &[Millis],
    limits: &impl Fn(&Limits) -> (u64, u64),
) -> (u64, u64) {
    let mut sum = (0_u64, 0_u64);
    // By the end of the day that is, or that is about to begin.
    let ends = midnight_after(now + MINUTE);
    for (project, alive) in setting.world.projects.iter().zip(alive) {
        let first = project.limits[model];
        if *alive + MINUTE < now || first.requests_minute == 0 {
            continue;
        }
        let highest = |until: Millis| {
            let shares = project.changes.iter().filter(|change| change.at <= until);
            first.times(shares.map(|change| change.share).fold(1.0, f64::max))
        };
        let minute = limits(&highest(now + 2 * MINUTE)).0;
        let day = limits(&highest(ends)).1;
        sum = (sum.0.saturating_add(minute), sum.1.saturating_add(day));
    }
    sum
}

/// When each project's last key dies; never is far off.
fn alive_until(setting: &Setting) -> Vec<Millis> {
    let mut alive = vec![0; setting.world.projects.len()];
    for key in &setting.world.keys {
        let dies = key.dies.map_or(Millis::MAX / 2, |(at, _)| at);
        alive[key.project] = dies.max(alive[key.project]);
    }
    alive
}

/// How long after its first asking a request can be sent. The minute is for attempts that are refused on the
/// way.
const fn latest(patience: Millis) -> Millis {
    let retries = RETRIES as u64;
    (retries + 1) * MAX_WAIT + retries * (patience + SECOND) + MINUTE
}
