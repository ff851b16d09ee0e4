//! A wall clock that jumps: a machine that slept, or whose clock was set.

use super::world::{DAY_ID, End, MINUTE_ID, World, generate, quota};
use crate::refusal::Refusal;
use crate::relay::{Next, RequestId, Step};
use crate::settings::Settings;
use crate::verdict::Outcome;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Its only project is out for five seconds.
fn dry() -> World {
    let settings = Settings {
        max_wait: Duration::ZERO,
        ..Settings::default()
    };
    let mut out = World::new(&["a.1"], settings);
    out.google(|_, _, _| quota("m", MINUTE_ID, 5, 5 * SECOND));
    out.ask(generate("m"));
    let mut world = World::new(&["a.1"], Settings::default());
    for event in out.relay.take_events() {
        world.relay.apply(&event, world.now);
    }
    world
}

fn waits(world: &mut World) -> RequestId {
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Wait));
    id
}

fn set_back(world: &mut World, by: Duration) {
    world.now = world.now.back(by);
    world.relay.clock_set_back(by, world.now);
}

#[test]
fn who_waits_when_the_clock_is_set_back_waits_no_longer_for_it() {
    for by in [HOUR, 7 * HOUR] {
        let mut world = dry();
        let id = waits(&mut world);
        world.advance(SECOND);
        set_back(&mut world, by);
        let begun = world.now;
        assert!(matches!(
            world.drive(id, &generate("m")),
            End::Served { .. }
        ));
        assert_eq!(world.now.since(begun), 4 * SECOND);
        world.relay.finish(id, None, world.now);
        assert_eq!(world.relay.in_progress(), (0, 0));
    }
}

#[test]
fn who_comes_after_the_clock_was_set_back_is_served_as_soon_as_it_would_have_been() {
    let mut world = dry();
    set_back(&mut world, HOUR);
    let begun = world.now;
    world.ask(generate("m")).key();
    assert_eq!(world.now.since(begun), 5 * SECOND);
}

#[test]
fn a_day_ends_at_midnight_however_the_clock_was_set() {
    for by in [HOUR, 7 * HOUR, 30 * HOUR] {
        let mut world = World::new(&["a.1"], Settings::default());
        world.google(|_, _, _| quota("m", DAY_ID, 5, SECOND));
        world.ask(generate("m"));
        set_back(&mut world, by);
        let End::Refused {
            refusal: Refusal::Quota { back, .. },
            attempts: 0,
        } = world.ask(generate("m"))
        else {
            panic!()
        };
        assert_eq!(back, world.now.next_pacific_midnight(), "{by:?}");
    }
}

#[test]
fn a_question_under_way_when_the_clock_is_set_back_is_answered_as_ever() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
    set_back(&mut world, HOUR);
    let refused = quota("m", MINUTE_ID, 5, 20 * SECOND);
    let done = world.relay.attempt_done(id, &refused, true, world.now);
    assert_eq!(done.next, Next::Retry);
    assert_eq!(world.drive(id, &generate("m")).key(), "b.1");
    world.relay.finish(id, None, world.now);
    assert_eq!(world.relay.in_progress(), (0, 0));
}

#[test]
fn a_machine_that_slept_for_hours_goes_on_with_what_was_open() {
    let mut world = World::new(&["a.1", "b.1"], Settings::default());
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
    world.relay.ready(world.now);
    world.advance(3 * HOUR);
    world.relay.ready(world.now);
    let refused = quota("m", MINUTE_ID, 5, 20 * SECOND);
    assert_eq!(
        world.relay.attempt_done(id, &refused, true, world.now).next,
        Next::Retry
    );
    assert!(matches!(
        world.drive(id, &generate("m")),
        End::Served { .. }
    ));
    let mut dry = dry();
    let id = waits(&mut dry);
    dry.relay.ready(dry.now);
    dry.advance(3 * HOUR);
    assert_eq!(dry.relay.ready(dry.now), [id]);
    assert!(matches!(dry.relay.poll(id, dry.now), Step::Send(_)));
}

#[test]
fn a_request_whose_shell_has_died_is_dropped_by_and_by() {
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|_, _, _| Outcome::Served);
    let id = world.relay.admit(generate("m"), world.now);
    world.relay.poll(id, world.now);
    for _ in 0..119 {
        world.relay.ready(world.now);
        world.advance(60 * SECOND);
    }
    assert_eq!(world.relay.in_progress().0, 1);
    for _ in 0..3 {
        world.relay.ready(world.now);
        world.advance(60 * SECOND);
    }
    assert_eq!(world.relay.in_progress(), (0, 0));
}

#[test]
fn what_is_learned_after_the_clock_was_set_back_takes_nothing_from_what_is_known() {
    let settings = Settings {
        max_wait: Duration::ZERO,
        ..Settings::default()
    };
    let mut world = World::new(&["a.1"], settings);
    world.google(|_, facts, _| match facts.model.as_deref() {
        Some("m") => quota("m", MINUTE_ID, 5, 3000 * SECOND),
        _ => quota("other", MINUTE_ID, 5, 50 * SECOND),
    });
    world.ask(generate("first"));
    set_back(&mut world, 7 * HOUR);
    world.ask(generate("m"));
    world.ask(generate("other"));
    world.relay.reload(&[super::world::spec("a.1")], world.now);
    assert!(matches!(
        world.ask(generate("m")),
        End::Refused { attempts: 0, .. }
    ));
}

#[test]
fn what_came_before_the_jump_was_noticed_is_of_the_new_clock() {
    let mut world = World::new(&["a.1"], Settings::default());
    world.google(|_, _, _| quota("m", MINUTE_ID, 5, 5 * SECOND));
    let id = world.relay.admit(generate("m"), world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Send(_)));
    let quota = quota("m", MINUTE_ID, 5, 5 * SECOND);
    world.relay.attempt_done(id, &quota, true, world.now);
    assert!(matches!(world.relay.poll(id, world.now), Step::Wait));
    let begun = world.now;
    world.advance(Duration::from_millis(400));
    world.relay.clock_set_back(HOUR, world.now);
    world.google(|_, _, _| Outcome::Served);
    world.drive(id, &generate("m")).key();
    assert_eq!(world.now.since(begun), 5 * SECOND);
}
