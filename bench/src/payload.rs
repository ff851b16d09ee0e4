//! The requests of the load and the answers of the upstream: Gemini's own shapes, sizes to order.
//!
//! Every request differs from the one before in one word of its first turn. Were they all the same,
//! the relay's memory of conversations would always be asked for the one it has just seen.

use bytes::Bytes;
use std::fmt::Write as _;

/// A kind of request, and of the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A kilobyte each way: where instructions are counted.
    Small,
    /// Two kilobytes each way.
    Usual,
    /// Two kilobytes, and twenty events come back.
    Stream,
    /// A megabyte with an inline image, as JSON: read before it is sent, and kept.
    Large,
    /// The very same bytes under a type that is not JSON: passed on as they come.
    Opaque,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "1k" => Self::Small,
            "2k" => Self::Usual,
            "stream" => Self::Stream,
            "json-1m" => Self::Large,
            "opaque-1m" => Self::Opaque,
            _ => return None,
        })
    }

    /// Path and query. The model says how large the answer is to be.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Small => "/v1beta/models/answer-1k:generateContent",
            Self::Stream => "/v1beta/models/answer-20:streamGenerateContent?alt=sse",
            _ => "/v1beta/models/answer-2k:generateContent",
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Opaque => "application/octet-stream",
            _ => "application/json",
        }
    }

    const fn body_bytes(self) -> usize {
        match self {
            Self::Small => 1024,
            Self::Usual | Self::Stream => 2048,
            Self::Large | Self::Opaque => 1024 * 1024,
        }
    }

    /// What follows the numbered beginning of a body of this kind.
    pub(crate) fn tail(self) -> Bytes {
        let filler = self
            .body_bytes()
            .saturating_sub(head(0).len() + AFTER_TEXT.len() + AFTER_IMAGE.len());
        let mut tail = String::with_capacity(self.body_bytes());
        if matches!(self, Self::Large | Self::Opaque) {
            tail.push_str(BEFORE_IMAGE);
            tail.extend(std::iter::repeat_n('A', filler - BEFORE_IMAGE.len()));
            tail.push_str(AFTER_IMAGE);
        } else {
            tail.push_str(&words(filler + AFTER_IMAGE.len()));
        }
        tail.push_str(AFTER_TEXT);
        Bytes::from(tail)
    }

    /// How long an answer of this kind is.
    pub(crate) fn answer_bytes(self) -> usize {
        match self {
            Self::Small => answer(1024).len(),
            Self::Stream => events().iter().map(Bytes::len).sum(),
            _ => answer(2048).len(),
        }
    }
}

/// The beginning of a body: always as long, never the same.
pub(crate) fn head(number: u32) -> Bytes {
    Bytes::from(format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"{number:08x} "#
    ))
}

/// A whole answer of about `size` bytes.
pub(crate) fn answer(size: usize) -> Bytes {
    Bytes::from(format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{}"}}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":400,"candidatesTokenCount":420,"totalTokenCount":820}},"modelVersion":"answer","responseId":"made-up"}}"#,
        words(size.saturating_sub(238))
    ))
}

/// The events of a streamed answer; the last one ends it.
pub(crate) fn events() -> Vec<Bytes> {
    (1..=EVENTS)
        .map(|number| {
            let finish = if number == EVENTS { r#","finishReason":"STOP""# } else { "" };
            let mut event = String::new();
            let _ = write!(
                event,
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}],\"role\":\"model\"}}{finish},\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":400,\"candidatesTokenCount\":{},\"totalTokenCount\":{}}},\"modelVersion\":\"answer\"}}\r\n\r\n",
                words(60), number * 12, 400 + number * 12,
            );
            Bytes::from(event)
        })
        .collect()
}

fn words(length: usize) -> String {
    "the quick brown fox jumps over the lazy dog, "
        .chars()
        .cycle()
        .take(length)
        .collect()
}

/// About as many as a chat answer has: enough that passing them on one by one is what is measured.
const EVENTS: usize = 20;

const BEFORE_IMAGE: &str = r#""},{"inlineData":{"mimeType":"image/png","data":""#;
const AFTER_IMAGE: &str = r#""}},{"text":"what is this?"#;
const AFTER_TEXT: &str = r#""}]},{"role":"model","parts":[{"text":"a sentence"}]},{"role":"user","parts":[{"text":"go on"}]}],"generationConfig":{"temperature":0.5}}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_answers_are_as_long_as_they_are_called() {
        for kind in [Kind::Small, Kind::Usual, Kind::Large, Kind::Opaque] {
            assert_eq!(head(7).len() + kind.tail().len(), kind.body_bytes());
        }
        assert!(
            answer(1024).len().abs_diff(1024) < 8,
            "{}",
            answer(1024).len()
        );
        assert!(answer(2048).len().abs_diff(2048) < 8);
        assert_eq!(events().len(), 20);
    }
}
