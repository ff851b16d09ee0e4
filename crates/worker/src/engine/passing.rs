//! An answer on its way to the client.

use super::Engine;
use crate::log::Ending;
use gemini_relay_core::Time;
use gemini_relay_core::watch::Watch;

/// What is to be passed on for a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The piece.
    AsItIs,
    /// These bytes; none: nothing yet.
    Instead(Vec<u8>),
}

/// How an answer's end is to be passed on.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// These bytes, and then the end.
    Whole(Vec<u8>),
    /// The connection is to be cut: it stopped before its end.
    Cut,
}

impl Engine {
    /// A piece on its way.
    pub fn see(&mut self, handle: u32, piece: &[u8], now: Time) -> Shown {
        let Some(exchange) = self.exchange(handle) else {
            // Nothing can be looked for in it any more.
            return Shown::Instead(Vec::new());
        };
        exchange.heard = now;
        exchange.record.first_byte.get_or_insert(now);
        exchange.record.sent += piece.len() as u64;
        let Some(passing) = &mut exchange.passing else {
            return Shown::AsItIs;
        };
        let shown = passing.veil.as_mut().and_then(|veil| veil.over(piece));
        if let Some(watch) = &mut passing.watch {
            watch.see(piece);
        }
        shown.map_or(Shown::AsItIs, Shown::Instead)
    }

    /// No more comes; `broken` if it broke, or paused for too long.
    pub fn ended(&mut self, handle: u32, broken: bool, now: Time) -> End {
        let Some(exchange) = self.exchange(handle) else {
            return End::Cut;
        };
        let record = &mut exchange.record;
        let passing = exchange.passing.as_mut();
        let watch = passing.as_ref().and_then(|passing| passing.watch.as_ref());
        record.usage = watch.and_then(Watch::usage);
        if watch.is_some_and(Watch::failed) {
            record.reason = Some("error-in-stream");
        }
        let truncated = passing.as_ref().is_some_and(|passing| passing.must_end)
            && !watch.is_none_or(Watch::ended);
        let end = if broken || truncated {
            record.ending = Ending::Cut;
            record.reason = Some(if broken { "broken" } else { "truncated" });
            End::Cut
        } else {
            record.ending = Ending::Whole;
            let veil = passing.and_then(|passing| passing.veil.as_mut());
            End::Whole(veil.and_then(|veil| veil.rest()).unwrap_or_default())
        };
        self.close(handle, now);
        end
    }
}
