//! Trials: one request finds out whether somebody who is out without a known end may be asked again.

use super::world::{DAY_ID, End, MINUTE_ID, World, generate, quota, refused, spec};
use crate::facts::Surface;
use crate::google_error::GoogleError;
use crate::refusal::Refusal;
use crate::relay::{Attempt, Next, RequestId, Step};
use crate::settings::Settings;
use crate::verdict::Outcome;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DEAD: &str = "API key not valid. Please pass a valid API key.";

/// A world whose only key died a quarter of an hour ago and has been mended since: it is due to be tried.
fn due() -> World {
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|_, _, _| refused(400, DEAD));
    world.ask(generate("m"));
    world.google(|_, _, _| Outcome::Served);
    world.advance(Duration::from_secs(15 * 60));
    world
}

/// A request that tries the key, and is not answered yet.
fn tries(world: &mut World) -> (RequestId, Attempt) {
    let id = world.relay.admit(generate("m"), world.now);
    match world.relay.poll(id, world.now) {
        Step::Send(attempt) => (id, attempt),
        other => panic!("{other:?}"),
    }
}

fn answered(world: &mut World, id: RequestId, outcome: &Outcome) -> Next {
    world.relay.attempt_done(id, outcome, true, world.now).next
}

fn waited(world: &mut World) -> (End, Duration) {
    let begun = world.now;
    let end = world.ask(generate("m"));
    (end, world.now.since(begun))
}

#[test]
fn nobody_waits_for_the_end_of_a_long_answer_to_what_was_tried() {
    let mut world = due();
    let (id, _) = tries(&mut world);
    assert_eq!(
        answered(&mut world, id, &Outcome::Served),
        Next::Deliver(None)
    );
    // Its stream goes on, and the day's quota runs out.
    world.google(|_, _, _| quota("m", DAY_ID, 5, 20 * SECOND));
    for _ in 0..2 {
        let (end, waited) = waited(&mut world);
        assert!(
            matches!(
                end,
                End::Refused {
                    refusal: Refusal::Quota { day: true, .. },
                    ..
                }
            ),
            "{end:?}"
        );
        assert_eq!(waited, Duration::ZERO);
    }
}

#[test]
fn who_leaves_in_the_middle_of_such_an_answer_proves_nothing() {
    let mut world = due();
    let (id, _) = tries(&mut world);
    answered(&mut world, id, &Outcome::Served);
    // It dies again.
    world.google(|_, _, _| refused(400, DEAD));
    world.ask(generate("m"));
    world.relay.cancel(id, world.now);
    world.attempts.clear();
    world.advance(Duration::from_secs(120));
    world.ask(generate("m"));
    assert!(
        world.attempts.is_empty(),
        "it is out for a quarter of an hour"
    );
}

#[test]
fn what_was_tried_is_known_though_the_keys_were_read_again_meanwhile() {
    for leaves in [false, true] {
        let mut world = due();
        let (id, _) = tries(&mut world);
        world.relay.reload(&[spec("a.1")], world.now);
        world.advance(3 * SECOND);
        if leaves {
            world.relay.cancel(id, world.now);
            world.advance(Duration::from_secs(60));
        } else {
            answered(&mut world, id, &Outcome::Served);
        }
        assert_eq!(waited(&mut world).0.key(), "a.1");
    }
}

#[test]
fn a_key_that_runs_into_a_quota_is_not_dead() {
    let mut world = due();
    let (id, _) = tries(&mut world);
    let minute = quota("m", MINUTE_ID, 5, 5 * SECOND);
    assert_eq!(answered(&mut world, id, &minute), Next::Retry);
    let (end, waited) = waited(&mut world);
    end.key();
    assert_eq!(waited, 5 * SECOND);
}

#[test]
fn what_a_limit_of_zero_says_of_a_key_is_that_it_is_taken() {
    let mut world = due();
    let (id, _) = tries(&mut world);
    answered(&mut world, id, &quota("m", DAY_ID, 0, SECOND));
    world.relay.cancel(id, world.now);
    assert_eq!(world.ask(generate("other")).key(), "a.1");
    assert!(matches!(
        world.ask(generate("m")),
        End::Refused {
            refusal: Refusal::Tier { .. },
            attempts: 0
        }
    ));
}

#[test]
fn what_proves_nothing_is_tried_again_in_a_minute() {
    for nothing in [
        refused(403, "The caller does not have permission"),
        refused(500, "Internal error encountered."),
        refused(429, "Resource has been exhausted (e.g. check quota)."),
    ] {
        let mut world = due();
        let (id, _) = tries(&mut world);
        answered(&mut world, id, &nothing);
        world.relay.cancel(id, world.now);
        let tried = |world: &mut World| {
            world.attempts.clear();
            world.ask(generate("other"));
            !world.attempts.is_empty()
        };
        world.advance(59 * SECOND);
        assert!(!tried(&mut world), "{nothing:?}");
        world.advance(2 * SECOND);
        assert!(tried(&mut world), "{nothing:?}");
    }
}

#[test]
fn who_returns_first_of_a_project_says_why_it_is_out() {
    let mut world = World::new(
        &["a.1", "a.2"],
        Settings {
            max_wait: Duration::ZERO,
            ..Settings::default()
        },
    );
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.2" => refused(400, DEAD),
        _ => Outcome::Served,
    });
    world.ask(generate("m"));
    world.ask(generate("m"));
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, 20 * SECOND));
    world.ask(generate("m"));
    let End::Refused {
        refusal: Refusal::Quota { violation, .. },
        ..
    } = world.ask(generate("m"))
    else {
        panic!()
    };
    assert_eq!(violation.unwrap().quota_id, MINUTE_ID);
}

#[test]
fn what_proved_nothing_does_not_undo_what_another_was_served() {
    // Two relays that tell each other, late.
    let mut worlds = [due(), due()];
    let events: Vec<_> = worlds
        .iter_mut()
        .map(|world| world.relay.take_events())
        .collect();
    for event in &events[0] {
        let now = worlds[1].now;
        worlds[1].relay.apply(event, now);
    }
    let ids = worlds.each_mut().map(|world| tries(world).0);
    let [a, b] = &mut worlds;
    answered(a, ids[0], &Outcome::Served);
    b.advance(SECOND);
    b.relay.cancel(ids[1], b.now);
    let (served, left) = (a.relay.take_events(), b.relay.take_events());
    assert!(!served.is_empty() && !left.is_empty());
    for order in [[&served, &left], [&left, &served]] {
        let mut third = due();
        for event in events[0].iter().chain(order.into_iter().flatten()) {
            third.relay.apply(event, third.now);
        }
        third.ask(generate("m")).key();
    }
}

#[test]
fn a_trial_whose_other_way_is_not_tried_proves_nothing() {
    let wrong = refused(401, "Request had invalid authentication credentials.");
    for how in ["out", "reload", "left"] {
        let mut world = due();
        let (id, _) = tries(&mut world);
        assert_eq!(answered(&mut world, id, &wrong), Next::Retry);
        match how {
            "reload" => world.relay.reload(&[spec("a.1")], world.now),
            "out" => {
                // Another relay met a quota of its project.
                let mut other = World::new(&["a.1"], Settings::default());
                other.now = world.now;
                other.google(|_, _, _| quota("m", MINUTE_ID, 5, SECOND));
                let met = other.relay.admit(generate("m"), other.now);
                assert!(matches!(other.relay.poll(met, other.now), Step::Send(_)));
                let quota = quota("m", MINUTE_ID, 5, SECOND);
                other.relay.attempt_done(met, &quota, true, other.now);
                for event in other.relay.take_events() {
                    world.relay.apply(&event, world.now);
                }
            }
            _ => {}
        }
        if how != "left" {
            world.relay.poll(id, world.now);
        }
        world.relay.cancel(id, world.now);
        world.advance(61 * SECOND);
        assert_eq!(waited(&mut world).0.key(), "a.1", "{how}");
    }
}

#[test]
fn what_is_found_out_of_a_key_leaves_its_project_to_be_tried_and_the_other_way_round() {
    let broke = || {
        let mut world = World::new(&["a.1", "a.2"], Settings::default());
        world.google(|_, _, _| refused(429, "Your prepayment credits are depleted."));
        world.ask(generate("m"));
        world.advance(Duration::from_secs(15 * 60));
        world
    };
    // The one that is tried is dead by now.
    let mut world = broke();
    let dies = std::cell::Cell::new(true);
    world.google(move |_, _, _| match dies.replace(false) {
        true => refused(400, DEAD),
        false => Outcome::Served,
    });
    assert_eq!(world.ask(generate("m")).attempts(), 2);
    // It has none of the model that is asked.
    let mut world = broke();
    world.google(|_, facts, _| match facts.model.as_deref() {
        Some("lacks") => quota("lacks", DAY_ID, 0, SECOND),
        _ => Outcome::Served,
    });
    world.ask(generate("lacks"));
    world.advance(61 * SECOND);
    world.ask(generate("m")).key();
}

#[test]
fn a_key_in_the_name_of_a_quota_is_not_shown() {
    let key = "made-up-a.1";
    for (metric, id, model) in [
        (key, MINUTE_ID, "m"),
        ("x", key, "m"),
        ("x", MINUTE_ID, key),
    ] {
        let settings = Settings {
            max_wait: Duration::ZERO,
            ..Settings::default()
        };
        let mut world = World::new(&["a.1"], settings);
        let body = format!(
            r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"{metric}","quotaId":"PerMinute{id}","quotaDimensions":{{"model":"{model}"}},"quotaValue":"5"}}]}}]}}}}"#
        );
        let error = GoogleError::parse(body.as_bytes());
        world.google(move |_, _, _| Outcome::Refused {
            status: 429,
            error: error.clone(),
        });
        for _ in 0..2 {
            let End::Refused { refusal, .. } = world.ask(generate("m")) else {
                panic!()
            };
            let rendered = refusal.render(Surface::Gemini, false, world.now);
            assert!(!rendered.body.contains(key), "{}", rendered.body);
            assert!(rendered.body.contains("[key]"), "{}", rendered.body);
        }
    }
}

#[test]
fn who_asks_what_is_wrong_does_not_keep_a_mended_key_from_others() {
    let mut world = due();
    world.google(|_, facts, _| match facts.model.as_deref() {
        Some("wrong") => refused(400, "Invalid value at 'contents'."),
        _ => Outcome::Served,
    });
    for _ in 0..5 {
        world.ask(generate("wrong"));
        world.advance(SECOND);
    }
    world.ask(generate("m")).key();
}
