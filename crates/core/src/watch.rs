//! Watching an answer go by, in constant memory.
//!
//! Two things must be known of it. What it cost: the last `usageMetadata` (or `usage`), which stands in
//! the last event of a stream, behind what may be 40 MB of image. And whether it ended: a stream that
//! stops without a finish reason was cut short upstream, and its client must be told so by a cut.
//!
//! Both are found by looking for their names with a quote before and after. In the middle of a JSON
//! string a quote is escaped, so text that talks of `"usageMetadata"` is not mistaken for it.

use memchr::memchr2_iter;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// What an answer cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer, thoughts included.
    pub output: u64,
    /// In all, as Google counts it.
    pub total: u64,
}

/// Watches one answer.
#[derive(Debug, Default)]
pub struct Watch {
    /// The end of the last piece, long enough to hold half of a name.
    tail: Vec<u8>,
    /// A usage object being collected.
    open: Option<Vec<u8>>,
    usage: Option<Usage>,
    /// Whether its end is looked for.
    must_end: bool,
    ended: bool,
}

impl Watch {
    /// Watches a stream that must say that it is at its end.
    #[must_use]
    pub fn stream() -> Self {
        Self {
            must_end: true,
            ..Self::default()
        }
    }

    /// Sees the next piece.
    pub fn see(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        if let Some(open) = &mut self.open {
            let room = MAX_USAGE.saturating_sub(open.len());
            open.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            self.close();
        }
        // The seam: a name that began in the last piece.
        let mut seam = std::mem::take(&mut self.tail);
        let before = seam.len();
        seam.extend_from_slice(piece.get(..SEAM.min(piece.len())).unwrap_or_default());
        if before > 0 {
            self.names(&seam, before, piece);
        }
        self.names(piece, 0, piece);
        self.tail = match piece.len().checked_sub(SEAM) {
            Some(from) => piece.get(from..).unwrap_or_default().to_vec(),
            None => {
                let all = if before > 0 { seam } else { piece.to_vec() };
                all.get(all.len().saturating_sub(SEAM)..)
                    .unwrap_or_default()
                    .to_vec()
            }
        };
    }

    /// What it cost, if it said.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether anything said that it was at its end: a finish reason, a blocked prompt, an error.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Looks for names in `text`, whose first `before` bytes were seen in the last piece; what follows
    /// `text` stands in `piece`.
    fn names(&mut self, text: &[u8], before: usize, piece: &[u8]) {
        if self.must_end && !self.ended {
            self.ended = ENDS.iter().any(|end| {
                let mut found = end.find_iter(text);
                found.any(|at| !is_null(text, at + end.needle().len()))
            });
        }
        for at in USAGE.find_iter(text) {
            let after = at + USAGE.needle().len();
            let rest = text.get(after..).unwrap_or_default();
            let end = after
                + if rest.starts_with(b"Metadata\"") {
                    9
                } else {
                    1
                };
            if !rest.starts_with(b"Metadata\"") && !rest.starts_with(b"\"")
                || before > 0 && end <= before
            {
                continue;
            }
            // Where the value begins, in the piece.
            let from = end.saturating_sub(before);
            let rest = piece.get(from..).unwrap_or_default();
            self.open = Some(
                rest.get(..MAX_USAGE.min(rest.len()))
                    .unwrap_or_default()
                    .to_vec(),
            );
            self.close();
        }
    }

    /// Reads the usage object if it is whole.
    fn close(&mut self) {
        let Some(open) = &self.open else { return };
        match object_end(open) {
            End::At(end) => {
                self.usage = read(open.get(..end).unwrap_or_default()).or(self.usage);
                self.open = None;
            }
            End::NoObject => self.open = None,
            End::NotYet if open.len() >= MAX_USAGE => self.open = None,
            End::NotYet => {}
        }
    }
}

/// Where the object after a name's colon ends.
enum End {
    At(usize),
    NotYet,
    NoObject,
}

/// Usage objects hold numbers and names; braces inside their strings there are none.
fn object_end(text: &[u8]) -> End {
    let start = text
        .iter()
        .position(|byte| !matches!(byte, b':' | b' ' | b'\r' | b'\n' | b'\t'));
    let Some(start) = start else {
        return End::NotYet;
    };
    if text.get(start) != Some(&b'{') {
        return End::NoObject;
    }
    let mut depth = 0_u32;
    for at in memchr2_iter(b'{', b'}', text) {
        if text.get(at) == Some(&b'{') {
            depth += 1;
        } else if depth <= 1 {
            return End::At(at + 1);
        } else {
            depth -= 1;
        }
    }
    End::NotYet
}

fn read(object: &[u8]) -> Option<Usage> {
    let prompt = number(object, &NUMBERS[0]).or_else(|| number(object, &NUMBERS[1]));
    let output = number(object, &NUMBERS[2]).or_else(|| number(object, &NUMBERS[3]));
    let thoughts = number(object, &NUMBERS[4]).unwrap_or(0);
    let total = number(object, &NUMBERS[5]).or_else(|| number(object, &NUMBERS[6]));
    prompt.or(output).or(total)?;
    let (prompt, output) = (prompt.unwrap_or(0), output.unwrap_or(0) + thoughts);
    Some(Usage {
        prompt,
        output,
        total: total.unwrap_or(prompt + output),
    })
}

/// The number after a name.
fn number(object: &[u8], name: &Finder<'_>) -> Option<u64> {
    let at = name.find(object)? + name.needle().len();
    let rest = object
        .get(at..)?
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let mut value = None;
    for digit in digits {
        value = Some(
            value
                .unwrap_or(0_u64)
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?,
        );
    }
    value
}

/// Whether the value after a name is `null`: OpenAI's chunks carry `"finish_reason":null` until the end.
fn is_null(text: &[u8], at: usize) -> bool {
    let value = text.get(at..).unwrap_or_default().trim_ascii_start();
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
    value.starts_with(b"null") || value.is_empty() || b"null".starts_with(value)
}

static NUMBERS: LazyLock<[Finder<'static>; 7]> = LazyLock::new(|| {
    [
        Finder::new(b"\"promptTokenCount\""),
        Finder::new(b"\"prompt_tokens\""),
        Finder::new(b"\"candidatesTokenCount\""),
        Finder::new(b"\"completion_tokens\""),
        Finder::new(b"\"thoughtsTokenCount\""),
        Finder::new(b"\"totalTokenCount\""),
        Finder::new(b"\"total_tokens\""),
    ]
});

/// Begins `"usageMetadata"` and OpenAI's `"usage"`.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage"));

static ENDS: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
    [
        Finder::new(b"\"finishReason\""),
        Finder::new(b"\"finish_reason\""),
        Finder::new(b"\"blockReason\""),
        Finder::new(b"\"error\""),
        Finder::new(b"[DONE]"),
    ]
});

/// Longer than any of the names with what follows it up to its value.
const SEAM: usize = 48;

/// A usage object with all its details is a few hundred bytes.
const MAX_USAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn watch(answer: &str) -> Watch {
        let mut whole = Watch::stream();
        whole.see(answer.as_bytes());
        for size in [1, 3, 16, 47, 48, 49, 100] {
            let mut pieces = Watch::stream();
            answer
                .as_bytes()
                .chunks(size)
                .for_each(|piece| pieces.see(piece));
            assert_eq!(
                (pieces.usage(), pieces.ended()),
                (whole.usage(), whole.ended()),
                "in pieces of {size}"
            );
        }
        whole
    }

    #[test]
    fn the_last_usage_counts() {
        let seen = watch(
            "data: {\"usageMetadata\":{\"promptTokenCount\":3,\"totalTokenCount\":3}}\r\n\r\ndata: {\"candidates\":[{\"finishReason\": \"STOP\"}],\
             \"usageMetadata\": {\"promptTokenCount\": 3,\"candidatesTokenCount\":4,\"thoughtsTokenCount\":5,\"totalTokenCount\":12}}\r\n\r\n",
        );
        assert_eq!(
            seen.usage(),
            Some(Usage {
                prompt: 3,
                output: 9,
                total: 12
            })
        );
        assert!(seen.ended());
    }

    #[test]
    fn text_about_usage_is_not_usage() {
        let seen = watch(
            r#"data: {"text":"say \"usageMetadata\":{\"totalTokenCount\":9} and \"finishReason\":\"x\""}"#,
        );
        assert_eq!(seen.usage(), None);
        assert!(!seen.ended());
    }

    #[test]
    fn openai_chunks_end_with_a_reason_that_is_not_null() {
        assert!(
            !watch("data: {\"choices\":[{\"finish_reason\":null}],\"usage\":null}\n\n").ended()
        );
        let seen = watch(
            "data: {\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\ndata: [DONE]\n\n",
        );
        assert!(seen.ended());
        assert_eq!(seen.usage().unwrap().total, 3);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut watch = Watch::default();
        watch.see(b"\"usageMetadata\":{\"x\":\"");
        for _ in 0..1000 {
            watch.see(&[b'a'; 4096]);
        }
        assert!(
            watch
                .open
                .as_ref()
                .is_none_or(|open| open.len() <= MAX_USAGE)
        );
        assert!(watch.tail.len() <= SEAM);
    }
}
