//! What the comparison rests on: the loop is deterministic, who knows all is never refused for quota, nobody
//! exceeds the bound, and those who do simple things do as badly as they do in life.

use super::*;
use crate::clock::HOUR;
use crate::google::{Key, Limits, Model, Project, RetryInfo, Shape};
use crate::scenario::{self, Scenario, Size};
use crate::scheduler::{DisableAfterThree, Omniscient, Ours, RoundRobin};
use crate::workload::{Rate, Session, steady};
use gemini_relay_core::Strategy;

fn small(name: &str) -> (Scenario, Setting) {
    let scenario = scenario::ALL
        .iter()
        .find(|scenario| scenario.name == name)
        .unwrap()
        .sized(Size::Quick);
    (scenario, scenario.setting(Size::Quick, 3))
}

fn all(setting: &Setting) -> Vec<Figures> {
    let keys = setting.world.keys.len();
    let mut schedulers: Vec<Box<dyn Scheduler>> = vec![
        Box::new(Omniscient::new()),
        Box::new(Ours::new(Strategy::RoundRobin, &setting.world, 1)),
        Box::new(Ours::new(Strategy::LeastLoaded, &setting.world, 1)),
        Box::new(Ours::new(Strategy::FillFirst, &setting.world, 1)),
        Box::new(RoundRobin::plain(keys)),
        Box::new(RoundRobin::retrying(keys)),
        Box::new(DisableAfterThree::new(keys)),
    ];
    schedulers
        .iter_mut()
        .map(|scheduler| run(setting, &mut **scheduler, &mut |_| {}))
        .collect()
}

fn whole(figures: &Figures) -> Tally {
    figures.first.and(&figures.later)
}

/// Free projects of one model, and single requests at this many a day.
fn even(projects: usize, limits: Limits, a_day: u64) -> Setting {
    let start = crate::clock::midnight_of(2026, 11, 3);
    let project = Project {
        free: true,
        limits: vec![limits],
        shape: Shape::Fixed,
        ahead: 0,
        counts_refused: false,
        retry: RetryInfo::Exact,
        outside: 0.0,
        changes: Vec::new(),
    };
    Setting {
        seed: 1,
        start,
        end: start + crate::clock::DAY,
        world: World {
            models: vec![Model {
                name: "gemini-made-up".into(),
                embeds: false,
            }],
            projects: vec![project; projects],
            keys: (0..projects)
                .map(|project| Key {
                    project,
                    told: true,
                    dies: None,
                })
                .collect(),
            spells: Vec::new(),
        },
        load: steady(
            1,
            start,
            1,
            Rate {
                a_day,
                models: &[0],
            },
        ),
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for name in ["stampede", "faults"] {
        let (_, setting) = small(name);
        let (once, again) = (all(&setting), all(&setting));
        assert_eq!(format!("{once:?}"), format!("{again:?}"), "{name}");
        let (scenario, _) = small(name);
        let other = all(&scenario.setting(Size::Quick, 4));
        assert_ne!(format!("{once:?}"), format!("{other:?}"), "{name}");
    }
}

#[test]
fn who_knows_all_is_never_refused_for_quota_and_lets_nobody_wait_beside_room() {
    for scenario in scenario::ALL {
        let (_, setting) = small(scenario.name);
        let figures = run(&setting, &mut Omniscient::new(), &mut |_| {});
        let all = whole(&figures);
        assert_eq!(
            (all.quota_refused, all.probes_refused),
            (0, 0),
            "{}",
            scenario.name
        );
        assert_eq!(all.otherwise_refused, 0, "{}", scenario.name);
        assert_eq!(all.true_room, 0, "{}", scenario.name);
        assert!(all.attempts >= all.served, "{}", scenario.name);
    }
}

#[test]
fn nobody_exceeds_the_bound() {
    for scenario in scenario::ALL {
        let (_, setting) = small(scenario.name);
        let bound = crate::bound::bound(&setting);
        assert!(bound <= setting.load.turns());
        for figures in all(&setting) {
            let served = whole(&figures).served;
            assert!(
                served <= bound,
                "{}: {} serves {served} of {bound}",
                scenario.name,
                figures.name
            );
        }
    }
}

#[test]
fn the_bound_is_near_where_quotas_alone_decide() {
    // Four projects with 100 a day each, of which 1,000 are wanted. Those who come in the last minutes may be
    // served after midnight.
    let setting = even(4, Limits::new(10, 1_000_000, 100), 1_000);
    let best = whole(&run(&setting, &mut Omniscient::new(), &mut |_| {})).served;
    let bound = crate::bound::bound(&setting);
    assert!(
        (400..=410).contains(&best) && (best..=415).contains(&bound),
        "{best} of {bound}"
    );
}

#[test]
fn everything_offered_is_served_refused_or_given_up() {
    for name in ["agent", "batch", "embed", "tiers"] {
        let (_, setting) = small(name);
        for figures in all(&setting) {
            let all = whole(&figures);
            let open = all.offered - all.served - all.given_up;
            // Some are in the middle when the run ends.
            assert!(open <= 2, "{name}, {}: {open} open", figures.name);
            assert!(all.attempts >= all.served + all.quota_refused + all.otherwise_refused);
        }
    }
}

#[test]
fn the_original_tool_shows_clients_what_each_key_says() {
    // Half of the keys are dead: every other request is refused at first.
    let mut setting = even(4, Limits::new(1_000, 1_000_000_000, 100_000), 1_000);
    for key in setting.world.keys.iter_mut().step_by(2) {
        key.dies = Some((0, crate::google::Death::Invalid));
    }
    let figures = run(&setting, &mut RoundRobin::plain(4), &mut |_| {});
    let all = whole(&figures);
    assert!(
        all.refusals() * 2 >= all.offered,
        "{} of {}",
        all.refusals(),
        all.offered
    );
    assert_eq!(all.refused.keys().collect::<Vec<_>>(), [&"dead key"]);
    // Ours refuses nobody and asks each of the two once, and now and then again.
    let ours = whole(&run(
        &setting,
        &mut Ours::new(Strategy::RoundRobin, &setting.world, 1),
        &mut |_| {},
    ));
    assert_eq!((ours.refusals(), ours.served), (0, ours.offered));
    assert!(
        (2..=20).contains(&ours.otherwise_refused),
        "{}",
        ours.otherwise_refused
    );
}

#[test]
fn retrying_over_keys_wastes_attempts_when_the_day_is_used_up() {
    let setting = even(20, Limits::new(10, 1_000_000, 50), 2_000);
    let retrying = whole(&run(&setting, &mut RoundRobin::retrying(20), &mut |_| {}));
    let best = whole(&run(&setting, &mut Omniscient::new(), &mut |_| {}));
    // A few of the last minutes are served after midnight.
    for served in [retrying.served, best.served] {
        assert!((1000..=1010).contains(&served), "{served}");
    }
    assert!(retrying.wasted_share() > 0.8, "{}", retrying.wasted_share());
}

#[test]
fn three_failures_put_a_key_out_for_an_hour() {
    let mut setting = even(2, Limits::new(100, 1_000_000_000, 100_000), 24 * 60);
    setting.world.keys[0].dies = Some((0, crate::google::Death::Leaked));
    let all = whole(&run(&setting, &mut DisableAfterThree::new(2), &mut |_| {}));
    // Three failures an hour.
    assert!(
        (60..=75).contains(&all.otherwise_refused),
        "{}",
        all.otherwise_refused
    );
    assert_eq!(all.served, all.offered);
}

#[test]
fn a_conversation_goes_on_when_it_is_answered_and_ends_when_it_is_given_up() {
    let mut setting = even(1, Limits::new(1, 1_000_000, 5), 1);
    setting.load = Load::new(1);
    setting.load.sessions.push(Session {
        start: setting.start + HOUR,
        client: 0,
        turns: 20,
        style: Style::Agent { model: 0 },
        then: None,
        chained: false,
    });
    let all = whole(&run(&setting, &mut RoundRobin::plain(1), &mut |_| {}));
    assert_eq!((all.served, all.given_up, all.offered), (5, 1, 6));
    // The next turn waits for its minute: the client was told so.
    assert!(all.wait.mean() > 20.0);
}

#[test]
fn who_waits_beside_room_is_noticed() {
    /// Lets every request wait for ten seconds.
    struct Idle(Vec<(Millis, usize)>);
    impl Scheduler for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }
        fn admit(&mut self, request: &Request, _: &mut Google, now: Millis) -> Step {
            self.0.push((now + 10 * SECOND, request.id));
            Step::Wait {
                believed_room: true,
            }
        }
        fn answered(&mut self, _: &Request, _: &Answer, _: &mut Google, _: Millis) -> Step {
            Step::Deliver
        }
        fn finish(&mut self, _: &Request, _: bool, _: Millis) {}
        fn wakes_at(&self) -> Option<Millis> {
            self.0.first().map(|(at, _)| *at)
        }
        fn woken(&mut self, _: &mut Google, now: Millis, ready: &mut Vec<(usize, Step)>) {
            self.0.retain(|&(at, id)| {
                if at <= now {
                    ready.push((
                        id,
                        Step::Send {
                            key: 0,
                            probe: false,
                        },
                    ));
                }
                at > now
            });
        }
    }
    let setting = even(1, Limits::new(10, 1_000_000_000, 10_000), 200);
    let all = whole(&run(&setting, &mut Idle(Vec::new()), &mut |_| {}));
    assert_eq!(
        (all.waited, all.true_room, all.believed_room),
        (all.offered, all.offered, all.offered)
    );
    assert!((all.wait.mean() - 10.0).abs() < 0.01);
}
