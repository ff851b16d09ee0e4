//! Turns kept in one place, requests carried out in several.

use super::world::{MINUTE_ID, NOON, World, generate, quota, refused, spec, turns};
use crate::facts::Facts;
use crate::relay::{Moved, Relay};
use crate::settings::{Settings, Strategy};
use crate::verdict::Outcome;
use std::collections::BTreeMap;
use std::time::Duration;

/// One that plans, and those that carry out.
struct Fleet {
    planner: Relay,
    worlds: Vec<World>,
}

impl Fleet {
    fn new(keys: &[&str], count: usize) -> Self {
        let specs: Vec<_> = keys.iter().map(|key| spec(key)).collect();
        Self {
            planner: Relay::new(&specs, Settings::default(), 1, 100, 1),
            worlds: (0..count)
                .map(|_| World::new(keys, Settings::default()))
                .collect(),
        }
    }

    /// Has the `at`-th carry a request out, and says who served it. The planner learns what came of it,
    /// and the one who asks next what the planner knows.
    fn ask(&mut self, at: usize, facts: &Facts) -> String {
        let world = &mut self.worlds[at];
        for event in self.planner.known() {
            world.relay.apply(&event, world.now);
        }
        let plan = self.planner.plan(facts, 8, world.now);
        let id = world.relay.admit_planned(facts.clone(), plan, world.now);
        let end = world.drive(id, facts);
        world.relay.finish(id, None, world.now);
        for event in world.relay.take_events() {
            self.planner.apply(&event, world.now);
        }
        for moved in world.relay.take_moved() {
            self.planner.remember(moved);
        }
        end.key().to_owned()
    }
}

#[test]
fn turns_are_even_over_all_who_carry_them_out() {
    let mut fleet = Fleet::new(&["a.1", "a.2", "b.1", "c.1"], 3);
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for at in 0..600 {
        *served
            .entry(fleet.ask(at * at % 3, &generate("flash")))
            .or_default() += 1;
    }
    let counts: Vec<u32> = served.into_values().collect();
    assert_eq!(counts, [100, 100, 200, 200]);
}

#[test]
fn a_plan_is_walked_in_its_order_and_then_everybody_else_is_asked() {
    let keys = ["a.1", "a.2", "b.1", "c.1", "d.1"];
    let mut fleet = Fleet::new(&keys, 1);
    let plan = fleet.planner.plan(&generate("flash"), 4, NOON);
    let label = |fleet: &Fleet, id| {
        let mut keys = fleet.planner.pool().keys();
        keys.find(|key| key.id == id).unwrap().label.to_string()
    };
    let labels: Vec<String> = plan.iter().map(|id| label(&fleet, *id)).collect();
    assert_eq!(
        labels,
        ["a.1", "b.1", "c.1", "d.1"],
        "every project before a second key"
    );
    let world = &mut fleet.worlds[0];
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.2" => Outcome::Served,
        _ => refused(400, "API key not valid. Please pass a valid API key."),
    });
    let facts = generate("flash");
    let id = world.relay.admit_planned(facts.clone(), plan, NOON);
    assert_eq!(world.drive(id, &facts).key(), "a.2");
    assert_eq!(world.attempts, ["a.1", "b.1", "c.1", "d.1", "a.2"]);
}

#[test]
fn a_second_keys_turn_comes_in_the_plan_after_every_project() {
    let mut fleet = Fleet::new(&["a.1", "a.2", "b.1"], 0);
    assert_eq!(fleet.planner.plan(&generate("flash"), 8, NOON).len(), 3);
    assert_eq!(fleet.planner.plan(&generate("flash"), 2, NOON).len(), 2);
}

#[test]
fn what_one_finds_out_the_next_plan_knows() {
    let mut fleet = Fleet::new(&["a.1", "b.1"], 2);
    for world in &mut fleet.worlds {
        world.google(|attempt, _, _| match &*attempt.key.project {
            "a" => quota("flash", MINUTE_ID, 1, Duration::from_secs(30)),
            _ => Outcome::Served,
        });
    }
    for at in 0..6 {
        assert_eq!(fleet.ask(at % 2, &generate("flash")), "b.1");
    }
    let asked: usize = fleet.worlds.iter().map(|world| world.attempts.len()).sum();
    assert_eq!(asked, 7, "a was asked once");
}

#[test]
fn a_stale_plan_does_not_lead_to_a_key_that_is_known_to_be_out() {
    let mut fleet = Fleet::new(&["a.1", "b.1"], 1);
    let facts = generate("flash");
    let plan = fleet.planner.plan(&facts, 8, NOON);
    let world = &mut fleet.worlds[0];
    world.google(|attempt, _, _| match &*attempt.key.project {
        "a" => quota("flash", MINUTE_ID, 1, Duration::from_secs(30)),
        _ => Outcome::Served,
    });
    for _ in 0..2 {
        let id = world
            .relay
            .admit_planned(facts.clone(), plan.clone(), world.now);
        assert_eq!(world.drive(id, &facts).key(), "b.1");
    }
    assert_eq!(world.attempts, ["a.1", "b.1", "b.1"]);
}

#[test]
fn a_conversation_stays_with_its_project_whoever_carries_it_out() {
    let mut fleet = Fleet::new(&["a.1", "b.1", "c.1"], 3);
    let first = fleet.ask(0, &turns("flash", 1, None));
    fleet.ask(1, &generate("flash"));
    assert_eq!(fleet.ask(1, &turns("flash", 2, Some(1))), first);
    // Its project goes dry for a while, another serves, and there it stays.
    let dry = first.clone();
    for world in &mut fleet.worlds {
        let dry = dry.clone();
        world.google(move |attempt, _, _| match &*attempt.key.label {
            label if label == dry => quota("flash", MINUTE_ID, 1, Duration::from_secs(30)),
            _ => Outcome::Served,
        });
    }
    let second = fleet.ask(2, &turns("flash", 3, Some(2)));
    assert_ne!(second, first);
    for world in &mut fleet.worlds {
        world.advance(Duration::from_secs(60));
    }
    assert_eq!(fleet.ask(0, &turns("flash", 4, Some(3))), second);
}

#[test]
fn what_is_known_is_the_same_after_it_was_taken_down_and_put_up() {
    let mut world = World::new(&["a.1", "a.2", "b.1", "c.1"], Settings::default());
    world.google(|attempt, _, _| match &*attempt.key.label {
        "a.1" => refused(400, "API key not valid. Please pass a valid API key."),
        "b.1" => quota("flash-001", MINUTE_ID, 1, Duration::from_secs(30)),
        _ => Outcome::Served,
    });
    for _ in 0..4 {
        world.ask(generate("flash"));
    }
    let mut events = world.relay.known();
    assert!(events.len() >= 3, "{events:?}");
    events.reverse();
    let mut other = World::new(&["a.1", "a.2", "b.1", "c.1"], Settings::default());
    for event in &events {
        other.relay.apply(event, other.now);
    }
    let sorted = |relay: &Relay| {
        let mut all: Vec<String> = relay
            .known()
            .iter()
            .map(|event| format!("{event:?}"))
            .collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&other.relay), sorted(&world.relay));
    for _ in 0..4 {
        other.ask(generate("flash"));
    }
    assert_eq!(other.attempts, ["a.2", "c.1", "a.2", "c.1"]);
}

#[test]
fn turns_go_on_where_they_were_left() {
    let keys = ["a.1", "a.2", "b.1", "c.1"];
    let specs = keys.map(spec);
    let new = || Relay::new(&specs, Settings::default(), 1, 1, 1);
    let facts = generate("flash");
    let (mut whole, mut parted) = (new(), new());
    for at in 0..24 {
        let turns = parted.turns();
        parted = new();
        parted.restore_turns(&turns, NOON);
        let (expected, got) = (whole.plan(&facts, 1, NOON), parted.plan(&facts, 1, NOON));
        let projects = |key: &[crate::KeyId]| whole.pool().project_of(key[0]);
        assert_eq!(projects(&got), projects(&expected), "turn {at}");
    }
}

#[test]
fn least_loaded_is_known_only_where_the_load_is() {
    let settings = Settings {
        strategy: Strategy::LeastLoaded,
        ..Settings::default()
    };
    let specs = ["a.1", "b.1"].map(spec);
    let mut relay = Relay::new(&specs, settings, 1, 1, 1);
    assert!(relay.plan(&generate("flash"), 8, NOON).is_empty());
    let first = specs[0].text.id();
    let labels: Vec<String> = (0..2)
        .map(|_| {
            let id = relay.admit_planned(generate("flash"), vec![first], NOON);
            match relay.poll(id, NOON) {
                crate::relay::Step::Send(attempt) => attempt.key.label.to_string(),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(labels, ["a.1", "b.1"]);
}

#[test]
fn a_conversation_served_as_planned_is_not_reported() {
    let mut fleet = Fleet::new(&["a.1", "b.1"], 1);
    let world = &mut fleet.worlds[0];
    let facts = turns("flash", 1, None);
    let plan = fleet.planner.plan(&facts, 8, NOON);
    let id = world.relay.admit_planned(facts.clone(), plan, NOON);
    world.drive(id, &facts);
    assert_eq!(world.relay.take_moved(), Vec::<Moved>::new());
}

#[test]
fn the_next_in_a_plan_does_not_bear_a_suspects_turns() {
    let names: Vec<String> = (0..6).map(|at| format!("{at}.1")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut fleet = Fleet::new(&names, 2);
    for world in &mut fleet.worlds {
        world.google(|attempt, _, _| match &*attempt.key.label {
            "2.1" => refused(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
            _ => Outcome::Served,
        });
    }
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for at in 0..600 {
        *served
            .entry(fleet.ask(at % 2, &generate("flash")))
            .or_default() += 1;
    }
    for (key, count) in served {
        assert!((110..=130).contains(&count), "{key}: {count} of 600");
    }
}
