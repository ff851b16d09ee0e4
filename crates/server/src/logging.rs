//! The log: to standard error, bounded, and with nothing in it that others wrote of keys.
//!
//! Requests must not wait for a terminal that was stopped with Ctrl-S or a collector that hangs, so
//! lines go through a bounded [`queue`] to a thread that writes them, and are dropped when it is full.
//!
//! The level holds for this project alone. Libraries log headers and frames at their lower levels,
//! keys and tokens included; of them only warnings are let through, whatever was asked for.
//!
//! A busy relay writes a line a request, and that line was the largest single thing a request paid for
//! itself. So lines are made here, straight into bytes, and not by the library that is usual for it;
//! and the one line a request skips the way of an event ([`request`]): it is the same line.

mod escape;
mod line;
mod queue;
mod stamp;
mod subscriber;

pub(crate) use line::Fields;

use crate::config::{Log, LogFormat};
use gemini_relay_core::Time;
use line::Style;
use queue::Queue;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;
use subscriber::Lines;
use tracing::{Level, dispatcher};

/// Starts logging. What is logged last is written when the guard is dropped.
///
/// # Errors
/// When there can be no thread for it.
pub(crate) fn init(log: Log) -> io::Result<Guard> {
    let (lines, guard) = open(log, colour(), io::stderr())?;
    // Both fail only where a test has set one before.
    if tracing::subscriber::set_global_default(lines).is_ok() {
        subscriber::take_records();
    }
    Ok(guard)
}

/// The line of a request that is over, as if it had been an event.
pub(crate) fn request(at: Time, fill: impl FnOnce(&mut Fields<'_>)) {
    let mut fill = Some(fill);
    dispatcher::get_default(|to| {
        if let Some(lines) = to.downcast_ref::<Lines>()
            && lines.lets(Level::INFO, REQUEST)
            && let Some(fill) = fill.take()
        {
            lines.write(Level::INFO, REQUEST, at, |fields| {
                fields.message("request");
                fill(fields);
            });
        }
    });
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether standard error takes colour: a terminal, and nobody said no.
pub(crate) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Keeps the log open.
pub(crate) struct Guard(Arc<Queue>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.finish(PATIENCE);
    }
}

fn open(log: Log, colour: bool, out: impl Write + Send + 'static) -> io::Result<(Lines, Guard)> {
    let style = match log.format {
        LogFormat::Json => Style::Json,
        LogFormat::Pretty => Style::Pretty { colour },
    };
    let queue = Queue::start(out, MOMENT, move |dropped, into| {
        style.line(
            into,
            Level::WARN,
            "gemini_relay::logging",
            stamp::now(),
            |fields| {
                fields.message("the log could not be written fast enough: lines were dropped");
                fields.number("lines", dropped);
            },
        );
    })?;
    Ok((
        Lines::new(log.level, style, Arc::clone(&queue)),
        Guard(queue),
    ))
}

/// The target of requests' lines.
const REQUEST: &str = "gemini_relay::request";

/// Twenty times a second at most is the thread up for a few lines; no person sees the delay.
const MOMENT: Duration = Duration::from_millis(50);

/// How long the end waits for a standard error that takes nothing: a supervisor would wait longer, a
/// person at a terminal would not.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
