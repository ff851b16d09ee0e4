//! Work that is not a conversation: a steady batch, embeddings, a stampede, small questions.

use super::{Ask, Load, Session, Style, bytes, writing};
use crate::clock::{DAY, HOUR, Millis, SECOND, midnight_after};
use crate::rng::Rng;

/// How much a steady batch offers.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Requests a day.
    pub a_day: u64,
    /// Of each of these models in turn.
    pub models: &'static [u8],
}

/// Single requests, evenly over the days with a little chance in each gap.
#[must_use]
pub fn steady(seed: u64, start: Millis, days: u64, rate: Rate) -> Load {
    let mut load = Load::new(seed);
    let gap = DAY as f64 / rate.a_day as f64;
    let mut rng = Rng::of(seed, &[STEADY]);
    let end = midnight(start, days);
    for number in 0.. {
        let at = start + (gap * (number as f64 + rng.unit())) as Millis;
        if at >= end {
            break;
        }
        let model = rate.models[number as usize % rate.models.len()];
        load.sessions.push(Session {
            start: at,
            client: (number % 16) as u32,
            turns: 1,
            style: Style::Piece { model },
            then: None,
            chained: false,
        });
    }
    load
}

/// A job of so many calls each day, by this many workers that each make one call at a time as fast as
/// they are answered.
#[must_use]
pub fn embeddings(
    seed: u64,
    start: Millis,
    days: u64,
    calls: u32,
    workers: u32,
    model: u8,
) -> Load {
    let mut load = Load::new(seed);
    for worker in 0..workers {
        let of = |day| Session {
            start: midnight(start, day) + 2 * HOUR + u64::from(worker) * 37,
            client: worker,
            turns: calls / workers,
            style: Style::Embed { model },
            then: None,
            chained: false,
        };
        load.chain((0..days).map(of).collect());
    }
    load
}

/// So many clients that all begin at midnight in Los Angeles by their own clocks, each with `calls` to
/// make, and come again the next midnight.
#[must_use]
pub fn stampede(seed: u64, start: Millis, days: u64, clients: u32, calls: u32, model: u8) -> Load {
    let mut load = Load::new(seed);
    for client in 0..clients {
        let mut rng = Rng::of(seed, &[STAMPEDE, u64::from(client)]);
        let early = rng.between(0, 4 * SECOND);
        let of = |day| Session {
            start: (midnight(start, day) + early)
                .saturating_sub(2 * SECOND)
                .max(start),
            client,
            turns: calls,
            style: Style::Small { model },
            then: None,
            chained: false,
        };
        load.chain((0..days).map(of).collect());
    }
    load
}

/// The midnight at which so many days after `start` begin.
fn midnight(start: Millis, days: u64) -> Millis {
    (0..days).fold(start, |at, _| midnight_after(at))
}

pub(super) fn small(model: u8, rng: &mut Rng) -> Ask {
    let tokens_in = (rng.log_normal(900.0, 0.9) as u64).clamp(20, 20_000);
    let tokens_out = (rng.log_normal(250.0, 0.8) as u64).clamp(5, 4_000);
    Ask {
        model: usize::from(model),
        tokens_in,
        tokens_out,
        items: 1,
        bytes: bytes(tokens_in, rng),
        streams: true,
        first: (rng.log_normal(900.0, 0.5) as Millis).min(60 * SECOND),
        rest: writing(tokens_out),
        pause: rng.between(SECOND, 5 * SECOND),
    }
}

/// Whole at once, as jobs ask.
pub(super) fn piece(model: u8, rng: &mut Rng) -> Ask {
    let ask = small(model, rng);
    Ask {
        streams: false,
        first: ask.first + ask.rest,
        rest: 0,
        ..ask
    }
}

pub(super) fn embed(model: u8, rng: &mut Rng) -> Ask {
    let items = rng.between(1, 8);
    let tokens_in = (0..items).map(|_| rng.between(60, 500)).sum();
    Ask {
        model: usize::from(model),
        tokens_in,
        tokens_out: 0,
        items,
        bytes: bytes(tokens_in, rng),
        streams: false,
        first: rng.log_normal(250.0, 0.3) as Millis,
        rest: 0,
        pause: 0,
    }
}

/// Names of streams of chance.
const STEADY: u64 = 13;
const STAMPEDE: u64 = 14;
