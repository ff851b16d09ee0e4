//! What is counted, for `/-/metrics`.
//!
//! Labels are bounded: surfaces, kinds, verdicts, reasons and statuses, all of our own making. Models
//! and keys are not among them, since clients and operators make those.

use super::body::Budget;
use gemini_relay_core::block::Reason;
use gemini_relay_core::pool::Census;
use gemini_relay_core::verdict::Meaning;
use gemini_relay_core::watch::Usage;
use gemini_relay_core::{Kind, Surface};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::hash::Hash;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    attempts: Family<Verdict, Counter>,
    refusals: Family<Because, Counter>,
    blocks: Family<Because, Counter>,
    tokens: Family<Direction, Counter>,
    bytes: Family<Direction, Counter>,
    first_byte: Histogram,
    duration: Histogram,
    /// Counters used by every request, found once: a family looks each up under a lock.
    good: Kept<40>,
    judged: Kept<17>,
    sums: Kept<4>,
    pub(crate) waits: Counter,
    pub(crate) cut: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) stopped: Counter,
    pub(crate) connections: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    replay: Gauge,
    keys: Family<KeyState, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    surface: &'static str,
    kind: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Because {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyState {
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            attempts: Family::default(),
            refusals: Family::default(),
            blocks: Family::default(),
            tokens: Family::default(),
            bytes: Family::default(),
            first_byte: Histogram::new(SECONDS),
            duration: Histogram::new(SECONDS),
            good: Kept::default(),
            judged: Kept::default(),
            sums: Kept::default(),
            waits: Counter::default(),
            cut: Counter::default(),
            cancelled: Counter::default(),
            stopped: Counter::default(),
            connections: Gauge::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            replay: Gauge::default(),
            keys: Family::default(),
        };
        let mut registry = Registry::with_prefix("gemini_relay");
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "attempts",
            "Attempts made, by verdict",
            metrics.attempts.clone(),
        );
        registry.register(
            "refusals",
            "Requests that the relay answered by itself",
            metrics.refusals.clone(),
        );
        registry.register(
            "blocks",
            "Keys and projects put out, by reason",
            metrics.blocks.clone(),
        );
        registry.register(
            "tokens",
            "Tokens that Google counted",
            metrics.tokens.clone(),
        );
        registry.register_with_unit(
            "body",
            "Body bytes passed",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register_with_unit(
            "first_byte",
            "Time to an answer's first byte",
            Unit::Seconds,
            metrics.first_byte.clone(),
        );
        registry.register_with_unit(
            "request",
            "Time from a request to its answer's end",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "waits",
            "Times that a request waited for a key or a pause to end",
            metrics.waits.clone(),
        );
        registry.register(
            "cut_streams",
            "Streams that broke upstream and were cut",
            metrics.cut.clone(),
        );
        registry.register(
            "cancelled",
            "Requests whose client went away",
            metrics.cancelled.clone(),
        );
        registry.register(
            "stopped",
            "Requests that the relay cut because it was told to stop",
            metrics.stopped.clone(),
        );
        registry.register(
            "connections",
            "Open client connections",
            metrics.connections.clone(),
        );
        registry.register(
            "in_flight",
            "Requests in progress",
            metrics.in_flight.clone(),
        );
        registry.register("waiting", "Requests that wait", metrics.waiting.clone());
        registry.register_with_unit(
            "replay",
            "Request bodies kept for another attempt",
            Unit::Bytes,
            metrics.replay.clone(),
        );
        registry.register("keys", "Keys by state", metrics.keys.clone());
        registry.register(
            "build",
            "This build",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        *metrics
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    pub(crate) fn request(&self, surface: Surface, kind: Kind, status: u16) {
        let label = Request {
            surface: surface.name(),
            kind: kind.name(),
            status,
        };
        if status == 200 {
            self.good.inc_by(
                surface as usize * 8 + kind as usize,
                &self.requests,
                &label,
                1,
            );
        } else {
            self.requests.get_or_create(&label).inc();
        }
    }

    pub(crate) fn attempt(&self, meaning: Meaning) {
        let label = Verdict {
            verdict: meaning.name(),
        };
        self.judged
            .inc_by(meaning as usize, &self.attempts, &label, 1);
    }

    pub(crate) fn refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&Because { reason }).inc();
    }

    pub(crate) fn block(&self, reason: Reason) {
        self.blocks
            .get_or_create(&Because {
                reason: reason.name(),
            })
            .inc();
    }

    pub(crate) fn ended(
        &self,
        first_byte: Option<Duration>,
        whole: Duration,
        sent: u64,
        received: u64,
        usage: Option<Usage>,
    ) {
        if let Some(first_byte) = first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
        self.duration.observe(whole.as_secs_f64());
        self.sum(0, &self.bytes, "request", received);
        self.sum(1, &self.bytes, "answer", sent);
        if let Some(usage) = usage {
            self.sum(2, &self.tokens, "prompt", usage.prompt);
            self.sum(3, &self.tokens, "output", usage.output);
        }
    }

    fn sum(
        &self,
        at: usize,
        family: &Family<Direction, Counter>,
        direction: &'static str,
        by: u64,
    ) {
        self.sums.inc_by(at, family, &Direction { direction }, by);
    }

    /// The text for a scrape.
    pub(crate) fn encode(
        &self,
        census: &Census,
        in_progress: (usize, usize),
        budget: &Budget,
    ) -> String {
        let gauge = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge(&self.in_flight, in_progress.0);
        gauge(&self.waiting, in_progress.1);
        gauge(&self.replay, budget.used());
        self.keys.clear();
        gauge(
            &self.keys.get_or_create(&KeyState { state: "usable" }),
            census.usable,
        );
        gauge(
            &self.keys.get_or_create(&KeyState { state: "disabled" }),
            census.disabled,
        );
        for (reason, count) in &census.out {
            gauge(
                &self.keys.get_or_create(&KeyState {
                    state: reason.name(),
                }),
                *count,
            );
        }
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

/// Counters of a family, each looked up once.
struct Kept<const N: usize>([OnceLock<Counter>; N]);

impl<const N: usize> Default for Kept<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<const N: usize> Kept<N> {
    fn inc_by<L: Clone + Eq + Hash>(
        &self,
        at: usize,
        family: &Family<L, Counter>,
        label: &L,
        by: u64,
    ) {
        let find = || family.get_or_create(label).clone();
        match self.0.get(at) {
            Some(kept) => kept.get_or_init(find).inc_by(by),
            None => find().inc_by(by),
        };
    }
}

/// From what loopback adds to what a thinking model takes.
const SECONDS: [f64; 14] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0,
];
