//! One line a request.

use super::shared::Shared;
use gemini_relay_core::pool::KeyInfo;
use gemini_relay_core::verdict::Meaning;
use gemini_relay_core::watch::Usage;
use gemini_relay_core::{ClientId, Kind, Surface};
use std::sync::Arc;
use std::time::Instant;

/// What is said of a request when it is over.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) client: ClientId,
    pub(crate) surface: Surface,
    pub(crate) kind: Kind,
    pub(crate) model: Option<Arc<str>>,
    /// The key that was sent last.
    pub(crate) key: Option<Arc<KeyInfo>>,
    pub(crate) verdicts: Vec<Meaning>,
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
}

impl Record {
    /// Counts it and writes the line.
    pub(crate) fn write(&self, shared: &Shared) {
        let whole = self.started.elapsed();
        let first_byte = self.first_byte.map(|at| at.duration_since(self.started));
        let metrics = &shared.metrics;
        metrics.request(self.surface, self.kind, self.status);
        metrics.ended(first_byte, whole, self.sent, self.received, self.usage);
        match self.ending {
            Ending::Whole => {}
            Ending::Cancelled => drop(metrics.cancelled.inc()),
            Ending::Cut => drop(metrics.cut.inc()),
        }
        if !tracing::enabled!(target: "gemini_relay::request", tracing::Level::INFO) {
            return;
        }
        let client = usize::try_from(self.client.0)
            .ok()
            .and_then(|at| shared.clients.get(at));
        let mut verdicts = String::new();
        for meaning in &self.verdicts {
            if !verdicts.is_empty() {
                verdicts.push(',');
            }
            verdicts.push_str(meaning.name());
        }
        tracing::info!(
            target: "gemini_relay::request",
            id = self.id,
            client = client.map_or("-", |name| &**name),
            surface = self.surface.name(),
            kind = self.kind.name(),
            model = self.model.as_deref().unwrap_or("-"),
            key = self.key.as_ref().map_or("-", |key| &*key.label),
            attempts = self.verdicts.len(),
            verdicts,
            status = self.status,
            reason = self.reason,
            received = self.received,
            sent = self.sent,
            tokens = self.usage.map(|usage| usage.total),
            first_byte_ms = first_byte.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            ms = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX),
            ending = match self.ending { Ending::Whole => None, Ending::Cancelled => Some("cancelled"), Ending::Cut => Some("cut") },
            "request"
        );
    }
}
