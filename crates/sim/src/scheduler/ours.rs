//! The relay's policy, driven as `crates/server` drives it.
//!
//! `exchange.rs`: admit, poll, send, say what came, poll again, until there is an answer to deliver;
//! finish when it has gone to the client whole. `driver.rs`: a task that sleeps until the next deadline, a
//! second at most, is woken when a request begins to wait, and wakes those whose turn has come. There a
//! deadline that is due is looked at again after a millisecond; here too.
//!
//! What the policy is not told: the modelled Google's limits, tokens, windows and projects that the pool
//! says nobody told. What it will be told when it can take it (usage, the weight of a body, the items of a
//! batch) goes into `facts` and `finish`, and what it says of them (probes, room that it believes in) into `told`.

use super::{MAX_WAIT, Request, Scheduler, Step};
use crate::clock::{Millis, SECOND};
use crate::google::{Answer, Google, Wire, World};
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::relay::{Next, Relay, RequestId, Step as Told};
use gemini_relay_core::{
    ClientId, Conversation, Facts, KeyId, KeySpec, KeyText, Kind, Repeat, Settings, Strategy,
    Surface, Time,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The policy under one strategy.
#[derive(Debug)]
pub struct Ours {
    name: &'static str,
    relay: Relay,
    wire: Wire,
    models: Vec<(Arc<str>, bool)>,
    keys: HashMap<KeyId, usize>,
    /// By the loop's number: the relay's, and the key in use.
    asked: Vec<Option<(RequestId, usize)>>,
    /// Those that wait, by the relay's number.
    sleepers: HashMap<RequestId, usize>,
    wakes_at: Option<Millis>,
}

impl Ours {
    /// The relay with this pool's keys.
    #[must_use]
    pub fn new(strategy: Strategy, world: &World, seed: u64) -> Self {
        let specs: Vec<KeySpec> = (0..world.keys.len())
            .filter_map(|at| spec(world, at))
            .collect();
        let settings = Settings {
            strategy,
            max_wait: Duration::from_millis(MAX_WAIT),
            ..Settings::default()
        };
        Self {
            name: name(strategy),
            relay: Relay::new(&specs, settings, seed, seed, 1),
            wire: Wire::default(),
            models: world
                .models
                .iter()
                .map(|model| (model.name.as_str().into(), model.embeds))
                .collect(),
            keys: specs
                .iter()
                .enumerate()
                .map(|(at, spec)| (spec.text.id(), at))
                .collect(),
            asked: Vec::new(),
            sleepers: HashMap::new(),
            wakes_at: None,
        }
    }

    fn poll(&mut self, number: usize, id: RequestId, now: Millis) -> Step {
        let told = self.relay.poll(id, Time::from_millis(now));
        self.told(number, id, told, now)
    }

    fn told(&mut self, number: usize, id: RequestId, told: Told, now: Millis) -> Step {
        match told {
            Told::Send(attempt) => {
                let key = self.keys.get(&attempt.key.id).copied().unwrap_or_default();
                if let Some(asked) = self.asked.get_mut(number) {
                    *asked = Some((id, key));
                }
                Step::Send {
                    key,
                    probe: attempt.probe,
                }
            }
            Told::Wait => {
                self.sleepers.insert(id, number);
                // The driver is kicked, and looks when it must wake next.
                self.sleep(now);
                Step::Wait {
                    believed_room: false,
                }
            }
            Told::Refuse(refusal) => refuse(&refusal, now),
        }
    }

    fn sleep(&mut self, now: Millis) {
        let next = self
            .relay
            .next_deadline()
            .map_or(now + LOOK, Time::as_millis);
        self.wakes_at = (!self.sleepers.is_empty()).then(|| next.clamp(now + SHORTEST, now + LOOK));
    }
}

impl Scheduler for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn admit(&mut self, request: &Request, _: &mut Google, now: Millis) -> Step {
        let (model, embeds) = self.models[request.ask.model].clone();
        let id = self
            .relay
            .admit(facts(request, model, embeds), Time::from_millis(now));
        if self.asked.len() <= request.id {
            self.asked.resize(request.id + 1, None);
        }
        self.asked[request.id] = Some((id, 0));
        self.poll(request.id, id, now)
    }

    fn answered(
        &mut self,
        request: &Request,
        answer: &Answer,
        google: &mut Google,
        now: Millis,
    ) -> Step {
        let Some((id, key)) = self.asked.get(request.id).copied().flatten() else {
            return Step::Deliver;
        };
        let world = google.world();
        let outcome = self
            .wire
            .outcome(world, world.keys[key].project, request.ask.model, answer);
        let done = self
            .relay
            .attempt_done(id, &outcome, true, Time::from_millis(now));
        match done.next {
            Next::Deliver(_) => Step::Deliver,
            Next::Retry => self.poll(request.id, id, now),
            Next::Refuse(refusal) => refuse(&refusal, now),
        }
    }

    fn finish(&mut self, request: &Request, served: bool, now: Millis) {
        if let Some((id, _)) = self.asked.get_mut(request.id).and_then(Option::take) {
            let tokens = served.then_some(request.ask.tokens_in);
            self.relay.finish(id, tokens, Time::from_millis(now));
        }
        self.relay.take_events();
    }

    fn wakes_at(&self) -> Option<Millis> {
        self.wakes_at
    }

    fn woken(&mut self, _: &mut Google, now: Millis, ready: &mut Vec<(usize, Step)>) {
        for id in self.relay.ready(Time::from_millis(now)) {
            if let Some(number) = self.sleepers.remove(&id) {
                let step = self.poll(number, id, now);
                ready.push((number, step));
            }
        }
        self.sleep(now);
    }
}

fn facts(request: &Request, model: Arc<str>, embeds: bool) -> Facts {
    let turn = |number: u32| u64::from(request.session) << 32 | u64::from(number + 1);
    Facts {
        surface: Surface::Gemini,
        kind: if embeds { Kind::Embed } else { Kind::Generate },
        method: 0,
        model: Some(model),
        streams: request.ask.streams,
        repeat: Repeat::Freely,
        replayable: true,
        client: ClientId(request.client),
        conversation: request.talks.then(|| Conversation {
            whole: turn(request.turn),
            earlier: request.turn.checked_sub(1).map(turn),
        }),
        items: u32::try_from(request.ask.items).unwrap_or(u32::MAX),
        bytes: request.ask.bytes,
        deadline: None,
    }
}

fn refuse(refusal: &Refusal, now: Millis) -> Step {
    let back = match refusal {
        Refusal::Quota { back, .. }
        | Refusal::Tier { back, .. }
        | Refusal::Capacity { back }
        | Refusal::Overloaded { back }
        | Refusal::EgressBan { back }
        | Refusal::Crowded { back } => Some(*back),
        Refusal::AllDead { back, .. } => *back,
        _ => None,
    };
    // `Retry-After` is in whole seconds, rounded up.
    let seconds = |back: Time| back.as_millis().saturating_sub(now).div_ceil(SECOND) * SECOND;
    Step::Refuse {
        why: refusal.name(),
        back: back.map(seconds),
    }
}

fn spec(world: &World, at: usize) -> Option<KeySpec> {
    let key = world.keys[at];
    let mut spec = KeySpec::bare(KeyText::new(&format!("made-up-key-{at}")).ok()?);
    spec.project = key.told.then(|| format!("project-{}", key.project));
    Some(spec)
}

const fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::RoundRobin => "ours, round-robin",
        Strategy::FillFirst => "ours, fill-first",
        Strategy::LeastLoaded => "ours, least-loaded",
    }
}

/// As in the server's driver.
const LOOK: Millis = SECOND;
const SHORTEST: Millis = 1;
