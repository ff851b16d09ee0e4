//! A key that Google quotes inside an answer that is already on its way.
//!
//! An error in the middle of a stream is passed on as it is, and the one for a suspended project has
//! the key in it in clear text. So the one key that this answer was asked for with is looked for in each
//! piece, and covered with as many asterisks: no length changes, and what has no key in it, which is
//! everything else, is not copied. A piece that ends in what may be the key's beginning keeps that end
//! back until the next one comes.

use bytes::{Bytes, BytesMut};
use gemini_relay_core::pool::KeyInfo;
use std::sync::Arc;

pub(crate) struct Veil {
    key: Arc<KeyInfo>,
    kept_back: Bytes,
}

impl Veil {
    pub(crate) fn new(key: Arc<KeyInfo>) -> Self {
        Self {
            key,
            kept_back: Bytes::new(),
        }
    }

    /// The piece, fit to be seen; empty if all of it is kept back.
    pub(crate) fn over(&mut self, piece: Bytes) -> Bytes {
        let mut piece = if self.kept_back.is_empty() {
            piece
        } else {
            let mut both = BytesMut::from(std::mem::take(&mut self.kept_back));
            both.extend_from_slice(&piece);
            both.freeze()
        };
        if let Some(covered) = self.key.quoted().cover(&piece) {
            piece = covered.into();
        }
        let open = self.key.quoted().may_begin(&piece);
        if open > 0 {
            self.kept_back = piece.split_off(piece.len() - open);
        }
        piece
    }

    /// What was kept back, at the end.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.kept_back);
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gemini_relay_core::relay::Relay;
    use gemini_relay_core::{KeySpec, KeyText, Settings};

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
                out.extend(veil.over(Bytes::copy_from_slice(piece)));
            }
            out.extend(veil.rest().unwrap_or_default());
            assert_eq!(String::from_utf8(out).unwrap(), covered, "pieces of {size}");
        }
    }
}
