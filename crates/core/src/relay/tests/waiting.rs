//! Waiting: in order, bounded, and only when it helps.

use super::world::{DAY_ID, End, MINUTE_ID, World, generate, quota, refused};
use crate::facts::Surface;
use crate::google_error::GoogleError;
use crate::refusal::Refusal;
use crate::relay::{Next, RequestId, Step};
use crate::settings::Settings;
use crate::verdict::Outcome;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A world whose only project has just run dry for 20 seconds.
fn dry(settings: Settings) -> World {
    let mut world = World::new(
        &["a.1"],
        Settings {
            max_wait: Duration::ZERO,
            ..settings.clone()
        },
    );
    world.google(|_, _, _| quota("m", MINUTE_ID, 5000, 20 * SECOND));
    world.ask(generate("m"));
    let events = world.relay.take_events();
    let mut dry = World::new(&["a.1"], settings);
    for event in &events {
        dry.relay.apply(event, dry.now);
    }
    dry
}

fn wait(world: &mut World) -> RequestId {
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Wait));
    id
}

#[test]
fn a_short_wait_is_waited_and_the_client_notices_nothing() {
    let mut world = dry(Settings::default());
    let started = world.now;
    world.ask(generate("m")).key();
    assert_eq!(world.now.since(started).as_secs(), 20);
}

#[test]
fn a_long_wait_is_refused_at_once_with_the_true_time() {
    let mut world = dry(Settings {
        max_wait: 5 * SECOND,
        ..Settings::default()
    });
    world.advance(Duration::from_millis(500));
    let started = world.now;
    let End::Refused {
        refusal,
        attempts: 0,
    } = world.ask(generate("m"))
    else {
        panic!()
    };
    assert_eq!(world.now, started);
    let rendered = refusal.render(Surface::Gemini, false, world.now);
    let error = GoogleError::parse(rendered.body.as_bytes());
    assert_eq!(rendered.retry_after, Some(20), "rounded up");
    assert!(
        error.message.ends_with("Please retry in 20s."),
        "{}",
        error.message
    );
    assert_eq!(error.violations[0].quota_id, MINUTE_ID);
}

#[test]
fn those_who_wait_go_in_order_of_arrival_and_not_all_at_once() {
    let mut world = dry(Settings::default());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(wait(&mut world));
        world.advance(Duration::from_millis(10));
    }
    world.advance(20 * SECOND);
    let mut order = Vec::new();
    while order.len() < 5 {
        let ready = world.relay.ready(world.now);
        assert!(ready.len() <= 1, "one at a time");
        for id in ready {
            assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
            order.push(id);
        }
        world.now = world
            .relay
            .next_deadline()
            .map_or(world.now, |at| at.max(world.now));
    }
    assert_eq!(order, ids);
}

#[test]
fn a_newcomer_goes_behind_those_who_wait() {
    let mut world = dry(Settings::default());
    let first = wait(&mut world);
    world.advance(20 * SECOND);
    let newcomer = wait(&mut world);
    assert_eq!(world.relay.ready(world.now), [first]);
    assert!(matches!(world.relay.poll(first, world.now), Step::Send(_)));
    world.advance(SECOND);
    assert_eq!(world.relay.ready(world.now), [newcomer]);
}

#[test]
fn a_refusal_stops_the_rest_and_they_wait_on() {
    let mut world = dry(Settings {
        max_wait: Duration::from_secs(100),
        ..Settings::default()
    });
    let ids = [wait(&mut world), wait(&mut world), wait(&mut world)];
    world.advance(20 * SECOND);
    let ready = world.relay.ready(world.now);
    let Step::Send(_) = world.relay.poll(ready[0], world.now) else {
        panic!()
    };
    let refusal = quota("m", MINUTE_ID, 5, 30 * SECOND);
    let done = world
        .relay
        .attempt_done(ready[0], &refusal, true, world.now);
    assert_eq!(done.next, Next::Retry);
    assert!(matches!(world.relay.poll(ready[0], world.now), Step::Wait));
    world.advance(5 * SECOND);
    assert!(world.relay.ready(world.now).is_empty());
    world.advance(25 * SECOND);
    // The first in line is the first still, although it was sent once in vain.
    assert_eq!(world.relay.ready(world.now), [ids[0]]);
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let mut world = dry(Settings {
        max_waiting: 1,
        ..Settings::default()
    });
    let first = wait(&mut world);
    let crowded = world.ask(generate("m"));
    assert!(
        matches!(
            crowded,
            End::Refused {
                refusal: Refusal::Crowded { .. },
                ..
            }
        ),
        "{crowded:?}"
    );
    world.relay.cancel(first, world.now);
    assert_eq!(world.relay.in_progress(), (0, 0));
    let second = wait(&mut world);
    world.advance(20 * SECOND);
    assert_eq!(world.relay.ready(world.now), [second]);
}

#[test]
fn one_models_queue_holds_nobody_else_up() {
    let mut world = dry(Settings::default());
    wait(&mut world);
    let started = world.now;
    world.ask(generate("other")).key();
    assert_eq!(world.now, started);
}

#[test]
fn patience_has_an_end() {
    let mut world = dry(Settings {
        max_wait: 25 * SECOND,
        ..Settings::default()
    });
    let started = world.now;
    // Google goes on refusing: twenty seconds, and then twenty more.
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, 20 * SECOND));
    let end = world.ask(generate("m"));
    assert!(
        matches!(
            end,
            End::Refused {
                refusal: Refusal::Quota { .. },
                ..
            }
        ),
        "{end:?}"
    );
    assert_eq!(world.now.since(started).as_secs(), 20);
}

#[test]
fn the_time_in_which_an_answer_is_made_is_no_waiting() {
    for first in [
        refused(503, "The model is overloaded. Please try again later."),
        quota("m", MINUTE_ID, 5, 5 * SECOND),
        Outcome::Broken,
    ] {
        let mut world = World::new(&["a.1"], Settings::default());
        let id = world.relay.admit(generate("m"), world.now);
        assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
        world.advance(600 * SECOND);
        let done = world.relay.attempt_done(id, &first, true, world.now);
        assert_eq!(done.next, Next::Retry, "{first:?}");
        let begun = world.now;
        assert_eq!(world.drive(id, &generate("m")).attempts(), 2, "{first:?}");
        assert!(world.now.since(begun) <= 5 * SECOND);
    }
}

#[test]
fn whoever_rested_is_asked_once_more_though_the_walk_took_longer_than_it_would_have_waited() {
    for (max_wait, answers) in [(0, 500), (1, 500), (30, 8000)] {
        let settings = Settings {
            max_wait: max_wait * SECOND,
            ..Settings::default()
        };
        let mut world = World::new(&["a.1", "b.1", "c.1", "d.1", "e.1"], settings);
        let id = world.relay.admit(generate("m"), world.now);
        let mut asked = Vec::new();
        loop {
            let attempt = match world.relay.poll(id, world.now) {
                Step::Send(attempt) => attempt,
                Step::Wait => {
                    world.now = world.relay.next_deadline().unwrap().max(world.now);
                    world.relay.ready(world.now);
                    continue;
                }
                Step::Refuse(refusal) => panic!("{refusal:?} after {asked:?}"),
            };
            world.advance(Duration::from_millis(answers));
            let label = attempt.key.label.to_string();
            let outcome = match &*label {
                "a.1" if asked.is_empty() => quota("m", MINUTE_ID, 5, SECOND),
                "a.1" => Outcome::Served,
                _ => quota("m", DAY_ID, 5, SECOND),
            };
            asked.push(label);
            let done = world.relay.attempt_done(id, &outcome, true, world.now);
            match done.next {
                Next::Deliver(_) => break,
                Next::Retry => {}
                Next::Refuse(refusal) => panic!("{refusal:?} after {asked:?}"),
            }
        }
        assert_eq!(asked.last().unwrap(), "a.1");
    }
}

#[test]
fn two_who_come_back_by_turns_do_not_keep_a_request_for_ever() {
    let settings = Settings {
        max_wait: 5 * SECOND,
        ..Settings::default()
    };
    let mut world = World::new(&["a.1", "b.1"], settings);
    let begun = world.now;
    let id = world.relay.admit(generate("m"), world.now);
    for _ in 0..100 {
        match world.relay.poll(id, world.now) {
            Step::Send(_) => {
                world.advance(2 * SECOND);
                let refused = quota("m", MINUTE_ID, 5, SECOND);
                let done = world.relay.attempt_done(id, &refused, true, world.now);
                if done.next != Next::Retry {
                    break;
                }
            }
            Step::Wait => {
                world.now = world.relay.next_deadline().unwrap().max(world.now);
                world.relay.ready(world.now);
            }
            Step::Refuse(_) => break,
        }
    }
    let took = world.now.since(begun);
    assert!(took <= 12 * SECOND, "{took:?}");
}

#[test]
fn the_longer_nobody_is_refused_the_faster_they_are_let_go() {
    let mut world = dry(Settings {
        max_waiting: 2000,
        ..Settings::default()
    });
    for _ in 0..1000 {
        wait(&mut world);
    }
    world.advance(20 * SECOND);
    let begun = world.now;
    let mut gone = 0;
    while gone < 1000 {
        for id in world.relay.ready(world.now) {
            assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
            gone += 1;
        }
        world.advance(Duration::from_millis(1));
        if world.now.since(begun) == SECOND {
            assert!(gone <= 80, "{gone}");
        }
    }
    // Fifty a second would take twenty.
    let took = world.now.since(begun);
    assert!(took < 7 * SECOND, "{took:?}");
}

#[test]
fn a_relay_that_stops_tells_whoever_would_wait_for_longer() {
    for (stops_in, told) in [(10, true), (25, false)] {
        let mut world = dry(Settings::default());
        let id = wait(&mut world);
        world.advance(SECOND);
        world.relay.stop(world.now + stops_in * SECOND, world.now);
        assert_eq!(world.relay.ready(world.now), [id]);
        match world.relay.poll(id, world.now) {
            Step::Refuse(Refusal::Stopping) => assert!(told),
            Step::Wait => assert!(!told),
            other => panic!("{other:?}"),
        }
    }
}
