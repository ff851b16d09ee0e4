//! The rows of the verdict table that need more than one answer.

use super::world::{End, MINUTE_ID, World, generate, quota, refused, spec, turns};
use crate::event::Event;
use crate::facts::{ClientId, Facts, Kind, Repeat};
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::relay::{Attempt, Step};
use crate::settings::{Settings, Strategy};
use crate::time::Time;
use crate::verdict::Outcome;
use std::time::Duration;

const GONE: &str =
    "models/m is not found for API version v1beta, or is not supported for generateContent.";

#[test]
fn a_missing_model_is_tried_once_elsewhere_and_then_believed() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    let version = world.relay.pool().version();
    world.google(|_, _, _| refused(404, GONE));
    assert_eq!(
        world.ask(generate("m")),
        End::Delivered {
            status: 404,
            attempts: 2,
            why: None
        }
    );
    assert_eq!(
        world.relay.pool().version(),
        version,
        "two agree: nothing is held against them"
    );
}

#[test]
fn a_model_that_another_serves_is_missing_only_here() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            refused(404, GONE)
        } else {
            Outcome::Served
        }
    });
    for _ in 0..5 {
        assert_eq!(world.ask(generate("m")).key(), "b.1");
    }
    assert_eq!(world.attempts.iter().filter(|key| *key == "a.1").count(), 1);
    world.google(|_, _, _| Outcome::Served);
    world.attempts.clear();
    world.ask(generate("other"));
    world.ask(generate("other"));
    assert!(
        world.attempts.contains(&"a.1".to_owned()),
        "other models are not concerned"
    );
}

#[test]
fn an_unclear_refusal_cools_one_key_for_minutes_only_if_another_is_served() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            refused(403, "The caller does not have permission")
        } else {
            Outcome::Served
        }
    });
    for _ in 0..5 {
        assert_eq!(world.ask(generate("m")).key(), "b.1");
    }
    assert_eq!(world.attempts.len(), 6);
    world.advance(Duration::from_secs(301));
    world.attempts.clear();
    world.ask(generate("m"));
    world.ask(generate("m"));
    assert!(world.attempts.contains(&"a.1".to_owned()));
    world.google(|_, _, _| refused(403, "The caller does not have permission"));
    world.advance(Duration::from_secs(301));
    assert_eq!(
        world.ask(generate("m")),
        End::Delivered {
            status: 403,
            attempts: 2,
            why: None
        }
    );
}

#[test]
fn with_one_project_googles_own_refusal_is_passed_on() {
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|_, _, _| refused(404, GONE));
    assert_eq!(
        world.ask(generate("m")),
        End::Delivered {
            status: 404,
            attempts: 1,
            why: None
        }
    );
}

#[test]
fn later_turns_go_where_the_earlier_ones_were_served_while_that_is_healthy() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    let first = world.ask(turns("m", 10, None)).key().to_owned();
    world.ask(generate("m")).key();
    for turn in 11..20 {
        assert_eq!(world.ask(turns("m", turn, Some(turn - 1))).key(), first);
    }
    let project = first.clone();
    world.google(move |attempt, _, _| {
        if *attempt.key.label == *project {
            quota("m", MINUTE_ID, 5, Duration::from_secs(30))
        } else {
            Outcome::Served
        }
    });
    let second = world.ask(turns("m", 20, Some(19))).key().to_owned();
    assert_ne!(second, first);
    assert_eq!(world.ask(turns("m", 21, Some(20))).key(), second);
    // Another client's conversation is another conversation.
    let other = Facts {
        client: crate::facts::ClientId(9),
        ..turns("m", 22, Some(21))
    };
    let mut elsewhere = 0;
    for _ in 0..4 {
        elsewhere += usize::from(world.ask(other.clone()).key() != second);
    }
    assert!(elsewhere > 0);
}

#[test]
fn a_corrupted_signature_is_tried_once_with_the_earlier_project() {
    let settings = Settings {
        strategy: Strategy::RoundRobin,
        ..Settings::default()
    };
    let mut world = World::new(&["a.1", "b.1"], settings);
    let first = world.ask(turns("m", 10, None)).key().to_owned();
    // It cools for a moment, so that the next turn goes elsewhere, and is back when that fails.
    let home = first.clone();
    let mut refusals = 0;
    world.google(move |attempt, _, _| {
        if *attempt.key.label == *home && refusals == 0 {
            refusals += 1;
            return refused(503, "overloaded");
        }
        if *attempt.key.label == *home {
            Outcome::Served
        } else {
            refused(400, "Corrupted thought signature.")
        }
    });
    world.attempts.clear();
    let end = world.ask(turns("m", 11, Some(10)));
    assert_eq!(end.key(), first);
    world.google(|_, _, _| refused(400, "Corrupted thought signature."));
    world.attempts.clear();
    assert!(matches!(
        world.ask(turns("m", 12, Some(999))),
        End::Delivered {
            status: 400,
            attempts: 1,
            ..
        }
    ));
}

#[test]
fn what_may_create_something_is_repeated_only_when_it_was_refused() {
    let create = Facts {
        kind: Kind::Other,
        repeat: Repeat::WhenRefused,
        model: None,
        ..generate("m")
    };
    for (outcome, attempts) in [
        (Outcome::Broken, 1),
        (refused(500, "internal"), 1),
        (refused(504, "deadline"), 1),
        (Outcome::Silent, 1),
        (refused(503, "overloaded"), 3),
        (Outcome::Unreachable, 7),
    ] {
        let mut world = World::new(&["a.1", "b.1"], Settings::default());
        let given = outcome.clone();
        world.google(move |_, _, _| given.clone());
        assert_eq!(
            world.ask(create.clone()).attempts(),
            attempts,
            "{outcome:?}"
        );
    }
    for (outcome, attempts) in [
        (Outcome::Broken, 3),
        (refused(500, "internal"), 3),
        (Outcome::Silent, 1),
        (Outcome::Empty, 2),
    ] {
        let mut world = World::new(&["a.1", "b.1"], Settings::default());
        let given = outcome.clone();
        world.google(move |_, _, _| given.clone());
        assert_eq!(world.ask(generate("m")).attempts(), attempts, "{outcome:?}");
    }
}

#[test]
fn a_network_that_comes_back_within_seconds_is_not_noticed() {
    let mut world = World::new(&["a.1"], Settings::default());
    let started = world.now;
    world.google(move |_, _, now| {
        if now.since(started) < Duration::from_secs(2) {
            Outcome::Unreachable
        } else {
            Outcome::Served
        }
    });
    world.ask(generate("m")).key();
    assert!(world.now.since(started) < Duration::from_secs(5));
}

#[test]
fn a_body_that_is_gone_is_answered_so_that_the_client_tries_again() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|_, _, _| {
        quota(
            "m",
            "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
            20,
            Duration::from_secs(5),
        )
    });
    let once = Facts {
        replayable: false,
        ..generate("m")
    };
    let End::Refused {
        refusal:
            Refusal::Quota {
                back,
                day: false,
                violation,
                ..
            },
        attempts: 1,
    } = world.ask(once)
    else {
        panic!()
    };
    assert_eq!(back.since(world.now), Duration::from_secs(1));
    assert!(
        violation.is_none_or(|violation| violation.quota_id.is_empty()),
        "a PerDay violation would make gemini-cli give up"
    );
}

#[test]
fn attempts_are_limited_where_the_operator_says_so() {
    let settings = Settings {
        attempts: Some(2),
        max_wait: Duration::ZERO,
        ..Settings::default()
    };
    let mut world = World::new(&["a.1", "b.1", "c.1"], settings);
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, Duration::from_secs(30)));
    assert_eq!(world.ask(generate("m")).attempts(), 2);
}

#[test]
fn what_one_client_makes_google_fail_at_holds_back_that_client_alone() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    let [bad, good] = [1, 2].map(|client| Facts {
        client: ClientId(client),
        ..generate("m")
    });
    world.google(|_, facts, _| {
        if facts.client == ClientId(1) {
            refused(500, "internal")
        } else {
            Outcome::Served
        }
    });
    for _ in 0..4 {
        world.ask(bad.clone());
    }
    let before = world.now;
    assert!(matches!(
        world.ask(good.clone()),
        End::Served { attempts: 1, .. }
    ));
    assert_eq!(world.now, before, "it did not wait");
    // When another meets it too, it is Google.
    let internal = refused(500, "internal");
    let mut fail = |client| {
        let facts = Facts {
            client: ClientId(client),
            ..generate("other")
        };
        let id = world.relay.admit(facts, world.now);
        let step = world.relay.poll(id, world.now);
        if matches!(step, Step::Send(_)) {
            world.relay.attempt_done(id, &internal, true, world.now);
        }
        step
    };
    for client in [1, 2] {
        assert!(matches!(fail(client), Step::Send(_)));
    }
    assert!(matches!(fail(9), Step::Wait));
}

#[test]
fn a_clients_deadline_is_kept() {
    let mut world = World::new(
        &["a.1"],
        Settings {
            max_wait: Duration::from_secs(600),
            ..Settings::default()
        },
    );
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, Duration::from_secs(40)));
    let started = world.now;
    let facts = Facts {
        deadline: Some(started + Duration::from_secs(30)),
        ..generate("m")
    };
    assert!(
        matches!(
            world.ask(facts),
            End::Refused {
                refusal: Refusal::Quota { .. },
                ..
            }
        ),
        "waiting cannot help"
    );
    assert_eq!(world.now, started);
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|_, _, _| refused(503, "overloaded"));
    let facts = Facts {
        deadline: Some(world.now + Duration::from_millis(10_300)),
        ..generate("m")
    };
    assert_eq!(world.ask(facts).attempts(), 1);
}

#[test]
fn a_client_without_ten_seconds_is_told_at_once_and_ten_are_enough() {
    for (millis, served) in [(5_000, false), (9_000, false), (10_000, true)] {
        let mut world = World::new(&["a.1"], Settings::default());
        let facts = Facts {
            deadline: Some(world.now + Duration::from_millis(millis)),
            ..generate("m")
        };
        let end = world.ask(facts);
        let refused = matches!(
            end,
            End::Refused {
                refusal: Refusal::Deadline,
                ..
            }
        );
        assert_eq!(refused, !served, "{millis}: {end:?}");
    }
}

#[test]
fn a_client_that_gave_ten_seconds_gets_another_key_too() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            quota("m", MINUTE_ID, 5, Duration::from_secs(40))
        } else {
            Outcome::Served
        }
    });
    let facts = Facts {
        deadline: Some(world.now + Duration::from_secs(10)),
        ..generate("m")
    };
    let id = world.relay.admit(facts.clone(), world.now);
    world.now = world.now + Duration::from_millis(700);
    assert!(matches!(
        world.drive(id, &facts),
        End::Served { attempts: 2, .. }
    ));
}

#[test]
fn a_quota_that_google_counts_under_another_name_is_filed_there() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            quota("m-counted", MINUTE_ID, 5, Duration::from_secs(30))
        } else {
            Outcome::Served
        }
    });
    world.ask(generate("m-preview")).key();
    world.ask(generate("m-preview")).key();
    assert_eq!(world.attempts.iter().filter(|key| *key == "a.1").count(), 1);
    world.ask(generate("m-counted")).key();
    world.ask(generate("m-counted")).key();
    assert_eq!(
        world.attempts.iter().filter(|key| *key == "a.1").count(),
        1,
        "the counted model is out there too"
    );
}

#[test]
fn a_new_list_of_keys_keeps_what_is_known_of_the_old_ones() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.label == "a.1" {
            refused(400, "API key not valid.")
        } else {
            Outcome::Served
        }
    });
    world.ask(generate("m"));
    world.ask(generate("m"));
    world.relay.reload(&[spec("c.1"), spec("a.1")], world.now);
    world.attempts.clear();
    for _ in 0..4 {
        assert_eq!(world.ask(generate("m")).key(), "c.1");
    }
    assert_eq!(world.attempts.len(), 4);
}

#[test]
fn models_that_a_key_is_not_for_are_not_asked_of_it() {
    let mut only = spec("a.1");
    only.models = vec!["gemini-2.5-*".into()];
    let mut off = spec("b.1");
    off.enabled = false;
    let mut world = World::with(&[only, off], Settings::default());
    world.ask(generate("gemini-2.5-flash")).key();
    assert!(matches!(
        world.ask(generate("gemini-3-pro")),
        End::Refused {
            refusal: Refusal::NotAllowed { .. },
            ..
        }
    ));
}

#[test]
fn events_come_to_the_same_in_any_order_and_however_often() {
    let mut world = World::new(
        &["a.1", "b.1", "c.1"],
        Settings {
            max_wait: Duration::ZERO,
            ..Settings::default()
        },
    );
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(400, "API key not valid."),
        "b.1" => quota("named", MINUTE_ID, 5, Duration::from_secs(30)),
        _ => Outcome::Served,
    });
    world.ask(generate("m"));
    world.ask(generate("m"));
    world.advance(Duration::from_secs(900));
    world.google(|_, _, _| Outcome::Served);
    world.ask(generate("m"));
    world.ask(generate("m"));
    world.ask(generate("m"));
    let events = world.relay.take_events();
    assert!(events.len() >= 4, "{events:?}");
    let specs = [spec("a.1"), spec("b.1"), spec("c.1")];
    let replay = |order: &mut dyn Iterator<Item = &Event>| {
        let mut pool = Pool::new(&specs, Strategy::RoundRobin);
        for event in order {
            pool.apply(event, world.now);
        }
        pool.census(world.now)
    };
    let wanted = world.relay.census(world.now);
    assert_eq!(replay(&mut events.iter()), wanted);
    assert_eq!(replay(&mut events.iter().rev()), wanted);
    assert_eq!(replay(&mut events.iter().chain(events.iter())), wanted);
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {

        /// Whatever Google answers: no attempt repeats a key, and nobody is refused for quota while a
        /// key that was not asked is free.
        #[test]
        fn each_attempt_is_a_new_key(answers in proptest::collection::vec(0..6u8, 1..12), keys in 1..8usize) {
            let names: Vec<String> = (0..keys).map(|n| format!("p{}.{n}", n / 2)).collect();
            let mut world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), Settings { max_wait: Duration::ZERO, ..Settings::default() });
            let mut at = 0;
            let given = answers.clone();
            world.google(move |_, _, _| {
                at += 1;
                match given[at % given.len()] {
                    0 => Outcome::Served,
                    1 => quota("m", MINUTE_ID, 5, Duration::from_secs(30)),
                    2 => refused(400, "API key not valid."),
                    3 => refused(402, "Your prepayment credits are depleted."),
                    4 => refused(403, "The caller does not have permission"),
                    _ => quota("m", "XPerDayY", 0, Duration::from_secs(1)),
                }
            });
            for _ in 0..6 {
                world.attempts.clear();
                let end = world.ask(generate("m"));
                let mut unique = world.attempts.clone();
                unique.sort();
                unique.dedup();
                prop_assert_eq!(unique.len(), world.attempts.len(), "{:?}", world.attempts);
                if let End::Refused { refusal: Refusal::Quota { .. }, .. } = end {
                    let mut probe = World::new(&[], Settings::default());
                    std::mem::swap(&mut probe.relay, &mut world.relay);
                    probe.now = world.now;
                    probe.google(|_, _, _| Outcome::Served);
                    let again = probe.relay.admit(generate("m"), probe.now);
                    // A project that was asked and is not out refused without saying why (403).
                    let free = match probe.relay.poll(again, probe.now) {
                        crate::relay::Step::Send(attempt) => {
                            !world.attempts.iter().any(|asked| asked.split('.').next() == Some(&*attempt.key.project))
                        }
                        _ => false,
                    };
                    probe.relay.cancel(again, probe.now);
                    std::mem::swap(&mut probe.relay, &mut world.relay);
                    prop_assert!(!free, "refused while a key was free");
                }
                world.advance(Duration::from_secs(11));
            }
            prop_assert_eq!(world.relay.in_progress(), (0, 0));
        }
    }
}

#[test]
fn one_project_alone_is_not_believed_that_a_model_is_not_there() {
    let missing = "models/m is not found for API version v1beta";
    // The other rests already, or is found to.
    for rests in [true, false] {
        let mut world = World::new(&["a.1", "b.1"], Settings::default());
        let until = world.now + Duration::from_secs(3);
        let google = move |a: Outcome| {
            move |attempt: &Attempt, _: &Facts, now: Time| match &*attempt.key.project {
                "a" => a.clone(),
                _ if now < until => quota("m", MINUTE_ID, 5, until.since(now)),
                _ => Outcome::Served,
            }
        };
        if rests {
            world.google(google(Outcome::Served));
            for _ in 0..2 {
                assert_eq!(world.ask(generate("m")).key(), "a.1");
            }
        }
        world.google(google(refused(404, missing)));
        assert_eq!(world.ask(generate("m")).key(), "b.1");
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
}

#[test]
fn a_projects_own_second_word_is_not_a_second_one() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let mut overloaded = true;
    world.google(move |attempt, _, _| {
        if &*attempt.key.project == "a" {
            refused(404, "models/m is not found for API version v1beta")
        } else if std::mem::take(&mut overloaded) {
            refused(503, "The model is overloaded.")
        } else {
            Outcome::Served
        }
    });
    assert_eq!(world.ask(generate("m")).key(), "b.1");
}

#[test]
fn the_earlier_project_is_asked_though_its_key_is_a_suspect() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    assert_eq!(world.ask(turns("m", 10, None)).key(), "a.1");
    world.google(|attempt, facts, _| {
        let mine = facts.conversation.is_some();
        match &*attempt.key.project {
            "a" if !mine => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
            "b" | "c" if mine => refused(400, "Corrupted thought signature."),
            _ => Outcome::Served,
        }
    });
    for _ in 0..4 {
        assert_ne!(world.ask(generate("m")).key(), "a.1");
    }
    let end = world.ask(turns("m", 11, Some(10)));
    assert_eq!((end.key(), end.attempts()), ("a.1", 2));
}
