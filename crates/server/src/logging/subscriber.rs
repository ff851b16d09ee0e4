//! Where events come from: `tracing`, of this project and of libraries, and `log`, of the few libraries
//! that use that.
//!
//! There is nothing here for spans. Nobody in this project opens one, and libraries open theirs at
//! levels that are not let through.

use super::line::{Fields, Style};
use super::queue::Queue;
use super::stamp;
use gemini_relay_core::Time;
use std::cell::Cell;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, dispatcher};

/// Makes a line of each event.
pub(super) struct Lines {
    ours: LevelFilter,
    others: LevelFilter,
    style: Style,
    queue: Arc<Queue>,
}

impl Lines {
    pub(super) fn new(level: LevelFilter, style: Style, queue: Arc<Queue>) -> Self {
        Self {
            ours: level,
            others: level.min(LevelFilter::WARN),
            style,
            queue,
        }
    }

    /// Whether such a line is wanted.
    pub(super) fn lets(&self, level: Level, target: &str) -> bool {
        level
            <= if target.starts_with(OURS) {
                self.ours
            } else {
                self.others
            }
    }

    /// Writes a line, made where this thread makes all of its lines.
    pub(super) fn write(
        &self,
        level: Level,
        target: &str,
        at: Time,
        fill: impl FnOnce(&mut Fields<'_>),
    ) {
        thread_local! {
            static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        // Taken out: what is formatted may log in turn, and a thread that ends has none any more.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.clear();
        self.style.line(&mut line, level, target, at, fill);
        self.queue.push(&line, level <= Level::WARN);
        if line.capacity() <= KEPT {
            let _ = LINE.try_with(|kept| kept.set(line));
        }
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lets(*metadata.level(), metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.ours)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        self.write(
            *metadata.level(),
            metadata.target(),
            stamp::now(),
            |fields| {
                event.record(fields);
            },
        );
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Takes what libraries say through `log`, too.
pub(super) fn take_records() {
    let others = dispatcher::get_default(|to| to.downcast_ref::<Lines>().map(|lines| lines.others));
    if log::set_logger(&Records).is_ok() {
        log::set_max_level(match others.and_then(LevelFilter::into_level) {
            Some(Level::ERROR) => log::LevelFilter::Error,
            // More than warnings is let through of nobody else.
            Some(_) => log::LevelFilter::Warn,
            None => log::LevelFilter::Off,
        });
    }
}

struct Records;

impl log::Log for Records {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let most = if metadata.target().starts_with(WATCHES) {
            log::LevelFilter::Error
        } else {
            log::LevelFilter::Warn
        };
        metadata.level() <= log::max_level().min(most)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::ERROR,
            log::Level::Warn => Level::WARN,
            log::Level::Info => Level::INFO,
            log::Level::Debug => Level::DEBUG,
            log::Level::Trace => Level::TRACE,
        };
        dispatcher::get_default(|to| {
            if let Some(lines) = to.downcast_ref::<Lines>() {
                lines.write(level, record.target(), stamp::now(), |fields| {
                    fields.message(&record.args().to_string());
                });
            }
        });
    }

    fn flush(&self) {}
}

/// How this project's targets begin.
const OURS: &str = "gemini_relay";

/// What watches folders. It warns when one that it watches is removed, as Kubernetes does at each change, and that
/// is nobody's fault; what comes of it for the keys, [`crate::keys`] finds out and says by itself.
const WATCHES: &str = "notify";

/// Longer than any line but one with a monstrous model's name in it.
const KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::super::{Log, LogFormat, open};
    use super::*;
    use log::Log as _;

    #[test]
    fn libraries_that_use_the_other_way_are_heard_of_warnings_but_for_the_one_that_watches() {
        let log = Log {
            level: LevelFilter::TRACE,
            format: LogFormat::Pretty,
        };
        let (mut read, write) = std::io::pipe().unwrap();
        let (lines, guard) = open(log, false, write).unwrap();
        tracing::subscriber::with_default(lines, || {
            take_records();
            for (target, level) in [
                ("mio::poll", log::Level::Info),
                ("mio::poll", log::Level::Warn),
                ("notify::inotify", log::Level::Warn),
            ] {
                Records.log(
                    &log::Record::builder()
                        .level(level)
                        .target(target)
                        .args(format_args!("{target}'s {}\nwords", level.as_str()))
                        .build(),
                );
            }
        });
        drop(guard);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut read, &mut text).unwrap();
        assert!(
            text.ends_with("  WARN mio::poll's WARN\\nwords\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
