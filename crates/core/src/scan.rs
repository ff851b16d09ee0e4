//! What policy must know of a JSON body, found while the body arrives.
//!
//! The body is never joined and never parsed into a tree: the scanner is fed the pieces as they come
//! and keeps a few hundred bytes whatever their size. It notes the model and whether a stream is
//! wanted (the OpenAI surface says both in the body), whether a search tool is asked for, and a hash
//! of the conversation. Inside strings, where nearly all bytes of a large body are, it does nothing
//! but look for the closing quote.
//!
//! **The conversation's hash.** A later request of the same conversation repeats the earlier turns to
//! the byte, since the same client wrote them. So each turn is hashed as it stands, and of a long
//! string only the beginning and the length: that tells conversations apart, and a picture of 20 MB
//! costs nothing. A false match sends a request to one healthy project rather than another.
//!
//! A body that is not JSON, or is nested absurdly deep, ends the scan; what was found so far stands.

use crate::facts::Conversation;
use memchr::memchr2;
use std::borrow::Cow;
use xxhash_rust::xxh64::Xxh64;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The body's own `model`, without `models/`.
    pub model: Option<String>,
    /// The body's own `stream`.
    pub stream: bool,
    /// Whether a search or maps tool is among the tools.
    pub grounded: bool,
    /// Of a batch of embeddings, how many texts.
    pub items: u32,
    /// The conversation, if there is one.
    pub conversation: Option<Conversation>,
}

/// An incremental scanner of one JSON body.
pub struct Scanner {
    found: Found,
    depth: usize,
    /// Bit `d` says whether the container at depth `d` is an object.
    objects: [u64; 2],
    section: Section,
    place: Place,
    /// The string being read, as far as it is wanted.
    text: Vec<u8>,
    wanted: bool,
    string_length: u64,
    /// The last key read at the depth that matters.
    role_next: bool,
    type_next: bool,
    turns: Turns,
    /// Bytes of long strings, which cost next to nothing, and containers, which cost most.
    cheap: u64,
    opened: u64,
}

/// Which member of the top-level object the scanner is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Other,
    Model,
    Stream,
    Turns,
    Tools,
    /// Of which each is a request of its own.
    Items,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between tokens; a string here is a key or a value.
    Key,
    Value,
    /// In a string, which is a key or a value.
    String {
        key: bool,
        escaped: bool,
    },
    /// Nothing more to find.
    Done,
}

/// What a bracket does to the turn that is hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Begins,
    GoesOn,
    Ends,
}

#[derive(Default)]
struct Turns {
    hash: Xxh64,
    hashing: bool,
    /// The hash before the turn being read.
    before: Option<u64>,
    is_model: bool,
    conversation: Conversation,
    any: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            found: Found::default(),
            depth: 0,
            objects: [0; 2],
            section: Section::Other,
            place: Place::Value,
            text: Vec::new(),
            wanted: false,
            string_length: 0,
            role_next: false,
            type_next: false,
            turns: Turns::default(),
            cheap: 0,
            opened: 0,
        }
    }
}

impl Scanner {
    /// Reads the next piece of the body.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.place == Place::Done {
            return;
        }
        // Where the bytes begin that the current turn's hash has not had yet.
        let mut unhashed = 0;
        // A string may go on from the piece before.
        let mut at = self.strings(piece, 0, &mut unhashed);
        while let Some(&byte) = piece.get(at) {
            at += 1;
            match byte {
                b'"' => match short_string(piece.get(at..).unwrap_or_default()) {
                    // As nearly all are: plain, short and all here.
                    Some(text) => {
                        let key = self.place == Place::Key;
                        if self.wants_string(key) {
                            self.string_ends(key, text);
                        } else if self.depth == 3 && key {
                            self.key_ends();
                        }
                        at += text.len() + 1;
                        // Nearly every name's colon stands right behind it.
                        if key && piece.get(at) == Some(&b':') {
                            self.place = Place::Value;
                            at += 1;
                        }
                    }
                    None => {
                        self.string_begins();
                        at = self.strings(piece, at, &mut unhashed);
                    }
                },
                b'{' | b'[' => match self.open(byte == b'{') {
                    Turn::Begins => unhashed = at - 1,
                    Turn::GoesOn => {}
                    Turn::Ends => return,
                },
                b'}' | b']' => {
                    if self.close() == Turn::Ends {
                        let turn = piece.get(unhashed..at).unwrap_or_default();
                        self.turns.hash.update(turn);
                        self.turn_ends();
                    }
                    if self.place == Place::Done {
                        return;
                    }
                }
                b',' => self.comma(),
                b':' => self.place = Place::Value,
                b't' if self.depth == 1 && self.section == Section::Stream => {
                    self.found.stream = true;
                }
                _ => {}
            }
        }
        if self.turns.hashing && unhashed < piece.len() {
            self.turns
                .hash
                .update(piece.get(unhashed..).unwrap_or_default());
        }
    }

    /// Reads from `at` to behind the string that it stands in, if it does, and says where that is.
    fn strings(&mut self, piece: &[u8], mut at: usize, unhashed: &mut usize) -> usize {
        while let Place::String { key, escaped } = self.place
            && at < piece.len()
        {
            at = self.string(piece, at, key, escaped, unhashed);
        }
        at
    }

    /// What was found so far; after the last piece, what the body holds.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut found = self.found.clone();
        if self.turns.any {
            found.conversation = Some(self.turns.conversation);
        }
        found
    }

    /// What makes up the cost of reading: bytes inside long strings, and arrays and objects.
    #[must_use]
    pub const fn read(&self) -> (u64, u64) {
        (self.cheap, self.opened)
    }

    /// Whether the scan is over: the body was, or it is not JSON.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    fn string_begins(&mut self) {
        let key = self.place == Place::Key;
        self.wanted = self.wants_string(key);
        self.text.clear();
        self.string_length = 0;
        self.place = Place::String {
            key,
            escaped: false,
        };
    }

    /// Reads on in a string from `at`, and says where to go on.
    fn string(
        &mut self,
        piece: &[u8],
        at: usize,
        key: bool,
        escaped: bool,
        unhashed: &mut usize,
    ) -> usize {
        if escaped {
            self.place = Place::String {
                key,
                escaped: false,
            };
            self.in_string(piece, at, at + 1, unhashed);
            return at + 1;
        }
        let Some(offset) = memchr2(b'"', b'\\', piece.get(at..).unwrap_or_default()) else {
            self.in_string(piece, at, piece.len(), unhashed);
            return piece.len();
        };
        let end = at + offset;
        if piece.get(end) == Some(&b'\\') {
            self.place = Place::String { key, escaped: true };
            self.in_string(piece, at, end + 1, unhashed);
        } else {
            self.in_string(piece, at, end, unhashed);
            if self.turns.hashing && self.string_length > HASHED_STRING as u64 {
                self.turns.hash.update(&self.string_length.to_le_bytes());
            }
            self.place = if key { Place::Key } else { Place::Value };
            if self.wanted {
                let text = std::mem::take(&mut self.text);
                self.string_ends(key, &unescape(&text));
                // The buffer is used again.
                self.text = text;
            } else if self.depth == 3 && key {
                self.key_ends();
            }
        }
        end + 1
    }

    fn comma(&mut self) {
        self.place = if self.in_object() {
            Place::Key
        } else {
            Place::Value
        };
        if self.depth == 1 {
            self.section = Section::Other;
        }
    }

    fn open(&mut self, object: bool) -> Turn {
        if self.depth == 0 && !object || self.depth + 1 >= MAX_DEPTH {
            self.place = Place::Done;
            return Turn::Ends;
        }
        let begins = self.section == Section::Turns && self.depth == 2 && object;
        if begins {
            self.turn_begins();
        } else if self.section == Section::Items && self.depth == 2 {
            self.found.items += 1;
        }
        self.depth += 1;
        self.opened += 1;
        let bit = 1 << (self.depth % 64);
        if let Some(objects) = self.objects.get_mut(self.depth / 64) {
            *objects = *objects & !bit | if object { bit } else { 0 };
        }
        self.place = if object { Place::Key } else { Place::Value };
        if begins { Turn::Begins } else { Turn::GoesOn }
    }

    fn close(&mut self) -> Turn {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.place = Place::Done;
        }
        // Of what is not JSON a turn may end below where it began.
        if self.turns.hashing && self.depth <= 2 {
            self.turns.hashing = false;
            return Turn::Ends;
        }
        Turn::GoesOn
    }

    fn in_object(&self) -> bool {
        let objects = self.objects.get(self.depth / 64).copied().unwrap_or(0);
        objects & (1 << (self.depth % 64)) != 0
    }

    fn wants_string(&self, key: bool) -> bool {
        match (self.depth, key) {
            (1, true) => true,
            (1, false) => self.section == Section::Model,
            (2, false) => self.section == Section::Items,
            (3, true) => matches!(self.section, Section::Turns | Section::Tools),
            (3, false) => self.role_next || self.type_next,
            _ => false,
        }
    }

    /// Bytes of a string, `from..to` of the piece; the beginning of it is hashed.
    fn in_string(&mut self, piece: &[u8], from: usize, to: usize, unhashed: &mut usize) {
        let length = to - from;
        if self.wanted && self.text.len() + length <= MAX_TEXT {
            self.text
                .extend_from_slice(piece.get(from..to).unwrap_or_default());
        } else if self.wanted && length > 0 {
            self.wanted = false;
        }
        let read = usize::try_from(self.string_length).unwrap_or(usize::MAX);
        if self.turns.hashing && read.saturating_add(length) > HASHED_STRING {
            let keep = HASHED_STRING.saturating_sub(read);
            self.turns
                .hash
                .update(piece.get(*unhashed..from + keep).unwrap_or_default());
            *unhashed = to;
        }
        self.string_length += length as u64;
        self.cheap += length as u64;
    }

    /// A key at the depth that matters, whichever it was.
    fn key_ends(&mut self) {
        self.role_next = false;
        self.type_next = false;
    }

    /// A string that is wanted.
    fn string_ends(&mut self, key: bool, text: &[u8]) {
        if self.depth == 3 && key {
            self.key_ends();
        }
        match (self.depth, key, self.section) {
            (1, true, _) => self.section = Section::of(text),
            (1, false, Section::Model) if !text.is_empty() => {
                let text = String::from_utf8_lossy(text);
                self.found.model = Some(text.strip_prefix("models/").unwrap_or(&text).to_owned());
            }
            (2, false, Section::Items) => self.found.items += 1,
            (3, true, Section::Turns) => self.role_next = text == b"role",
            (3, true, Section::Tools) => {
                self.found.grounded |= is_search(text);
                self.type_next = text == b"type";
            }
            (3, false, Section::Turns) => {
                self.turns.is_model |= matches!(text, b"model" | b"assistant");
                self.role_next = false;
            }
            (3, false, Section::Tools) => {
                self.found.grounded |= is_search(text);
                self.type_next = false;
            }
            _ => {}
        }
    }

    fn turn_begins(&mut self) {
        let turns = &mut self.turns;
        turns.before = turns.any.then_some(turns.conversation.whole);
        turns.any = true;
        turns.hashing = true;
        turns.is_model = false;
        self.role_next = false;
    }

    fn turn_ends(&mut self) {
        let turns = &mut self.turns;
        turns.conversation.whole = turns.hash.digest();
        if turns.is_model {
            turns.conversation.earlier = turns.before;
        }
    }
}

impl Section {
    fn of(key: &[u8]) -> Self {
        match key {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"contents" | b"messages" => Self::Turns,
            b"tools" => Self::Tools,
            b"requests" | b"input" => Self::Items,
            _ => Self::Other,
        }
    }
}

/// The names under which search and maps tools go in requests, in both spellings that JSON allows.
fn is_search(name: &[u8]) -> bool {
    let plain: Vec<u8> = name
        .iter()
        .filter(|byte| **byte != b'_')
        .map(u8::to_ascii_lowercase)
        .collect();
    matches!(
        &*plain,
        b"googlesearch" | b"googlesearchretrieval" | b"googlemaps" | b"enterprisewebsearch"
    )
}

/// A string's bytes as they are meant, `\u006d` and all.
fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted)
        .map_or(Cow::Borrowed(raw), |text| Cow::Owned(text.into_bytes()))
}

/// What stands before the closing quote, if that is near and nothing is escaped before it. Looking at eight
/// bytes at a time is quicker here than a search, which has to get ready first.
fn short_string(rest: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while at < SHORT {
        let eight = rest.get(at..)?.first_chunk()?;
        let eight = u64::from_le_bytes(*eight);
        let ends = has(eight, b'"') | has(eight, b'\\');
        if ends != 0 {
            let (text, after) = rest.split_at_checked(at + (ends.trailing_zeros() / 8) as usize)?;
            return (after.first() == Some(&b'"')).then_some(text);
        }
        at += 8;
    }
    None
}

/// Marks a byte in a word: the lowest mark is right.
const fn has(word: u64, byte: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zero_where = word ^ (ONES * byte as u64);
    zero_where.wrapping_sub(ONES) & !zero_where & (ONES << 7)
}

/// The names of members are shorter.
const SHORT: usize = 24;

/// Google's own parser refuses JSON nested deeper than 100.
const MAX_DEPTH: usize = 128;

/// Longer than any model's name, role or key that is looked for.
const MAX_TEXT: usize = 256;

/// How much of a string tells it apart, together with its length.
const HASHED_STRING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn scan(body: &str) -> Found {
        let mut whole = Scanner::default();
        whole.feed(body.as_bytes());
        let found = whole.found();
        // However the network cut it, the same is found.
        for size in [1, 2, 3, 7, 64] {
            let mut pieces = Scanner::default();
            body.as_bytes()
                .chunks(size)
                .for_each(|piece| pieces.feed(piece));
            assert_eq!(pieces.found(), found, "in pieces of {size}");
        }
        found
    }

    #[test]
    fn model_and_stream_are_the_bodys_own_and_not_those_of_its_parts() {
        let found = scan(
            r#"{"messages":[{"role":"user","content":"\"model\":\"no\""}],"x":{"model":"no","stream":true},
            "model":"models/gemini-2.5-flash","stream": true}"#,
        );
        assert_eq!(found.model.as_deref(), Some("gemini-2.5-flash"));
        assert!(found.stream);
        assert!(!scan(r#"{"stream":false,"x":true}"#).stream);
        assert_eq!(
            scan(r#"{"m\u006fdel":"\u0061b"}"#).model.as_deref(),
            Some("ab")
        );
    }

    #[test]
    fn search_tools_are_seen_and_a_function_of_that_name_is_not_one() {
        assert!(scan(r#"{"tools":[{"functionDeclarations":[]},{"googleSearch":{}}]}"#).grounded);
        assert!(scan(r#"{"tools":[{"google_maps":{}}]}"#).grounded);
        assert!(scan(r#"{"tools":[{"type":"google_search"}]}"#).grounded);
        assert!(
            !scan(r#"{"tools":[{"functionDeclarations":[{"name":"googleSearch"}]}]}"#).grounded
        );
        assert!(!scan(r#"{"contents":[{"parts":[{"googleSearch":1}]}]}"#).grounded);
    }

    #[test]
    fn a_later_turn_finds_the_earlier_request() {
        let first = scan(r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#)
            .conversation
            .unwrap();
        assert_eq!(first.earlier, None);
        let later = scan(
            r#"{"systemInstruction":{"parts":[]},"contents": [{"role":"user","parts":[{"text":"hi"}]} ,
              {"parts":[{"text":"hello"}],"role":"model"}, {"role":"user","parts":[{"text":"and?"}]}]}"#,
        );
        assert_eq!(later.conversation.unwrap().earlier, Some(first.whole));
        let other = scan(
            r#"{"contents":[{"role":"user","parts":[{"text":"hi!"}]},{"role":"model","parts":[]},{"parts":[]}]}"#,
        );
        assert_ne!(other.conversation.unwrap().earlier, Some(first.whole));
    }

    #[test]
    fn openai_turns_count_as_turns() {
        let first = scan(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#,
        );
        let later = scan(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},
            {"role":"assistant","content":"ho"},{"role":"user","content":"x"}]}"#,
        );
        assert_eq!(
            later.conversation.unwrap().earlier,
            Some(first.conversation.unwrap().whole)
        );
    }

    #[test]
    fn a_long_string_is_told_apart_by_its_beginning_and_length() {
        let body = |text: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"{text}"}}]}}]}}"#);
        let hash = |text: &str| scan(&body(text)).conversation.unwrap().whole;
        let long = "x".repeat(5000);
        assert_eq!(hash(&long), hash(&long));
        assert_ne!(hash(&long), hash(&"x".repeat(5001)));
        assert_ne!(hash(&long), hash(&format!("y{}", "x".repeat(4999))));
        assert_ne!(hash(&"x".repeat(512)), hash(&"x".repeat(513)));
        // An escape at the border of what is hashed.
        for border in 505..520 {
            scan(&body(&format!(
                "{}\\n\\\"tail{}",
                "x".repeat(border),
                "z".repeat(50)
            )));
        }
    }

    #[test]
    fn what_is_not_json_ends_the_scan_quietly() {
        for body in [
            "",
            "plain text",
            "[1,2]",
            "]]}}",
            "{\"contents\":[[[{",
            "\"",
            "{\"a\":\"\\",
            "{,,:}",
        ] {
            scan(body);
        }
        scan(&"[".repeat(1000));
        scan(&format!("{{\"contents\":{}", "{\"a\":[".repeat(300)));
    }

    #[cfg(not(target_arch = "wasm32"))]
    mod properties {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn any_chunking_finds_the_same(body in "[\\[\\]{}\",:\\\\a-z ]{0,200}", prefix in 0..3usize, cuts in proptest::collection::vec(1..40usize, 1..20)) {
                let body = format!("{}{body}", ["", "{\"contents\":[", "{\"contents\":[{\"role\":\"model\",\"x\":\""][prefix]);
                let mut whole = Scanner::default();
                whole.feed(body.as_bytes());
                let mut pieces = Scanner::default();
                let mut rest = body.as_bytes();
                for cut in cuts.iter().cycle() {
                    if rest.is_empty() { break }
                    let (piece, after) = rest.split_at((*cut).min(rest.len()));
                    pieces.feed(piece);
                    rest = after;
                }
                prop_assert_eq!(whole.found(), pieces.found());
            }
        }
    }
}
