//! What the relay promises, over virtual time.

use super::world::{DAY_ID, End, MINUTE_ID, NOON, Quotas, World, generate, quota, refused, spec};
use crate::block::Reason;
use crate::facts::{Facts, Kind, Surface};
use crate::refusal::Refusal;
use crate::settings::{Settings, Strategy};
use crate::time::Time;
use crate::verdict::Outcome;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

fn impatient() -> Settings {
    Settings {
        max_wait: Duration::ZERO,
        ..Settings::default()
    }
}

/// The first promise: whatever quotas there are, whoever is dead, nobody is refused while a project has
/// room. Over two days with the end of daylight saving between them.
#[test]
fn no_client_gets_a_quota_429_while_a_project_has_room() {
    for (seed, strategy) in [
        (1, Strategy::RoundRobin),
        (2, Strategy::FillFirst),
        (3, Strategy::LeastLoaded),
    ] {
        let keys = ["a.1", "a.2", "b.1", "c.1", "d.1", "dead.1"];
        let mut world = World::new(
            &keys,
            Settings {
                strategy,
                ..impatient()
            },
        );
        // 31 October 2026, 20:00 UTC: the clocks in Los Angeles go back that night.
        world.now = Time::from_millis(1_793_476_800_000);
        let quotas = Rc::new(RefCell::new(
            Quotas::default()
                .limit("a", "flash", 5, 40)
                .limit("b", "flash", 2, 1000)
                .limit("c", "flash", 0, 0)
                .limit("d", "flash", 3, 20)
                .limit("a", "pro", 1, 5)
                .limit("b", "pro", 0, 0)
                .limit("c", "pro", 0, 0),
        ));
        let google = Rc::clone(&quotas);
        world.google(move |attempt, facts, now| match &*attempt.key.project {
            "dead" => refused(400, "API key not valid. Please pass a valid API key."),
            // One that only lacks search.
            "d" if facts.kind == Kind::Grounded => {
                refused(429, "Gemini doesn't have a free quota tier for search.")
            }
            project => {
                google
                    .borrow_mut()
                    .ask(project, facts.model.as_deref().unwrap_or_default(), now)
            }
        });
        let mut random = seed;
        let (mut served, mut out) = (0, 0);
        for _ in 0..12_000 {
            random = next(random);
            world.advance(Duration::from_millis(random % 28_000));
            let model = if random & 1 << 40 == 0 {
                "flash"
            } else {
                "pro"
            };
            let kind = if random & 3 << 50 == 0 {
                Kind::Grounded
            } else {
                Kind::Generate
            };
            let rooms: Vec<&str> = ["a", "b", "c", "d"]
                .into_iter()
                .filter(|project| {
                    quotas.borrow().room(project, model, world.now)
                        && !(*project == "d" && kind == Kind::Grounded)
                })
                .collect();
            match world.ask(Facts {
                kind,
                ..generate(model)
            }) {
                End::Served { .. } => served += 1,
                End::Refused {
                    refusal: Refusal::Quota { .. },
                    ..
                } => {
                    assert!(
                        rooms.is_empty(),
                        "seed {seed}, {:?}: refused {model} {kind:?} while {rooms:?} had room",
                        world.now
                    );
                    out += 1;
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!(
            served > 5000 && out > 100,
            "seed {seed}: the world was too easy or too hard: {served} served, {out} out"
        );
    }
}

#[test]
fn a_day_quota_cools_until_los_angeles_midnight_and_not_longer() {
    let mut world = World::new(&["a.1"], impatient());
    let quotas = RefCell::new(Quotas::default().limit("a", "m", 100, 1));
    world.google(move |attempt, facts, now| {
        quotas
            .borrow_mut()
            .ask(&attempt.key.project, facts.model.as_deref().unwrap(), now)
    });
    world.ask(generate("m")).key();
    let End::Refused {
        refusal: Refusal::Quota {
            back, day: true, ..
        },
        ..
    } = world.ask(generate("m"))
    else {
        panic!()
    };
    assert_eq!(back, NOON + Duration::from_secs(20 * 3600));
    let attempts = world.attempts.len();
    world.now = Time::from_millis(back.as_millis() - 1);
    assert!(matches!(world.ask(generate("m")), End::Refused { .. }));
    assert_eq!(world.attempts.len(), attempts, "nothing is asked meanwhile");
    world.now = back;
    world.ask(generate("m")).key();
}

#[test]
fn each_project_gets_its_share_and_then_each_of_its_keys() {
    let keys = ["a.1", "a.2", "a.3", "b.1", "c.1", "c.2"];
    let mut world = World::new(&keys, Settings::default());
    // In flight together and apart, two models in turns.
    for round in 0..600 {
        let model = if round % 2 == 0 { "m" } else { "n" };
        if round % 5 == 0 {
            let open: Vec<_> = (0..2)
                .map(|_| world.relay.admit(generate(model), world.now))
                .collect();
            for id in open {
                world.drive(id, &generate(model));
                world.relay.finish(id, None, world.now);
            }
        } else {
            world.ask(generate(model)).key();
        }
    }
    let mut shares: HashMap<&str, u32> = HashMap::new();
    for key in &world.attempts {
        *shares.entry(key).or_default() += 1;
    }
    let project = |name: &str| {
        shares
            .iter()
            .filter(|(key, _)| key.starts_with(name))
            .map(|(_, n)| n)
            .sum::<u32>()
    };
    let each = u32::try_from(world.attempts.len()).unwrap() / 3;
    for name in ["a", "b", "c"] {
        assert!(project(name).abs_diff(each) <= 2, "{shares:?}");
    }
    assert!(
        shares["a.1"].abs_diff(shares["a.3"]) <= 2 && shares["c.1"].abs_diff(shares["c.2"]) <= 2,
        "{shares:?}"
    );
}

#[test]
fn evenness_is_exact_for_each_model() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    for count in 1..200u32 {
        world.ask(generate("m")).key();
        let of = |name: &str| {
            u32::try_from(
                world
                    .attempts
                    .iter()
                    .filter(|key| key.starts_with(name))
                    .count(),
            )
            .unwrap()
        };
        for name in ["a", "b", "c"] {
            assert!(of(name).abs_diff(count / 3) <= 1);
        }
    }
}

#[test]
fn priority_is_exhausted_level_by_level_and_weight_shifts_the_shares() {
    let mut heavy = spec("a.1");
    heavy.weight = 3;
    let mut reserve = spec("r.1");
    reserve.priority = 5;
    let mut world = World::with(&[reserve, heavy, spec("b.1")], Settings::default());
    for _ in 0..400 {
        world.ask(generate("m")).key();
    }
    assert_eq!(
        world.attempts.iter().filter(|key| *key == "a.1").count(),
        300
    );
    assert_eq!(world.attempts.iter().filter(|key| *key == "r.1").count(), 0);
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "r" {
            Outcome::Served
        } else {
            quota("m", MINUTE_ID, 5, Duration::from_secs(30))
        }
    });
    assert_eq!(world.ask(generate("m")).key(), "r.1");
    assert_eq!(world.ask(generate("m")).attempts(), 1);
}

#[test]
fn a_clients_own_mistake_never_cools_or_disables_a_key() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let version = world.relay.pool().version();
    for (status, message) in [
        (400, "Invalid value"),
        (413, "Too large"),
        (404, "No such file"),
        (422, "Bad"),
        (400, "The input token count exceeds the maximum"),
    ] {
        world.google(move |_, _, _| refused(status, message));
        assert_eq!(
            world.ask(generate("m")),
            End::Delivered {
                status,
                attempts: 1,
                why: None
            }
        );
    }
    assert_eq!(world.relay.pool().version(), version);
    assert_eq!(world.relay.census(world.now).usable, 2);
}

#[test]
fn a_storm_of_503_does_not_walk_through_the_pool() {
    let names: Vec<String> = (0..50).map(|n| format!("p{n}.1")).collect();
    let mut world = World::new(
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
        Settings::default(),
    );
    world.google(|_, _, _| refused(503, "The model is overloaded. Please try again later."));
    let end = world.ask(generate("m"));
    assert_eq!(
        end,
        End::Delivered {
            status: 503,
            attempts: 3,
            why: Some("overloaded")
        }
    );
    for _ in 0..30 {
        world.ask(generate("m"));
    }
    assert!(world.attempts.len() <= 93, "{}", world.attempts.len());
    assert_eq!(world.relay.census(world.now).usable, 50);
    // Another model is not held up, and the first is served as soon as Google serves it.
    let before = world.now;
    world.google(|_, _, _| Outcome::Served);
    world.ask(generate("n")).key();
    assert_eq!(world.now, before);
    world.ask(generate("m")).key();
    assert!(world.now.since(before) < Duration::from_secs(31));
}

#[test]
fn a_ban_of_the_address_is_not_taken_out_on_keys() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], impatient());
    world.google(|_, _, _| Outcome::Refused {
        status: 403,
        error: crate::google_error::GoogleError::parse(
            b"<html>your computer or network may be sending automated queries</html>",
        ),
    });
    // The page itself is nothing that a client could read.
    for (model, attempts) in [("m", 1), ("other", 0)] {
        let end = world.ask(generate(model));
        let End::Refused { refusal, .. } = &end else {
            panic!("{end:?}");
        };
        assert!(matches!(refusal, Refusal::EgressBan { .. }), "{refusal:?}");
        assert_eq!(end.attempts(), attempts);
    }
    assert_eq!(world.relay.census(world.now).usable, 3);
    world.advance(Duration::from_secs(31));
    world.google(|_, _, _| Outcome::Served);
    world.ask(generate("m")).key();
}

#[test]
fn shared_capacity_backs_off_after_two_projects() {
    let names: Vec<String> = (0..20).map(|n| format!("p{n}.1")).collect();
    let mut world = World::new(
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
        Settings::default(),
    );
    world.google(|_, _, _| refused(429, "Resource has been exhausted (e.g. check quota)."));
    let started = world.now;
    let end = world.ask(generate("m"));
    assert_eq!(
        end,
        End::Delivered {
            status: 429,
            attempts: 4,
            why: Some("shared-capacity")
        }
    );
    assert!(
        world.now.since(started) >= Duration::from_secs(1),
        "it paused"
    );
}

#[test]
fn shared_capacity_is_not_called_a_quota() {
    let mut world = World::new(&["a.1", "b.1", "c.1", "d.1"], impatient());
    world.google(|_, _, _| refused(429, "Resource has been exhausted (e.g. check quota)."));
    world.ask(generate("m"));
    let End::Refused { refusal, .. } = world.ask(generate("m")) else {
        panic!("it rests, and the model with it");
    };
    assert!(matches!(refusal, Refusal::Capacity { .. }), "{refusal:?}");
    let mut world = World::new(&["a.1"], impatient());
    world.google(|_, _, _| refused(429, "Resource has been exhausted (e.g. check quota)."));
    world.ask(generate("m"));
    let End::Refused { refusal, .. } = world.ask(generate("m")) else {
        panic!("it rests");
    };
    assert!(matches!(refusal, Refusal::Capacity { .. }), "{refusal:?}");
    let said = refusal.render(Surface::Gemini, false, world.now);
    assert_eq!((said.status, said.retry_after), (429, Some(5)));
    assert!(said.body.contains("Resource has been exhausted"));
    assert!(!said.body.contains("current quota"));
}

#[test]
fn a_dead_pool_is_503_that_counts_by_reason_and_never_401() {
    let mut world = World::new(&["a.1", "b.1", "c.1"], Settings::default());
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(400, "API key not valid."),
        "b.1" => refused(
            403,
            "Your API key was reported as leaked. Please use another API key.",
        ),
        _ => refused(402, "Your prepayment credits are depleted."),
    });
    let End::Refused {
        refusal,
        attempts: 3,
    } = world.ask(generate("m"))
    else {
        panic!()
    };
    let Refusal::AllDead {
        counts,
        back: Some(_),
    } = &refusal
    else {
        panic!("{refusal:?}")
    };
    for part in ["1 not valid", "1 reported as leaked", "1 out of credit"] {
        assert!(counts.contains(part), "{counts}");
    }
    assert_eq!(refusal.status().0, 503);
    let census = world.relay.census(world.now);
    assert_eq!((census.usable, census.out[&Reason::Leaked]), (0, 1));
    assert_eq!(world.ask(generate("m")).attempts(), 0);
}

#[test]
fn what_is_out_without_an_end_is_tried_again_by_one_request_by_and_by() {
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
    for hours_quarter in [1, 4, 24, 96, 96] {
        world.attempts.clear();
        world.advance(Duration::from_secs(900 * hours_quarter - 1));
        for _ in 0..4 {
            world.ask(generate("m")).key();
        }
        assert!(
            !world.attempts.contains(&"a.1".to_owned()),
            "too early: {hours_quarter}"
        );
        world.advance(Duration::from_secs(1));
        // One that cannot be sent again must not be the one.
        for _ in 0..4 {
            world
                .ask(Facts {
                    replayable: false,
                    ..generate("m")
                })
                .key();
        }
        assert!(!world.attempts.contains(&"a.1".to_owned()));
        for _ in 0..6 {
            assert_eq!(world.ask(generate("m")).key(), "b.1");
        }
        assert_eq!(
            world.attempts.iter().filter(|key| *key == "a.1").count(),
            1,
            "{hours_quarter}"
        );
    }
    world.google(|_, _, _| Outcome::Served);
    world.advance(Duration::from_secs(86_400));
    for _ in 0..4 {
        world.ask(generate("m")).key();
    }
    assert_eq!(world.relay.census(world.now).usable, 2);
    assert!(
        world
            .attempts
            .iter()
            .rev()
            .take(4)
            .filter(|key| *key == "a.1")
            .count()
            >= 2
    );
}

#[test]
fn a_model_that_a_project_has_none_of_is_not_asked_of_it_again() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    world.google(|attempt, _, _| {
        if &*attempt.key.project == "a" {
            quota("pro", DAY_ID, 0, Duration::from_secs(5))
        } else {
            Outcome::Served
        }
    });
    for _ in 0..6 {
        assert_eq!(world.ask(generate("pro")).key(), "b.1");
    }
    assert_eq!(world.attempts.iter().filter(|key| *key == "a.1").count(), 1);
}

fn next(random: u64) -> u64 {
    random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
        .rotate_left(17)
}
