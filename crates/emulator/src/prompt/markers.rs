//! Markers: what a prompt's own text says about its answer.

use std::time::Duration;

/// What the last turn's text says about the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Markers {
    pub(crate) image: Option<usize>,
    pub(crate) text: Option<usize>,
    pub(crate) chunks: Option<usize>,
    pub(crate) delay: Option<Duration>,
    pub(crate) echo: bool,
    pub(crate) call: Option<String>,
}

impl Markers {
    pub(super) fn read(text: &str) -> Markers {
        let mut markers = Markers::default();
        for (name, value) in found(text) {
            match name {
                "image" => markers.image = size(value),
                "text" => markers.text = size(value),
                "chunks" => {
                    markers.chunks = value
                        .parse()
                        .ok()
                        .filter(|chunks| (1..=MOST_CHUNKS).contains(chunks))
                }
                "delay" => markers.delay = delay(value),
                "echo" => markers.echo = true,
                "call" => markers.call = Some(value.to_owned()),
                _ => {}
            }
        }
        markers
    }
}

/// The `[[name:value]]` in a text.
pub(super) fn found(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("[[").skip(1).filter_map(|rest| {
        let inner = rest.split_once("]]")?.0;
        Some(inner.split_once(':').unwrap_or((inner, "")))
    })
}

/// `40MB`, `2KB` or `100`.
fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text.get(digits.len()..)? {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        _ => return None,
    };
    digits
        .parse::<usize>()
        .ok()?
        .checked_mul(unit)
        .filter(|bytes| *bytes <= MOST_BYTES)
}

/// `50ms` or `2s`.
fn delay(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => text
            .strip_suffix('s')?
            .parse()
            .ok()
            .map(Duration::from_secs),
    }
}

/// Enough to hold any client's buffers to the test, little enough to hold in memory.
const MOST_CHUNKS: usize = 100_000;
const MOST_BYTES: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read() {
        let markers = Markers::read(
            "[[image:40MB]] and [[text:2KB]] [[echo]] [[call:look]] [[delay:2s]] [[chunks:0]] [[x",
        );
        assert_eq!(
            markers,
            Markers {
                image: Some(40 << 20),
                text: Some(2_048),
                chunks: None,
                delay: Some(Duration::from_secs(2)),
                echo: true,
                call: Some("look".to_owned()),
            }
        );
    }
}
