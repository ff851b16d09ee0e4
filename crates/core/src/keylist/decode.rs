//! From bytes to text, whichever way the editor or the shell saved it.
//!
//! PowerShell's `>` writes UTF-16 with a byte-order mark, and some tools leave the mark out. Keys
//! are ASCII, so in UTF-16 every other byte at the start is zero, which no other text has.

use super::{KeyListError, Problem};
use std::borrow::Cow;

pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, KeyListError> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, KeyListError> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|e| {
        let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
        KeyListError::at(
            1 + memchr::memchr_iter(b'\n', before).count(),
            Problem::NotText,
        )
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'_, str>, KeyListError> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(KeyListError::whole(Problem::NotText));
    }
    char::decode_utf16(units.iter().map(|u| unit(*u)))
        .collect::<Result<String, _>>()
        .map(Cow::Owned)
        .map_err(|_| KeyListError::whole(Problem::NotText))
}
