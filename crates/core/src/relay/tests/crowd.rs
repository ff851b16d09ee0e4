//! Many clients at once, whose answers take their time, and pools of all sorts.

use super::world::*;
use crate::facts::{ClientId, Facts};
use crate::key::KeySpec;
use crate::relay::{Attempt, Next, Relay, RequestId, Step};
use crate::settings::{Settings, Strategy};
use crate::time::Time;
use crate::verdict::Outcome;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const TYPE: &str = "ACCESS_TOKEN_TYPE_UNSUPPORTED";
const INVALID: &str = "API key not valid. Please pass a valid API key.";
const DENIED: &str = "The caller does not have permission";
const REFERRER: &str = "Requests from referer <empty> are blocked.";
const MISSING: &str = "models/m is not found for API version v1beta";

/// Whoever asks what nobody is served.
const ODD: ClientId = ClientId(7);

/// How a request ended, when, and whom it was asked of.
#[derive(Debug)]
struct Told {
    arrived: Time,
    at: Time,
    end: String,
    asked: Vec<String>,
}

struct Crowd {
    relay: Relay,
    google: Google,
    latency: Duration,
    now: Time,
    arriving: BTreeSet<(Time, usize)>,
    answering: BTreeMap<(Time, usize), Outcome>,
    facts: Vec<Facts>,
    ids: BTreeMap<RequestId, usize>,
    told: Vec<Option<Told>>,
    asked: Vec<Vec<String>>,
}

impl Crowd {
    fn new(
        keys: &[KeySpec],
        settings: Settings,
        google: impl FnMut(&Attempt, &Facts, Time) -> Outcome + 'static,
    ) -> Self {
        Self {
            relay: Relay::new(keys, settings, 7, 1, 1),
            google: Box::new(google),
            latency: Duration::from_millis(200),
            now: NOON,
            arriving: BTreeSet::new(),
            answering: BTreeMap::new(),
            facts: Vec::new(),
            ids: BTreeMap::new(),
            told: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn arrives(&mut self, after: Duration, facts: Facts) {
        self.arriving.insert((NOON + after, self.facts.len()));
        self.facts.push(facts);
        self.told.push(None);
        self.asked.push(Vec::new());
    }

    fn id(&self, client: usize) -> RequestId {
        let found = self.ids.iter().find(|(_, at)| **at == client);
        *found.unwrap().0
    }

    fn poll(&mut self, client: usize) {
        match self.relay.poll(self.id(client), self.now) {
            Step::Wait => {}
            Step::Refuse(refusal) => self.ends(client, refusal.name().to_owned()),
            Step::Send(attempt) => {
                let outcome = (self.google)(&attempt, &self.facts[client], self.now);
                self.asked[client].push(attempt.key.label.to_string());
                let back = self.now + self.latency;
                self.answering.insert((back, client), outcome);
            }
        }
    }

    fn ends(&mut self, client: usize, end: String) {
        let id = self.id(client);
        self.relay.finish(id, None, self.now);
        self.ids.remove(&id);
        let arrived = self.told[client].as_ref().map_or(self.now, |it| it.arrived);
        self.told[client] = Some(Told {
            arrived,
            at: self.now,
            end,
            asked: std::mem::take(&mut self.asked[client]),
        });
    }

    /// Until everybody has an answer.
    #[track_caller]
    fn run(mut self) -> Vec<Told> {
        let mut arrivals = vec![NOON; self.facts.len()];
        for _ in 0..1_000_000 {
            let next = [
                self.arriving.first().map(|(at, _)| *at),
                self.answering.keys().next().map(|(at, _)| *at),
                self.relay.next_deadline().filter(|_| !self.ids.is_empty()),
            ];
            let Some(next) = next.into_iter().flatten().min() else {
                assert_eq!(self.relay.in_progress(), (0, 0));
                let told = self.told.into_iter().flatten().zip(arrivals);
                return told
                    .map(|(told, arrived)| Told { arrived, ..told })
                    .collect();
            };
            // A deadline that is due and moves nobody is looked at again a moment later.
            self.now = if next > self.now {
                next
            } else {
                self.now + Duration::from_millis(1)
            };
            while let Some(&(at, client)) = self.arriving.first()
                && at <= self.now
            {
                self.arriving.pop_first();
                arrivals[client] = self.now;
                let id = self.relay.admit(self.facts[client].clone(), self.now);
                self.ids.insert(id, client);
                self.poll(client);
            }
            while let Some((&(at, client), _)) = self.answering.first_key_value()
                && at <= self.now
            {
                let (_, outcome) = self.answering.pop_first().unwrap();
                let replayable = self.facts[client].replayable;
                let id = self.id(client);
                let done = self.relay.attempt_done(id, &outcome, replayable, self.now);
                match done.next {
                    Next::Retry => self.poll(client),
                    Next::Refuse(refusal) => self.ends(client, refusal.name().to_owned()),
                    Next::Deliver(_) if outcome.is_served() => self.ends(client, "served".into()),
                    Next::Deliver(_) => self.ends(client, format!("{outcome:?}")),
                }
            }
            for id in self.relay.ready(self.now) {
                if let Some(client) = self.ids.get(&id).copied() {
                    self.poll(client);
                }
            }
        }
        panic!("they go round in circles");
    }
}

fn unserved(told: &[Told]) -> Vec<&Told> {
    told.iter().filter(|told| told.end != "served").collect()
}

fn two() -> [KeySpec; 2] {
    ["a.1", "b.1"].map(spec)
}

#[test]
fn those_who_waited_are_served_though_the_first_that_is_back_refuses() {
    let refusals: [fn() -> Outcome; 8] = [
        || quota("m", DAY_ID, 50, Duration::from_secs(20)),
        || quota("m", MINUTE_ID, 5, Duration::from_secs(50)),
        || quota("m", DAY_ID, 0, Duration::from_secs(20)),
        || refused(400, INVALID),
        || refused(429, "Your prepayment credits are depleted."),
        || refused(401, TYPE),
        || refused(403, DENIED),
        || refused(404, MISSING),
    ];
    for refusal in refusals {
        let back = NOON + Duration::from_secs(5);
        let google = move |attempt: &Attempt, _: &Facts, now: Time| match &*attempt.key.label {
            _ if now < back => quota("m", MINUTE_ID, 5, back.since(now)),
            "a.1" => refusal(),
            _ => Outcome::Served,
        };
        let mut crowd = Crowd::new(&two(), Settings::default(), google);
        for at in 0..60 {
            crowd.arrives(Duration::from_millis(10 * at), generate("m"));
        }
        let told = crowd.run();
        assert!(
            unserved(&told).is_empty(),
            "{:?}: {:?}",
            refusal(),
            unserved(&told)
        );
    }
}

/// One key with ten a second beside one that this refuses: the ends, and how often the first was asked.
fn beside(odd: Option<Outcome>, max_wait: u64) -> (Vec<Told>, usize) {
    let keys = two();
    let keys = if odd.is_some() { &keys[..] } else { &keys[1..] };
    let used = Rc::new(RefCell::new(BTreeMap::<u64, u32>::new()));
    let google = move |attempt: &Attempt, _: &Facts, now: Time| {
        if &*attempt.key.label == "a.1" {
            return odd.clone().unwrap();
        }
        let mut used = used.borrow_mut();
        let used = used.entry(now.as_millis() / 6000).or_default();
        *used += 1;
        if *used > 10 {
            let left = Duration::from_millis(6000 - now.as_millis() % 6000);
            return quota("m", MINUTE_ID, 10, left);
        }
        Outcome::Served
    };
    let settings = Settings {
        max_wait: Duration::from_secs(max_wait),
        ..Settings::default()
    };
    let mut crowd = Crowd::new(keys, settings, google);
    for at in 0..70 {
        crowd.arrives(Duration::from_millis(50 * at), generate("m"));
    }
    let told = crowd.run();
    let asked = told.iter().flat_map(|told| &told.asked);
    let asked = asked.filter(|label| *label == "b.1").count();
    (told, asked)
}

#[test]
fn a_key_that_everybody_is_refused_by_changes_nobodys_place() {
    let (alone, asked_alone) = beside(None, 60);
    assert!(asked_alone <= 70 + 7 * 15, "{asked_alone}");
    for odd in [refused(401, TYPE), refused(403, REFERRER)] {
        let (told, asked) = beside(Some(odd), 60);
        assert!(unserved(&alone).is_empty() && unserved(&told).is_empty());
        assert!(asked <= asked_alone + 10, "{asked} {asked_alone}");
        let second = Duration::from_secs(1);
        for (at, earlier) in told.iter().enumerate() {
            let first = told[at..].iter().find(|later| {
                later.at + second < earlier.at && later.arrived > earlier.arrived + second
            });
            assert!(first.is_none(), "{first:?} was served before {earlier:?}");
        }
    }
}

#[test]
fn whose_patience_ends_is_never_told_that_no_key_is_for_it() {
    for odd in [None, Some(refused(401, TYPE))] {
        let (told, _) = beside(odd, 6);
        let left = unserved(&told);
        assert!(!left.is_empty());
        for told in left {
            assert_eq!(told.end, "quota", "{told:?}");
        }
    }
}

#[test]
fn whoever_comes_while_a_dead_key_is_tried_hears_what_comes_of_it() {
    for mended in [true, false] {
        for keys in [&two()[..1], &two()] {
            let back = NOON + Duration::from_secs(14 * 60);
            let google = move |_: &Attempt, _: &Facts, now: Time| {
                if mended && now >= back {
                    Outcome::Served
                } else {
                    refused(400, INVALID)
                }
            };
            let mut crowd = Crowd::new(keys, Settings::default(), google);
            crowd.arrives(Duration::ZERO, generate("m"));
            for at in 0..10 {
                let after = Duration::from_secs(16 * 60) + Duration::from_millis(10 * at);
                crowd.arrives(after, generate("m"));
            }
            let told = crowd.run();
            for (at, told) in told.iter().enumerate() {
                let end = if mended && at > 0 {
                    "served"
                } else {
                    "no-usable-key"
                };
                assert_eq!(told.end, end, "{at}: {told:?}");
                let took = told.at.since(told.arrived);
                assert!(took <= Duration::from_secs(1), "{took:?}");
            }
        }
    }
}

#[test]
fn who_waited_already_keeps_its_place_though_many_wait() {
    let back = NOON + Duration::from_secs(5);
    let google = move |attempt: &Attempt, _: &Facts, now: Time| match &*attempt.key.label {
        _ if now < back => quota("m", MINUTE_ID, 5, back.since(now)),
        "a.1" => quota("m", MINUTE_ID, 5, Duration::from_secs(10)),
        _ if now < back + Duration::from_secs(3) => quota(
            "m",
            MINUTE_ID,
            5,
            (back + Duration::from_secs(3)).since(now),
        ),
        _ => Outcome::Served,
    };
    let settings = Settings {
        max_waiting: 10,
        ..Settings::default()
    };
    let mut crowd = Crowd::new(&two(), settings, google);
    for at in 0..10 {
        crowd.arrives(Duration::from_millis(at), generate("m"));
    }
    for at in 0..100 {
        crowd.arrives(Duration::from_millis(5000 + 10 * at), generate("m"));
    }
    let told = crowd.run();
    assert!(
        unserved(&told[..10]).is_empty(),
        "{:?}",
        unserved(&told[..10])
    );
}

#[test]
fn a_queue_does_not_outlast_what_it_waited_for() {
    // Four keys rest for three seconds, once; many more come than are let go at first.
    let rested = NOON + Duration::from_secs(8);
    let google = move |_: &Attempt, _: &Facts, now: Time| {
        if now > NOON + Duration::from_secs(5) && now < rested {
            quota("m", MINUTE_ID, 50_000, rested.since(now))
        } else {
            Outcome::Served
        }
    };
    let keys = ["a.1", "b.1", "c.1", "d.1"].map(spec);
    let mut crowd = Crowd::new(&keys, Settings::default(), google);
    for at in 0..6000 {
        crowd.arrives(Duration::from_millis(5 * at), generate("m"));
    }
    let told = crowd.run();
    assert!(unserved(&told).is_empty(), "{}", unserved(&told).len());
    let late = told.iter().filter(|told| {
        told.arrived > NOON + Duration::from_secs(12)
            && told.at.since(told.arrived) > Duration::from_millis(250)
    });
    assert_eq!(late.count(), 0, "nobody waits any more");
}

#[test]
fn who_waits_for_what_others_found_out_is_let_go_one_by_one_too() {
    let mut world = World::new(&["a.1"], Settings::default());
    for _ in 0..5000 {
        world.ask(generate("m")).key();
    }
    // Another relay met the quota.
    let mut other = World::new(&["a.1"], Settings::default());
    other.google(|_, _, _| quota("m", MINUTE_ID, 5, Duration::from_secs(5)));
    let id = other.relay.admit(generate("m"), other.now);
    let Step::Send(_) = other.relay.poll(id, other.now) else {
        panic!("there is a key");
    };
    let outcome = quota("m", MINUTE_ID, 5, Duration::from_secs(5));
    other.relay.attempt_done(id, &outcome, true, other.now);
    for event in other.relay.take_events() {
        world.relay.apply(&event, world.now);
    }
    for _ in 0..100 {
        let id = world.relay.admit(generate("m"), world.now);
        assert!(matches!(world.relay.poll(id, world.now), Step::Wait));
    }
    let mut let_go = 0;
    let end = world.now + Duration::from_secs(6);
    while let Some(next) = world.relay.next_deadline()
        && next < end
        && let_go == 0
    {
        world.now = next.max(world.now);
        let_go = world.relay.ready(world.now).len();
    }
    assert_eq!(let_go, 1);
}

#[test]
fn whoever_asks_what_nobody_is_served_holds_nobody_up() {
    let google = |_: &Attempt, facts: &Facts, _: Time| {
        if facts.client == ODD {
            refused(401, TYPE)
        } else {
            Outcome::Served
        }
    };
    let names: Vec<KeySpec> = (0..10).map(|at| spec(&format!("{at}.1"))).collect();
    let mut crowd = Crowd::new(&names, Settings::default(), google);
    for at in 0..1000 {
        crowd.arrives(Duration::from_millis(10 * at), generate("m"));
        if at % 5 == 0 {
            let odd = Facts {
                client: ODD,
                method: 1,
                ..generate("m")
            };
            crowd.arrives(Duration::from_millis(10 * at), odd);
        }
    }
    let odd: Vec<bool> = crowd
        .facts
        .iter()
        .map(|facts| facts.client == ODD)
        .collect();
    for (told, odd) in crowd.run().iter().zip(odd) {
        let took = told.at.since(told.arrived);
        if odd {
            assert!(told.end.contains("401"), "{told:?}");
            assert!(took < Duration::from_secs(6), "{took:?}");
        } else {
            assert_eq!(told.end, "served");
            assert!(took < Duration::from_millis(400), "{took:?}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Good,
    Day,
    Retired,
    Referrer,
    Denied,
    Missing,
    Invalid,
    Minute,
}

struct Chance(u64);

impl Chance {
    fn up_to(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A pool of two to seven keys, of which one is good and one at most denies or lacks the model; sixty clients.
fn world(seed: u64, odd: bool, burst: bool) -> (Vec<Sort>, Vec<Told>) {
    use Sort::*;
    let mut chance = Chance(seed);
    let all = [
        Good, Day, Retired, Referrer, Denied, Missing, Invalid, Minute,
    ];
    let count = 2 + chance.up_to(6) as usize;
    let mut sorts: Vec<Sort> = (0..count).map(|_| all[chance.up_to(8) as usize]).collect();
    let mut seen = false;
    for sort in &mut sorts {
        if matches!(sort, Denied | Missing | Referrer) && std::mem::replace(&mut seen, true) {
            *sort = Good;
        }
    }
    let good = chance.up_to(count as u64) as usize;
    sorts[good] = Good;
    let mut keys: Vec<KeySpec> = (0..count).map(|at| spec(&format!("{at}.1"))).collect();
    for key in &mut keys {
        key.priority = chance.up_to(4).min(1) as _;
        key.weight = 1 + chance.up_to(3) as u32;
    }
    let strategies = [
        Strategy::RoundRobin,
        Strategy::FillFirst,
        Strategy::LeastLoaded,
    ];
    let settings = Settings {
        strategy: strategies[chance.up_to(3) as usize],
        ..Settings::default()
    };
    // In a burst all keys rest when it begins.
    let begins = NOON + Duration::from_secs(if burst { 3 } else { 0 });
    let sorted = sorts.clone();
    let google = move |attempt: &Attempt, facts: &Facts, now: Time| {
        let at: usize = attempt.key.project.parse().unwrap();
        match sorted[at] {
            _ if facts.client == ODD => refused(401, TYPE),
            Retired => refused(401, TYPE),
            Invalid => refused(400, INVALID),
            Referrer => refused(403, REFERRER),
            _ if now < begins => quota("m", MINUTE_ID, 5, begins.since(now)),
            Good => Outcome::Served,
            Day => quota("m", DAY_ID, 50, Duration::from_secs(20)),
            Denied => refused(403, DENIED),
            Missing => refused(404, MISSING),
            Minute => quota("m", MINUTE_ID, 5, Duration::from_secs(45)),
        }
    };
    let mut crowd = Crowd::new(&keys, settings, google);
    crowd.latency = Duration::from_millis(20 + chance.up_to(600));
    for at in 0..60 {
        let after = if burst {
            chance.up_to(2500)
        } else {
            at * 20 + chance.up_to(1500) * (1 + chance.up_to(20))
        };
        let mut facts = generate("m");
        if odd && chance.up_to(4) == 0 {
            facts.client = ODD;
        }
        crowd.arrives(Duration::from_millis(after), facts);
    }
    let clients: Vec<ClientId> = crowd.facts.iter().map(|facts| facts.client).collect();
    let told = crowd.run().into_iter().zip(clients);
    let good = told.filter(|(_, client)| *client != ODD);
    (sorts, good.map(|(told, _)| told).collect())
}

#[test]
fn nobody_is_refused_what_one_key_serves() {
    // As many as the soak says.
    let count = std::env::var("PROPTEST_CASES").ok();
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(100);
    for seed in 0..count {
        for (odd, burst) in [(false, false), (true, false), (false, true), (true, true)] {
            let (sorts, told) = world(seed, odd, burst);
            let left = unserved(&told);
            assert!(
                left.is_empty(),
                "seed {seed} {odd} {burst}, {sorts:?}: {left:?}"
            );
        }
    }
}
