//! That clients are what they are said to be.

use super::*;
use crate::clock::{DAY, HOUR, midnight_of};

fn start() -> Millis {
    midnight_of(2026, 11, 3)
}

#[test]
fn an_agents_prompts_grow_from_ten_thousand_tokens_to_at_most_a_hundred_and_fifty_thousand() {
    let load = agent(1, start(), 30, &[0]);
    let mut longest = 0;
    for (at, session) in load.sessions.iter().enumerate() {
        assert!((5..=60).contains(&session.turns));
        let prompts: Vec<u64> = (0..session.turns)
            .map(|turn| load.ask(at as u32, turn).tokens_in)
            .collect();
        assert!((9_000..=17_000).contains(&prompts[0]), "{}", prompts[0]);
        // But for what the person writes.
        assert!(prompts.windows(2).all(|two| two[1] + 800 >= two[0]));
        longest = longest.max(prompts.into_iter().max().unwrap_or_default());
    }
    assert!((100_000..=150_800).contains(&longest), "{longest}");
}

#[test]
fn an_agent_sleeps_at_night_and_pauses_by_day() {
    let load = agent(1, start(), 5, &[0]);
    for session in &load.sessions {
        let hour = (session.start - start()) % DAY / HOUR;
        assert!(hour < 16, "begins at {hour}");
    }
    assert!(load.sessions.iter().skip(1).all(|session| session.chained));
    assert!(
        (20..200).contains(&load.sessions.len()),
        "{}",
        load.sessions.len()
    );
}

#[test]
fn a_team_works_by_day_and_eats() {
    let load = team(1, start(), 2, 20, &[0, 1]);
    let mut by_hour = [0; 24];
    for session in &load.sessions {
        by_hour[((session.start - start()) % DAY / HOUR) as usize] += 1;
    }
    assert!(by_hour[4] * 3 < by_hour[5] * 2, "{by_hour:?}");
    assert!(
        by_hour[11..23].iter().all(|count| *count == 0),
        "{by_hour:?}"
    );
    let people: std::collections::HashSet<u32> =
        load.sessions.iter().map(|session| session.client).collect();
    assert_eq!(people.len(), 20);
}

#[test]
fn a_batch_is_steady_and_jobs_are_as_long_as_they_say() {
    let load = steady(
        1,
        start(),
        2,
        Rate {
            a_day: 1440,
            models: &[0, 1],
        },
    );
    assert_eq!(load.turns(), 2 * 1440);
    let gaps: Vec<u64> = load
        .sessions
        .windows(2)
        .map(|two| two[1].start - two[0].start)
        .collect();
    assert!(gaps.iter().all(|gap| *gap <= 2 * MINUTE));
    let load = embeddings(1, start(), 3, 10_000, 16, 0);
    assert_eq!(load.turns(), 30_000);
    assert!((0..100).all(|turn| (1..=8).contains(&load.ask(0, turn).items)));
}

#[test]
fn a_stampede_begins_at_midnight_two_seconds_off_at_most() {
    let load = stampede(1, start(), 3, 300, 12, 0);
    for session in &load.sessions {
        let off = (session.start + 2 * SECOND - start()) % DAY;
        assert!(off <= 4 * SECOND, "{off}");
    }
    assert_eq!(load.turns(), 3 * 300 * 12);
}

#[test]
fn loads_that_are_joined_keep_their_chains_and_records() {
    let line = Line {
        at: 5,
        client: "anna".into(),
        model: "m".into(),
        embeds: false,
        tokens_in: 7,
        tokens_out: 1,
        items: 1,
    };
    let joined = stampede(1, start(), 2, 2, 1, 0)
        .and(replay(1, start(), &[line], |_| 0))
        .and(stampede(1, start(), 2, 1, 1, 0));
    assert_eq!(joined.sessions.len(), 7);
    assert_eq!(joined.ask(4, 0).tokens_in, 7);
    assert_eq!(
        (joined.sessions[5].then, joined.sessions[6].chained),
        (Some(6), true)
    );
}
