//! One line a request, the same as the native relay's.

use gemini_relay_core::pool::KeyInfo;
use gemini_relay_core::verdict::Meaning;
use gemini_relay_core::watch::Usage;
use gemini_relay_core::{ClientId, Kind, Surface, Time};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// What is said of a request when it is over.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) client: ClientId,
    pub(crate) surface: Surface,
    pub(crate) kind: Kind,
    pub(crate) model: Option<Arc<str>>,
    /// The key that was sent last.
    pub(crate) key: Option<Arc<KeyInfo>>,
    /// The one it is at included, which has no verdict yet.
    pub(crate) attempts: u32,
    pub(crate) verdicts: Vec<Meaning>,
    pub(crate) status: u16,
    pub(crate) reason: Option<&'static str>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) usage: Option<Usage>,
    pub(crate) started: Time,
    pub(crate) first_byte: Option<Time>,
    pub(crate) ending: Ending,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Whole,
    /// The client went away.
    Cancelled,
    /// It broke upstream, and so for the client.
    Cut,
}

impl Record {
    /// `model` is its name as it may be said.
    pub(crate) fn line(&self, json: bool, client: &str, model: &str, now: Time) -> String {
        let mut line = Line::new(Level::Info, "request", json, now);
        line.text("id", &self.id);
        line.text("client", client);
        line.text("surface", self.surface.name());
        line.text("kind", self.kind.name());
        line.text("model", model);
        line.text("key", self.key.as_ref().map_or("-", |key| &key.label));
        line.number("attempts", self.attempts.into());
        let verdicts: Vec<&str> = self.verdicts.iter().map(|one| one.name()).collect();
        line.text("verdicts", &verdicts.join(","));
        line.number("status", self.status.into());
        if let Some(reason) = self.reason {
            line.text("reason", reason);
        }
        line.number("received", self.received);
        line.number("sent", self.sent);
        if let Some(usage) = self.usage {
            line.number("tokens", usage.total);
        }
        let millis = |from: Time, to: Time| u64::try_from(to.since(from).as_millis()).unwrap_or(0);
        if let Some(first_byte) = self.first_byte {
            line.number("first_byte_ms", millis(self.started, first_byte));
        }
        line.number("ms", millis(self.started, now));
        match self.ending {
            Ending::Whole => {}
            Ending::Cancelled => line.text("ending", "cancelled"),
            Ending::Cut => line.text("ending", "cut"),
        }
        line.end("gemini_relay::request")
    }
}

/// How much a line matters, and as a setting, down to where lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// No line has it.
    Off,
    Error,
    Warn,
    Info,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
        }
    }
}

/// Something else that happened.
pub(crate) fn said(level: Level, text: &str, json: bool, now: Time) -> String {
    Line::new(level, text, json, now).end("gemini_relay")
}

/// Somebody who was not let in.
pub(crate) fn refused(peer: &str, status: u16, reason: &str, json: bool, now: Time) -> String {
    let mut line = Line::new(Level::Info, "refused at the door", json, now);
    line.text("peer", peer);
    line.number("status", status.into());
    line.text("reason", reason);
    line.end("gemini_relay")
}

/// A text as one word of a line: quoted, unless it is plain. Whatever a client wrote, it does not end the line.
pub(crate) fn word(text: &str) -> Cow<'_, str> {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"'=\\".contains(&b));
    if plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(serde_json::to_string(text).unwrap_or_default())
    }
}

struct Line {
    out: String,
    json: bool,
}

impl Line {
    fn new(level: Level, message: &str, json: bool, now: Time) -> Self {
        let level = level.name();
        // The time is such as 2026-11-22T12:00:00.123Z.
        let out = if json {
            let message = serde_json::to_string(message).unwrap_or_default();
            format!("{{\"timestamp\":\"{now:?}\",\"level\":\"{level}\",\"message\":{message}")
        } else {
            format!("{now:?} {level:>5} {message}")
        };
        Self { out, json }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        let word = word(text);
        if self.json && !word.starts_with('"') {
            let _ = write!(self.out, "\"{word}\"");
        } else {
            self.out.push_str(&word);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        let _ = write!(self.out, "{number}");
    }

    fn name(&mut self, name: &str) {
        let _ = if self.json {
            write!(self.out, ",\"{name}\":")
        } else {
            write!(self.out, " {name}=")
        };
    }

    fn end(mut self, target: &str) -> String {
        if self.json {
            let _ = write!(self.out, ",\"target\":\"{target}\"}}");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: "0000ab120000001f".into(),
            client: ClientId::ANONYMOUS,
            surface: Surface::Gemini,
            kind: Kind::Generate,
            model: None,
            key: None,
            attempts: 2,
            verdicts: vec![Meaning::Quota, Meaning::Served],
            status: 200,
            reason: None,
            sent: 5,
            received: 7,
            usage: None,
            started: Time::from_millis(1_795_348_800_000),
            first_byte: None,
            ending: Ending::Cut,
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_client_calls_its_model() {
        let now = Time::from_millis(1_795_348_800_012);
        assert_eq!(
            record().line(false, "-", "two\nlines", now),
            "2026-11-22T12:00:00.012Z  INFO request id=0000ab120000001f client=- surface=gemini kind=generate \
             model=\"two\\nlines\" key=- attempts=2 verdicts=quota,served status=200 received=7 sent=5 ms=12 ending=cut"
        );
        let json: serde_json::Value =
            serde_json::from_str(&record().line(true, "-", "two\nlines", now)).unwrap();
        assert_eq!(
            (&json["model"], &json["ms"]),
            (&"two\nlines".into(), &12.into())
        );
        assert_eq!(
            (&json["message"], &json["target"]),
            (&"request".into(), &"gemini_relay::request".into())
        );
    }

    #[test]
    fn a_refusal_at_the_door_is_a_line_for_people_and_for_machines() {
        let now = Time::from_millis(1_795_348_800_012);
        assert_eq!(
            refused("192.0.2.7", 401, "unauthorized", false, now),
            "2026-11-22T12:00:00.012Z  INFO refused at the door peer=192.0.2.7 status=401 reason=unauthorized"
        );
        let line = refused("192.0.2.7", 401, "unauthorized", true, now);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&json["message"], &json["status"]),
            (&"refused at the door".into(), &401.into())
        );
    }
}
