//! The frames of a WebSocket, as far as covering a key in them needs: where each payload begins and ends.
//!
//! A frame says its length, so its last byte is known for the last: what a [`Veil`] keeps back waits for the next
//! piece of the frame and never for the next frame, which may be minutes away. RFC 6455, section 5.2.

use crate::veil::Veil;

/// Lies over what one end of a WebSocket says.
#[derive(Debug)]
pub struct Frames {
    veil: Veil,
    /// Of a frame's head, as much as came.
    head: Vec<u8>,
    /// Of its payload, what is still to come.
    left: u64,
}

impl Frames {
    /// Puts a veil over each payload.
    #[must_use]
    pub const fn new(veil: Veil) -> Self {
        Self {
            veil,
            head: Vec::new(),
            left: 0,
        }
    }

    /// What is to be passed on in place of this piece.
    pub fn over(&mut self, mut piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        while let Some((first, rest)) = piece.split_first() {
            if self.left == 0 {
                shown.push(*first);
                self.head.push(*first);
                piece = rest;
                if let Some(length) = payload(&self.head) {
                    self.left = length;
                    self.head.clear();
                }
                continue;
            }
            let here = usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len()));
            let (payload, next) = piece.split_at(here);
            match self.veil.over(payload) {
                Some(covered) => shown.extend(covered),
                None => shown.extend_from_slice(payload),
            }
            self.left -= here as u64;
            if self.left == 0 {
                shown.extend(self.rest());
            }
            piece = next;
        }
        shown
    }

    /// What was kept back, at the end.
    pub fn rest(&mut self) -> Vec<u8> {
        self.veil.rest().unwrap_or_default()
    }
}

/// The length of the payload behind this head, once the head is there whole.
fn payload(head: &[u8]) -> Option<u64> {
    let second = head.get(1)?;
    let (short, mask) = (second & 0x7f, usize::from(second >> 7) * 4);
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let length = head.get(2..2 + extended)?;
    head.get(2 + extended..2 + extended + mask)?;
    let long = |length: &[u8]| {
        length
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    Some(if extended == 0 {
        u64::from(short)
    } else {
        long(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Relay;
    use crate::{KeySpec, KeyText, Settings};
    use std::sync::Arc;

    const KEY: &str = "made-up-key-made-up-key";

    fn frames() -> Frames {
        let spec = KeySpec::bare(KeyText::new(KEY).unwrap());
        let relay = Relay::new(&[spec], Settings::default(), 0, 0, 0);
        Frames::new(Veil::new(Arc::clone(relay.pool().keys().next().unwrap())))
    }

    fn frame(payload: &str) -> Vec<u8> {
        let length = payload.len();
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(length as u8),
            126..0x1_0000 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload.as_bytes());
        frame
    }

    #[test]
    fn a_frame_that_ends_like_a_keys_beginning_goes_on_whole() {
        let mut frames = frames();
        for payload in ["", "m", "ends in made-up-key-ma", "and in \\", "\\u00"] {
            assert_eq!(frames.over(&frame(payload)), frame(payload), "{payload}");
        }
    }

    #[test]
    fn a_key_is_covered_in_frames_of_all_lengths_however_they_are_cut() {
        let stars = "*".repeat(KEY.len());
        for filler in [0, 1, 100, 126, 1_000, 70_000] {
            let payload = |key: &str| format!("{}{key} made-up-key-made-up-ke", "x".repeat(filler));
            let (mut said, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..2 {
                said.extend(frame(&payload(KEY)));
                expected.extend(frame(&payload(&stars)));
            }
            for size in [1, 2, 3, 7, 64, 8_192, 200_000] {
                let mut frames = frames();
                let shown: Vec<u8> = said
                    .chunks(size)
                    .flat_map(|piece| frames.over(piece))
                    .collect();
                assert!(shown == expected, "{filler} and pieces of {size}");
                assert_eq!(frames.rest(), b"");
            }
        }
    }

    #[test]
    fn a_mask_is_part_of_the_head() {
        assert_eq!(payload(&[0x82, 0x85, 1, 2, 3]), None);
        assert_eq!(payload(&[0x82, 0x85, 1, 2, 3, 4]), Some(5));
        assert_eq!(payload(&[0x82, 0xfe, 1, 0, 1, 2, 3]), None);
        assert_eq!(payload(&[0x82, 0xfe, 1, 0, 1, 2, 3, 4]), Some(256));
    }
}
