//! Watching an answer go by, in constant memory.
//!
//! Two things must be known of it. What it cost: the last `usageMetadata` (or `usage`), which stands in
//! the last event of a stream, behind what may be 40 MB of image. And whether it ended: a stream that
//! stops without a finish reason was cut short upstream, and its client must be told so by a cut.
//!
//! Both are found by looking for their names with a quote before and after, and a colon behind. In the
//! middle of a JSON string a quote is escaped, so text that talks of `"usageMetadata"` is not mistaken for
//! it, nor is a piece of text that is nothing but the word `error`. What a function is called with may have
//! names such as these too, but stands deeper than Google's own: a stream's end counts only where it stands as
//! near the top of its event as Google writes it.
//!
//! Every event of a stream has a usage object and only the last one counts. So what is found is copied,
//! which costs next to nothing, and read once, when it is asked for. The one before it is kept too: the
//! last may have been cut.

use memchr::memmem::Finder;
use memchr::{memchr, memchr3, memrchr_iter};
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
    /// Whether its end is looked for.
    must_end: bool,
    ended: bool,
    /// Whether what ended it is an error.
    failed: bool,
    /// Where in its event a stream is, as far as it was seen.
    place: Place,
    /// The last bytes that were seen, whatever pieces they came in; zeros before the first.
    tail: [u8; TAIL],
    /// A name that was seen and whose value was not.
    due: Option<Due>,
    /// From the last usage object's brace on, as much as it may take.
    last: Vec<u8>,
    /// The same of the one before.
    earlier: Vec<u8>,
}

/// A name whose value is waited for.
#[derive(Clone, Copy, Debug)]
struct Due {
    name: Name,
    /// Whether the colon between them was seen.
    colon: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Usage,
    /// Of what only stands at the end: a finish reason, a blocked prompt.
    End,
    /// Of an event that is an error.
    Error,
}

impl Name {
    /// Among how many open brackets it stands at most. One more than Google writes it among (`candidates[].finishReason`
    /// are three): a stream that is an array is in a bracket of its own.
    const fn deepest(self) -> u32 {
        match self {
            Self::Error => 2,
            Self::End => 4,
            Self::Usage => u32::MAX,
        }
    }
}

/// How deep in an event's brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether nothing stands in this line so far.
    line_begins: bool,
}

impl Place {
    /// Goes on by what is read next.
    fn pass(&mut self, mut text: &[u8]) {
        // Most pieces are whole events, and where the next one begins nothing of them counts.
        if let Some(begins) = next_event(text) {
            *self = Self {
                line_begins: true,
                ..Self::default()
            };
            text = text.get(begins..).unwrap_or_default();
        }
        loop {
            if self.in_string && !self.escaped {
                // What may be an image is passed over at once.
                let Some(end) = memchr3(b'"', b'\\', b'\n', text) else {
                    return;
                };
                text = text.get(end..).unwrap_or_default();
            }
            let Some((byte, rest)) = text.split_first() else {
                return;
            };
            text = rest;
            if *byte == b'\n' {
                // No string has a line break in it, and no event an empty line.
                self.in_string = false;
                self.escaped = false;
                if std::mem::replace(&mut self.line_begins, true) {
                    self.depth = 0;
                }
                continue;
            }
            if std::mem::take(&mut self.escaped) {
                continue;
            }
            match byte {
                b'\r' => continue,
                b'"' => self.in_string = !self.in_string,
                b'\\' => self.escaped = self.in_string,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            self.line_begins = false;
        }
    }
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
        if !self.last.is_empty() {
            self.collect(piece);
        }
        if let Some(due) = self.due.take() {
            self.follow(due, piece);
        }
        self.seam(piece);
        if self.must_end && (!self.ended || self.failed) {
            self.ends(piece);
        }
        for at in USAGE.find_iter(piece) {
            self.name_at(piece, at);
        }
        if let Some(last) = piece.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.rotate_left(piece.len());
            let new = self.tail.iter_mut().skip(TAIL - piece.len());
            new.zip(piece).for_each(|(to, from)| *to = *from);
        }
    }

    /// What it cost, if it said.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        read(&self.last).or_else(|| read(&self.earlier))
    }

    /// Whether anything said that it was at its end: a finish reason, a blocked prompt, an error, or
    /// OpenAI's last line.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended || self.tail.trim_ascii_end().ends_with(b"[DONE]")
    }

    /// Whether it ended in an error.
    #[must_use]
    pub const fn failed(&self) -> bool {
        self.failed
    }

    /// Looks for a name that began in the last pieces and is whole now.
    fn seam(&mut self, piece: &[u8]) {
        // Events end in a line break, which no name has in it.
        if !self.tail.last().is_some_and(u8::is_ascii_graphic) {
            return;
        }
        // A name's only other quote is its end.
        let Some(quote) = self.tail.iter().rposition(|byte| *byte == b'"') else {
            return;
        };
        let begun = self.tail.get(quote..).unwrap_or_default();
        let mut seam = [0; 2 * TAIL];
        for (to, from) in seam.iter_mut().zip(begun.iter().chain(piece)) {
            *to = *from;
        }
        let begun = begun.len();
        if let Some((name, length)) = name(&seam)
            && let Some(rest) = length.checked_sub(begun).filter(|more| *more > 0)
            && self.place.depth <= name.deepest()
        {
            let due = Due { name, colon: false };
            self.follow(due, piece.get(rest..).unwrap_or_default());
        }
    }

    /// Looks for what stands at the end only.
    fn ends(&mut self, piece: &[u8]) {
        let mut passed = 0;
        let mut errors = ERROR.find_iter(piece).peekable();
        for at in REASON.find_iter(piece) {
            // In the order in which they stand.
            while let Some(error) = errors.next_if(|error| *error < at) {
                self.end_at(piece, &mut passed, error);
            }
            let before = piece.get(..at).unwrap_or_default();
            for start in REASONS {
                if before.ends_with(start) {
                    self.end_at(piece, &mut passed, at - start.len());
                }
            }
        }
        for error in errors {
            self.end_at(piece, &mut passed, error);
        }
        self.place.pass(piece.get(passed..).unwrap_or_default());
    }

    /// If what stands there is Google's own, looks at it. Up to `passed` the place is known.
    fn end_at(&mut self, piece: &[u8], passed: &mut usize, at: usize) {
        self.place.pass(piece.get(*passed..at).unwrap_or_default());
        *passed = at;
        self.name_at(piece, at);
    }

    /// If a name stands there, looks at its value.
    fn name_at(&mut self, piece: &[u8], at: usize) {
        let text = piece.get(at..).unwrap_or_default();
        if let Some((name, length)) = name(text)
            && self.place.depth <= name.deepest()
        {
            let due = Due { name, colon: false };
            self.follow(due, text.get(length..).unwrap_or_default());
        }
    }

    /// Looks for a name's value in what follows it in its piece. Only the last name of a piece can be left
    /// without one.
    fn follow(&mut self, mut due: Due, text: &[u8]) {
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b':' if !due.colon => due.colon = true,
                _ if !due.colon => return,
                first => {
                    match due.name {
                        // OpenAI's chunks carry `"finish_reason":null` until the end.
                        Name::End | Name::Error if *first != b'n' => {
                            self.ended = true;
                            self.failed = due.name == Name::Error;
                        }
                        Name::End | Name::Error => {}
                        // The same of `"usage":null`.
                        Name::Usage if *first == b'{' => {
                            std::mem::swap(&mut self.last, &mut self.earlier);
                            self.last.clear();
                            self.collect(text.get(at..).unwrap_or_default());
                        }
                        Name::Usage => {}
                    }
                    return;
                }
            }
        }
        self.due = Some(due);
    }

    fn collect(&mut self, text: &[u8]) {
        let room = MAX_USAGE.saturating_sub(self.last.len()).min(text.len());
        self.last
            .extend_from_slice(text.get(..room).unwrap_or_default());
    }
}

/// Behind the last empty line, if it is one of the last lines.
fn next_event(text: &[u8]) -> Option<usize> {
    let mut lines = memrchr_iter(b'\n', text).take(LINES_LOOKED_AT);
    lines.find_map(|end| {
        let before = text.get(..end)?;
        let is_empty = before.ends_with(b"\n") || before.ends_with(b"\n\r");
        is_empty.then_some(end + 1)
    })
}

/// The name that `text` begins with, and its length.
fn name(text: &[u8]) -> Option<(Name, usize)> {
    NAMES
        .iter()
        .find(|(_, name)| text.starts_with(name))
        .map(|(what, name)| (*what, name.len()))
}

/// Reads a usage object; `None` if it is not whole or says nothing. It holds numbers and names; braces
/// inside its strings there are none.
fn read(object: &[u8]) -> Option<Usage> {
    let [mut prompt, mut output, mut thoughts, mut total] = [None; 4];
    let mut depth = 0_u32;
    let mut rest = object;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => break,
            b'}' => depth -= 1,
            b'"' => {
                let (name, after) = rest.split_at_checked(memchr(b'"', rest)?)?;
                rest = after.get(1..)?;
                let slot = match name {
                    b"promptTokenCount" | b"prompt_tokens" => &mut prompt,
                    b"candidatesTokenCount" | b"completion_tokens" => &mut output,
                    b"thoughtsTokenCount" => &mut thoughts,
                    b"totalTokenCount" | b"total_tokens" => &mut total,
                    _ => continue,
                };
                *slot = slot.or_else(|| number(rest));
            }
            _ => {}
        }
    }
    prompt.or(output).or(total)?;
    let prompt = prompt.unwrap_or(0);
    let output = output
        .unwrap_or(0_u64)
        .saturating_add(thoughts.unwrap_or(0));
    Some(Usage {
        prompt,
        output,
        total: total.unwrap_or_else(|| prompt.saturating_add(output)),
    })
}

/// The number after a name.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start().strip_prefix(b":")?;
    let mut value = None;
    for digit in text.trim_ascii_start() {
        if !digit.is_ascii_digit() {
            break;
        }
        value = Some(
            value
                .unwrap_or(0_u64)
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?,
        );
    }
    value
}

const NAMES: [(Name, &[u8]); 6] = [
    (Name::Usage, b"\"usageMetadata\""),
    (Name::Usage, b"\"usage\""),
    (Name::End, b"\"finishReason\""),
    (Name::End, b"\"finish_reason\""),
    (Name::End, b"\"blockReason\""),
    (Name::Error, b"\"error\""),
];

/// Begins both names of a usage object.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage"));

/// Ends every name of a reason, so that one search finds all, ...
static REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"eason\""));

/// ... with one of these before it.
const REASONS: [&[u8]; 3] = [b"\"finishR", b"\"finish_r", b"\"blockR"];

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// As long as the longest name and more; holds `[DONE]` and the line breaks after it.
const TAIL: usize = 16;

/// A usage object with all its details is a few hundred bytes.
const MAX_USAGE: usize = 4096;

/// An event has a line or two; an array that is written for people has them without end.
const LINES_LOOKED_AT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees it whole, in pieces of every size and cut in two everywhere: that finds the same.
    #[track_caller]
    fn watch(answer: &str) -> Watch {
        let mut whole = Watch::stream();
        whole.see(answer.as_bytes());
        let found = |watch: &Watch| (watch.usage(), watch.ended());
        for size in 1..=100 {
            let mut pieces = Watch::stream();
            answer
                .as_bytes()
                .chunks(size)
                .for_each(|piece| pieces.see(piece));
            assert_eq!(found(&pieces), found(&whole), "in pieces of {size}");
        }
        for at in 0..answer.len() {
            let (first, second) = answer.as_bytes().split_at(at);
            let mut halves = Watch::stream();
            halves.see(first);
            halves.see(b"");
            halves.see(second);
            assert_eq!(found(&halves), found(&whole), "cut at {at}");
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
    fn a_text_that_is_one_of_the_names_is_no_end() {
        for text in ["error", "finishReason", "usage", "[DONE]"] {
            let seen = watch(&format!(
                "data: {{\"parts\":[{{\"text\":\"{text}\"}}]}}\r\n\r\n"
            ));
            assert!(!seen.ended() && seen.usage().is_none(), "{text}");
        }
        for end in [
            "{\"error\":{}}",
            "{\"promptFeedback\":{\n\"blockReason\" : \"OTHER\"}}",
            "data: [DONE]\r\n\r\n",
        ] {
            assert!(watch(end).ended(), "{end}");
        }
    }

    #[test]
    fn what_a_function_is_called_with_is_no_end_whatever_its_names() {
        let called = |args: &str| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{args}}}}}]}},"index":0}}]}}"#
            )
        };
        for args in [
            r#"{"error":"E42"}"#,
            r#"{"error":{"code":500},"finishReason":"STOP"}"#,
            r#"{"list":[{"blockReason":"x"}], "a\\":"{[\"}","finish_reason":"stop"}"#,
        ] {
            let event = called(args);
            for stream in [
                format!("data: {event}\r\n\r\n"),
                format!(": \"[{{ a comment\n\ndata: {event}\n\n"),
                format!("[{event}\n,\r\n{event}\n]"),
            ] {
                assert!(!watch(&stream).ended(), "{stream}");
            }
            // Its place is still known behind it.
            for end in [
                r#"{"candidates":[{"content":{"parts":[{"text":"}"}]},"finishReason":"STOP"}]}"#,
                r#"{"error":{"code":500}}"#,
            ] {
                assert!(watch(&format!("data: {event}\n\ndata: {end}\n\n")).ended());
                assert!(watch(&format!("[{event}\n,\r\n{end}\n]")).ended());
            }
        }
        // An event that broke off says nothing of the next.
        assert!(watch("data: {\"a\":[[[[{\"b\n\ndata: {\"error\":{}}\n\n").ended());
    }

    #[test]
    fn a_usage_that_cannot_be_read_leaves_the_one_before() {
        let first = "data: {\"usageMetadata\":{\"totalTokenCount\":7}}\n\n";
        for second in [
            "data: {\"usageMetadata\":{\"totalTokenCount\":9",
            "data: {\"usageMetadata\":{}}",
            "data: {\"usage\":null}",
            "data: {\"usage\"",
            "data: {\"usages\":{\"totalTokenCount\":9}}",
        ] {
            let seen = watch(&format!("{first}{second}"));
            assert_eq!(seen.usage().unwrap().total, 7, "{second}");
        }
    }

    #[test]
    fn a_usage_object_that_is_long_is_read_whatever_is_nested_in_it() {
        let details = r#"{"modality":"TEXT","tokenCount":1},"#.repeat(20);
        let seen = watch(&format!(
            r#"{{"usageMetadata": {{"promptTokenCount" : 18446744073709551615, "x": [{details}{{}}],
            "promptTokenCount":1, "candidatesTokenCount":2,"thoughtsTokenCount":18446744073709551616}}, "y": 1}}"#
        ));
        let usage = seen.usage().unwrap();
        assert_eq!((usage.prompt, usage.output), (u64::MAX, 2));
        assert_eq!(usage.total, u64::MAX);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut watch = Watch::default();
        for _ in 0..3 {
            watch.see(b"\"usageMetadata\":{\"x\":\"");
            for _ in 0..1000 {
                watch.see(&[b'a'; 4096]);
            }
        }
        let kept = watch.last.capacity() + watch.earlier.capacity();
        assert!(kept <= 4 * MAX_USAGE, "{kept}");
    }

    #[test]
    fn an_error_is_what_ended_it_unless_the_answer_goes_on() {
        let finish = r#"data: {"candidates":[{"finishReason":"STOP"}]}"#;
        let error = r#"data: {"error":{"code":500}}"#;
        let called = r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"args":{"error":"x"}}}]}}]}"#;
        assert!(watch(error).failed());
        assert!(!watch(finish).failed());
        assert!(!watch(&format!("{called}\r\n\r\n{finish}")).failed());
        assert!(watch(&format!("{called}\r\n\r\n{error}")).failed());
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        #[test]
        fn the_place_is_the_same_in_whatever_pieces(text in "[\\[\\]{}\"\\\\a\n\r]{0,60}") {
            let mut letters = Place::default();
            text.as_bytes().chunks(1).for_each(|letter| letters.pass(letter));
            let mut whole = Place::default();
            whole.pass(text.as_bytes());
            proptest::prop_assert_eq!(whole, letters);
        }
    }
}
