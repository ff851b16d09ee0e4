//! One request from beginning to end: ask the policy, send, say what came of it, ask again.
//!
//! Nothing is decided here. What the policy needs to see of an answer is read: of an error all of it,
//! of a good answer the beginning, which is held until it is sure that it is one. Either is decompressed
//! if it came compressed, though plain text was asked for.

use super::alarm::Alarm;
use super::answer::{Answer, Ticket};
use super::body::{Replay, Source};
use super::coming::Coming;
use super::shared::{Shared, Told};
use super::unpack::unpack;
use super::upstream::{Lease, SendError, Upstream};
use crate::logging;
use bytes::{Bytes, BytesMut};
use gemini_relay_core::coding::{self, Coding};
use gemini_relay_core::google_error::GoogleError;
use gemini_relay_core::head::{self, Head};
use gemini_relay_core::pool::KeyInfo;
use gemini_relay_core::recognise::Recognised;
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::relay::{Attempt, Next};
use gemini_relay_core::verdict::{Meaning, Outcome};
use gemini_relay_core::watch::Watch;
use gemini_relay_core::{Facts, KeyText, Surface, Time, headers, reading, redact};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Instant;

/// A request that was let in and read as far as policy needs.
pub(crate) struct Exchange {
    pub(crate) method: Method,
    pub(crate) found: Recognised,
    /// As the client sent it.
    pub(crate) path: PathAndQuery,
    /// The client's, as far as they go to Google.
    pub(crate) headers: HeaderMap,
    pub(crate) source: Source,
    pub(crate) facts: Facts,
    pub(crate) ticket: Ticket,
}

/// What came back, as far as it was read.
enum Came {
    Good(Good),
    Bad {
        parts: http::response::Parts,
        body: Bytes,
        whole: bool,
    },
    Nothing,
}

/// A refusal that another key may know better than; if none does, it is the answer.
struct Earlier {
    parts: http::response::Parts,
    body: Bytes,
    whole: bool,
    key: Arc<KeyInfo>,
}

impl Earlier {
    fn of(came: Came, key: &Arc<KeyInfo>) -> Option<Self> {
        let (parts, body, whole) = match came {
            Came::Bad { parts, body, whole } => (parts, body, whole),
            // A stream that began with the refusal ends with it.
            Came::Good(good) => (good.parts, Bytes::from(good.held.concat()), true),
            Came::Nothing => return None,
        };
        Some(Self {
            parts,
            body,
            whole,
            key: Arc::clone(key),
        })
    }
}

/// A good answer, and what of its beginning was held.
pub(crate) struct Good {
    pub(crate) parts: http::response::Parts,
    pub(crate) held: SmallVec<[Bytes; 1]>,
    pub(crate) coming: Coming,
    pub(crate) lease: Lease,
}

impl Exchange {
    /// Carries it out.
    pub(crate) async fn run(mut self: Box<Self>, upstream: &Upstream) -> Response<Answer> {
        let shared = Arc::clone(self.ticket.shared());
        let mut now = shared.clock.now();
        let facts = self.facts.clone();
        let (id, mut told) = shared.policy(|policy| {
            let id = policy.relay.admit(facts, now);
            (id, policy.ask(id, now))
        });
        self.ticket.id = Some(id);
        self.ticket.record.received = self.source.total();
        let mut used: Vec<Attempt> = Vec::new();
        let mut earlier = None;
        loop {
            let attempt = match told {
                Told::Send(attempt) => attempt,
                Told::Refuse(refusal) => return self.give_up(&refusal, earlier, &used),
                Told::Wait(sleeping) => {
                    shared.metrics.waits.inc();
                    shared.kick.notify_one();
                    // A dropped sender means that the policy forgot this request: it says so when asked.
                    let _ = sleeping.await;
                    now = shared.clock.now();
                    told = shared.policy(|policy| policy.ask(id, now));
                    continue;
                }
            };
            // Whoever leaves meanwhile leaves a line that says whom it was asked of.
            let record = &mut self.ticket.record;
            record.key = Some(Arc::clone(&attempt.key));
            record.attempts = attempt.number;
            record.received = self.source.total();
            let (outcome, came) = self.attempt(upstream, &shared, &attempt, now).await;
            let can_repeat = self.source.can_repeat();
            now = shared.clock.now();
            let done =
                shared.policy(|policy| policy.relay.attempt_done(id, &outcome, can_repeat, now));
            shared.metrics.attempt(done.meaning);
            self.ticket.record.verdicts.push(done.meaning);
            tracing::debug!(target: "gemini_relay::attempt", id = self.ticket.record.id.as_str(), key = %attempt.key.label, project = %attempt.key.project,
                verdict = done.meaning.name(), "attempt");
            for key in &done.passed_over {
                self.say_passed_over(&shared, key, &attempt.key);
            }
            if done.meaning == Meaning::Location {
                tracing::error!(
                    "Google does not serve the place where this relay's requests come from (\"User location is not supported\"): run it, or its proxy, elsewhere"
                );
            }
            match done.next {
                Next::Retry => {
                    if done.meaning.may_be_gainsaid() {
                        earlier = Earlier::of(came, &attempt.key).or(earlier);
                    }
                    used.push(attempt);
                    told = shared.policy(|policy| policy.ask(id, now));
                }
                Next::Refuse(refusal) => {
                    used.push(attempt);
                    return self.give_up(&refusal, earlier, &used);
                }
                Next::Deliver(why) => {
                    self.ticket.record.reason = self.ticket.record.reason.or(why);
                    return match came {
                        Came::Good(good) => self.pass(good, attempt.number),
                        Came::Bad { parts, body, whole } => {
                            used.push(attempt);
                            self.deliver_error(parts, &body, whole, &used)
                        }
                        Came::Nothing => self.refuse(&Refusal::Broken),
                    };
                }
            }
        }
    }

    async fn attempt(
        &self,
        upstream: &Upstream,
        shared: &Arc<Shared>,
        attempt: &Attempt,
        now: Time,
    ) -> (Outcome, Came) {
        let limit = shared.config.first_byte_timeout;
        let begins = Instant::now();
        upstream.renew(shared.network(now, begins));
        let mut alarm = Alarm::at(begins + limit);
        let mut sending = pin!(self.send(upstream, shared, attempt));
        std::future::poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => {
                ready!(alarm.poll(cx));
                // It has the whole time to answer from when it took the last piece of the question.
                while let Some(busy) = self.source.busy()
                    && busy + limit > Instant::now()
                {
                    alarm.put_off(busy + limit);
                    ready!(alarm.poll(cx));
                }
                Poll::Ready((Outcome::Silent, Came::Nothing))
            }
        })
        .await
    }

    async fn send(
        &self,
        upstream: &Upstream,
        shared: &Arc<Shared>,
        attempt: &Attempt,
    ) -> (Outcome, Came) {
        let Some(request) = self.request(shared, attempt) else {
            let error = GoogleError {
                message: "the path cannot be sent".into(),
                ..GoogleError::default()
            };
            return (Outcome::Refused { status: 400, error }, Came::Nothing);
        };
        match upstream.send(request).await {
            Ok((response, mut lease)) => {
                lease.question_gone = self.source.is_given();
                self.look(response, lease).await
            }
            Err(error) => {
                tracing::debug!(target: "gemini_relay::attempt", id = self.ticket.record.id.as_str(), "no answer: {}", logging::chain(&error));
                let outcome = match error {
                    SendError::Unreachable(_) => {
                        self.complain(shared, &error);
                        Outcome::Unreachable
                    }
                    SendError::Broken(_) => Outcome::Broken,
                };
                (outcome, Came::Nothing)
            }
        }
    }

    /// Says that requests like this one pass a key over.
    fn say_passed_over(&self, shared: &Shared, key: &KeyInfo, served: &KeyInfo) {
        let facts = &self.facts;
        let model = shared.policy(|policy| {
            let name = facts.model.as_deref().unwrap_or("-");
            policy.relay.pool().said_model(name).into_owned()
        });
        tracing::warn!(what = "key", label = %key.label, reason = Meaning::Carrier.name(), surface = facts.surface.name(), kind = facts.kind.name(), %model,
            "passed over for a quarter of an hour, while others are there: key {} was refused with 401 what {} was served", key.label, served.label);
    }

    /// Says why Google cannot be reached, once a minute at most: it is the relay's own trouble.
    fn complain(&self, shared: &Shared, error: &SendError) {
        let minute = shared.clock.now().as_millis() / 60_000;
        if shared.complained.swap(minute, Ordering::Relaxed) != minute {
            tracing::warn!(
                "cannot reach {}: {}",
                shared.config.upstream.authority,
                logging::chain(error)
            );
        }
    }

    /// Reads what the policy needs to see.
    async fn look(&self, response: Response<Incoming>, lease: Lease) -> (Outcome, Came) {
        let (mut parts, incoming) = response.into_parts();
        // What stands behind the status could quote a key.
        parts.extensions.remove::<ReasonPhrase>();
        let status = parts.status.as_u16();
        let coding = coding::of(&self.method, parts.status, &parts.headers);
        if status >= 400 {
            let (body, whole) = read_error(coding, incoming).await;
            if whole && lease.question_gone {
                lease.give_back();
            } else {
                lease.close();
            }
            let error = GoogleError::parse(&body);
            return (
                Outcome::Refused { status, error },
                Came::Bad { parts, body, whole },
            );
        }
        if status == 101 && !self.headers.contains_key(UPGRADE) {
            // Nobody asked for it, and no client would know what to do with it.
            return (Outcome::Broken, Came::Nothing);
        }
        match coding {
            Coding::Plain => {}
            Coding::Gzip | Coding::Deflate => {
                parts.headers.remove(CONTENT_ENCODING);
                parts.headers.remove(CONTENT_LENGTH);
            }
            Coding::Unknown => {
                // Whether it quotes a key cannot be seen.
                tracing::warn!(
                    "an answer is not passed on: it came in a coding that was not asked for and cannot be decoded"
                );
                return (Outcome::Broken, Came::Nothing);
            }
        }
        let looked_at = parts.status == StatusCode::OK && reading::is_looked_at(&self.facts);
        let mut good = Good {
            parts,
            held: SmallVec::new(),
            coming: Coming::new(incoming, coding),
            lease,
        };
        if !looked_at {
            return (Outcome::Served, Came::Good(good));
        }
        let mut start = BytesMut::new();
        loop {
            let piece = match good.coming.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) if start.is_empty() => return (Outcome::Broken, Came::Nothing),
                None if start.is_empty() => return (Outcome::Empty, Came::Good(good)),
                Some(Err(_)) if self.is_cut(&start) => return (Outcome::Broken, Came::Nothing),
                None if self.is_cut(&start) => return (Outcome::Empty, Came::Good(good)),
                Some(Err(_)) | None => {
                    let outcome = self.head(&start, true).unwrap_or(Outcome::Served);
                    return (outcome, Came::Good(good));
                }
            };
            if piece.is_empty() {
                continue;
            }
            if good.held.is_empty() && !self.facts.streams {
                // A unary answer is as good as its status, once there is something in it.
                good.held.push(piece);
                return (Outcome::Served, Came::Good(good));
            }
            let room = piece.len().min(head::MAX_HEAD);
            start.extend_from_slice(piece.get(..room).unwrap_or_default());
            good.held.push(piece);
            if let Some(outcome) = self.head(&start, false) {
                let is_all = good.coming.size_hint().exact() == Some(0);
                return if is_all && outcome.is_served() && self.is_cut(&start) {
                    (Outcome::Empty, Came::Good(good))
                } else {
                    (outcome, Came::Good(good))
                };
            }
        }
    }

    /// Whether a stream of which these are all bytes stopped before its end. As long as nothing of it was passed
    /// on it may be asked for anew.
    fn is_cut(&self, all: &[u8]) -> bool {
        if !reading::must_end(&self.facts, &self.found)
            || self.head(all, true).is_some_and(|o| !o.is_served())
        {
            return false;
        }
        let mut watch = Watch::stream();
        watch.see(all);
        !watch.ended()
    }

    fn head(&self, start: &[u8], ended: bool) -> Option<Outcome> {
        match head::look(start, ended) {
            Head::Undecided => None,
            Head::Fine => Some(Outcome::Served),
            Head::Error(error) => Some(Outcome::Refused {
                status: error.own_status(),
                error,
            }),
        }
    }

    fn request(&self, shared: &Shared, attempt: &Attempt) -> Option<Request<Replay>> {
        let upstream = &shared.config.upstream;
        let path = if !upstream.path.is_empty() {
            PathAndQuery::try_from(format!("{}{}", upstream.path, self.found.target)).ok()?
        } else if self.path.as_str() == self.found.target {
            // As nearly always: the client wrote it as Google wants it.
            self.path.clone()
        } else {
            PathAndQuery::try_from(self.found.target.as_str()).ok()?
        };
        let mut request = Request::new(self.source.replay());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(path);
        let mut headers = self.headers.clone();
        headers::put_key(&mut headers, &attempt.key, attempt.carrier);
        if let Some(deadline) = self.facts.deadline {
            let now = shared.clock.now();
            let left = reading::remaining(deadline, now, attempt.number, &self.headers);
            headers.insert(reading::SERVER_TIMEOUT, left);
        }
        *request.headers_mut() = headers;
        Some(request)
    }

    /// Passes a good answer on.
    fn pass(mut self, mut good: Good, attempts: u32) -> Response<Answer> {
        let must_end =
            good.parts.status == StatusCode::OK && reading::must_end(&self.facts, &self.found);
        headers::clean_answer(&mut good.parts.headers, must_end);
        if let Some(key) = &self.ticket.record.key {
            headers::drop_quoting(&mut good.parts.headers, std::iter::once(&**key));
        }
        self.mark(&mut good.parts.headers, good.parts.status, attempts);
        let watched = reading::is_looked_at(&self.facts);
        let idle = self.ticket.shared().config.idle_timeout;
        let (parts, body) = Answer::passing(good, must_end, watched, idle, self.ticket);
        Response::from_parts(parts, body)
    }

    /// Passes Google's error on, without the keys it may quote; one that broke off, or of which no more was
    /// read, breaks off for the client too.
    fn deliver_error(
        mut self,
        mut parts: http::response::Parts,
        body: &Bytes,
        whole: bool,
        used: &[Attempt],
    ) -> Response<Answer> {
        let keys: Vec<&KeyText> = used.iter().map(|attempt| &attempt.key.text).collect();
        let body = redact::redact(body, &keys).map_or_else(|| body.clone(), Bytes::from);
        headers::clean_answer(&mut parts.headers, false);
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
        let keys = used.iter().map(|attempt| &*attempt.key);
        headers::drop_quoting(&mut parts.headers, keys);
        let attempts = used.last().map_or(0, |attempt| attempt.number);
        self.mark(&mut parts.headers, parts.status, attempts);
        let answer = if whole {
            Answer::whole(body, Some(self.ticket))
        } else {
            Answer::part(body, self.ticket)
        };
        Response::from_parts(parts, answer)
    }

    /// Answers for itself, or with what Google said before.
    fn give_up(
        mut self,
        refusal: &Refusal,
        earlier: Option<Earlier>,
        used: &[Attempt],
    ) -> Response<Answer> {
        match earlier {
            Some(earlier) if *refusal == Refusal::Earlier => {
                self.ticket.record.key = Some(earlier.key);
                self.deliver_error(earlier.parts, &earlier.body, earlier.whole, used)
            }
            _ => self.refuse(refusal),
        }
    }

    /// Answers for itself.
    pub(crate) fn refuse(mut self, refusal: &Refusal) -> Response<Answer> {
        let shared = Arc::clone(self.ticket.shared());
        // Whatever that came to upstream.
        let stalled = self.source.has_stalled();
        let refusal = if stalled { &Refusal::Stalled } else { refusal };
        // Another key might have helped, had the body still been here.
        let gone = !stalled && !self.ticket.record.verdicts.is_empty() && self.source.is_passing();
        self.ticket.record.reason = Some(if gone {
            "body-past-replay-limit"
        } else {
            refusal.name()
        });
        let attempts = self.ticket.record.attempts;
        let (mut parts, body) = refused(
            &shared,
            refusal,
            self.found.surface,
            self.found.array && self.found.streams,
        );
        self.mark(&mut parts.headers, parts.status, attempts);
        Response::from_parts(parts, Answer::whole(body, Some(self.ticket)))
    }

    /// The relay's own headers.
    fn mark(&mut self, headers: &mut HeaderMap, status: StatusCode, attempts: u32) {
        self.ticket.record.received = self.source.total();
        let past_limit = status.as_u16() >= 400 && self.source.is_passing();
        let why = past_limit.then_some("body-past-replay-limit");
        mark(&mut self.ticket, headers, status, attempts, why);
    }
}

/// Notes the status of an answer, and says in its headers whose it is; `why` if nothing else is known to be.
pub(crate) fn mark(
    ticket: &mut Ticket,
    headers: &mut HeaderMap,
    status: StatusCode,
    attempts: u32,
    why: Option<&'static str>,
) {
    ticket.record.status = status.as_u16();
    if !ticket.shared().config.response_headers {
        return;
    }
    let record = &ticket.record;
    if let Some(key) = &record.key {
        headers.insert(KEY, key.label_header().clone());
    }
    let count = match attempts {
        1 => HeaderValue::from_static("1"),
        count => HeaderValue::from(count),
    };
    headers.insert(ATTEMPTS, count);
    if let Ok(id) = HeaderValue::from_str(record.id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(reason) = record.reason.or(why) {
        headers.insert(REASON, HeaderValue::from_static(reason));
    }
}

/// A refusal's head and body.
pub(crate) fn refused(
    shared: &Shared,
    refusal: &Refusal,
    surface: Surface,
    array: bool,
) -> (http::response::Parts, String) {
    shared.metrics.refusal(refusal.name());
    let rendered = refusal.render(surface, array, shared.clock.now());
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status =
        StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    parts.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    if *refusal == Refusal::Stalled {
        // What is left of the request may still come, and is no request. (HTTP/2 resets the stream.)
        parts
            .headers
            .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = rendered.retry_after {
        parts
            .headers
            .insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    (parts, rendered.body)
}

/// An error's body, decompressed, up to a bound.
async fn read_error(coding: Coding, mut incoming: Incoming) -> (Bytes, bool) {
    let mut body = BytesMut::new();
    let mut whole = false;
    loop {
        let frame = match incoming.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => break,
            None => {
                whole = true;
                break;
            }
        };
        if let Ok(piece) = frame.into_data() {
            let room = MAX_ERROR.saturating_sub(body.len());
            body.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            if body.len() >= MAX_ERROR {
                break;
            }
        }
    }
    (unpack(coding, body.freeze(), MAX_ERROR), whole)
}

const KEY: HeaderName = HeaderName::from_static("x-gemini-relay-key");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-gemini-relay-attempts");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-gemini-relay-request-id");
const REASON: HeaderName = HeaderName::from_static("x-gemini-relay-reason");

/// A hundred times Google's longest error.
const MAX_ERROR: usize = 1024 * 1024;
