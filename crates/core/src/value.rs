//! Times, sizes and switches as people write them in options and variables. Each refusal says what is
//! allowed and shows one right text.

use std::time::Duration;

/// Why a text is no such value: the remedy, as a clause.
pub type Remedy = &'static str;

/// `30s`, `500ms`, `10m`, `1h30m`; a bare `0`.
///
/// # Errors
/// The remedy.
pub fn duration(text: &str) -> Result<Duration, Remedy> {
    const REMEDY: Remedy = "write a time with its unit: 500ms, 30s, 10m or 1h";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or(REMEDY)?;
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let one = match unit.trim() {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            _ => return Err(REMEDY),
        };
        let part = u32::try_from(number)
            .ok()
            .and_then(|n| one.checked_mul(n))
            .ok_or(REMEDY)?;
        total = total.checked_add(part).ok_or(REMEDY)?;
        rest = after;
    }
    if text.is_empty() || total > LONGEST {
        return Err("write a time of at most 365d, with its unit: 500ms, 30s, 10m or 1h");
    }
    Ok(total)
}

/// `64MB`, `1GiB`, `512KB`; a bare `0`.
///
/// # Errors
/// The remedy.
pub fn size(text: &str) -> Result<usize, Remedy> {
    const REMEDY: Remedy = "write a size with its unit: 512KB, 64MB or 1GiB";
    if text == "0" {
        return Ok(0);
    }
    let (number, unit) = split_number(text).ok_or(REMEDY)?;
    let one: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(REMEDY),
    };
    number
        .checked_mul(one)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or(REMEDY)
}

/// `on`, `off`, and the other words for it.
///
/// # Errors
/// The remedy.
pub fn on_off(text: &str) -> Result<bool, Remedy> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("write on or off"),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    number.parse().ok().map(|n| (n, rest))
}

/// Longer is a slip of the keyboard, and sums of such times overflow somewhere.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "30", "s", "-1s", "1.5s", "1w", "99999999d", "30 s x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_has_its_unit() {
        assert_eq!(size("64MB"), Ok(64_000_000));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("512 kb"), Ok(512_000));
        for wrong in ["", "64", "MB", "-1MB", "1TB", "99999999999999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
