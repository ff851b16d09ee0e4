//! A key that Google quotes inside an answer that is already on its way, covered piece by piece.
//!
//! A piece that ends in what may be the key's beginning keeps that end back until the next one comes.

use crate::pool::KeyInfo;
use crate::redact::Quoted;
use crate::spelling;
use std::sync::Arc;

/// Lies over one answer, for the key that it was asked for with.
#[derive(Debug)]
pub struct Veil {
    key: Arc<KeyInfo>,
    kept_back: Vec<u8>,
}

impl Veil {
    /// A veil over this key.
    #[must_use]
    pub const fn new(key: Arc<KeyInfo>) -> Self {
        Self {
            key,
            kept_back: Vec::new(),
        }
    }

    /// What is to be passed on in place of this piece; `None`: the piece itself.
    pub fn over(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let quoted = self.key.quoted();
        let (mut shown, open) = if self.kept_back.is_empty() {
            let (covered, open) = look(quoted, piece);
            if open == 0 {
                return covered;
            }
            (covered.unwrap_or_else(|| piece.to_vec()), open)
        } else {
            let mut both = std::mem::take(&mut self.kept_back);
            both.extend_from_slice(piece);
            let (covered, open) = look(quoted, &both);
            (covered.unwrap_or(both), open)
        };
        self.kept_back = shown.split_off(shown.len() - open);
        Some(shown)
    }

    /// What was kept back, at the end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.kept_back);
        (!rest.is_empty()).then_some(rest)
    }
}

/// The text with the key covered, if it is there, and how many bytes at the end may be its beginning.
fn look(quoted: &Quoted, text: &[u8]) -> (Option<Vec<u8>>, usize) {
    // Most pieces have no escape in them, and then the key has one spelling.
    if memchr::memchr(b'\\', text).is_some() {
        return spelling::cover(quoted.text(), text);
    }
    let covered = quoted.cover(text);
    let open = quoted.may_begin(covered.as_deref().unwrap_or(text));
    (covered, open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Relay;
    use crate::{KeySpec, KeyText, Settings};

    const KEY: &str = "made-up-key-made-up-kex";

    #[test]
    fn a_key_is_covered_however_the_answer_is_cut_into_pieces() {
        let text = format!("made-up-key-made {KEY}{KEY} made-up-key-made-up-ke");
        covered_in_pieces(&text, &text.replace(KEY, &"*".repeat(KEY.len())));
    }

    #[test]
    fn a_key_in_escapes_is_covered_however_the_answer_is_cut_into_pieces() {
        let escaped: String = KEY.bytes().map(|b| format!("\\u{b:04X}")).collect();
        let mixed = KEY.replace('-', "\\u002d").replacen('m', "\\u006D", 1);
        let other = r#"\n\\u006dade \"\u006dade-up\u002dkey "#;
        let text = format!("{other}{escaped}{mixed}{other}{KEY}{escaped} {mixed} {other}\\u006");
        let covered = [&*escaped, &*mixed, KEY]
            .iter()
            .fold(text.clone(), |text, key| {
                text.replace(key, &"*".repeat(key.len()))
            });
        covered_in_pieces(&text, &covered);
    }

    fn covered_in_pieces(text: &str, covered: &str) {
        let spec = KeySpec::bare(KeyText::new(KEY).unwrap());
        let relay = Relay::new(&[spec], Settings::default(), 0, 0, 0);
        let info = relay.pool().keys().next().unwrap();
        for size in 1..text.len() {
            let mut veil = Veil::new(Arc::clone(info));
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                out.extend(veil.over(piece).unwrap_or_else(|| piece.to_vec()));
            }
            out.extend(veil.rest().unwrap_or_default());
            assert_eq!(String::from_utf8(out).unwrap(), covered, "pieces of {size}");
        }
    }
}
