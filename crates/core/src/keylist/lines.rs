//! One key a line. `#` begins a comment at the start of a line or after white space; inside a word
//! it belongs to the key, which is opaque.
//!
//! Opaque does not mean anything at all: the wrong file, named by a slip, must not become a pool of a
//! hundred keys that Google then refuses one by one. What separates fields elsewhere is in no key.

use super::{Entry, KeyListError, Problem};
use crate::key::KeyText;

pub(super) fn entries(text: &str) -> Result<Vec<Entry>, KeyListError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let word = without_comment(line).trim();
        if word.is_empty() {
            continue;
        }
        let line = index + 1;
        if is_assignment(word) {
            return Err(KeyListError::at(line, Problem::Assignment));
        }
        if word.starts_with("-----") {
            return Err(KeyListError::at(line, Problem::NotAKeyLine));
        }
        if word.split_whitespace().nth(1).is_some() {
            return Err(KeyListError::at(line, Problem::TwoWords));
        }
        if word.contains(['"', '\'', ',', '[', ']', '{', '}']) {
            return Err(KeyListError::at(line, Problem::Punctuation));
        }
        if word.contains(IN_NO_KEY) {
            return Err(KeyListError::at(line, Problem::NotAKeyLine));
        }
        let text = KeyText::new(word).map_err(|e| KeyListError::at(line, Problem::Text(e)))?;
        entries.push(Entry::bare(text, line));
    }
    Ok(entries)
}

fn without_comment(line: &str) -> &str {
    let comment = line.char_indices().find(|(at, c)| {
        *c == '#'
            && line[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
    });
    comment.map_or(line, |(at, _)| &line[..at])
}

/// A line of a `.env` file. A key may hold `=`, so only what looks like a variable's name counts.
fn is_assignment(word: &str) -> bool {
    let name = word.strip_prefix("export ").unwrap_or(word);
    name.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim_end();
        name.contains('_')
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// Tables, scripts, addresses and pages have these; keys are made of what base64 and its relatives use. A
/// key of another kind, should there ever be one, can be written as JSON.
const IN_NO_KEY: [char; 17] = [
    ':', ';', '|', '<', '>', '(', ')', '$', '@', '&', '!', '?', '^', '`', '\\', '*', '%',
];
