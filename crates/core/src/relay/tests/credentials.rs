//! How keys are shown, which of them are taken, and whose fault it is when none is.

use super::world::{End, World, generate, refused};
use crate::block::Reason;
use crate::facts::{Facts, Kind, Surface};
use crate::pool::Carrier;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::verdict::Outcome;
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
    let found_out = End::Delivered {
        status: 401,
        attempts: 8,
        why: None,
    };
    assert_eq!(
        world.ask(corpora.clone()),
        found_out,
        "of four keys nothing is known"
    );
    for _ in &names {
        assert!(matches!(
            world.ask(generate("m")),
            End::Served { attempts: 1, .. }
        ));
    }
    let believed = End::Delivered {
        status: 401,
        attempts: 4,
        why: None,
    };
    assert_eq!(world.ask(corpora), believed, "two that were served agree");
    assert_eq!(world.relay.census(world.now), before);
    assert!(matches!(
        world.ask(generate("m")),
        End::Served { attempts: 1, .. }
    ));
}

#[test]
fn a_type_of_key_that_is_retired_is_found_out_though_it_served_before() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    for _ in 0..3 {
        world.ask(generate("m"));
    }
    world.google(|_, _, _| refused(401, "Request had invalid authentication credentials."));
    for _ in 0..4 {
        // It may be the method's fault, or the model's.
        assert!(matches!(
            world.ask(generate("m")),
            End::Delivered {
                status: 401,
                attempts: 6,
                ..
            }
        ));
    }
    world.now = world.now + Duration::from_secs(15 * 60);
    let End::Refused { refusal, .. } = world.ask(generate("m")) else {
        panic!("nothing was served for a quarter of an hour");
    };
    assert!(matches!(refusal, Refusal::AllDead { .. }), "{refusal:?}");
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
    world.now = world.now + Duration::from_secs(15 * 60);
    for _ in 0..12 {
        world.ask(generate("n")).key();
    }
    let out = world.relay.census(world.now).out;
    assert_eq!(out[&Reason::CredentialType], 4, "none was served meanwhile");
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
fn what_all_keys_are_refused_is_not_asked_of_all_of_them() {
    let names: Vec<String> = (0..50).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names, Settings::default());
    for _ in &names {
        world.ask(generate("m")).key();
    }
    world.google(|_, _, _| refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    assert_eq!(
        world.ask(generate("m")),
        End::Delivered {
            status: 401,
            attempts: 32,
            why: None
        }
    );
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
    for _ in 0..6 {
        assert_eq!(world.ask(chat()).key(), "d.1");
        assert_eq!(world.relay.census(world.now), before);
        assert!(matches!(
            world.ask(generate("m")),
            End::Served { attempts: 1, .. }
        ));
    }
}

/// What one relay was served counts for another that shares its events.
#[test]
fn who_is_told_where_keys_are_served_puts_none_out_for_another_surface() {
    let names = ["a.1", "b.1"];
    let mut first = World::new(&names, Settings::default());
    for _ in 0..20 {
        for _ in &names {
            first.ask(generate("m"));
        }
        first.now = first.now + Duration::from_secs(60);
    }
    let mut second = World::new(&names, Settings::default());
    second.now = first.now;
    let events = first.relay.take_events();
    assert_eq!(events.len(), 2 * 4, "every five minutes");
    for event in &events {
        second.relay.apply(event, second.now);
    }
    second.google(|attempt, facts, _| {
        if facts.surface == Surface::Gemini || &*attempt.key.label == "b.1" {
            Outcome::Served
        } else {
            refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        }
    });
    let before = second.relay.census(second.now);
    let chat = Facts {
        surface: Surface::OpenAi,
        ..generate("m")
    };
    assert_eq!(second.ask(chat).key(), "b.1");
    assert_eq!(second.relay.census(second.now), before);
}

#[test]
fn a_key_that_no_carrier_helps_is_disabled() {
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
    assert_eq!(
        world.relay.census(world.now).out[&Reason::CredentialType],
        1
    );
    assert_eq!(world.attempts.iter().filter(|key| *key == "a.1").count(), 2);
}
