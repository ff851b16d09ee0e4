//! What all workers share: the policy, the door, the counters.
//!
//! The policy is behind one lock, held for microseconds and never across an await. Requests that wait
//! leave a sender here and sleep; the [driver](super::driver) wakes them in the order that the policy
//! says.

use super::body::Budget;
use super::clock::{Clock, Jump, Jumped};
use super::metrics::Metrics;
use super::places::Places;
use super::record::Id;
use crate::config::{Access, Config, Origins};
use gemini_relay_core::event::{Change, Event, Subject};
use gemini_relay_core::hop::Hop;
use gemini_relay_core::letin::Door;
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::relay::{Attempt, Relay, RequestId, Step};
use gemini_relay_core::{KeySpec, Time};
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) door: Door,
    /// The names of client tokens, by client number.
    pub(crate) clients: Vec<Arc<str>>,
    pub(crate) metrics: Metrics,
    pub(crate) budget: Arc<Budget>,
    /// How many clients' connections there may be.
    pub(crate) places: Places,
    pub(crate) clock: Clock,
    /// Raised when the driver must look at its deadline again.
    pub(crate) kick: Notify,
    /// Set when stopping begins: `/-/ready` says so.
    pub(crate) stopping: AtomicBool,
    /// Requests whose answer is not all gone.
    pub(crate) busy: AtomicUsize,
    /// Set when open requests are let go.
    pub(crate) cutting: AtomicBool,
    /// How often the idle connections were to be thrown away.
    network: AtomicU64,
    jump: Jump,
    /// The minute in which it was last said that Google cannot be reached.
    pub(crate) complained: AtomicU64,
    /// What tells a request of this relay's own.
    pub(crate) hop: Hop,
    /// The minute in which it was last said that the upstream leads back.
    pub(crate) circled: AtomicU64,
    /// The `Host` of every request.
    pub(crate) upstream_host: HeaderValue,
    /// The first half of request ids.
    pub(crate) run: u32,
    pub(crate) counter: AtomicU64,
    policy: Mutex<Policy>,
}

pub(crate) struct Policy {
    pub(crate) relay: Relay,
    pub(crate) sleepers: HashMap<RequestId, oneshot::Sender<()>>,
}

/// What a request is to do.
pub(crate) enum Told {
    Send(Attempt),
    Refuse(Refusal),
    /// Sleep until this wakes it, and ask again.
    Wait(oneshot::Receiver<()>),
}

impl Policy {
    /// Asks what a request is to do.
    pub(crate) fn ask(&mut self, id: RequestId, now: Time) -> Told {
        match self.relay.poll(id, now) {
            Step::Send(attempt) => Told::Send(attempt),
            Step::Refuse(refusal) => Told::Refuse(refusal),
            Step::Wait => {
                let (wake, sleeping) = oneshot::channel();
                self.sleepers.insert(id, wake);
                Told::Wait(sleeping)
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(config: Config, keys: &[KeySpec], clock: Clock) -> Arc<Self> {
        let seed = seed();
        let origins = match &config.origins {
            Origins::Any => vec!["*".to_owned()],
            Origins::Listed(list) => list
                .iter()
                .filter_map(|origin| origin.to_str().ok().map(str::to_owned))
                .collect(),
        };
        let door = Door::new(
            config.tokens.iter().map(|token| token.secret.expose()),
            config.access == Access::OpenToAll,
            origins,
            config.allow_host.clone(),
        );
        let relay = Relay::new(keys, config.settings(), seed, seed, clock.now().as_millis());
        Arc::new(Self {
            door,
            clients: config
                .tokens
                .iter()
                .map(|token| Arc::from(token.name.as_str()))
                .collect(),
            metrics: Metrics::new(),
            budget: Arc::new(Budget::new(config.replay_total)),
            places: Places::new(config.max_connections),
            kick: Notify::new(),
            stopping: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            cutting: AtomicBool::new(false),
            network: AtomicU64::new(0),
            jump: Jump::new(&clock),
            clock,
            complained: AtomicU64::new(0),
            hop: Hop::new(seed, config.upstream.authority.host()),
            circled: AtomicU64::new(0),
            upstream_host: HeaderValue::from_str(config.upstream.authority.as_str())
                .unwrap_or(HeaderValue::from_static("")),
            run: u32::try_from(seed >> 32).unwrap_or_default(),
            counter: AtomicU64::new(0),
            policy: Mutex::new(Policy {
                relay,
                sleepers: HashMap::new(),
            }),
            config,
        })
    }

    /// The policy, for a moment. What it learned meanwhile is logged.
    pub(crate) fn policy<T>(&self, act: impl FnOnce(&mut Policy) -> T) -> T {
        let (result, events) = {
            let mut policy = self.lock();
            let result = act(&mut policy);
            (result, policy.relay.take_events())
        };
        for event in &events {
            self.note(event);
        }
        result
    }

    /// Which network this is: another than before once the machine has slept.
    pub(crate) fn network(&self, now: Time, instant: Instant) -> u64 {
        if let Some(jumped) = self.jump.happened(now, instant) {
            tracing::info!("the clock jumped (this machine slept?): idle connections are dropped");
            if let Jumped::Back(by) = jumped {
                self.policy(|policy| policy.relay.clock_set_back(by, now));
                self.kick.notify_one();
            }
            self.network.fetch_add(1, Ordering::Relaxed);
        }
        self.network.load(Ordering::Relaxed)
    }

    /// Takes a new list of keys.
    pub(crate) fn reload(&self, keys: &[KeySpec]) {
        let now = self.clock.now();
        self.policy(|policy| policy.relay.reload(keys, now));
        self.kick.notify_one();
    }

    /// The relay stops when it is drained: whoever would wait for longer is told so.
    pub(crate) fn stop(&self) {
        let now = self.clock.now();
        let limit = self.config.drain_limit.saturating_sub(ANSWERED_IN);
        let at = now + self.config.drain_delay + limit;
        self.policy(|policy| policy.relay.stop(at, now));
        self.kick.notify_one();
    }

    /// The next request's id.
    pub(crate) fn next_id(&self) -> Id {
        Id::new(self.run, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: &Event) {
        match &event.change {
            Change::Blocked(subject, block) => {
                let (what, label, model) = self.named(subject, block.model.as_deref());
                let until = format!("{:?}", block.until);
                let reason = block.reason.name();
                self.metrics.block(block.reason);
                if block.strikes.is_some() {
                    tracing::warn!(%what, %label, reason, %model, tried_again = until, "out: {what} {label} is {}", block.reason.words());
                } else {
                    tracing::info!(%what, %label, reason, %model, until, "cools: {what} {label}");
                }
            }
            Change::Cleared(subject, block) => {
                let (what, label, _) = self.named(subject, None);
                tracing::info!(%what, %label, reason = block.reason.name(), "back: {what} {label}");
            }
            Change::CarrierLearned(key, surface, carrier) => {
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let (what, label, _) = self.named(&Subject::Key(*key), None);
                    tracing::debug!(%what, %label, surface = surface.name(), ?carrier, "served, shown this way");
                }
            }
            Change::LimitLearned(project, quota, violation) => {
                let model = quota.model.as_deref();
                let (what, label, model) = self.named(&Subject::Project(*project), model);
                let limit = violation.as_ref().and_then(|violation| violation.value);
                tracing::info!(%what, %label, %model, measure = quota.measure.name(), ?limit, "a limit is known: {what} {label}");
            }
            Change::ModelNamed(asked, named) => {
                let policy = self.lock();
                let said = |name| policy.relay.pool().said_model(name);
                tracing::info!(asked = %said(asked), named = %said(named), "Google counts a model under another name")
            }
        }
    }

    /// What it is about, its label, and the model as it may be said.
    fn named(&self, subject: &Subject, model: Option<&str>) -> (&'static str, Arc<str>, String) {
        let policy = self.lock();
        let pool = policy.relay.pool();
        let mut keys = pool.keys();
        let (what, label) = match subject {
            Subject::Key(id) => (
                "key",
                keys.find(|key| key.id == *id)
                    .map(|key| Arc::clone(&key.label)),
            ),
            Subject::Project(id) => (
                "project",
                keys.find(|key| key.project_id == *id)
                    .map(|key| Arc::clone(&key.project)),
            ),
        };
        let model = model.map_or_else(|| "all".into(), |model| pool.said_model(model).into_owned());
        (what, label.unwrap_or_else(|| Arc::from("?")), model)
    }
}

/// In which an answer of the relay's own is with its client.
const ANSWERED_IN: Duration = Duration::from_secs(1);

/// Randomness from the operating system, by way of the hasher that the standard library seeds with it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
