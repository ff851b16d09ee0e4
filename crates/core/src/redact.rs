//! Taking key texts out of what Google says.
//!
//! A 403 `CONSUMER_SUSPENDED` quotes the key in clear text, three times. The only keys that Google can
//! quote are those that this request was sent with, so those are looked for: as they are, percent-encoded
//! and with JSON's escapes; and whatever follows `api_key:`, in case it is quoted some other way.

use crate::key::KeyText;
use crate::recognise::decode_bytes;
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::fmt;

/// `body` without the keys' texts; `None` if there was nothing to take out.
#[must_use]
pub fn redact(body: &[u8], keys: &[&KeyText]) -> Option<Vec<u8>> {
    // A JSON parser on the other side would undo escapes of plain letters; so that is done here first, and
    // kept only if a key was hidden in them.
    let plain = without_letter_escapes(body);
    let hidden = plain.as_deref().filter(|plain| {
        keys.iter()
            .any(|key| memchr::memmem::find(plain, key.expose().as_bytes()).is_some())
    });
    let body = hidden.unwrap_or(body);
    let mut out: Option<Vec<u8>> = hidden.map(<[u8]>::to_vec);
    for key in keys {
        let plain = key.expose();
        for form in [
            plain.to_owned(),
            percent_encoded(plain),
            plain.replace('/', "\\/"),
        ] {
            let current = out.as_deref().unwrap_or(body);
            if let Some(replaced) = replace(current, form.as_bytes()) {
                out = Some(replaced);
            }
        }
    }
    // Encoded in a way that nobody writes it: what is decoded need not be JSON any more.
    let current = out.as_deref().unwrap_or(body);
    if let Cow::Owned(mut decoded) = decode_bytes(current) {
        let mut found = false;
        for key in keys {
            if let Some(replaced) = replace(&decoded, key.expose().as_bytes()) {
                decoded = replaced;
                found = true;
            }
        }
        if found {
            out = Some(decoded);
        }
    }
    let current = out.as_deref().unwrap_or(body);
    without_named_keys(current).or(out)
}

/// One key, ready to be looked for in all that passes by: getting a search ready costs more than the search.
#[derive(Clone)]
pub struct Quoted(Finder<'static>);

impl Quoted {
    pub(crate) fn new(key: &KeyText) -> Self {
        Self(Finder::new(key.expose()).into_owned())
    }

    /// Whether the key stands in it, as it is or percent-encoded.
    #[must_use]
    pub fn is_in(&self, value: &[u8]) -> bool {
        value.len() >= self.0.needle().len()
            && (self.0.find(value).is_some()
                || matches!(decode_bytes(value), Cow::Owned(plain) if self.0.find(&plain).is_some()))
    }

    /// Whether the key stands in a header's name, whose letters are small ones.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        let key = self.0.needle();
        name.len() >= key.len()
            && name
                .as_bytes()
                .windows(key.len())
                .any(|part| part.eq_ignore_ascii_case(key))
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.0.needle()
    }

    /// A piece of an answer with the key covered by as many asterisks, so that no length changes; `None` if
    /// it is not there.
    #[must_use]
    pub fn cover(&self, piece: &[u8]) -> Option<Vec<u8>> {
        let first = self.0.find(piece)?;
        let length = self.0.needle().len();
        let mut out = piece.to_vec();
        let rest = piece.get(first..).unwrap_or_default();
        for at in self.0.find_iter(rest) {
            if let Some(quoted) = out.get_mut(first + at..first + at + length) {
                quoted.fill(b'*');
            }
        }
        Some(out)
    }

    /// How many bytes at the end of `piece` may be the beginning of the key: they must not be passed on
    /// before it is seen what follows.
    #[must_use]
    pub fn may_begin(&self, piece: &[u8]) -> usize {
        // Events end in a line break, which no key has in it.
        if !piece.last().is_some_and(u8::is_ascii_graphic) {
            return 0;
        }
        let text = self.0.needle();
        let Some(first) = text.first() else { return 0 };
        let end = piece
            .get((piece.len() + 1).saturating_sub(text.len())..)
            .unwrap_or_default();
        memchr::memchr_iter(*first, end)
            .map(|at| end.get(at..).unwrap_or_default())
            .find(|start| text.starts_with(start))
            .map_or(0, <[u8]>::len)
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// The text with `\\u0041` written as `A`, for printable ASCII that means nothing in JSON; `None` if there is
/// none.
fn without_letter_escapes(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(text, b"\\u00")?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let letter = escape
            .strip_prefix(b"\\u00")
            .and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|letter| letter.is_ascii_graphic() && !matches!(letter, b'"' | b'\\'));
        // Another escape is two bytes as they stand, so that `\\\\u0041` stays what it is.
        let taken = if let Some(letter) = letter {
            out.push(letter);
            6
        } else {
            let taken = escape.len().min(2);
            out.extend_from_slice(escape.get(..taken).unwrap_or_default());
            taken
        };
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn replace(text: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let finder = memchr::memmem::Finder::new(needle);
    finder.find(text)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = finder.find(rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        out.extend_from_slice(MASK);
        rest = rest.get(at + needle.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// `api_key:AIza…'` → `api_key:[key]'`.
fn without_named_keys(text: &[u8]) -> Option<Vec<u8>> {
    let mark = b"api_key:";
    memchr::memmem::find(text, mark)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, mark) {
        let (head, tail) = rest.split_at(at + mark.len());
        out.extend_from_slice(head);
        let end = tail
            .iter()
            .position(|b| !(b.is_ascii_alphanumeric() || b"._-*[]".contains(b)))
            .unwrap_or(tail.len());
        if end > 0 {
            out.extend_from_slice(MASK);
        }
        rest = tail.get(end..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const MASK: &[u8] = b"[key]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_key_is_taken_out_in_every_form() {
        let key = KeyText::new("made/up+key").unwrap();
        let body = br#"{"a":"api_key:made/up+key","b":"made\/up+key","c":"?key=made%2Fup%2Bkey","d":"made/up+key"}"#;
        let text = String::from_utf8(redact(body, &[&key]).unwrap()).unwrap();
        assert!(
            !text.contains("made") && text.contains(r#""d":"[key]""#),
            "{text}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn a_key_encoded_letter_by_letter_is_taken_out() {
        let keys = ["made-up-1", "made-up-2"].map(|key| KeyText::new(key).unwrap());
        let encoded = |key: &KeyText| -> String {
            key.expose().bytes().map(|b| format!("%{b:02x}")).collect()
        };
        let body = format!("a {} b made%2Dup%2d2 c%20d", encoded(&keys[0]));
        let text = redact(body.as_bytes(), &[&keys[0], &keys[1]]).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "a [key] b [key] c d");
        assert_eq!(redact(b"a%20b", &[&keys[0]]), None);
    }

    #[test]
    fn a_key_that_passes_by_is_covered_without_changing_a_length() {
        let key = KeyText::new("made-up-made-us").unwrap();
        let covered = Quoted::new(&key)
            .cover(b"<made-up-made-us,made-up-made-us>")
            .unwrap();
        assert_eq!(covered, b"<***************,***************>");
        assert_eq!(Quoted::new(&key).cover(b"made-up-made-up"), None);
    }

    #[test]
    fn a_key_of_any_letters_is_covered_wherever_it_stands() {
        for text in [
            "a",
            "aaaa",
            "AQ.made_up",
            "-=/+",
            "z9Z",
            "made-up-X",
            "X-made-up",
        ] {
            let key = Quoted::new(&KeyText::new(text).unwrap());
            for padding in ["", "x", "X-made", "AQ.made_u", "~~~~~~~~~~~~"] {
                let piece = format!("{padding}{text}{padding}");
                let covered = key.cover(piece.as_bytes()).unwrap();
                let expected = piece.replace(text, &"*".repeat(text.len()));
                assert_eq!(String::from_utf8(covered).unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn the_beginning_of_a_key_at_a_pieces_end_is_noticed() {
        let key = KeyText::new("made-up-made-us").unwrap();
        for (piece, bytes) in [
            (&b""[..], 0),
            (b"m", 1),
            (b"xmade-up-", 8),
            (b"made-up-made-u", 14),
            (b"made-up-made-us", 0),
            (b"made-up-\n", 0),
        ] {
            assert_eq!(Quoted::new(&key).may_begin(piece), bytes, "{piece:?}");
        }
    }

    #[test]
    fn a_key_quoted_some_other_way_is_taken_out_too() {
        let key = KeyText::new("made-up").unwrap();
        let text = redact(
            b"Consumer 'api_key:some.Other-key_1' has been suspended.",
            &[&key],
        )
        .unwrap();
        assert_eq!(text, b"Consumer 'api_key:[key]' has been suspended.");
        assert_eq!(redact(b"nothing here", &[&key]), None);
    }

    #[test]
    fn a_key_hidden_in_escapes_is_taken_out_and_other_escapes_stay() {
        let key = KeyText::new("made-up").unwrap();
        let text = redact(
            br#"{"a":"\u006dade-\u0075p","b":"\n\u0000\u0022\\u0041"}"#,
            &[&key],
        )
        .unwrap();
        assert_eq!(text, br#"{"a":"[key]","b":"\n\u0000\u0022\\u0041"}"#);
        assert_eq!(
            redact(br#"{"a":"\u0041"}"#, &[&key]),
            None,
            "nothing hidden, nothing changed"
        );
    }
}
