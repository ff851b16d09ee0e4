//! What becomes of a refusal that does not say whose fault it is when those who might know better cannot say.

use super::world::*;
use crate::facts::Facts;
use crate::refusal::Refusal;
use crate::relay::{Next, Step};
use crate::settings::Settings;
use crate::verdict::Outcome;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const PRIVATE: &str = "You do not have permission to access this video.";
const GONE: &str = "models/m is not found for API version v1beta";
const INVALID: &str = "API key not valid. Please pass a valid API key.";
const TYPE: &str = "ACCESS_TOKEN_TYPE_UNSUPPORTED";

/// `a.1` refuses with 403, `b.1` says this.
fn ends(settings: Settings, second: Outcome) -> (End, World) {
    let mut world = World::new(&["a.1", "b.1"], settings);
    world.google(move |attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(403, PRIVATE),
        _ => second.clone(),
    });
    (world.ask(generate("m")), world)
}

#[test]
fn a_refusal_stands_if_whoever_is_asked_next_has_no_say() {
    for second in [
        quota("m", DAY_ID, 50, Duration::from_secs(20)),
        refused(400, INVALID),
        refused(401, TYPE),
    ] {
        let (end, mut world) = ends(Settings::default(), second.clone());
        let End::Refused { refusal, attempts } = end else {
            panic!("{end:?} after {second:?}");
        };
        assert_eq!(refusal, Refusal::Earlier, "{second:?}");
        assert!((2..=3).contains(&attempts), "{attempts}");
        // Nothing is held against whom alone said so.
        world.google(|_, _, _| Outcome::Served);
        assert_eq!(world.ask(generate("m")).key(), "a.1");
    }
}

#[test]
fn a_refusal_does_not_stand_against_one_that_is_back_in_time() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let until = world.now + Duration::from_secs(3);
    world.google(move |attempt, _, now| match &*attempt.key.label {
        "a.1" => refused(403, PRIVATE),
        _ if now < until => quota("m", MINUTE_ID, 5, until.since(now)),
        _ => Outcome::Served,
    });
    assert_eq!(world.ask(generate("m")).key(), "b.1");
}

#[test]
fn without_a_refusal_in_hand_a_quota_is_a_quota() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|_, _, _| quota("m", DAY_ID, 50, Duration::from_secs(20)));
    let end = world.ask(generate("m"));
    let End::Refused { refusal, .. } = end else {
        panic!("{end:?}");
    };
    assert!(matches!(refusal, Refusal::Quota { .. }), "{refusal:?}");
}

#[test]
fn whoever_waits_with_a_refusal_in_hand_is_one_of_those_that_wait() {
    let settings = Settings {
        max_waiting: 2,
        ..Settings::default()
    };
    let mut world = World::new(&["a.1", "b.1"], settings);
    let wait = |world: &mut World| {
        let id = world.relay.admit(generate("m"), world.now);
        loop {
            match world.relay.poll(id, world.now) {
                Step::Send(attempt) => {
                    let outcome = match &*attempt.key.label {
                        "a.1" => refused(403, PRIVATE),
                        _ => quota("m", MINUTE_ID, 5, Duration::from_secs(5)),
                    };
                    let done = world.relay.attempt_done(id, &outcome, true, world.now);
                    if let Next::Deliver(_) | Next::Refuse(_) = done.next {
                        return (id, false);
                    }
                }
                Step::Wait => return (id, true),
                Step::Refuse(_) => return (id, false),
            }
        }
    };
    let waiting: Vec<_> = (0..3).map(|_| wait(&mut world)).collect();
    let waits: Vec<bool> = waiting.iter().map(|(_, waits)| *waits).collect();
    assert_eq!(waits, [true, true, false]);
    assert_eq!(world.relay.in_progress().1, 2);
    for (id, _) in waiting {
        world.relay.cancel(id, world.now);
    }
    assert_eq!(world.relay.in_progress(), (0, 0));
}

#[test]
fn what_can_be_sent_once_does_not_wait_for_keys_that_are_only_tried() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|_, _, _| refused(400, INVALID));
    world.ask(generate("m"));
    world.advance(Duration::from_secs(16 * 60));
    let large = Facts {
        replayable: false,
        ..generate("m")
    };
    let before = world.now;
    let end = world.ask(large);
    let End::Refused {
        refusal: Refusal::AllDead { counts, .. },
        attempts: 0,
    } = end
    else {
        panic!("{end:?}");
    };
    assert_eq!(counts, "2 not valid");
    assert_eq!(world.now, before);
}

#[test]
fn whoever_was_refused_what_another_was_served_is_named_once() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let mut named = Vec::new();
    for _ in 0..4 {
        let id = world.relay.admit(generate("m"), world.now);
        while let Step::Send(attempt) = world.relay.poll(id, world.now) {
            let outcome = match &*attempt.key.label {
                "a.1" => refused(401, TYPE),
                _ => Outcome::Served,
            };
            let done = world.relay.attempt_done(id, &outcome, true, world.now);
            named.extend(done.passed_over.iter().map(|key| key.label.to_string()));
            if done.next != Next::Retry {
                break;
            }
        }
        world.relay.finish(id, None, world.now);
    }
    assert_eq!(named, ["a.1"]);
}

#[test]
fn one_that_refuses_what_others_are_served_does_not_speak_for_them() {
    for refusal in [refused(403, PRIVATE), refused(404, GONE)] {
        let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
        let dry = Rc::new(Cell::new(false));
        let is_dry = Rc::clone(&dry);
        world.google(move |attempt, _, _| match &*attempt.key.label {
            "a.1" => refusal.clone(),
            _ if is_dry.get() => quota("m", DAY_ID, 50, Duration::from_secs(20)),
            _ => Outcome::Served,
        });
        for _ in 0..6 {
            world.ask(generate("m")).key();
        }
        dry.set(true);
        for _ in 0..20 {
            let end = world.ask(generate("m"));
            let End::Refused { refusal, .. } = end else {
                panic!("{end:?}");
            };
            assert!(matches!(refusal, Refusal::Quota { .. }), "{refusal:?}");
            world.advance(Duration::from_secs(60));
        }
    }
}

#[test]
fn two_that_lack_a_model_are_not_believed_where_it_was_served_lately() {
    let names = ["a.1", "b.1", "c.1", "d.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|attempt, _, _| match &*attempt.key.label {
        "b.1" | "c.1" => refused(404, GONE),
        _ => Outcome::Served,
    });
    for _ in 0..20 {
        world.ask(generate("m")).key();
    }
    let asked = |label| world.attempts.iter().filter(|key| *key == label).count();
    assert_eq!((asked("b.1"), asked("c.1")), (1, 1), "both are held to it");
    // Of one that nobody was served, two are enough.
    world.google(|_, _, _| refused(404, GONE));
    assert_eq!(world.ask(generate("of nowhere")).attempts(), 2);
}

#[test]
fn a_refusal_in_hand_outlasts_googles_troubles_and_is_asked_for_once() {
    for second in [
        refused(503, "The model is overloaded."),
        refused(500, "An internal error has occurred."),
        Outcome::Broken,
        Outcome::Unreachable,
        refused(429, "Resource has been exhausted (e.g. check quota)."),
    ] {
        let (end, world) = ends(Settings::default(), second.clone());
        let End::Refused { refusal, .. } = end else {
            panic!("{end:?} after {second:?}");
        };
        assert_eq!(refusal, Refusal::Earlier, "{second:?}");
        let asked = world.attempts.iter().filter(|key| *key == "a.1").count();
        assert_eq!(asked, 1, "{second:?}");
    }
}

#[test]
fn whose_keys_are_others_meanwhile_asks_those() {
    for refusal in [
        refused(403, PRIVATE),
        refused(404, GONE),
        refused(401, TYPE),
        refused(400, INVALID),
        quota("m", DAY_ID, 50, Duration::from_secs(20)),
    ] {
        let mut world = World::new(&["a.1", "b.1"], Settings::default());
        let id = world.relay.admit(generate("m"), world.now);
        let Step::Send(_) = world.relay.poll(id, world.now) else {
            panic!("there are keys");
        };
        world.relay.reload(&[spec("c.1")], world.now);
        let done = world.relay.attempt_done(id, &refusal, true, world.now);
        assert_eq!(done.next, Next::Retry, "{refusal:?}");
        let Step::Send(attempt) = world.relay.poll(id, world.now) else {
            panic!("there is another key after {refusal:?}");
        };
        assert_eq!(&*attempt.key.label, "c.1");
    }
}

#[test]
fn a_403_and_a_404_do_not_agree() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(404, GONE),
        "b.1" => refused(403, PRIVATE),
        _ => Outcome::Served,
    });
    for _ in 0..9 {
        world.ask(generate("m")).key();
    }
}

#[test]
fn what_was_said_long_ago_tells_nothing_of_a_keys_word() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(403, PRIVATE),
        _ => Outcome::Served,
    });
    world.ask(generate("m")).key();
    world.advance(Duration::from_secs(2 * 3600));
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(403, PRIVATE),
        _ => quota("m", DAY_ID, 50, Duration::from_secs(20)),
    });
    for _ in 0..2 {
        let end = world.ask(generate("m"));
        let own = matches!(
            end,
            End::Delivered { status: 403, .. }
                | End::Refused {
                    refusal: Refusal::Earlier,
                    ..
                }
        );
        assert!(own, "{end:?}");
    }
}

#[test]
fn a_model_of_another_version_is_no_proof_that_it_is_there() {
    let names: Vec<String> = (0..20).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    world.google(|_, facts, _| match facts.method {
        1 => refused(404, GONE),
        _ => Outcome::Served,
    });
    for _ in 0..3 {
        world.ask(generate("m")).key();
        let elsewhere = Facts {
            method: 1,
            ..generate("m")
        };
        assert_eq!(world.ask(elsewhere).attempts(), 2);
    }
}

#[test]
fn whose_keys_are_others_meanwhile_waits_for_those() {
    let mut world = World::new(&["a.1", "c.1"], Settings::default());
    let back = world.now + Duration::from_secs(5);
    world.google(move |attempt, _, now| match &*attempt.key.label {
        "c.1" if now < back => quota("m", MINUTE_ID, 5, back.since(now)),
        _ => Outcome::Served,
    });
    for _ in 0..2 {
        world.ask(generate("m")).key();
    }
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
    world.relay.reload(&[spec("c.1")], world.now);
    let denied = refused(403, PRIVATE);
    let done = world.relay.attempt_done(id, &denied, true, world.now);
    assert_eq!(done.next, Next::Retry);
    assert_eq!(world.drive(id, &generate("m")).key(), "c.1");
    assert!(world.now >= back);
}

#[test]
fn a_model_that_was_served_lately_is_not_said_to_be_missing_while_whoever_serves_it_rests() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let rests = Rc::new(Cell::new(None));
    let until = Rc::clone(&rests);
    world.google(
        move |attempt, _, now| match (&*attempt.key.label, until.get()) {
            ("b.1", _) => refused(404, GONE),
            (_, Some((until, id))) if now < until => quota("m", id, 3, until.since(now)),
            _ => Outcome::Served,
        },
    );
    assert_eq!(world.ask(generate("m")).key(), "a.1");
    let later = world.now + Duration::from_secs(3600);
    rests.set(Some((later, DAY_ID)));
    for _ in 0..3 {
        let end = world.ask(generate("m"));
        let End::Refused { refusal, .. } = end else {
            panic!("{end:?}");
        };
        assert!(matches!(refusal, Refusal::Quota { .. }), "{refusal:?}");
    }
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let until = world.now + Duration::from_secs(5);
    world.google(move |attempt, _, now| match &*attempt.key.label {
        "b.1" => refused(404, GONE),
        _ if now > NOON && now < until => quota("m", MINUTE_ID, 3, until.since(now)),
        _ => Outcome::Served,
    });
    assert_eq!(world.ask(generate("m")).key(), "a.1");
    world.advance(Duration::from_secs(1));
    assert_eq!(world.ask(generate("m")).key(), "a.1");
    assert!(world.now >= until, "waited for");
}
