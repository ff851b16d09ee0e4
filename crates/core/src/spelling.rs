//! The ways to write a key in JSON: each letter as itself or as `\u0041`, a slash also as `\/`.
//!
//! They are matched where they stand and covered by as many asterisks, so that an answer keeps its length
//! and stays the JSON that it was.

/// The text with the key covered in every spelling, if it is there, and how many bytes at the end may be
/// the key's beginning.
pub(crate) fn cover(key: &[u8], text: &[u8]) -> (Option<Vec<u8>>, usize) {
    let Some(first) = key.first() else {
        return (None, 0);
    };
    let mut out: Option<Vec<u8>> = None;
    // Where the last key ended, and the letter after the last backslash.
    let (mut past, mut escaped) = (0, None);
    for at in memchr::memchr2_iter(*first, b'\\', text) {
        let rest = text.get(at..).unwrap_or_default();
        // `\\u0041` is a backslash and five characters.
        let is_escape = *first != b'\\' && rest.first() == Some(&b'\\');
        if at < past || is_escape && escaped == Some(at) {
            continue;
        }
        if is_escape {
            escaped = Some(at + 1);
        }
        match spells(key, rest) {
            Spells::Whole(length) => {
                past = at + length;
                let out = out.get_or_insert_with(|| text.to_vec());
                out.get_mut(at..past).unwrap_or_default().fill(b'*');
            }
            Spells::Begins => return (out, rest.len()),
            Spells::Nothing => {}
        }
    }
    (out, 0)
}

enum Spells {
    /// The key, in so many bytes.
    Whole(usize),
    /// The key as far as the text goes.
    Begins,
    Nothing,
}

/// What `text` begins with.
fn spells(key: &[u8], text: &[u8]) -> Spells {
    let mut rest = text;
    for letter in key {
        let Some((byte, after)) = rest.split_first() else {
            return Spells::Begins;
        };
        rest = if byte == letter {
            after
        } else if *byte != b'\\' {
            return Spells::Nothing;
        } else if *letter == b'/' && after.first() == Some(letter) {
            after.get(1..).unwrap_or_default()
        } else {
            let digit = |half: u8| {
                if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                }
            };
            let escape = [b'u', b'0', b'0', digit(letter >> 4), digit(letter & 15)];
            let (there, after) = after.split_at(after.len().min(escape.len()));
            let expected = escape.get(..there.len()).unwrap_or_default();
            if !there.eq_ignore_ascii_case(expected) {
                return Spells::Nothing;
            }
            if there.len() < escape.len() {
                return Spells::Begins;
            }
            after
        };
    }
    Spells::Whole(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_covered_in_its_own_length() {
        for spelled in [
            r"a/b",
            r"a\/b",
            r"\u0061\u002F\u0062",
            r"a\u002fb",
            r"\u0061/b",
        ] {
            let (covered, open) = cover(b"a/b", format!(r"\n{spelled}\t").as_bytes());
            let expected = format!(r"\n{}\t", "*".repeat(spelled.len()));
            assert_eq!(String::from_utf8(covered.unwrap()).unwrap(), expected);
            assert_eq!(open, 0, "{spelled}");
        }
    }

    #[test]
    fn what_a_parser_would_not_read_as_the_key_stays() {
        for text in [r"\\u0061/b", r"a\\/b", r"\u0161/b", r"\u0041/b"] {
            assert_eq!(cover(b"a/b", text.as_bytes()), (None, 0), "{text}");
        }
    }

    #[test]
    fn a_beginning_in_any_spelling_is_noticed_at_the_end_only() {
        for (text, open) in [
            (r"x\", 1),
            (r"x\\", 0),
            (r"x\\\", 1),
            (r"\n\u00", 4),
            (r"\na", 1),
            (r"\na\u002", 6),
            (r"\na\u002f", 7),
            (r"\na\u003", 0),
        ] {
            assert_eq!(cover(b"a/b", text.as_bytes()), (None, open), "{text}");
        }
    }
}
