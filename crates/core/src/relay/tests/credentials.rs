//! How keys are shown, which of them are taken, and whose fault it is when none is.

use super::world::{DAY_ID, End, MINUTE_ID, World, generate, quota, refused, spec};
use crate::KeySpec;
use crate::facts::{ClientId, Facts, Kind, Surface};
use crate::pool::Carrier;
use crate::refusal::Refusal;
use crate::relay::{Attempt, Next, Step};
use crate::settings::Settings;
use crate::time::Time;
use crate::verdict::Outcome;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn the_carrier_a_key_takes_is_learned_and_then_used_at_once() {
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|attempt, _, _| {
        if attempt.carrier == Carrier::Bearer {
            Outcome::Served
        } else {
            refused(401, "Request had invalid authentication credentials.")
        }
    });
    assert_eq!(world.ask(generate("m")).attempts(), 2);
    assert_eq!(world.ask(generate("m")).attempts(), 1);
}

#[test]
fn a_key_whose_project_went_out_meanwhile_is_not_shown_the_other_way() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, Duration::from_secs(20)));
    let id = world.relay.admit(generate("m"), world.now);
    let Step::Send(first) = world.relay.poll(id, world.now) else {
        panic!()
    };
    let (project, key) = (first.key.project_id, first.key.label.to_string());
    let wrong = refused(401, "Request had invalid authentication credentials.");
    let done = world.relay.attempt_done(id, &wrong, true, world.now);
    assert_eq!(done.next, Next::Retry);
    // Another request runs into its quota.
    for _ in 0..2 {
        let other = world.relay.admit(generate("m"), world.now);
        if let Step::Send(attempt) = world.relay.poll(other, world.now)
            && attempt.key.project_id == project
        {
            let out = quota("m", MINUTE_ID, 5, Duration::from_secs(20));
            world.relay.attempt_done(other, &out, true, world.now);
        }
        world.relay.cancel(other, world.now);
    }
    world.google(|_, _, _| Outcome::Served);
    let begun = world.now;
    let end = world.drive(id, &generate("m"));
    assert_ne!(end.key(), key);
    assert_eq!(world.now, begun);
}

#[test]
fn a_key_that_is_for_another_client_is_not_out() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let blocked = "Requests from referer <empty> are blocked.";
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            refused(403, blocked)
        } else {
            Outcome::Served
        }
    });
    let before = world.relay.census(world.now);
    for _ in 0..4 {
        assert_eq!(world.ask(generate("m")).key(), "b.1");
    }
    assert_eq!(world.relay.census(world.now), before);
    world.google(|_, _, _| refused(403, blocked));
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
fn a_method_that_takes_no_keys_puts_none_out() {
    let names = ["a.1", "b.1", "c.1", "d.1", "e.1", "f.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|_, facts, _| {
        if facts.kind == Kind::Other {
            refused(401, "API keys are not supported by this API.")
        } else {
            Outcome::Served
        }
    });
    let corpora = Facts {
        kind: Kind::Other,
        model: None,
        ..generate("m")
    };
    let before = world.relay.census(world.now);
    let end = world.ask(corpora.clone());
    assert_eq!(end.attempts(), 12, "of six keys nothing is known");
    for _ in &names {
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    for _ in 0..2 {
        assert_eq!(world.ask(corpora.clone()), delivered(6));
    }
    assert_eq!(world.relay.census(world.now), before);
}

#[test]
fn a_type_of_key_that_is_retired_is_found_out_though_it_served_before() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    for _ in 0..3 {
        world.ask(generate("m"));
    }
    world.google(|_, _, _| refused(401, "Request had invalid authentication credentials."));
    // It may be the method's fault, or the model's.
    for attempts in [6, 3, 3] {
        assert_eq!(world.ask(generate("m")), delivered(attempts));
    }
    world.now = world.now + Duration::from_secs(15 * 60);
    let End::Refused { refusal, .. } = world.ask(generate("m")) else {
        panic!("nothing was served for a quarter of an hour");
    };
    let Refusal::AllDead { counts, .. } = refusal else {
        panic!("{refusal:?}");
    };
    assert!(counts.starts_with("3 refused with 401"), "{counts}");
}

#[test]
fn keys_that_go_bad_together_are_found_out_by_one_that_is_served() {
    let names = ["a.1", "b.1", "c.1", "d.1", "e.1", "f.1"];
    let mut world = World::new(&names, Settings::default());
    for _ in &names {
        world.ask(generate("m")).key();
    }
    world.google(|attempt, _, _| {
        if ["e.1", "f.1"].contains(&&*attempt.key.label) {
            Outcome::Served
        } else {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        }
    });
    let attempts: u32 = (0..12).map(|_| world.ask(generate("m")).attempts()).sum();
    assert_eq!(attempts, 12 + 4 * 2, "each is refused once, both ways");
    let attempts: u32 = (0..12).map(|_| world.ask(generate("n")).attempts()).sum();
    assert_eq!(attempts, 12 + 4 * 2, "and so for every model");
    world.google(|_, _, _| Outcome::Served);
    world.now = world.now + Duration::from_secs(15 * 60);
    world.attempts.clear();
    for _ in 0..12 {
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    let tried = |name: &&str| world.attempts.iter().any(|key| key == name);
    assert!(
        names[..4].iter().all(tried),
        "they are no suspects for ever"
    );
}

#[test]
fn however_many_keys_go_bad_together_no_client_sees_it() {
    let names: Vec<String> = (0..40).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    for _ in &names {
        world.ask(generate("m")).key();
    }
    world.google(|attempt, _, _| {
        if attempt.key.project.starts_with('3') {
            Outcome::Served
        } else {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        }
    });
    let attempts: u32 = (0..200)
        .map(|_| {
            let end = world.ask(generate("m"));
            assert!(matches!(end, End::Served { .. }), "{end:?}");
            end.attempts()
        })
        .sum();
    assert_eq!(attempts, 200 + 29 * 2);
}

#[test]
fn a_method_that_takes_no_keys_puts_none_out_of_which_nothing_is_known() {
    let names = ["a.1", "b.1", "c.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|attempt, facts, _| match facts.model.as_deref() {
        Some("aqa") => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        // A thing that one type of key may have.
        None if &*attempt.key.label == "b.1" => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        _ => Outcome::Served,
    });
    let before = world.relay.census(world.now);
    let end = world.ask(generate("aqa"));
    assert!(matches!(end, End::Refused { .. }), "{end:?}");
    for kind in [Kind::Other, Kind::Generate] {
        for _ in &names {
            let asked = Facts {
                kind,
                model: None,
                ..generate("m")
            };
            world.ask(asked).key();
        }
    }
    assert_eq!(world.relay.census(world.now), before);
    world.attempts.clear();
    for _ in &names {
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    world.attempts.sort();
    assert_eq!(world.attempts, names);
}

#[test]
fn a_model_that_takes_one_type_of_key_puts_the_others_out_for_itself_alone() {
    let names = ["a.1", "b.1", "c.1", "d.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|attempt, facts, _| {
        if facts.model.as_deref() == Some("m") || &*attempt.key.label == "d.1" {
            Outcome::Served
        } else {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        }
    });
    for _ in &names {
        world.ask(generate("m")).key();
    }
    for _ in 0..3 {
        assert_eq!(world.ask(generate("new")).key(), "d.1");
    }
    world.attempts.clear();
    for _ in &names {
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    world.attempts.sort();
    assert_eq!(world.attempts, names);
}

#[test]
fn a_model_that_takes_no_keys_is_asked_of_all_of_them_only_so_often() {
    let names: Vec<String> = (0..50).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    for _ in &names {
        world.ask(generate("m")).key();
    }
    let model_refuses = |_: &Attempt, facts: &Facts, _: Time| {
        if facts.model.as_deref() == Some("odd") {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    };
    world.google(model_refuses);
    assert_eq!(world.ask(generate("odd")), delivered(100));
    world.attempts.clear();
    for at in 0..20 {
        let attempts = world.ask(generate("odd")).attempts();
        assert!(at > 6 || attempts == 50, "each one way: {attempts}");
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    let asked = world.attempts.len();
    assert!(
        asked <= 400 + 3 * 20,
        "four seconds' worth at once: {asked}"
    );
    world.google(|_, _, _| Outcome::Served);
    assert_eq!(
        world.ask(generate("odd")).attempts(),
        1,
        "suspects are asked"
    );
}

#[test]
fn a_request_that_all_keys_are_refused_puts_none_out_where_others_are_served() {
    let names: Vec<String> = (0..50).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    let odd = || Facts {
        client: ClientId(7),
        ..generate("m")
    };
    world.google(|_, facts, _| {
        if facts.client == ClientId(7) {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    assert_eq!(world.ask(generate("m")).attempts(), 1);
    for attempts in [100, 99, 99] {
        assert_eq!(world.ask(odd()), delivered(attempts));
    }
    for _ in &names {
        assert_eq!(world.ask(generate("m")).attempts(), 1);
    }
    assert_eq!(world.ask(odd()), delivered(100), "somebody was served");
    world.now = world.now + Duration::from_secs(15 * 60 - 1);
    assert!((50..=51).contains(&world.ask(odd()).attempts()));
}

#[test]
fn of_very_many_keys_a_request_that_is_refused_is_asked_of_some() {
    let names: Vec<String> = (0..200).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    world.ask(generate("m")).key();
    world.google(|_, _, _| refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    world.attempts.clear();
    for _ in 0..4 {
        assert!((127..=128).contains(&world.ask(generate("m")).attempts()));
    }
    world.attempts.sort();
    world.attempts.dedup();
    assert_eq!(world.attempts.len(), 200, "the others first");
}

#[test]
fn lists_are_served_by_whoever_is_left() {
    let mut world = World::new(&["a.1", "b.1", "c.1", "d.1"], Settings::default());
    world.google(|attempt, _, _| {
        if ["a.1", "b.1", "c.1"].contains(&&*attempt.key.label) {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    world.ask(generate("m")).key();
    let list = Facts {
        kind: Kind::Other,
        model: None,
        ..generate("m")
    };
    for _ in 0..8 {
        assert_eq!(world.ask(list.clone()).key(), "d.1");
    }
}

#[test]
fn a_dead_pool_is_503_however_many_ask_at_once() {
    let names: Vec<String> = (0..50).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    // Whoever comes meanwhile begins with others.
    let mut asking: Vec<_> = (0..40)
        .map(|_| world.relay.admit(generate("m"), world.now))
        .collect();
    let mut attempts = 0;
    while !asking.is_empty() {
        asking.retain(|id| {
            let refusal = match world.relay.poll(*id, world.now) {
                Step::Send(_) => {
                    attempts += 1;
                    let outcome = refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED");
                    let done = world.relay.attempt_done(*id, &outcome, true, world.now);
                    let Next::Refuse(refusal) = done.next else {
                        return true;
                    };
                    refusal
                }
                Step::Refuse(refusal) => refusal,
                Step::Wait => panic!("nobody rests"),
            };
            assert!(matches!(refusal, Refusal::AllDead { .. }), "{refusal:?}");
            world.relay.finish(*id, None, world.now);
            false
        });
    }
    assert!(attempts <= 2 * (50 + 400 + 2 * 40), "{attempts}");
}

/// What one client asks of all of them, none of the others misses.
#[test]
fn nothing_that_a_client_is_refused_with_401_takes_a_key_from_others() {
    let names = ["a.1", "b.1", "c.1", "d.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|attempt, facts, now| {
        if &*attempt.key.label == "d.1" {
            quota(
                "m",
                DAY_ID,
                5,
                Duration::from_secs(3600).min(now.since(Time::ZERO)),
            )
        } else if facts.client == ClientId(7) {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    let odd = Facts {
        client: ClientId(7),
        ..generate("m")
    };
    for minute in 0..40 {
        world.ask(odd.clone());
        for _ in 0..3 {
            let end = world.ask(generate("m"));
            assert!(
                matches!(end, End::Served { .. }),
                "minute {minute}: {end:?}"
            );
        }
        world.now = world.now + Duration::from_secs(60);
    }
}

/// Two that are used before the others, and no longer taken just when nobody is served something else.
#[test]
fn those_who_are_not_taken_any_more_are_not_all_that_is_asked() {
    let specs: Vec<KeySpec> = ["a.1", "b.1", "c.1", "d.1"]
        .iter()
        .zip([0, 0, 1, 1])
        .map(|(name, priority)| KeySpec {
            priority,
            ..spec(name)
        })
        .collect();
    let mut world = World::with(&specs, Settings::default());
    world.ask(generate("m")).key();
    world.google(|_, _, _| refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    world.ask(generate("m"));
    world.google(|attempt, _, _| {
        if ["a.1", "b.1"].contains(&&*attempt.key.label) {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    let ends: Vec<End> = (0..20).map(|_| world.ask(generate("m"))).collect();
    let unserved = ends.iter().filter(|end| !matches!(end, End::Served { .. }));
    assert!(unserved.count() <= 2, "{ends:?}");
}

#[test]
fn who_may_make_few_attempts_is_told_that_there_are_others() {
    let settings = Settings {
        attempts: Some(3),
        ..Settings::default()
    };
    for known in [true, false] {
        let mut world = World::new(&["a.1", "b.1", "c.1", "d.1"], settings.clone());
        if known {
            world.ask(generate("m")).key();
        }
        world.google(|_, _, _| refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
        let end = world.ask(generate("m"));
        let End::Refused { refusal, .. } = &end else {
            panic!("{end:?}");
        };
        assert!(matches!(refusal, Refusal::Attempts { .. }), "{refusal:?}");
    }
}

#[test]
fn a_key_that_is_refused_while_the_others_rest_is_no_reason_to_give_up() {
    for (max_wait, served) in [(10, true), (1, false)] {
        let settings = Settings {
            max_wait: Duration::from_secs(max_wait),
            ..Settings::default()
        };
        let mut world = World::new(&["a.1", "b.1"], settings);
        for _ in 0..2 {
            world.ask(generate("m")).key();
        }
        let until = world.now + Duration::from_secs(3);
        world.google(move |attempt, _, now| {
            if &*attempt.key.label == "a.1" {
                refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
            } else if now < until {
                quota("m", MINUTE_ID, 5, until.since(now))
            } else {
                Outcome::Served
            }
        });
        let end = world.ask(generate("m"));
        if served {
            assert_eq!(end.key(), "b.1");
        } else {
            let End::Refused { refusal, .. } = end else {
                panic!("{end:?}");
            };
            assert_eq!(refusal.status().0, 429);
        }
    }
}

#[test]
fn a_surface_that_takes_no_keys_puts_none_out_on_the_others() {
    let names = ["a.1", "b.1", "c.1", "d.1"];
    let mut world = World::new(&names, Settings::default());
    let chat = || Facts {
        surface: Surface::OpenAi,
        ..generate("m")
    };
    for _ in &names {
        world.ask(generate("m")).key();
    }
    world.google(|attempt, facts, _| {
        let taken = facts.surface == Surface::Gemini || &*attempt.key.label == "d.1";
        if taken {
            Outcome::Served
        } else {
            refused(401, "Request had invalid authentication credentials.")
        }
    });
    let before = world.relay.census(world.now);
    let mut attempts = 0;
    for _ in 0..6 {
        let end = world.ask(chat());
        assert_eq!(end.key(), "d.1");
        attempts += end.attempts();
        assert_eq!(world.relay.census(world.now), before);
        assert!(matches!(
            world.ask(generate("m")),
            End::Served { attempts: 1, .. }
        ));
    }
    assert_eq!(attempts, 6 + 3 * 2, "it is found out once");
    world.attempts.clear();
    for kind in [Kind::Generate, Kind::Embed] {
        for _ in &names {
            let facts = Facts {
                kind,
                ..generate("m")
            };
            world.ask(facts).key();
        }
    }
    for name in names {
        assert!(world.attempts.iter().any(|key| key == name), "{name}");
    }
    let embed = Facts {
        kind: Kind::Embed,
        ..chat()
    };
    world.google(|_, _, _| Outcome::Served);
    world.attempts.clear();
    for _ in &names {
        world.ask(embed.clone()).key();
    }
    for name in names {
        assert!(
            world.attempts.iter().any(|key| key == name),
            "{name}: for its kind alone"
        );
    }
}

#[test]
fn a_key_that_no_carrier_helps_is_out_for_what_it_was_asked() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.label == "a.1" {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    world.ask(generate("m")).key();
    world.ask(generate("m")).key();
    assert_eq!(world.attempts.iter().filter(|key| *key == "a.1").count(), 2);
}

#[test]
fn a_suspects_turns_go_by() {
    let names = ["a.1", "b.1", "c.1"];
    let mut world = World::new(&names, Settings::default());
    let mut refusals = 1;
    world.google(move |attempt, _, _| {
        if &*attempt.key.label == "a.1" && attempt.carrier == Carrier::Bearer && refusals > 0 {
            refusals -= 1;
        } else if &*attempt.key.label != "a.1" || refusals == 0 {
            return Outcome::Served;
        }
        refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
    });
    for _ in 0..300 {
        world.ask(generate("m")).key();
        world.now = world.now + Duration::from_secs(3);
    }
    let used = world.attempts.iter().filter(|key| *key == "a.1").count();
    assert!(used <= 4, "it is passed over: {used}");
    world.attempts.clear();
    for _ in 0..30 {
        world.ask(generate("m")).key();
    }
    let used = world.attempts.iter().filter(|key| *key == "a.1").count();
    assert!((9..=11).contains(&used), "it has its share: {used}");
}

#[test]
fn who_waits_with_what_it_found_out_holds_nobody_up() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    let until = world.now + Duration::from_secs(20);
    world.google(move |attempt, facts, now| match &*attempt.key.label {
        "c.1" if now < until => quota("m", MINUTE_ID, 5, until.since(now)),
        _ if facts.client == ClientId(7) => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        _ => Outcome::Served,
    });
    let odd = Facts {
        client: ClientId(7),
        ..generate("m")
    };
    let waits = world.relay.admit(odd, world.now);
    while let Step::Send(attempt) = world.relay.poll(waits, world.now) {
        let outcome = match &*attempt.key.label {
            "c.1" => quota("m", MINUTE_ID, 5, Duration::from_secs(20)),
            _ => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        };
        world.relay.attempt_done(waits, &outcome, true, world.now);
    }
    let before = world.now;
    for _ in 0..6 {
        let end = world.ask(generate("m"));
        assert!(matches!(end, End::Served { .. }), "{end:?}");
    }
    assert_eq!(world.now, before, "nobody waited behind it");
}

#[test]
fn who_waits_for_one_that_rests_asks_the_others_no_more() {
    let names: Vec<String> = (0..20).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let settings = Settings {
        max_wait: Duration::from_secs(30),
        ..Settings::default()
    };
    let mut world = World::new(&names, settings);
    world.google(|attempt, _, _| {
        if &*attempt.key.label == "7.1" {
            quota("m", MINUTE_ID, 5, Duration::from_secs(1))
        } else {
            refused(403, "Requests from referer <empty> are blocked.")
        }
    });
    let attempts = world.ask(generate("m")).attempts();
    assert!(attempts <= 20 + 60, "{attempts}");
}

#[test]
fn a_refusal_that_nobody_settled_changes_nobodys_turn() {
    let names = ["a.1", "b.1", "c.1"];
    let mut world = World::new(&names, Settings::default());
    let left = world.relay.admit(generate("m"), world.now);
    for _ in 0..2 {
        assert!(matches!(world.relay.poll(left, world.now), Step::Send(_)));
        let outcome = refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED");
        world.relay.attempt_done(left, &outcome, true, world.now);
    }
    world.relay.cancel(left, world.now);
    for _ in 0..29 {
        world.ask(generate("m")).key();
    }
    for name in names {
        let used = world.attempts.iter().filter(|key| *key == name).count();
        assert!((9..=10).contains(&used), "{name}: {used}");
    }
}

#[test]
fn what_can_be_sent_once_goes_where_nobody_doubts() {
    let names = ["a.1", "b.1", "c.1"];
    let mut world = World::new(&names, Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.label == "a.1" {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    let large = Facts {
        replayable: false,
        ..generate("m")
    };
    let mut refusals = 0;
    for _ in 0..12 {
        let id = world.relay.admit(large.clone(), world.now);
        let Step::Send(attempt) = world.relay.poll(id, world.now) else {
            panic!("nobody is asked");
        };
        let outcome = if &*attempt.key.label == "a.1" {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        };
        let done = world.relay.attempt_done(id, &outcome, false, world.now);
        assert!(matches!(done.next, Next::Deliver(_)));
        refusals += u32::from(!outcome.is_served());
        world.relay.finish(id, None, world.now);
    }
    assert_eq!(refusals, 1, "its first");
}

#[test]
fn a_reload_ends_a_wait_for_those_who_may_be_gone() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let id = world.relay.admit(generate("m"), world.now);
    loop {
        match world.relay.poll(id, world.now) {
            Step::Send(attempt) => {
                let outcome = match &*attempt.key.label {
                    "b.1" => quota("m", MINUTE_ID, 5, Duration::from_secs(5)),
                    _ => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
                };
                world.relay.attempt_done(id, &outcome, true, world.now);
            }
            Step::Wait => break,
            step => panic!("{step:?}"),
        }
    }
    let specs = ["a.1", "b.1", "c.1"].map(spec);
    world.relay.reload(&specs, world.now);
    assert!(world.relay.ready(world.now).contains(&id));
    let Step::Send(attempt) = world.relay.poll(id, world.now) else {
        panic!("there is another key");
    };
    assert!(["a.1", "c.1"].contains(&&*attempt.key.label));
}

#[test]
fn who_is_refused_while_the_other_rests_already_waits_for_it() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let until = world.now + Duration::from_secs(3);
    world.google(move |attempt, facts, now| match &*attempt.key.label {
        "b.1" if now < until => quota("m", MINUTE_ID, 5, until.since(now)),
        "a.1" if facts.client == ClientId(7) => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        _ => Outcome::Served,
    });
    for _ in 0..2 {
        assert_eq!(world.ask(generate("m")).key(), "a.1", "b.1 rests");
    }
    let asked = Facts {
        client: ClientId(7),
        ..generate("m")
    };
    assert_eq!(world.ask(asked).key(), "b.1");
    assert!(world.now >= until);
}

/// What this client asks nobody is served, and others only by those after the first so many.
fn odd_beside_retired(keys: usize, retired: usize) -> (World, Facts) {
    let names: Vec<String> = (0..keys).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    world.google(move |attempt, facts, _| {
        let at: usize = attempt.key.project.parse().unwrap();
        if facts.client == ClientId(7) || at < retired {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        } else {
            Outcome::Served
        }
    });
    let odd = Facts {
        client: ClientId(7),
        ..generate("m")
    };
    (world, odd)
}

#[test]
fn a_client_that_asks_what_nobody_is_served_costs_others_nothing_beside_retired_keys() {
    for (keys, retired) in [(4, 2), (10, 3), (24, 20)] {
        let (mut world, odd) = odd_beside_retired(keys, retired);
        for _ in 0..100 {
            world.ask(odd.clone());
            world.advance(Duration::from_secs(1));
        }
        for _ in 0..100 {
            world.ask(odd.clone());
            world.ask(generate("m")).key();
            world.advance(Duration::from_secs(1));
        }
    }
}

#[test]
fn what_can_be_sent_once_is_not_sent_to_whom_others_were_served_instead() {
    let (mut world, odd) = odd_beside_retired(4, 1);
    for _ in 0..8 {
        world.ask(generate("m")).key();
    }
    let large = Facts {
        replayable: false,
        ..generate("m")
    };
    for _ in 0..10 {
        world.ask(odd.clone());
        world.ask(large.clone()).key();
    }
}

#[test]
fn another_method_of_the_model_is_another_matter() {
    let (mut world, odd) = odd_beside_retired(3, 0);
    let odd = Facts { method: 7, ..odd };
    for _ in 0..4 {
        world.ask(odd.clone());
    }
    world.attempts.clear();
    let large = Facts {
        replayable: false,
        ..generate("m")
    };
    for _ in 0..9 {
        assert_eq!(world.ask(large.clone()).attempts(), 1);
    }
    for key in ["0.1", "1.1", "2.1"] {
        let used = world.attempts.iter().filter(|used| *used == key).count();
        assert_eq!(used, 3, "{key}");
    }
}

#[test]
fn a_suspects_turns_go_by_among_its_projects_keys_too() {
    let mut world = World::new(&["a.1", "a.2", "a.3"], Settings::default());
    let blip = Rc::new(Cell::new(true));
    let now = Rc::clone(&blip);
    world.google(move |attempt, _, _| match &*attempt.key.label {
        "a.1" if now.get() => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        _ => Outcome::Served,
    });
    world.ask(generate("m")).key();
    blip.set(false);
    for _ in 0..300 {
        world.ask(generate("m")).key();
        world.advance(Duration::from_secs(3));
    }
    world.attempts.clear();
    for _ in 0..30 {
        world.ask(generate("m")).key();
    }
    for key in ["a.1", "a.2", "a.3"] {
        let used = world.attempts.iter().filter(|used| *used == key).count();
        assert!((9..=11).contains(&used), "{key}: {used}");
    }
}

/// Google's own 401.
const fn delivered(attempts: u32) -> End {
    End::Delivered {
        status: 401,
        attempts,
        why: None,
    }
}
