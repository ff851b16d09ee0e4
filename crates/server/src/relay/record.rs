//! One line a request.

use super::shared::Shared;
use crate::logging;
use gemini_relay_core::pool::KeyInfo;
use gemini_relay_core::verdict::Meaning;
use gemini_relay_core::watch::Usage;
use gemini_relay_core::{ClientId, Kind, Surface, Time};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is said of a request when it is over.
pub(crate) struct Record {
    pub(crate) id: Id,
    pub(crate) client: ClientId,
    pub(crate) surface: Surface,
    pub(crate) kind: Kind,
    pub(crate) model: Option<Arc<str>>,
    /// The key that was sent last.
    pub(crate) key: Option<Arc<KeyInfo>>,
    /// The one it is at included, which has no verdict yet.
    pub(crate) attempts: u32,
    pub(crate) verdicts: SmallVec<[Meaning; 8]>,
    pub(crate) status: u16,
    pub(crate) reason: Option<&'static str>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) usage: Option<Usage>,
    pub(crate) started: Instant,
    pub(crate) first_byte: Option<Instant>,
    pub(crate) ending: Ending,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Whole.
    Whole,
    /// The client went away.
    Cancelled,
    /// It broke upstream, and so for the client.
    Cut,
    /// The relay was told to stop and did not wait for it.
    Stopped,
}

impl Record {
    /// Counts it and writes the line, with the model's name as it may be said.
    pub(crate) fn write(&self, shared: &Shared, model: &str, now: Time) {
        let whole = self.started.elapsed();
        let first_byte = self.first_byte.map(|at| at.duration_since(self.started));
        let metrics = &shared.metrics;
        metrics.request(self.surface, self.kind, self.status);
        metrics.ended(first_byte, whole, self.sent, self.received, self.usage);
        match self.ending {
            Ending::Whole => {}
            Ending::Cancelled => drop(metrics.cancelled.inc()),
            Ending::Cut => drop(metrics.cut.inc()),
            Ending::Stopped => drop(metrics.stopped.inc()),
        }
        logging::request(now, |fields| {
            let client = usize::try_from(self.client.0)
                .ok()
                .and_then(|at| shared.clients.get(at));
            fields.word("id", self.id.as_str());
            fields.text("client", client.map_or("-", |name| name));
            fields.word("surface", self.surface.name());
            fields.word("kind", self.kind.name());
            fields.text("model", model);
            fields.text("key", self.key.as_ref().map_or("-", |key| &key.label));
            fields.number("attempts", self.attempts.into());
            fields.words("verdicts", self.verdicts.iter().map(|one| one.name()));
            fields.number("status", self.status.into());
            if let Some(reason) = self.reason {
                fields.word("reason", reason);
            }
            fields.number("received", self.received);
            fields.number("sent", self.sent);
            if let Some(usage) = self.usage {
                fields.number("tokens", usage.total);
            }
            if let Some(first_byte) = first_byte {
                fields.number("first_byte_ms", millis(first_byte));
            }
            fields.number("ms", millis(whole));
            match self.ending {
                Ending::Whole => {}
                Ending::Cancelled => fields.word("ending", "cancelled"),
                Ending::Cut => fields.word("ending", "cut"),
                Ending::Stopped => fields.word("ending", "stopped"),
            }
        });
    }
}

/// A request's id: which start of the relay, and the how-manieth, in hexadecimal.
pub(crate) struct Id([u8; 16]);

impl Id {
    pub(crate) fn new(run: u32, count: u64) -> Self {
        let number = u64::from(run) << 32 | count & 0xffff_ffff;
        let mut digits = [b'0'; 16];
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            let value = (number >> (4 * at) & 15) as u8;
            *digit = value + if value < 10 { b'0' } else { b'a' - 10 };
        }
        Self(digits)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Digits always are text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_run_and_the_request() {
        assert_eq!(Id::new(0xab12, 0x1f).as_str(), "0000ab120000001f");
        assert_eq!(Id::new(u32::MAX, u64::MAX).as_str(), "ffffffffffffffff");
    }
}
