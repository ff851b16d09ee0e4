//! Projects as a whole: what counts, what does not, and what changes.

use super::*;
use crate::clock::{DAY, HOUR, MINUTE, SECOND, midnight_of};

fn project(limits: Limits) -> Project {
    Project {
        free: true,
        limits: vec![limits],
        shape: Shape::Sliding,
        ahead: 0,
        counts_refused: false,
        retry: RetryInfo::Exact,
        outside: 0.0,
        changes: Vec::new(),
    }
}

fn google(project: Project) -> Google {
    let world = World {
        models: vec![Model {
            name: "gemini-made-up".into(),
            embeds: false,
        }],
        projects: vec![project],
        keys: vec![Key {
            project: 0,
            told: true,
            dies: None,
        }],
        spells: Vec::new(),
    };
    Google::new(&world, 1, START)
}

const START: Millis = midnight() + HOUR;

const fn midnight() -> Millis {
    // 2 November 2026, Los Angeles.
    1_793_606_400_000
}

const ONE: Weight = Weight {
    requests: 1,
    tokens: 1000,
};

/// How many of so many at once are served.
fn served(google: &mut Google, weight: Weight, times: usize, now: Millis) -> usize {
    (0..times)
        .filter(|_| google.ask(0, 0, weight, now) == Answer::Served)
        .count()
}

#[test]
fn each_limit_refuses_what_is_over_it_and_no_more() {
    assert_eq!(midnight(), midnight_of(2026, 11, 2));
    for (limits, fits) in [
        (Limits::new(7, UNLIMITED, UNLIMITED), 7),
        (Limits::new(100, 5_500, UNLIMITED), 5),
        (Limits::new(100, UNLIMITED, 3), 3),
        (
            Limits {
                tokens_day: 2_000,
                ..Limits::new(100, UNLIMITED, UNLIMITED)
            },
            2,
        ),
    ] {
        let mut google = google(project(limits));
        assert_eq!(served(&mut google, ONE, 20, START), fits, "{limits:?}");
    }
}

#[test]
fn every_item_of_a_batch_of_embeddings_counts() {
    let mut google = google(project(Limits::new(100, UNLIMITED, UNLIMITED)));
    assert_eq!(
        served(
            &mut google,
            Weight {
                requests: 30,
                tokens: 1
            },
            10,
            START
        ),
        3
    );
}

#[test]
fn a_refusal_names_what_was_exceeded_and_when_it_fits_again() {
    let mut google = google(project(Limits::new(2, UNLIMITED, 50)));
    served(&mut google, ONE, 2, START);
    let Answer::Quota(exceeded) = google.ask(0, 0, ONE, START + 10 * SECOND) else {
        panic!("served");
    };
    assert_eq!(exceeded.which, [true, false, false, false]);
    assert_eq!(exceeded.retry, Some(50 * SECOND));
}

#[test]
fn refused_requests_count_where_the_project_counts_them() {
    for counts in [false, true] {
        let mut google = google(Project {
            counts_refused: counts,
            ..project(Limits::new(2, UNLIMITED, UNLIMITED))
        });
        served(&mut google, ONE, 2, START);
        served(&mut google, ONE, 2, START + 30 * SECOND);
        // Those from the beginning are forgotten; those that were refused are not, if they count.
        let now = START + 61 * SECOND;
        assert_eq!(served(&mut google, ONE, 2, now), if counts { 0 } else { 2 });
    }
}

#[test]
fn limits_change_at_their_instant() {
    let at = START + 10 * MINUTE;
    let changes = vec![
        Change { at, share: 2.0 },
        Change {
            at: at + 10 * MINUTE,
            share: 0.5,
        },
    ];
    let mut google = google(Project {
        changes,
        ..project(Limits::new(10, UNLIMITED, UNLIMITED))
    });
    assert_eq!(served(&mut google, ONE, 40, at - 1), 10);
    assert_eq!(served(&mut google, ONE, 40, at), 10);
    assert_eq!(served(&mut google, ONE, 40, at + 2 * MINUTE), 20);
    assert_eq!(served(&mut google, ONE, 40, at + 12 * MINUTE), 5);
}

#[test]
fn what_others_use_leaves_less() {
    let alone = project(Limits::new(10, UNLIMITED, 1000));
    let mut google = google(Project {
        outside: 0.3,
        ..alone
    });
    let mut total = 0;
    for minute in 0..23 * 60 {
        total += served(&mut google, ONE, 1, START + minute * MINUTE);
    }
    assert!((790..870).contains(&total), "{total}");
}

#[test]
fn dead_keys_spells_and_missing_models_say_so_and_count_nothing() {
    let mut plan = google(project(Limits::new(10, UNLIMITED, 10)))
        .world()
        .clone();
    plan.models.push(Model {
        name: "gemini-lacking".into(),
        embeds: false,
    });
    plan.projects[0].limits.push(Limits::NONE);
    plan.keys.push(Key {
        project: 0,
        told: false,
        dies: Some((START + HOUR, Death::Leaked)),
    });
    let spell = |trouble, model, hour| Spell {
        trouble,
        model,
        from: START + hour * HOUR,
        to: START + (hour + 1) * HOUR,
    };
    plan.spells = vec![
        spell(Trouble::Overloaded, 0, 2),
        spell(Trouble::Exhausted, 0, 3),
        spell(Trouble::Ban, 0, 4),
    ];
    let mut google = Google::new(&plan, 1, START);
    let mut ask = |key, model, hour: u64| google.ask(key, model, ONE, START + hour * HOUR);
    assert_eq!(ask(0, 1, 0), Answer::Tier);
    assert_eq!(ask(1, 0, 0), Answer::Served);
    assert_eq!(ask(1, 0, 1), Answer::Leaked);
    assert_eq!(ask(0, 0, 2), Answer::Overloaded);
    assert_eq!(ask(0, 0, 3), Answer::Exhausted);
    assert_eq!(ask(0, 1, 4), Answer::Banned);
    // The day's ten less the one that was served.
    let now = START + 6 * HOUR;
    assert_eq!(served(&mut google, ONE, 20, now), 9);
    assert!(google.live_key(0, now) == Some(0) && now < START + DAY);
}
