//! Attempts: what is sent, what came back as far as the policy needs to see it, and what that comes to.

use super::{Earlier, Engine, Passing};
use crate::log::{self, Ending, Level};
use crate::said::{self, Body, Said};
use gemini_relay_core::google_error::GoogleError;
use gemini_relay_core::head::{self, Head};
use gemini_relay_core::redact;
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::relay::{Attempt, Next, Step};
use gemini_relay_core::veil::Veil;
use gemini_relay_core::verdict::{Meaning, Outcome, judge};
use gemini_relay_core::watch::Watch;
use gemini_relay_core::{KeyText, Time, headers, reading};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// What was read of an answer.
enum Came {
    /// A good one, of which the glue keeps what was read.
    Good,
    /// A good one, and these are all its bytes.
    Whole(Vec<u8>),
    /// An error, and whether these are all its bytes.
    Bad(Vec<u8>, bool),
    Nothing,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection broke, or never was: the runtime does not say which.
    Broken,
    /// It took too long.
    Silent,
}

impl Engine {
    /// The time has come to look again at a request that waits.
    pub fn turn(&mut self, handle: u32, now: Time) -> Said {
        let Some(id) = self.exchange(handle).and_then(|exchange| {
            exchange.heard = now;
            exchange.id
        }) else {
            return Said::Gone;
        };
        let ready = self.relay.ready(now);
        self.ready.extend(ready);
        if self.ready.remove(&id) {
            self.step(handle, now)
        } else {
            self.wait(now)
        }
    }

    pub(super) fn step(&mut self, handle: u32, now: Time) -> Said {
        let Some(id) = self.exchange(handle).and_then(|exchange| exchange.id) else {
            return Said::Gone;
        };
        match self.relay.poll(id, now) {
            Step::Send(attempt) => self.send(handle, attempt, now),
            Step::Refuse(refusal) => self.give_up(handle, &refusal, now),
            Step::Wait => self.wait(now),
        }
    }

    /// Each that waits has a timer of its own, and whoever wakes first notes whose turn it is: a promise
    /// of one request must not be kept by another's.
    fn wait(&self, now: Time) -> Said {
        let next = self
            .relay
            .next_deadline()
            .map_or(LONGEST_NAP, |at| at.since(now))
            .clamp(SHORTEST_NAP, LONGEST_NAP);
        Said::Wait(millis(next))
    }

    fn send(&mut self, handle: u32, attempt: Attempt, now: Time) -> Said {
        let region = self.region(now);
        let (upstream, patience) = (
            self.config.upstream.url.clone(),
            millis(self.config.first_byte_timeout),
        );
        let hop = self.hop.clone();
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let mut headers = exchange.headers.clone();
        headers::put_key(&mut headers, &attempt.key, attempt.carrier);
        if let Some(deadline) = exchange.deadline {
            let left = reading::remaining(deadline, now, attempt.number, &exchange.headers);
            headers.insert(reading::SERVER_TIMEOUT, left);
        }
        hop.mark(&mut headers);
        exchange.region = region;
        exchange.heard = now;
        exchange.start.clear();
        exchange.gone |= !exchange.is_kept;
        let url = format!("{upstream}{}", exchange.found.target);
        // Whoever leaves meanwhile leaves a line that says whom it was asked of.
        exchange.record.key = Some(Arc::clone(&attempt.key));
        exchange.record.attempts = attempt.number;
        exchange.used.push(attempt);
        Said::Send {
            url,
            headers,
            region: region.and_then(|at| self.config.regions.get(at).cloned()),
            patience,
        }
    }

    /// The head of an answer.
    pub fn answered(&mut self, handle: u32, status: u16, lines: &str, now: Time) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.heard = now;
        exchange.status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        exchange.answer = said::headers(lines.lines());
        if !((200..600).contains(&status) || status == 101 && exchange.upgrade) {
            // No answer that the runtime would pass on.
            return self.outcome(handle, &Outcome::Broken, Came::Nothing, now);
        }
        if status >= 400 {
            return Said::ReadError;
        }
        if status == 101 && exchange.upgrade {
            return self.hand_over(handle, now);
        }
        // The head of an answer without a body says what the body would be like.
        if exchange.method != Method::HEAD && !undo_coding(&mut exchange.answer) {
            // Whether it quotes a key cannot be seen.
            self.say(Level::Warn, "an answer is not passed on: it came in a coding that was not asked for and cannot be decoded", now);
            return self.outcome(handle, &Outcome::Broken, Came::Nothing, now);
        }
        let Some(facts) = &exchange.facts else {
            return Said::Gone;
        };
        if status != 200 || !reading::is_looked_at(facts) {
            return self.outcome(handle, &Outcome::Served, Came::Good, now);
        }
        if !facts.streams && length(&exchange.answer).is_some_and(|length| length <= SMALL) {
            return Said::ReadWhole;
        }
        Said::Look
    }

    /// The next piece of an answer that is looked at; `ended`: there is no more; `broken`: it broke there.
    pub fn piece(
        &mut self,
        handle: u32,
        piece: &[u8],
        ended: bool,
        broken: bool,
        now: Time,
    ) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.heard = now;
        let streams = exchange.facts.as_ref().is_some_and(|facts| facts.streams);
        let over = ended || broken;
        if exchange.start.is_empty() && piece.is_empty() {
            if broken {
                return self.outcome(handle, &Outcome::Broken, Came::Nothing, now);
            }
            if ended {
                return self.outcome(handle, &Outcome::Empty, Came::Good, now);
            }
            return Said::Look;
        }
        if !streams && exchange.start.is_empty() {
            // A unary answer is as good as its status, once there is something in it.
            return self.outcome(handle, &Outcome::Served, Came::Good, now);
        }
        let room = piece.len().min(head::MAX_HEAD);
        exchange
            .start
            .extend_from_slice(piece.get(..room).unwrap_or_default());
        // As long as nothing of a stream was passed on that stopped before its end, it may be asked for anew.
        let is_all = over || length(&exchange.answer) == Some(exchange.start.len());
        let is_cut = || {
            let mut watch = Watch::stream();
            watch.see(&exchange.start);
            let must_end = |facts| reading::must_end(facts, &exchange.found);
            is_all && exchange.facts.as_ref().is_some_and(must_end) && !watch.ended()
        };
        let outcome = match head::look(&exchange.start, over) {
            Head::Undecided if !over => return Said::Look,
            Head::Undecided | Head::Fine if is_cut() && broken => {
                return self.outcome(handle, &Outcome::Broken, Came::Nothing, now);
            }
            Head::Undecided | Head::Fine if is_cut() => Outcome::Empty,
            Head::Undecided | Head::Fine => Outcome::Served,
            Head::Error(error) => Outcome::Refused {
                status: error.own_status(),
                error,
            },
        };
        self.outcome(handle, &outcome, Came::Good, now)
    }

    /// An error's body, decompressed, up to a bound; `whole` if that is all of it.
    pub fn error(&mut self, handle: u32, body: Vec<u8>, whole: bool, now: Time) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let status = exchange.status.as_u16();
        let error = GoogleError::parse(&body);
        let outcome = Outcome::Refused { status, error };
        self.outcome(handle, &outcome, Came::Bad(body, whole), now)
    }

    /// All of a small answer.
    pub fn whole(&mut self, handle: u32, body: Vec<u8>, now: Time) -> Said {
        let outcome = if body.is_empty() {
            Outcome::Empty
        } else {
            Outcome::Served
        };
        self.outcome(handle, &outcome, Came::Whole(body), now)
    }

    /// No answer came.
    pub fn failed(&mut self, handle: u32, failure: Failure, now: Time) -> Said {
        let outcome = match failure {
            Failure::Broken => Outcome::Broken,
            Failure::Silent => Outcome::Silent,
        };
        self.outcome(handle, &outcome, Came::Nothing, now)
    }

    /// What an attempt's outcome comes to.
    fn outcome(&mut self, handle: u32, outcome: &Outcome, came: Came, now: Time) -> Said {
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let (Some(id), Some(attempt)) = (exchange.id, exchange.used.last().cloned()) else {
            return Said::Gone;
        };
        let can_repeat = !exchange.gone;
        if let Some(facts) = &exchange.facts
            && matches!(outcome, Outcome::Refused { status: 400, .. })
            && judge(facts, outcome, now).meaning == Meaning::Location
        {
            // A body that could be sent once leaves the next region to others.
            if self.go_elsewhere(handle, now) && can_repeat {
                return self.send(handle, attempt, now);
            }
        }
        let done = self.relay.attempt_done(id, outcome, can_repeat, now);
        self.collect(now);
        for key in &done.passed_over {
            self.say_passed_over(handle, &key.label, &attempt.key.label, now);
        }
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.record.verdicts.push(done.meaning);
        match done.next {
            Next::Retry => {
                if done.meaning.may_be_gainsaid() {
                    let (body, whole) = match came {
                        Came::Bad(body, whole) => (body, whole),
                        // A stream that began with the refusal ends with it.
                        _ => (std::mem::take(&mut exchange.start), true),
                    };
                    exchange.earlier = Some(Earlier {
                        status: exchange.status,
                        answer: std::mem::take(&mut exchange.answer),
                        body,
                        whole,
                        key: exchange.record.key.clone(),
                    });
                }
                self.step(handle, now)
            }
            Next::Refuse(refusal) => self.give_up(handle, &refusal, now),
            Next::Deliver(why) => {
                exchange.record.reason = exchange.record.reason.or(why);
                match came {
                    Came::Good => self.pass(handle),
                    Came::Whole(body) => self.deliver_whole(handle, body, now),
                    Came::Bad(body, whole) => self.deliver_error(handle, &body, whole, now),
                    Came::Nothing => self.refuse(handle, &Refusal::Broken, now),
                }
            }
        }
    }

    /// Says that requests like this one pass a key over.
    fn say_passed_over(&mut self, handle: u32, key: &str, served: &str, now: Time) {
        let Some(facts) = self.exchange(handle).and_then(|it| it.facts.clone()) else {
            return;
        };
        let model = facts.model.as_deref().unwrap_or("-");
        let model = log::word(&self.relay.pool().said_model(model)).into_owned();
        let (surface, kind) = (facts.surface.name(), facts.kind.name());
        let reason = Meaning::Carrier.name();
        self.say(Level::Warn, &format!("passed over for a quarter of an hour, while others are there: key {key} was refused with 401 what {served} was served reason={reason} surface={surface} kind={kind} model={model}"), now);
    }

    /// Answers for itself, or with what Google said before.
    fn give_up(&mut self, handle: u32, refusal: &Refusal, now: Time) -> Said {
        if *refusal == Refusal::Earlier
            && let Some(exchange) = self.exchange(handle)
            && let Some(earlier) = exchange.earlier.take()
        {
            exchange.status = earlier.status;
            exchange.answer = earlier.answer;
            exchange.record.key = earlier.key;
            return match self.deliver_error(handle, &earlier.body, earlier.whole, now) {
                // What was read last is another's.
                Said::Answer {
                    status,
                    headers,
                    body: Body::AsRead,
                } => Said::Answer {
                    status,
                    headers,
                    body: Body::Bytes(earlier.body),
                },
                said => said,
            };
        }
        self.refuse(handle, refusal, now)
    }

    /// Passes a good answer on.
    fn pass(&mut self, handle: u32) -> Said {
        let idle = millis(self.config.idle_timeout);
        self.let_go(handle);
        let Some((status, headers)) = self.good_head(handle) else {
            return Said::Gone;
        };
        Said::Pass {
            status,
            headers,
            idle,
        }
    }

    /// The head of a good answer, as it goes to the client, and what watches the rest of it.
    fn good_head(&mut self, handle: u32) -> Option<(StatusCode, HeaderMap)> {
        let shows = self.config.response_headers;
        let exchange = self.exchange(handle)?;
        let (status, mut headers) = (exchange.status, std::mem::take(&mut exchange.answer));
        let facts = exchange.facts.as_ref()?;
        let must_end = status == StatusCode::OK && reading::must_end(facts, &exchange.found);
        headers::clean_answer(&mut headers, must_end);
        if let Some(key) = &exchange.record.key {
            headers::drop_quoting(&mut headers, std::iter::once(&**key));
        }
        exchange.mark(&mut headers, status, shows);
        let watched = reading::is_looked_at(exchange.facts.as_ref()?);
        exchange.passing = Some(Passing {
            watch: if must_end {
                Some(Watch::stream())
            } else {
                watched.then(Watch::default)
            },
            must_end,
            veil: exchange.record.key.clone().map(Veil::new),
        });
        Some((status, headers))
    }

    /// Passes a small good answer on, which is here whole.
    fn deliver_whole(&mut self, handle: u32, body: Vec<u8>, now: Time) -> Said {
        let Some((status, headers)) = self.good_head(handle) else {
            return Said::Gone;
        };
        let mut shown = None;
        if let Some(exchange) = self.exchange(handle) {
            exchange.record.first_byte = Some(now);
            exchange.record.sent = body.len() as u64;
            exchange.record.ending = Ending::Whole;
            if let Some(passing) = &mut exchange.passing {
                if let Some(watch) = &mut passing.watch {
                    watch.see(&body);
                    exchange.record.usage = watch.usage();
                }
                if let Some(veil) = &mut passing.veil {
                    shown = veil.over(&body).map(|mut shown| {
                        shown.extend(veil.rest().unwrap_or_default());
                        shown
                    });
                }
            }
        }
        self.close(handle, now);
        Said::Answer {
            status,
            headers,
            body: shown.map_or(Body::AsRead, Body::Bytes),
        }
    }

    /// Passes Google's error on, without the keys it may quote; one that was cut is cut for the client too.
    fn deliver_error(&mut self, handle: u32, body: &[u8], whole: bool, now: Time) -> Said {
        let shows = self.config.response_headers;
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let keys: Vec<&KeyText> = exchange
            .used
            .iter()
            .map(|attempt| &attempt.key.text)
            .collect();
        let redacted = redact::redact(body, &keys);
        let (status, mut headers) = (exchange.status, std::mem::take(&mut exchange.answer));
        headers::clean_answer(&mut headers, false);
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        headers::drop_quoting(
            &mut headers,
            exchange.used.iter().map(|attempt| &*attempt.key),
        );
        exchange.mark(&mut headers, status, shows);
        exchange.record.sent = redacted.as_deref().unwrap_or(body).len() as u64;
        exchange.record.first_byte = Some(now);
        exchange.record.ending = if whole { Ending::Whole } else { Ending::Cut };
        self.close(handle, now);
        Said::Answer {
            status,
            headers,
            body: match redacted {
                redacted if !whole => Body::Cut(redacted.unwrap_or_else(|| body.to_vec())),
                Some(redacted) => Body::Bytes(redacted),
                None => Body::AsRead,
            },
        }
    }

    fn hand_over(&mut self, handle: u32, now: Time) -> Said {
        let shows = self.config.response_headers;
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        let Some(id) = exchange.id else {
            return Said::Gone;
        };
        let done = self.relay.attempt_done(id, &Outcome::Served, false, now);
        let Some(exchange) = self.exchange(handle) else {
            return Said::Gone;
        };
        exchange.record.verdicts.push(done.meaning);
        let mut headers = HeaderMap::new();
        if let Some(protocol) = exchange.answer.remove("sec-websocket-protocol") {
            headers.insert("sec-websocket-protocol", protocol);
        }
        exchange.mark(&mut headers, StatusCode::SWITCHING_PROTOCOLS, shows);
        // What goes through it is not seen, and so neither is its end.
        exchange.record.ending = Ending::Whole;
        self.close(handle, now);
        Said::HandOver { headers }
    }

    /// Where to send from, while the place where this runs is not served: a place among the regions.
    fn region(&self, now: Time) -> Option<usize> {
        self.egress
            .filter(|(_, until)| *until > now)
            .map(|(at, _)| at)
    }

    fn say_unserved(&mut self, now: Time) {
        let remedy = if self.config.regions.is_empty() {
            "set GEMINI_RELAY_EGRESS_REGION, such as wnam".to_owned()
        } else {
            let tried = self.config.regions.join(", ");
            format!("nor {tried}, which GEMINI_RELAY_EGRESS_REGION names: add another")
        };
        self.say(Level::Error, &format!("Google does not serve the place where this runs (\"User location is not supported\"): {remedy}"), now);
    }

    /// Goes on from another region, if there is one that this request was not refused from: the one that others
    /// found meanwhile, or else the first in order. Once all have refused a request, others do not go round again for
    /// a while.
    fn go_elsewhere(&mut self, handle: u32, now: Time) -> bool {
        if self.unserved > now {
            return false;
        }
        let count = self.config.regions.len();
        let found = self.region(now);
        let Some(exchange) = self.exchange(handle) else {
            return false;
        };
        exchange.refused_from.extend(exchange.region);
        let untried = |at: &usize| !exchange.refused_from.contains(at);
        if found.filter(untried).is_some() {
            return true;
        }
        let Some(next) = (0..count).find(untried) else {
            self.unserved = now + GIVEN_UP;
            self.egress = None;
            self.say_unserved(now);
            return false;
        };
        self.egress = Some((next, now + REMEMBERED));
        let region = self.config.regions.get(next).cloned().unwrap_or_default();
        self.say(Level::Warn, &format!("Google does not serve the place where this runs: requests go out from region={region} for an hour"), now);
        true
    }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body can be looked into. The runtime undoes what it knows as it is read.
fn undo_coding(headers: &mut HeaderMap) -> bool {
    let Some(coding) = headers.get(CONTENT_ENCODING) else {
        return true;
    };
    let known = matches!(
        coding
            .as_bytes()
            .trim_ascii()
            .to_ascii_lowercase()
            .as_slice(),
        b"" | b"identity" | b"gzip" | b"br"
    ) && headers.get_all(CONTENT_ENCODING).iter().count() == 1;
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    known
}

pub(super) fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

const SHORTEST_NAP: Duration = Duration::from_millis(2);
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// What is read whole before it is passed on: it arrives at once, and passing it in pieces costs more
/// than all the rest.
const SMALL: usize = 64 * 1024;

/// How long another region is kept to.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// How long no region is tried after all of them were: the place is decided by Cloudflare, and may be another soon.
const GIVEN_UP: Duration = Duration::from_secs(60);
