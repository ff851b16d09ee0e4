//! Coding agents: one person's, and a team's.
//!
//! The shape is Cline's. A conversation has five to sixty turns; each turn sends all that came before, so
//! prompts grow with every file that is read, from about ten thousand tokens to a hundred and fifty
//! thousand, where the agent shortens what it sends. Between two turns tools run for 1 to 20 s, and
//! now and then a person reads. Between conversations there are minutes to hours, and at night nothing.
//!
//! People live in Berlin, where quotas reset at nine in the morning.

use super::{Ask, Load, Session, Style, bytes, writing};
use crate::clock::{DAY, HOUR, MINUTE, Millis, SECOND};
use crate::rng::Rng;

/// One person with an agent, for so many days from `start` (a midnight in Los Angeles).
#[must_use]
pub fn agent(seed: u64, start: Millis, days: u64, models: &[u8]) -> Load {
    let mut load = Load::new(seed);
    let mut rng = Rng::of(seed, &[PERSON]);
    let mut sessions = Vec::new();
    for day in 0..days {
        // From ten in the morning until eleven at night, with pauses.
        let morning = start + day * DAY + HOUR + rng.between(0, HOUR);
        let mut at = morning;
        while at < morning + 13 * HOUR {
            sessions.push(conversation(at, 0, rng.one_of(models), &mut rng));
            at += MINUTE + rng.exponential(50.0 * MINUTE as f64) as Millis;
        }
    }
    load.chain(sessions);
    load
}

/// So many people by day: most with an agent, all with small questions.
#[must_use]
pub fn team(seed: u64, start: Millis, days: u64, people: u32, models: &[u8]) -> Load {
    let mut load = Load::new(seed);
    for person in 0..people {
        let mut rng = Rng::of(seed, &[PERSON, u64::from(person)]);
        let mut talks = Vec::new();
        let mut questions = Vec::new();
        for day in 0..days {
            // Eight to ten until five to seven, an hour of lunch about noon. Nine is where a day begins.
            let day = start + day * DAY;
            let begins = (day + rng.between(0, 2 * HOUR)).saturating_sub(HOUR);
            let ends = day + 8 * HOUR + rng.between(0, 2 * HOUR);
            let lunch = day + 3 * HOUR + rng.between(0, HOUR);
            let works = |at: Millis| !(lunch..lunch + HOUR).contains(&at);
            let mut at = begins.max(start) + rng.between(0, HOUR);
            while at < ends {
                if works(at) && person % 4 != 3 {
                    talks.push(conversation(at, person, rng.one_of(models), &mut rng));
                }
                at += 10 * MINUTE + rng.exponential(80.0 * MINUTE as f64) as Millis;
            }
            let mut at = begins.max(start);
            while at < ends {
                if works(at) {
                    let style = Style::Small {
                        model: rng.one_of(models),
                    };
                    questions.push(Session {
                        start: at,
                        client: person,
                        turns: 1,
                        style,
                        then: None,
                        chained: false,
                    });
                }
                at += SECOND + rng.exponential(12.0 * MINUTE as f64) as Millis;
            }
        }
        load.chain(talks);
        load.chain(questions);
    }
    load
}

fn conversation(start: Millis, client: u32, model: u8, rng: &mut Rng) -> Session {
    let turns = (rng.log_normal(14.0, 0.7) as u32).clamp(5, 60);
    Session {
        start,
        client,
        turns,
        style: Style::Agent { model },
        then: None,
        chained: false,
    }
}

/// One turn of a conversation.
pub(super) fn turn(seed: u64, session: u32, turn: u32, model: u8, rng: &mut Rng) -> Ask {
    // How much a turn adds belongs to the conversation: some read large files.
    let mut whole = Rng::of(seed, &[CONVERSATION, u64::from(session)]);
    let first = whole.between(9_000, 16_000);
    let growth = whole.log_normal(2_500.0, 0.6);
    let tokens_in =
        (first + (growth * f64::from(turn)) as u64).min(LONGEST_PROMPT) + rng.between(0, 800);
    let tokens_out = (rng.log_normal(350.0, 0.9) as u64).clamp(20, 8_000);
    let reads = rng.happens(0.1);
    Ask {
        model: usize::from(model),
        tokens_in,
        tokens_out,
        items: 1,
        bytes: bytes(tokens_in, rng),
        streams: true,
        first: (rng.log_normal(1_800.0, 0.5) as Millis).min(MINUTE),
        rest: writing(tokens_out),
        pause: rng.between(SECOND, 20 * SECOND)
            + if reads { rng.between(0, 3 * MINUTE) } else { 0 },
    }
}

/// Where agents shorten what they send.
const LONGEST_PROMPT: u64 = 150_000;

/// Names of streams of chance.
const PERSON: u64 = 11;
const CONVERSATION: u64 = 12;
