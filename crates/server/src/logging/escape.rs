//! Text that others wrote, made harmless: it cannot end a line, colour a terminal, or turn the direction
//! in which it is read.

use std::fmt::Write;

/// Whether it can stand as it is after `name=`, and be told from what comes next.
pub(super) fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| PLAIN[usize::from(byte)])
}

/// For people, where it may take the rest of the line.
pub(super) fn open(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for letter in text.chars() {
        if steers(letter) {
            for part in letter.escape_default() {
                push(out, part);
            }
        } else {
            push(out, letter);
        }
    }
}

/// For people, in quotes.
pub(super) fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for letter in text.chars() {
        if steers(letter) || matches!(letter, '"' | '\\') {
            for part in letter.escape_default() {
                push(out, part);
            }
        } else {
            push(out, letter);
        }
    }
    out.push(b'"');
}

/// For a JSON string, without its quotes.
pub(super) fn json(out: &mut Vec<u8>, text: &str) {
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // None of these is so high that JSON would want two of them.
            steering if steers(steering) => {
                let _ = write!(Through(out, plainly), "\\u{:04x}", u32::from(steering));
            }
            other => push(out, other),
        }
    }
}

/// What is formatted goes through one of the above.
pub(super) struct Through<'a>(
    pub(super) &'a mut Vec<u8>,
    pub(super) fn(&mut Vec<u8>, &str),
);

impl Write for Through<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.1(self.0, text);
        Ok(())
    }
}

/// Nothing made harmless.
pub(super) fn plainly(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push(out: &mut Vec<u8>, letter: char) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Control characters, what some readers take for the end of a line, and marks of direction.
const fn steers(letter: char) -> bool {
    matches!(
        letter,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = !matches!(byte, b'"' | b'\\' | b'=');
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str =
        "a\n2026 \x1b[31m\r\"\\\t\0\u{7f}\u{85}\u{9b}m\u{2028}\u{202e}\u{2066}=é 語";

    #[test]
    fn nothing_in_a_text_steers_a_terminal_or_a_reader_of_lines() {
        for escape in [open, quoted, json] {
            let mut out = Vec::new();
            escape(&mut out, NASTY);
            let out = String::from_utf8(out).unwrap();
            assert!(!out.chars().any(steers), "{out:?}");
            assert!(out.ends_with("=é 語") || out.ends_with("=é 語\""), "{out}");
        }
    }

    #[test]
    fn a_json_string_reads_back_as_it_was() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        for text in [NASTY, "", "plain", "😀", &all] {
            let mut out = b"\"".to_vec();
            json(&mut out, text);
            out.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn what_is_plain_needs_no_quotes() {
        for (text, plain) in [
            ("gemini-2.5-flash", true),
            ("", false),
            ("two words", false),
            ("a=b", false),
            ("\"", false),
            ("\\", false),
            ("é", false),
            ("\n", false),
        ] {
            assert_eq!(is_plain(text.as_bytes()), plain, "{text:?}");
        }
    }
}
