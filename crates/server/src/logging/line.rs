//! One event as one line: for people `time level message name=value …`, for machines an object of JSON
//! with the fields beside `timestamp`, `level` and `target`.
//!
//! For people, values are written as they are where that is unambiguous and quoted where it is not, so
//! nothing that a client sent can end a line or look like another field.

use super::escape::{self, Through};
use super::stamp;
use gemini_relay_core::Time;
use std::fmt::{Debug, Write};
use tracing::Level;
use tracing::field::{Field, Visit};

/// How lines look.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Json,
    Pretty { colour: bool },
}

impl Style {
    /// Writes a line, with its end, after what is there.
    pub(super) fn line(
        self,
        out: &mut Vec<u8>,
        level: Level,
        target: &str,
        at: Time,
        fill: impl FnOnce(&mut Fields<'_>),
    ) {
        match self {
            Self::Json => {
                out.extend_from_slice(b"{\"timestamp\":\"");
                stamp::write(out, at);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level.as_str().as_bytes());
                out.push(b'"');
                fill(&mut Fields { out, json: true });
                out.extend_from_slice(b",\"target\":\"");
                escape::json(out, target);
                out.extend_from_slice(b"\"}\n");
            }
            Self::Pretty { colour } => {
                stamp::write(out, at);
                let (name, paint) = match level {
                    Level::ERROR => (" ERROR", "\x1b[31m"),
                    Level::WARN => ("  WARN", "\x1b[33m"),
                    Level::INFO => ("  INFO", "\x1b[32m"),
                    Level::DEBUG => (" DEBUG", "\x1b[34m"),
                    Level::TRACE => (" TRACE", "\x1b[35m"),
                };
                if colour {
                    out.extend_from_slice(paint.as_bytes());
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b"\x1b[0m");
                } else {
                    out.extend_from_slice(name.as_bytes());
                }
                fill(&mut Fields { out, json: false });
                out.push(b'\n');
            }
        }
    }
}

/// What a line says.
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

impl Fields<'_> {
    /// What happened, in words.
    pub(crate) fn message(&mut self, text: &str) {
        if self.json {
            self.text("message", text);
        } else {
            self.out.push(b' ');
            escape::open(self.out, text);
        }
    }

    /// A word of this project's own making, which needs no look.
    #[inline(always)]
    pub(crate) fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        self.quote();
        self.out.extend_from_slice(word.as_bytes());
        self.quote();
    }

    /// Such words, with commas between.
    #[inline(always)]
    pub(crate) fn words<'a>(&mut self, name: &str, words: impl IntoIterator<Item = &'a str>) {
        self.name(name);
        self.quote();
        let before = self.out.len();
        for word in words {
            if self.out.len() > before {
                self.out.push(b',');
            }
            self.out.extend_from_slice(word.as_bytes());
        }
        if self.out.len() == before && !self.json {
            self.out.extend_from_slice(b"\"\"");
        }
        self.quote();
    }

    /// Text that anyone may have written.
    #[inline(always)]
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.escaped(text);
    }

    #[inline(always)]
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.bare(name, itoa::Buffer::new().format(number));
    }

    /// What is a number or a truth in JSON too.
    #[inline(always)]
    fn bare(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn shown(&mut self, name: &str, value: &dyn Debug) {
        self.name(name);
        if self.json {
            self.quote();
            let _ = write!(Through(self.out, escape::json), "{value:?}");
            self.quote();
            return;
        }
        let before = self.out.len();
        let _ = write!(Through(self.out, escape::plainly), "{value:?}");
        if !self.out.get(before..).is_some_and(escape::is_plain) {
            let text = self.out.split_off(before);
            escape::quoted(self.out, &String::from_utf8_lossy(&text));
        }
    }

    fn escaped(&mut self, text: &str) {
        if self.json {
            self.quote();
            escape::json(self.out, text);
            self.quote();
        } else if escape::is_plain(text.as_bytes()) {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            escape::quoted(self.out, text);
        }
    }

    /// Inlined, and all that begin with it: where the name is known, as in a request's line, it is then
    /// a store and not a copy.
    #[inline(always)]
    fn name(&mut self, name: &str) {
        if self.json {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'=');
        }
    }

    /// Around every string of JSON.
    #[inline]
    fn quote(&mut self) {
        if self.json {
            self.out.push(b'"');
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.message(value);
        } else {
            self.text(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), if value { "true" } else { "false" });
    }

    /// Messages and `Display` values come this way; they are ours, or say of a library what went wrong,
    /// which may hold anything.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE && !self.json {
            self.out.push(b' ');
            let _ = write!(Through(self.out, escape::open), "{value:?}");
        } else {
            self.shown(field.name(), value);
        }
    }
}

/// The field that a macro's format string becomes.
const MESSAGE: &str = "message";
