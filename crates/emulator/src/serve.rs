//! The way of a request: received, understood, judged, answered.
//!
//! The order of the checks is Google's as far as it is known: the path, the credential, the key,
//! the request's form, the model, its quota. Faults come before all of them, since they stand for
//! what may happen to any request, and take the next one that matches, good or bad.

mod judge;
mod respond;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::answer::{Framing, Piece};
use crate::connection::Link;
use crate::control;
use crate::credentials::{Credential, credentials};
use crate::emulator::Shared;
use crate::errors::{About, Refusal, named};
use crate::fault::{Fault, ResetPoint};
use crate::gzip;
use crate::journal::{Outcome, Received};
use crate::kind::Kind;
use crate::prompt::Prompt;
use crate::route::{Route, Surface, Target};
use crate::script::{Script, Turn};
use crate::ticket::Ticket;
use respond::Responder;

/// A request, understood.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) route: Route,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) body: Body,
    pub(crate) prompt: Prompt,
    pub(crate) model: Option<String>,
    pub(crate) kind: Kind,
}

/// A request's body.
pub(crate) enum Body {
    None,
    Json(Value),
    /// Why it is not JSON.
    Broken(String),
    TooLarge,
}

/// What a good request is answered with.
pub(crate) enum Reply {
    Whole(Vec<Piece>),
    Stream {
        events: Vec<Vec<Piece>>,
        framing: Framing,
        pause: Duration,
    },
}

/// Serves one request. An error cuts the connection, in order or, if the link says so, by a reset.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: Request<Incoming>,
) -> io::Result<Response<Script>> {
    if request.uri().path().starts_with(control::PREFIX) {
        return Ok(control::serve(&shared, &link, request).await);
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let route = Route::of(&head.method, &path);
    let credentials = credentials(&head.headers, &query);
    let ticket = {
        let mut world = shared.world();
        world.journal.stats.connections += u64::from(link.first_use());
        let key = credentials.first().and_then(|one| world.key(&one.value));
        let received = Received {
            seq: 0,
            at_ms: world.now(),
            method: head.method.to_string(),
            path: path.clone(),
            query: query.clone(),
            headers: texts(&head.headers),
            credentials: credentials.clone(),
            project: key.map(|(project, _)| world.projects[project].name.clone()),
            model: route.model().map(str::to_owned),
            kind: route.kind(),
            body_bytes: 0,
            body: String::new(),
            status: None,
            outcome: Outcome::Open,
        };
        drop(world);
        Ticket::open(&shared, received)
    };
    let gathered = gather(body, &head.headers).await?;
    shared.world().journal.body(ticket.seq, &gathered.bytes);
    let asked = Asked::new(path, query, head.headers, route, credentials, gathered);
    let (about, fault) = note(&shared, &ticket, &asked);
    let responder = Responder {
        ticket,
        link,
        shape: asked.route.shape(&asked.query),
        gzip: gzip::accepted(&asked.headers),
    };

    let now = shared.world().now();
    let mut delay = Duration::ZERO;
    let turn = match fault {
        Some(Fault::Answer {
            status,
            body,
            headers,
            gzip,
        }) => return Ok(responder.given(status, body, &headers, gzip)),
        Some(Fault::Error(name)) => {
            return Ok(responder.refuse(
                &named(&name, &about, now).unwrap_or_else(unnamed),
                Outcome::Fault,
            ));
        }
        Some(Fault::Empty) => return Ok(responder.empty(asked.streams())),
        Some(Fault::Reset(ResetPoint::BeforeAnswer)) => return responder.cut(true),
        Some(Fault::CloseWithoutAnswer) => return responder.cut(false),
        Some(Fault::Delay(millis)) => {
            delay = Duration::from_millis(millis);
            Turn::None
        }
        Some(Fault::Stall {
            millis,
            after_chunks,
        }) => Turn::Stall {
            after: after_chunks,
            millis,
        },
        Some(Fault::Reset(ResetPoint::AfterHeaders)) => Turn::Reset { after: 0 },
        Some(Fault::Reset(ResetPoint::AfterChunks(after))) => Turn::Reset { after },
        Some(Fault::Truncate(after)) => Turn::End {
            after,
            words: bytes::Bytes::new(),
        },
        Some(Fault::InStreamError { name, after_chunks }) => {
            let refusal = named(&name, &about, now).unwrap_or_else(unnamed);
            // In an array it is one of the elements, and has no array of its own.
            let words = refusal.body(crate::errors::Shape::Object);
            Turn::End {
                after: after_chunks,
                words,
            }
        }
        None => Turn::None,
    };
    let (reply, first_byte, gzip_streams) = {
        let mut world = shared.world();
        let first_byte = Duration::from_millis(world.config.first_byte_delay_ms);
        (
            judge::judge(&mut world, &asked, &about, responder.ticket.seq),
            first_byte,
            world.config.gzip_streams,
        )
    };
    if reply.is_ok() {
        delay = delay.saturating_add(first_byte);
    }
    let reply = match judge::deadline(&asked.headers) {
        Some(deadline) if deadline < delay => {
            tokio::time::sleep(deadline).await;
            Err(crate::errors::deadline_exceeded())
        }
        _ => {
            tokio::time::sleep(delay).await;
            reply
        }
    };
    Ok(match reply {
        Ok(reply) => responder.serve(reply, &turn, gzip_streams),
        Err(refusal) => responder.refuse(&refusal, Outcome::Refused),
    })
}

/// Completes the record with what the body told, and takes the fault that waits for this request.
fn note(shared: &Shared, ticket: &Ticket, asked: &Asked) -> (About, Option<Fault>) {
    let mut world = shared.world();
    let key = asked.credentials.first();
    let number = key
        .and_then(|key| world.key(&key.value))
        .map_or(0, |(project, _)| world.projects[project].number);
    let about = About {
        version: asked.route.version.clone(),
        model: asked.model.clone().unwrap_or_default(),
        verb: asked.route.verb().to_owned(),
        key: key.map(|key| key.value.clone()).unwrap_or_default(),
        project_number: number,
        path: asked.path.clone(),
    };
    let Some(received) = world.journal.find(ticket.seq) else {
        return (about, None);
    };
    received.model.clone_from(&asked.model);
    received.kind = asked.kind;
    // Matching reads the record while the faults change: two parts of the world, one of them out.
    let received = received.clone();
    let fault = world.faults.take(&received, asked.route.verb());
    (about, fault)
}

impl Asked {
    fn new(
        path: String,
        query: String,
        headers: HeaderMap,
        route: Route,
        credentials: Vec<Credential>,
        gathered: Gathered,
    ) -> Asked {
        let body = gathered.parse();
        let prompt = match (&body, route.surface) {
            (Body::Json(json), Surface::OpenAi) => Prompt::openai(json),
            (Body::Json(json), _) => Prompt::native(json),
            _ => Prompt {
                items: 1,
                ..Prompt::default()
            },
        };
        let in_body = match &body {
            Body::Json(json) if route.surface == Surface::OpenAi => {
                json.get("model").and_then(Value::as_str)
            }
            _ => None,
        };
        let model = in_body
            .map(|name| name.strip_prefix("models/").unwrap_or(name))
            .or(route.model())
            .map(str::to_owned);
        let kind = match route.kind() {
            Kind::Generate if prompt.grounded => Kind::Grounded,
            kind => kind,
        };
        Asked {
            path,
            query,
            headers,
            route,
            credentials,
            body,
            prompt,
            model,
            kind,
        }
    }

    /// Whether the answer is a stream.
    pub(crate) fn streams(&self) -> bool {
        match (&self.route.target, &self.body) {
            (Target::Verb { verb, .. }, _) => verb == "streamGenerateContent",
            (Target::Chat, Body::Json(json)) => {
                json.get("stream").is_some_and(|stream| stream == true)
            }
            _ => false,
        }
    }
}

struct Gathered {
    bytes: Vec<u8>,
    too_large: bool,
    gzip: bool,
}

impl Gathered {
    fn parse(self) -> Body {
        if self.too_large {
            return Body::TooLarge;
        }
        let bytes = if self.gzip {
            match gzip::unpack(&self.bytes, MOST_BODY) {
                Some(bytes) => bytes,
                None => return Body::Broken("not gzip, or too much of it".to_owned()),
            }
        } else {
            self.bytes
        };
        if bytes.is_empty() {
            return Body::None;
        }
        serde_json::from_slice(&bytes)
            .map_or_else(|error| Body::Broken(error.to_string()), Body::Json)
    }
}

/// Reads the whole body. A client that breaks off in the middle of it has no answer to wait for.
async fn gather(mut body: Incoming, headers: &HeaderMap) -> io::Result<Gathered> {
    let gzip = headers
        .get(http::header::CONTENT_ENCODING)
        .is_some_and(|coding| coding == "gzip");
    let mut gathered = Gathered {
        bytes: Vec::new(),
        too_large: false,
        gzip,
    };
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            if gathered.bytes.len() as u64 + data.len() as u64 > MOST_BODY {
                // Read on, keep nothing: an answer in the middle of a request is lost on clients.
                gathered.too_large = true;
            } else {
                gathered.bytes.extend_from_slice(&data);
            }
        }
    }
    Ok(gathered)
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    headers.iter().map(text).collect()
}

/// Faults are checked when they are set: there is no name without a refusal.
fn unnamed() -> Refusal {
    Refusal::new(500, "INTERNAL", "Internal error encountered.")
}

/// What Google documents for a request with its files in it.
pub(crate) const MOST_BODY: u64 = 100 << 20;
