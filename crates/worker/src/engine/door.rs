//! A request's first step: what it is, and whether it may come in.

use super::kept::{FIRST, SMALL_BODY};
use super::{Engine, Exchange, LOOK};
use crate::log::{self, Ending, Level, Record};
use crate::said::{self, Body, Said};
use crate::wire::Report;
use gemini_relay_core::letin::FOREIGN_ORIGIN;
use gemini_relay_core::recognise::{Destination, Recognised, recognise};
use gemini_relay_core::refusal::Refusal;
use gemini_relay_core::{ClientId, Surface, Time, headers, reading};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_TYPE, HOST, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::time::Duration;

impl Engine {
    /// A request: its method, its URL and its headers, a line each.
    pub fn begin(&mut self, head: &str, now: Time) -> Said {
        if now >= self.next_look {
            self.next_look = now + LOOK;
            let ready = self.relay.ready(now);
            self.ready.extend(ready);
            self.sweep(now);
        }
        let mut lines = head.lines();
        let method = Method::from_bytes(lines.next().unwrap_or_default().as_bytes());
        let (host, path) = cut_url(lines.next().unwrap_or_default());
        let mut headers = said::headers(lines);
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(host)
        {
            headers.insert(HOST, host);
        }
        let origin = self.origin(&headers);
        let asks_first = matches!(method, Ok(Method::OPTIONS))
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let peer = headers.get(PEER).cloned();
        let said = match method {
            Ok(_) if asks_first => preflight(origin.as_ref(), &headers),
            Ok(method) => self.route(method, path, headers, now),
            Err(_) => Err(Refusal::BadRequest("the method is none.").into()),
        };
        let mut said = said.unwrap_or_else(|away| self.turn_away(&away, peer.as_ref(), now));
        if let Said::Answer { headers, .. } = &mut said
            && !asks_first
        {
            allow(headers, origin);
        }
        said
    }

    /// The relay's own answer to a request that is not let in, and its line.
    fn turn_away(&mut self, away: &Away, peer: Option<&HeaderValue>, now: Time) -> Said {
        let (status, headers, text) = Self::refused(&away.refusal, away.surface, away.array, now);
        if self.config.log >= Level::Info {
            let peer = peer.and_then(|peer| peer.to_str().ok()).unwrap_or("-");
            let (status, reason) = (status.as_u16(), away.refusal.name());
            let json = self.config.json_log;
            self.lines
                .push(log::refused(peer, status, reason, json, now));
        }
        Said::Answer {
            status,
            headers,
            body: Body::Text(text),
        }
    }

    fn route(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        now: Time,
    ) -> Result<Said, Box<Away>> {
        let closed = self.config.tokens.is_empty() && !self.config.anonymous;
        let found = match recognise(&method, path, &headers, &self.config.base_path) {
            Destination::Nowhere => return Err(Refusal::NotFound.into()),
            Destination::Crooked(found) => {
                let refusal = Refusal::BadRequest("the path has . or .. for a segment.");
                return Err(Away::of(&found, refusal));
            }
            Destination::Relay(page) => return self.page(&method, &page),
            Destination::Upstream(found) => found,
        };
        let admitted = if matches!(method, Method::TRACE | Method::CONNECT) {
            Err(Refusal::BadRequest("TRACE and CONNECT are not passed on."))
        } else if closed {
            Err(Refusal::NoTokens)
        } else if self.hop.is_back(&headers) {
            // Before tokens are looked at: a request that comes back has a key in their place.
            self.circled(now);
            Err(Refusal::Loop)
        } else {
            self.door.admit(path, &headers)
        };
        match admitted {
            Ok(client) => Ok(self.let_in(method, found, client, headers, now)),
            Err(refusal) => Err(Away::of(&found, refusal)),
        }
    }

    /// Says that requests come back, once a minute at most: anybody can send a mark.
    fn circled(&mut self, now: Time) {
        if now >= self.next_circle {
            self.next_circle = now + MINUTE;
            self.say(
                Level::Error,
                "the upstream leads back to this relay: requests are refused",
                now,
            );
        }
    }

    fn let_in(
        &mut self,
        method: Method,
        mut found: Recognised,
        client: ClientId,
        mut headers: HeaderMap,
        now: Time,
    ) -> Said {
        let upgrade = headers
            .get(UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let scanned = reading::is_json(&headers, &found);
        let deadline = reading::deadline(&headers, || now);
        let length: Option<usize> = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let origin = self.origin(&headers);
        self.door.drop_tokens(&mut headers);
        if let Some(target) = self.door.without_tokens(&found.target) {
            found.target = target;
        }
        headers::for_google(&mut headers, None, upgrade);
        names_the_client(&mut headers);
        let number = u64::from(self.run) << 32 | self.counter & 0xffff_ffff;
        self.counter += 1;
        let record = Record {
            id: format!("{number:016x}"),
            client,
            surface: found.surface,
            kind: found.kind,
            // Until it is known that it is no token.
            model: None,
            key: None,
            attempts: 0,
            verdicts: Vec::new(),
            status: 499,
            reason: None,
            sent: 0,
            received: 0,
            usage: None,
            started: now,
            first_byte: None,
            ending: Ending::Cancelled,
        };
        let first = length.unwrap_or(FIRST).min(FIRST);
        let is_small = length.is_none_or(|length| length <= SMALL_BODY);
        let limit = match self.kept.room(client, is_small) {
            room if room < first => 0,
            _ => self.config.replay_limit,
        };
        let handle = self.open(Box::new(Exchange {
            method,
            found,
            headers,
            client,
            deadline,
            origin,
            facts: None,
            scanned,
            upgrade,
            kept: 0,
            is_kept: true,
            length,
            stalled: false,
            gone: false,
            id: None,
            reported: Report::default(),
            used: Vec::new(),
            region: None,
            refused_from: Vec::new(),
            heard: now,
            status: StatusCode::OK,
            answer: HeaderMap::new(),
            start: Vec::new(),
            passing: None,
            earlier: None,
            record,
        }));
        self.keep(handle, first);
        Said::Gather {
            handle,
            limit,
            shown: if scanned { MOST_SHOWN } else { 0 },
            pause: super::attempt::millis(self.config.body_timeout),
        }
    }

    /// The relay's own pages. What probes ask must need nothing and tell nothing.
    fn page(&self, method: &Method, page: &str) -> Result<Said, Box<Away>> {
        let (status, text) = match page {
            _ if !matches!(*method, Method::GET | Method::HEAD) => {
                return Err(Refusal::NotFound.into());
            }
            "healthy" => (StatusCode::OK, "healthy\n"),
            "ready" if self.has_keys => (StatusCode::OK, "ready\n"),
            "ready" => (StatusCode::SERVICE_UNAVAILABLE, "no keys\n"),
            _ => return Err(Refusal::NotFound.into()),
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        Ok(Said::Answer {
            status,
            headers,
            body: Body::Text(text.to_owned()),
        })
    }

    /// The origin to name in an answer to these headers, for the glue, which marks every answer with it.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = self.door.listed_origin(headers)?;
        HeaderValue::from_str(origin).ok()
    }
}

/// Why a request is not let in, and the dialect to say it in.
struct Away {
    refusal: Refusal,
    surface: Surface,
    array: bool,
}

impl Away {
    fn of(found: &Recognised, refusal: Refusal) -> Box<Self> {
        Box::new(Self {
            refusal,
            surface: found.surface,
            array: found.array && found.streams,
        })
    }
}

impl From<Refusal> for Box<Away> {
    fn from(refusal: Refusal) -> Self {
        Self::new(Away {
            refusal,
            surface: Surface::Gemini,
            array: false,
        })
    }
}

fn preflight(origin: Option<&HeaderValue>, asked: &HeaderMap) -> Result<Said, Box<Away>> {
    let Some(origin) = origin else {
        return Err(Refusal::Forbidden(FOREIGN_ORIGIN).into());
    };
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"),
    );
    if let Some(asked) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(VARY, HeaderValue::from_static("origin"));
    Ok(Said::Answer {
        status: StatusCode::NO_CONTENT,
        headers,
        body: Body::Text(String::new()),
    })
}

/// What a listed web page needs to read an answer.
pub(super) fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// `https://host:port/path?query`, which is how the runtime has it, to host and the rest.
fn cut_url(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // No part of it is sent, and none is looked at.
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    (host, if path.is_empty() { "/" } else { path })
}

/// Cloudflare writes who the client is into headers; that is none of Google's business. The runtime
/// writes the host by itself.
fn names_the_client(headers: &mut HeaderMap) {
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("cf-")
                || name.starts_with("x-forwarded-")
                || matches!(name, "x-real-ip" | "cdn-loop" | "true-client-ip" | "host")
        })
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Cloudflare's own: a client's is replaced.
const PEER: &str = "cf-connecting-ip";

const MINUTE: Duration = Duration::from_secs(60);

/// What of a body is handed over to be looked into: copying it costs too.
const MOST_SHOWN: usize = 5_000_000;
