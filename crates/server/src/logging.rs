//! The log: to standard error, bounded, and with nothing in it that others wrote of keys.
//!
//! Requests must not wait for a terminal that was stopped with Ctrl-S or a collector that hangs, so
//! lines go through a bounded queue to a thread that writes them, and are dropped when it is full.
//!
//! The level holds for this project alone. Libraries log headers and frames at their lower levels,
//! keys and tokens included; of them only warnings are let through, whatever was asked for.

mod line;

use crate::config::{Log, LogFormat};
use line::Line;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. What is logged last is written when the guard is dropped.
pub(crate) fn init(log: Log) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let filter = Targets::new()
        .with_default(log.level.min(LevelFilter::WARN))
        .with_target("gemini_relay", log.level);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match log.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        LogFormat::Pretty => lines.event_format(Line { colour: colour() }).boxed(),
    };
    // Fails only where a test has set one before.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    guard
}

/// Whether standard error takes colour: a terminal, and nobody said no.
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Some seconds of a busy relay's request lines, at a few hundred bytes each: 2 MB at most.
const LINES: usize = 8192;
