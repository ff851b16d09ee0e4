//! A key that Google quotes inside an answer that is already on its way, covered piece by piece.
//!
//! A piece that ends in what may be the key's beginning keeps that end back until the next one comes.

use crate::pool::KeyInfo;
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
        if self.kept_back.is_empty() {
            let (open, covered) = (quoted.may_begin(piece), quoted.cover(piece));
            if open == 0 {
                return covered;
            }
        }
        let mut both = std::mem::take(&mut self.kept_back);
        both.extend_from_slice(piece);
        if let Some(covered) = quoted.cover(&both) {
            both = covered;
        }
        let open = quoted.may_begin(&both);
        self.kept_back = both.split_off(both.len() - open);
        Some(both)
    }

    /// What was kept back, at the end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.kept_back);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Relay;
    use crate::{KeySpec, KeyText, Settings};

    #[test]
    fn a_key_is_covered_however_the_answer_is_cut_into_pieces() {
        let key = "made-up-key-made-up-kex";
        let spec = KeySpec::bare(KeyText::new(key).unwrap());
        let relay = Relay::new(&[spec], Settings::default(), 0, 0, 0);
        let info = relay.pool().keys().next().unwrap();
        let text = format!("made-up-key-made {key}{key} made-up-key-made-up-ke");
        let covered = text.replace(key, &"*".repeat(key.len()));
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
