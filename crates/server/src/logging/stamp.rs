//! The time at the beginning of a line.
//!
//! All but the fraction of it is the same for thousands of lines, and is made once a second.

use gemini_relay_core::Time;
use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

/// Writes what time it is, with so many digits of the fraction: `2026-11-22T12:00:00.123Z`.
pub(super) fn now(out: &mut Vec<u8>, digits: usize) {
    let now = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    stamp(out, now, digits);
}

fn stamp(out: &mut Vec<u8>, now: Duration, digits: usize) {
    thread_local! {
        static LAST: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
    }
    let (second, mut text) = LAST.get();
    if second != now.as_secs() {
        let whole = Time::from_millis(now.as_secs().saturating_mul(1000));
        // 2026-11-22T12:00:00.000Z: up to the point.
        for (to, from) in text.iter_mut().zip(format!("{whole:?}").into_bytes()) {
            *to = from;
        }
        LAST.set((now.as_secs(), text));
    }
    out.extend_from_slice(&text);
    let mut rest = now.subsec_nanos();
    let mut unit = 100_000_000;
    for _ in 0..digits.min(9) {
        out.push(b'0' + u8::try_from(rest / unit).unwrap_or_default());
        rest %= unit;
        unit /= 10;
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_to_the_digit() {
        for (seconds, nanos, digits, written) in [
            (0, 0, 3, "1970-01-01T00:00:00.000Z"),
            (1_795_348_800, 7_654_321, 3, "2026-11-22T12:00:00.007Z"),
            (1_795_348_800, 7_654_321, 6, "2026-11-22T12:00:00.007654Z"),
            (1_795_348_801, 999_999_999, 6, "2026-11-22T12:00:01.999999Z"),
            (1_709_164_800, 0, 3, "2024-02-29T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            stamp(&mut out, Duration::new(seconds, nanos), digits);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }
}
