//! The requests of one isolate.
//!
//! The way of a request is the native relay's, one call of the glue after the other:
//!
//! | the glue has | calls | and is told to |
//! |---|---|---|
//! | a request | `begin` | answer, or gather the body |
//! | more of its body | `room` | keep it, or pass it through |
//! | no more of it for too long | `stalled` | answer |
//! | its body | `body` | ask the pool object |
//! | a plan, or none | `planned` | send, wait, or answer |
//! | waited | `turn` | send, wait, or answer |
//! | room again, of a body that passes through | `taken` | |
//! | an answer's head | `answered` | read it, look at it, or pass it on |
//! | what it read | `error`, `whole`, `piece` | pass it on, or as after `planned` |
//! | no answer | `failed` | as after `planned` |
//! | a piece on its way | `see` | pass it as it is, or something else for it |
//! | the end | `ended` | |
//! | a client that went | `gone` | |

mod attempt;
mod door;
mod kept;
mod passing;
mod sync;

pub use attempt::Failure;
pub use passing::{End, Shown};

use crate::config::Config;
use crate::log::{self, Ending, Level, Record};
use crate::said::{Body, Said};
use crate::wire::{Cursor, Report};
use gemini_relay_core::hop::Hop;
use gemini_relay_core::letin::{Door, TOKEN_AS_NAME};
use gemini_relay_core::pool::KeyInfo;
use gemini_relay_core::recognise::Recognised;
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::relay::{Attempt, Relay, RequestId};
use gemini_relay_core::scan::Scanner;
use gemini_relay_core::veil::Veil;
use gemini_relay_core::watch::Watch;
use gemini_relay_core::{ClientId, Facts, Surface, Time, options, reading};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use kept::{Kept, SMALL_BODY};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use sync::ASKS_A_REPORT;

/// The policy and the requests of one isolate.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    door: Door,
    hop: Hop,
    relay: Relay,
    has_keys: bool,
    /// By handle. None is given twice: a request that was given up may still be spoken of.
    exchanges: HashMap<u32, Box<Exchange>>,
    handles: u32,
    /// Those who wait and whose turn has come.
    ready: HashSet<RequestId>,
    /// What the glue keeps of bodies.
    kept: Kept,
    outbox: Report,
    cursor: Cursor,
    /// How often the pool object was asked since something was last told it by itself.
    asks: u32,
    /// The region to send from, while Google does not serve the place where this runs.
    egress: Option<(usize, Time)>,
    /// Until when it is known that Google serves none of the regions.
    unserved: Time,
    run: u32,
    counter: u64,
    next_look: Time,
    /// When it may be said again that requests come back.
    next_circle: Time,
    /// How often in a row the pool object did not answer in time, and until when it is not asked.
    silences: u32,
    away: Time,
    lines: Vec<String>,
}

/// One request.
#[derive(Debug)]
struct Exchange {
    method: Method,
    found: Recognised,
    /// The client's, as far as they go to Google.
    headers: HeaderMap,
    client: ClientId,
    deadline: Option<Time>,
    /// The web page that asks, if it is a listed one.
    origin: Option<HeaderValue>,
    facts: Option<Facts>,
    scanned: bool,
    upgrade: bool,
    /// Bytes of the body that the glue keeps, and whether those are all of it.
    kept: usize,
    is_kept: bool,
    /// How long the client said that it is.
    length: Option<usize>,
    /// The client stopped in the middle of it.
    stalled: bool,
    /// The body could be sent once, and was.
    gone: bool,
    id: Option<RequestId>,
    /// What was reported with the ask for a plan, until it is answered.
    reported: Report,
    used: Vec<Attempt>,
    /// The region it was sent from, among those configured, and those it was refused from.
    region: Option<usize>,
    refused_from: Vec<usize>,
    /// When the glue was last heard of it.
    heard: Time,
    status: StatusCode,
    answer: HeaderMap,
    /// The beginning of an answer, while it is looked at.
    start: Vec<u8>,
    passing: Option<Passing>,
    /// What was refused first, while others are asked.
    earlier: Option<Earlier>,
    record: Record,
}

/// A refusal that another key may know better than; if none does, it is the answer.
#[derive(Debug)]
struct Earlier {
    status: StatusCode,
    answer: HeaderMap,
    body: Vec<u8>,
    whole: bool,
    key: Option<Arc<KeyInfo>>,
}

/// An answer on its way.
#[derive(Debug)]
struct Passing {
    watch: Option<Watch>,
    must_end: bool,
    veil: Option<Veil>,
}

impl Engine {
    /// With the Worker's variables, a JSON object of texts.
    #[must_use]
    pub fn new(variables: &str, entropy: u64, now: Time) -> Self {
        let config = Config::read(variables);
        let door = Door::new(
            config.tokens.iter().map(|(_, secret)| secret.expose()),
            config.anonymous,
            config.origins.clone(),
            config.hosts.clone(),
        );
        let relay = Relay::new(
            &[],
            config.settings.clone(),
            entropy,
            entropy,
            now.as_millis(),
        );
        let mut lines = Vec::new();
        let short = config
            .tokens
            .iter()
            .filter(|(_, token)| options::is_short(token));
        let short = short.map(|(name, _)| {
            format!("insecure: the client token {name} is short and can be guessed")
        });
        let problems = config.problems.iter().cloned().chain(short);
        for problem in problems.filter(|_| config.log >= Level::Warn) {
            lines.push(log::said(Level::Warn, &problem, config.json_log, now));
        }
        Self {
            door,
            // Every isolate of this Worker has the same mark: a request may come back to any of them. Another Worker
            // on its way has another upstream. Nothing that is secret goes into it, since it leaves.
            hop: Hop::new(
                digest(&format!("{}{}", config.upstream.url, config.base_path)),
                &config.upstream.host,
            ),
            relay,
            has_keys: false,
            exchanges: HashMap::new(),
            handles: 0,
            ready: HashSet::new(),
            kept: Kept::new(config.replay_total, config.tokens.len() > 1),
            outbox: Report::default(),
            cursor: Cursor::default(),
            asks: ASKS_A_REPORT,
            egress: None,
            unserved: Time::ZERO,
            run: u32::try_from(entropy >> 32).unwrap_or_default(),
            counter: 0,
            next_look: Time::ZERO,
            next_circle: Time::ZERO,
            silences: 0,
            away: Time::ZERO,
            lines,
            config,
        }
    }

    /// Takes a list of keys, as the glue found it.
    pub fn keys(&mut self, found: &str, now: Time) {
        let found = crate::keys::read(found, &self.config.tokens, self.has_keys);
        for problem in &found.problems {
            self.say(Level::Warn, problem, now);
        }
        if found.replace {
            self.relay.reload(&found.keys, now);
            self.has_keys = true;
        }
    }

    /// Lines for the log.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    fn say(&mut self, level: Level, text: &str, now: Time) {
        if level <= self.config.log {
            self.lines
                .push(log::said(level, text, self.config.json_log, now));
        }
    }

    /// Whether so many bytes of a body may be kept. What does not say its length is small for as long as it is.
    pub fn room(&mut self, handle: u32, bytes: usize) -> bool {
        let limit = self.config.replay_limit;
        let Some(exchange) = self.exchanges.get_mut(&handle) else {
            return false;
        };
        let is_small = exchange.length.unwrap_or(bytes) <= SMALL_BODY;
        let room = self.kept.room(exchange.client, is_small);
        let fits = bytes <= limit && bytes.saturating_sub(exchange.kept) <= room;
        if fits {
            self.keep(handle, bytes);
        }
        fits
    }

    /// So many bytes of a body are held now.
    fn keep(&mut self, handle: u32, bytes: usize) {
        if let Some(exchange) = self.exchanges.get_mut(&handle) {
            let before = std::mem::replace(&mut exchange.kept, bytes);
            self.kept.change(exchange.client, before, bytes);
        }
    }

    /// The client stopped in the middle of its body, on its way to Google or before.
    pub fn stalled(&mut self, handle: u32, now: Time) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.stalled = true;
        if exchange.id.is_some() {
            self.failed(handle, Failure::Broken, now)
        } else {
            self.refuse(handle, &Refusal::Stalled, now)
        }
    }

    /// Shows the body: `shown` is its beginning, at most as much as was asked for; `kept` says how much
    /// of it is held, and `whole` whether that is all of it, so that it can be sent again.
    pub fn body(&mut self, handle: u32, shown: &[u8], kept: usize, whole: bool, now: Time) -> Said {
        self.collect(now);
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.heard = now;
        exchange.is_kept = whole;
        exchange.record.received = kept as u64;
        let found = if exchange.scanned {
            let mut scanner = Box::<Scanner>::default();
            inspect(&mut scanner, shown);
            scanner.found()
        } else {
            Default::default()
        };
        let facts = reading::facts(
            &exchange.found,
            &found,
            exchange.client,
            exchange.deadline,
            (kept as u64, whole),
        );
        exchange.record.kind = facts.kind;
        let model = facts.model.clone();
        exchange.facts = Some(facts);
        let found = exchange.found.clone();
        if self.door.is_named(&found, model.as_deref()) {
            return self.refuse(handle, &TOKEN_AS_NAME, now);
        }
        if let Some(exchange) = self.exchange(handle) {
            exchange.record.model = model;
        }
        self.keep(handle, kept);
        // Before the ask is made: of a thousand keys there may be much to tell.
        if self.away > now {
            return self.go(handle, None, now);
        }
        self.ask(handle)
    }

    /// So many bytes of a body that can be sent once were taken by its attempt, and are not kept any more.
    pub fn taken(&mut self, handle: u32, bytes: usize) {
        let Some(exchange) = self.exchange(handle) else {
            return;
        };
        // What is kept comes first, and was counted when it came.
        let left = exchange.kept.saturating_sub(bytes);
        let kept = exchange.kept - left;
        exchange.record.received += (bytes - kept) as u64;
        self.keep(handle, left);
    }

    /// The client went away, or the glue gives up.
    pub fn gone(&mut self, handle: u32, now: Time) {
        if let Some(exchange) = self.exchange(handle) {
            exchange.record.ending = Ending::Cancelled;
            self.close(handle, now);
        }
    }

    fn exchange(&mut self, handle: u32) -> Option<&mut Exchange> {
        self.exchanges
            .get_mut(&handle)
            .map(|exchange| &mut **exchange)
    }

    fn open(&mut self, exchange: Box<Exchange>) -> u32 {
        self.handles = self.handles.wrapping_add(1);
        self.exchanges.insert(self.handles, exchange);
        self.handles
    }

    /// Closes requests whose glue was lost: the runtime may end it without a word.
    fn sweep(&mut self, now: Time) {
        let config = &self.config;
        let longest = config.first_byte_timeout.max(config.idle_timeout) + SLACK;
        let lost = |exchange: &Exchange| {
            // A client may take its time with a body and with an answer; between them a limit rings.
            let limit = if exchange.facts.is_some() && exchange.passing.is_none() {
                longest
            } else {
                EXPIRY
            };
            now.since(exchange.heard) > limit
        };
        let handles: Vec<u32> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| lost(exchange))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in handles {
            self.close(handle, now);
        }
    }

    /// Nothing is sent again, and what that would take is let go: an answer may pass for an hour, and the end of one may
    /// never be told. What passes through of a body is let go as it is taken.
    fn let_go(&mut self, handle: u32) {
        if let Some(exchange) = self.exchange(handle) {
            exchange.headers = HeaderMap::new();
            exchange.found.target = String::new();
            exchange.used = Vec::new();
            exchange.start = Vec::new();
            exchange.earlier = None;
        }
        if self
            .exchange(handle)
            .is_some_and(|exchange| exchange.is_kept)
        {
            self.keep(handle, 0);
        }
    }

    /// Nothing more is done for a request: the policy learns of it and the log gets its line.
    fn close(&mut self, handle: u32, now: Time) {
        let Some(exchange) = self.exchanges.remove(&handle) else {
            return;
        };
        self.kept.change(exchange.client, exchange.kept, 0);
        if let Some(id) = exchange.id {
            self.ready.remove(&id);
            if exchange.record.ending == Ending::Cancelled {
                self.relay.cancel(id, now);
            } else {
                let tokens = exchange.record.usage.map(|usage| usage.prompt);
                self.relay.finish(id, tokens, now);
            }
        }
        self.take_back(exchange.reported);
        self.collect(now);
        if self.config.log >= Level::Info {
            let client = usize::try_from(exchange.record.client.0)
                .ok()
                .and_then(|at| self.config.tokens.get(at))
                .map_or("-", |(name, _)| name);
            let record = &exchange.record;
            let model = record.model.as_deref().unwrap_or("-");
            let model = self.relay.pool().said_model(model);
            self.lines
                .push(record.line(self.config.json_log, client, &model, now));
        }
    }

    /// The relay's own answer, as a status, headers and a text.
    fn refused(
        refusal: &Refusal,
        surface: Surface,
        array: bool,
        now: Time,
    ) -> (StatusCode, HeaderMap, String) {
        let rendered = refusal.render(surface, array, now);
        let status =
            StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=UTF-8"),
        );
        if let Some(seconds) = rendered.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        (status, headers, rendered.body)
    }

    /// Answers a request that was let in with a refusal, and closes it.
    fn refuse(&mut self, handle: u32, refusal: &Refusal, now: Time) -> Said {
        let shows = self.config.response_headers;
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        // Whatever that came to upstream.
        let stalled = exchange.stalled;
        let refusal = if stalled { &Refusal::Stalled } else { refusal };
        // Another key might have helped, had the body still been here.
        let gone = !stalled && !exchange.record.verdicts.is_empty() && !exchange.is_kept;
        exchange.record.reason = Some(if gone {
            "body-past-replay-limit"
        } else {
            refusal.name()
        });
        let array = exchange.found.array && exchange.found.streams;
        let (status, mut headers, text) =
            Self::refused(refusal, exchange.found.surface, array, now);
        exchange.mark(&mut headers, status, shows);
        exchange.record.sent = text.len() as u64;
        exchange.record.first_byte = Some(now);
        exchange.record.ending = Ending::Whole;
        self.close(handle, now);
        Said::Answer {
            status,
            headers,
            body: Body::Text(text),
        }
    }
}

impl Exchange {
    /// The relay's own headers.
    fn mark(&mut self, headers: &mut HeaderMap, status: StatusCode, shows: bool) {
        self.record.status = status.as_u16();
        door::allow(headers, self.origin.take());
        if !shows {
            return;
        }
        if let Some(key) = &self.record.key {
            headers.insert(KEY, key.label_header().clone());
        }
        headers.insert(ATTEMPTS, HeaderValue::from(self.record.attempts));
        if let Ok(id) = HeaderValue::from_str(&self.record.id) {
            headers.insert(REQUEST_ID, id);
        }
        let past = (status.as_u16() >= 400 && !self.is_kept).then_some("body-past-replay-limit");
        if let Some(reason) = self.record.reason.or(past) {
            headers.insert(REASON, HeaderValue::from_static(reason));
        }
    }
}

/// Has the scanner read a body, up to what that may cost. Past it what was found so far decides.
///
/// Bytes inside strings cost next to nothing, so a picture of several megabytes is read to its end; numbers and
/// white space cost their bytes, and quotes, backslashes and containers most. `cargo xtask bench worker` measures
/// what it comes to.
fn inspect(scanner: &mut Scanner, body: &[u8]) {
    let (mut fed, mut marks) = (0, 0);
    for slice in body.chunks(SLICE) {
        scanner.feed(slice);
        fed += slice.len() as u64;
        marks += memchr::memchr2_iter(b'"', b'\\', slice).count() as u64;
        let (cheap, opened) = scanner.read();
        let picos = fed * PICOS_A_BYTE
            + fed.saturating_sub(cheap) * PICOS_A_BYTE_OUTSIDE
            + marks * PICOS_A_MARK
            + opened * PICOS_A_CONTAINER;
        if picos > MOST_PICOS || scanner.is_done() {
            return;
        }
    }
}

/// FNV-1a: it need only be the same everywhere.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const KEY: HeaderName = HeaderName::from_static("x-gemini-relay-key");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-gemini-relay-attempts");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-gemini-relay-request-id");
const REASON: HeaderName = HeaderName::from_static("x-gemini-relay-reason");

/// As measured, rounded up: copying and searching, stepping through what is in no string, ...
const PICOS_A_BYTE: u64 = 300;
const PICOS_A_BYTE_OUTSIDE: u64 = 5_000;

/// ... each quote and each backslash, and each array and object.
const PICOS_A_MARK: u64 = 70_000;
const PICOS_A_CONTAINER: u64 = 45_000;

/// Half of the ten milliseconds that a request may take on the free plan.
const MOST_PICOS: u64 = 5_000_000_000;

/// Between two looks at what it cost so far.
const SLICE: usize = 65_536;

/// Between a limit in time and its ringing.
const SLACK: Duration = Duration::from_secs(60);

/// Longer than an upload takes, or a 60-minute stream.
const EXPIRY: Duration = Duration::from_secs(2 * 3600);

/// How often requests are looked for whose glue was lost.
const LOOK: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
