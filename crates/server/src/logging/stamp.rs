//! The time at the beginning of a line.
//!
//! All but the fraction of it is the same for thousands of lines, and is made once a second.

use gemini_relay_core::Time;
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// What time it is.
pub(super) fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Writes it: `2026-11-22T12:00:00.123Z`.
pub(super) fn write(out: &mut Vec<u8>, at: Time) {
    thread_local! {
        static LAST: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
    }
    let (second, mut text) = LAST.get();
    let (now, rest) = (at.as_millis() / 1000, at.as_millis() % 1000);
    if second != now {
        let whole = Time::from_millis(now.saturating_mul(1000));
        // 2026-11-22T12:00:00.000Z: up to the point.
        for (to, from) in text.iter_mut().zip(format!("{whole:?}").into_bytes()) {
            *to = from;
        }
        LAST.set((now, text));
    }
    out.extend_from_slice(&text);
    let digit = |unit| b'0' + u8::try_from(rest / unit % 10).unwrap_or_default();
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b'Z']);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_to_the_digit() {
        for (millis, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_348_800_007, "2026-11-22T12:00:00.007Z"),
            (1_795_348_800_120, "2026-11-22T12:00:00.120Z"),
            (1_795_348_801_999, "2026-11-22T12:00:01.999Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write(&mut out, Time::from_millis(millis));
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
