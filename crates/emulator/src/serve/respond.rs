//! From a decision to bytes: headers, compression, and what a fault makes of the body.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::Reply;
use crate::answer::{Framing, Piece};
use crate::connection::Link;
use crate::errors::{Refusal, Shape};
use crate::gzip;
use crate::journal::Outcome;
use crate::script::{self, Script, Step, Turn};
use crate::ticket::Ticket;

/// All that an answer needs to know of its request.
pub(super) struct Responder {
    pub(super) ticket: Ticket,
    pub(super) link: Arc<Link>,
    pub(super) shape: Shape,
    /// Whether the client takes compressed answers.
    pub(super) gzip: bool,
}

impl Responder {
    /// What was asked for, with this turn of fate.
    pub(super) fn serve(self, reply: Reply, turn: &Turn, gzip_streams: bool) -> Response<Script> {
        let outcome = match turn {
            Turn::None | Turn::Stall { .. } => Outcome::Served,
            Turn::Reset { .. } | Turn::End { .. } => Outcome::Fault,
        };
        match reply {
            Reply::Whole(pieces) => {
                let packed = self.gzip && worth_packing(&pieces);
                let steps = script::whole(&pieces, turn, packed);
                let sized = !packed && matches!(turn, Turn::None);
                self.send(StatusCode::OK, JSON, steps, sized, packed, outcome)
            }
            Reply::Stream {
                events,
                framing,
                pause,
            } => {
                let packed = self.gzip && gzip_streams;
                let kind = if framing == Framing::Array {
                    JSON
                } else {
                    "text/event-stream"
                };
                let steps = script::stream(&events, framing, pause, turn, packed);
                self.send(StatusCode::OK, kind, steps, false, packed, outcome)
            }
        }
    }

    /// A refusal of Google's.
    pub(super) fn refuse(self, refusal: &Refusal, outcome: Outcome) -> Response<Script> {
        let body = refusal.body(self.shape);
        let (body, packed) = if self.gzip {
            (gzip::pack(&body), true)
        } else {
            (body, false)
        };
        self.send(
            refusal.status(),
            refusal.content_type(),
            vec![Step::Data(body)],
            !packed,
            packed,
            outcome,
        )
    }

    /// An answer that a fault spelt out.
    pub(super) fn given(
        self,
        status: u16,
        body: Option<Value>,
        headers: &BTreeMap<String, String>,
        packed: bool,
    ) -> Response<Script> {
        let (kind, text) = match body {
            None => (JSON, String::new()),
            Some(Value::String(text)) if text.trim_start().starts_with('<') => {
                ("text/html; charset=UTF-8", text)
            }
            Some(Value::String(text)) => ("text/plain; charset=UTF-8", text),
            Some(json) => (
                JSON,
                serde_json::to_string_pretty(&json).unwrap_or_default() + "\n",
            ),
        };
        let bytes = if packed {
            gzip::pack(text.as_bytes())
        } else {
            Bytes::from(text)
        };
        let steps = if bytes.is_empty() {
            Vec::new()
        } else {
            vec![Step::Data(bytes)]
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.send(status, kind, steps, !packed, packed, Outcome::Fault);
        for (name, value) in headers {
            // Checked when the fault was set.
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Status 200 and no body.
    pub(super) fn empty(self, streams: bool) -> Response<Script> {
        let kind = if streams && self.shape != Shape::Array {
            "text/event-stream"
        } else {
            JSON
        };
        self.send(
            StatusCode::OK,
            kind,
            Vec::new(),
            true,
            false,
            Outcome::Fault,
        )
    }

    /// No answer: the connection ends here.
    pub(super) fn cut(self, reset: bool) -> io::Result<Response<Script>> {
        if reset {
            self.link.reset();
        }
        self.ticket.close(Outcome::Fault);
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn send(
        self,
        status: StatusCode,
        kind: &'static str,
        steps: Vec<Step>,
        sized: bool,
        packed: bool,
        outcome: Outcome,
    ) -> Response<Script> {
        self.ticket.answered(status.as_u16());
        let mut response =
            Response::new(Script::new(steps, sized, self.ticket, outcome, self.link));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if kind == "text/event-stream" {
            headers.insert(
                header::CONTENT_DISPOSITION,
                HeaderValue::from_static("attachment"),
            );
        }
        for (name, value) in USUAL_HEADERS {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        response
    }
}

/// Long enough to be worth it, and not so long that packing it would stand still for seconds.
fn worth_packing(pieces: &[Piece]) -> bool {
    let length = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.len(),
        Piece::Fill(count) => *count,
    };
    (1_025..8 << 20).contains(&pieces.iter().map(length).sum::<usize>())
}

const JSON: &str = "application/json; charset=UTF-8";

/// What Google's front end adds to every answer. `alt-svc` is a trap for relays: it tells a
/// browser to go elsewhere.
const USUAL_HEADERS: &[(&str, &str)] = &[
    ("vary", "Origin"),
    ("vary", "X-Origin"),
    ("vary", "Referer"),
    ("server", "scaffolding on HTTPServer2"),
    ("x-xss-protection", "0"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-content-type-options", "nosniff"),
    ("server-timing", "gfet4t7; dur=12"),
    (
        "alt-svc",
        "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000",
    ),
];
