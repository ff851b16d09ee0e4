//! One event as one line of plain text: time, level, message, `name=value` …
//!
//! A busy relay writes a line a request, and formatting it was a sixth of all that a request cost with
//! the formatter that comes with the library. Values are written as they are where that is unambiguous
//! and quoted where it is not, so nothing that a client sent can end a line or colour a terminal.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as lines.
pub(crate) struct Line {
    pub(crate) colour: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        now(&mut writer)?;
        let level = *event.metadata().level();
        let (name, paint) = match level {
            Level::ERROR => (" ERROR", "\x1b[31m"),
            Level::WARN => ("  WARN", "\x1b[33m"),
            Level::INFO => ("  INFO", "\x1b[32m"),
            Level::DEBUG => (" DEBUG", "\x1b[34m"),
            Level::TRACE => (" TRACE", "\x1b[35m"),
        };
        if self.colour {
            writer.write_str(paint)?;
            writer.write_str(name)?;
            writer.write_str("\x1b[0m")?;
        } else {
            writer.write_str(name)?;
        }
        // Gathered first: each piece would go through the library's writer by itself otherwise.
        thread_local! {
            static FIELDS: RefCell<String> = const { RefCell::new(String::new()) };
        }
        FIELDS.with(|fields| {
            let mut text = fields.take();
            text.clear();
            event.record(&mut Fields(&mut text));
            text.push('\n');
            let written = writer.write_str(&text);
            fields.replace(text);
            written
        })
    }
}

/// The time, of which all but the milliseconds is made once a second.
fn now(writer: &mut Writer<'_>) -> fmt::Result {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            text.clear();
            SystemTime.format_time(&mut Writer::new(text))?;
            // 2026-11-22T12:00:00.123456Z: up to the point.
            text.truncate(20);
        }
        writer.write_str(text)?;
        let millis = now.subsec_millis();
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            writer.write_char(char::from_digit(digit, 10).unwrap_or('0'))?;
        }
        writer.write_char('Z')
    })
}

struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push(' ');
        if field.name() != "message" {
            self.0.push_str(field.name());
            self.0.push('=');
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        if !value.is_empty() && value.bytes().all(is_plain) {
            self.0.push_str(value);
        } else {
            let _ = write!(self.0, "{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        // Messages and `Display` values come this way; they are ours, or say of a library what went
        // wrong, which may hold anything.
        let _ = write!(Escaped(self.0), "{value:?}");
    }
}

/// Takes text with what could end a line or steer a terminal escaped.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if letter.is_control() {
                self.0.extend(letter.escape_default());
            } else {
                self.0.push(letter);
            }
        }
        Ok(())
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=')
}
