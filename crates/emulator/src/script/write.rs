//! Writing a script: framing, pauses, compression, and where the body turns.

use std::time::Duration;

use bytes::Bytes;

use super::{FILL, Step, Turn};
use crate::answer::{Framing, Piece};
use crate::gzip::Packer;

/// The steps of a stream.
pub(crate) fn stream(
    events: &[Vec<Piece>],
    framing: Framing,
    pause: Duration,
    turn: &Turn,
    gzip: bool,
) -> Vec<Step> {
    let (first, before, after, last): (&[u8], &[u8], &[u8], &[u8]) = match framing {
        Framing::Sse => (b"", b"data: ", b"\r\n\r\n", b""),
        Framing::Array => (b"[", b"", b"", b"]"),
        Framing::OpenAi => (b"", b"data: ", b"\n\n", b"data: [DONE]\n\n"),
    };
    let mut out = Writer::new(gzip);
    out.bytes(first);
    for (index, event) in events.iter().enumerate() {
        match turn {
            Turn::Stall { after, millis } if *after == index => {
                out.pause(Duration::from_millis(*millis))
            }
            Turn::Reset { after } if *after == index => return out.reset(),
            Turn::End { after, words } if *after == index => {
                let array = framing == Framing::Array;
                if array && index > 0 && !words.is_empty() {
                    out.bytes(b",\n");
                }
                out.bytes(words);
                out.bytes(if array { b"]" } else { b"" });
                return out.end();
            }
            _ => {}
        }
        if index > 0 && !pause.is_zero() {
            out.pause(pause);
        }
        out.bytes(if framing == Framing::Array && index > 0 {
            b",\n"
        } else {
            before
        });
        event.iter().for_each(|piece| out.piece(piece));
        out.bytes(after);
        out.flush();
    }
    match turn {
        Turn::Stall { after, millis } if *after >= events.len() => {
            out.pause(Duration::from_millis(*millis))
        }
        Turn::Reset { after } if *after >= events.len() => return out.reset(),
        // In order after the last event there is nothing left to leave out but the end mark.
        Turn::End { after, words } if *after >= events.len() => {
            out.bytes(words);
            return out.end();
        }
        _ => {}
    }
    out.bytes(last);
    out.end()
}

/// The steps of a body that is no stream. Half of it counts as its first event.
pub(crate) fn whole(pieces: &[Piece], turn: &Turn, gzip: bool) -> Vec<Step> {
    let mut out = Writer::new(gzip);
    let (first, second) = halves(pieces);
    match turn {
        Turn::Stall { after, millis } => {
            let (before, later) = if *after > 0 {
                (first, second)
            } else {
                (Vec::new(), pieces.to_vec())
            };
            before.iter().for_each(|piece| out.piece(piece));
            out.pause(Duration::from_millis(*millis));
            later.iter().for_each(|piece| out.piece(piece));
            out.end()
        }
        Turn::Reset { after } => {
            if *after > 0 {
                first.iter().for_each(|piece| out.piece(piece));
                out.flush();
            }
            out.reset()
        }
        Turn::End { after, words } => {
            if *after > 0 {
                first.iter().for_each(|piece| out.piece(piece));
            }
            out.bytes(words);
            out.end()
        }
        Turn::None => {
            pieces.iter().for_each(|piece| out.piece(piece));
            out.end()
        }
    }
}

/// Cuts the first piece in two.
fn halves(pieces: &[Piece]) -> (Vec<Piece>, Vec<Piece>) {
    match pieces.split_first() {
        Some((Piece::Bytes(bytes), rest)) => {
            let (head, tail) = (
                bytes.slice(..bytes.len() / 2),
                bytes.slice(bytes.len() / 2..),
            );
            let second = std::iter::once(Piece::Bytes(tail))
                .chain(rest.iter().cloned())
                .collect();
            (vec![Piece::Bytes(head)], second)
        }
        _ => (Vec::new(), pieces.to_vec()),
    }
}

/// Gathers steps, compressed or not. What is not flushed in between goes out as one.
#[derive(Default)]
struct Writer {
    steps: Vec<Step>,
    held: Vec<u8>,
    packer: Option<Packer>,
}

impl Writer {
    fn new(gzip: bool) -> Writer {
        Writer {
            packer: gzip.then(Packer::new),
            ..Writer::default()
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match &mut self.packer {
            Some(packer) => packer.push(bytes),
            None => self.held.extend_from_slice(bytes),
        }
    }

    fn piece(&mut self, piece: &Piece) {
        match (piece, &mut self.packer) {
            (Piece::Bytes(bytes), None) if bytes.len() > LONG => {
                self.flush();
                self.steps.push(Step::Data(bytes.clone()));
            }
            (Piece::Bytes(bytes), _) => self.bytes(bytes),
            (Piece::Fill(count), None) => {
                self.flush();
                self.steps.push(Step::Fill(*count));
            }
            (Piece::Fill(count), Some(packer)) => {
                let mut left = *count;
                while left > 0 {
                    let now = left.min(FILL.len());
                    packer.push(&FILL[..now]);
                    left -= now;
                }
            }
        }
    }

    fn flush(&mut self) {
        let bytes = match &mut self.packer {
            Some(packer) => packer.take(),
            None => Bytes::from(std::mem::take(&mut self.held)),
        };
        if !bytes.is_empty() {
            self.steps.push(Step::Data(bytes));
        }
    }

    fn pause(&mut self, length: Duration) {
        self.flush();
        self.steps.push(Step::Pause(length));
    }

    fn reset(mut self) -> Vec<Step> {
        // What was written must be on its way before the connection goes, or the client would
        // see a reset with nothing before it.
        self.pause(BEFORE_RESET);
        self.steps.push(Step::Reset);
        self.steps
    }

    fn end(mut self) -> Vec<Step> {
        match self.packer.take() {
            Some(packer) => self.steps.push(Step::Data(packer.finish())),
            None => self.flush(),
        }
        self.steps
    }
}

/// Longer bytes are not worth copying to save a write.
const LONG: usize = 16 << 10;

/// Long enough for a write to leave a busy machine; too short to be noticed as a stall.
const BEFORE_RESET: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn play(steps: &[Step]) -> String {
        let mut out = String::new();
        for step in steps {
            match step {
                Step::Data(bytes) => out.push_str(std::str::from_utf8(bytes).unwrap()),
                Step::Fill(count) => out.push_str(&format!("<{count}>")),
                Step::Pause(length) => out.push_str(&format!("({})", length.as_millis())),
                Step::Reset => out.push('!'),
            }
        }
        out
    }

    #[track_caller]
    fn check(framing: Framing, pause: u64, turn: Turn, expected: &str) {
        let events: Vec<Vec<Piece>> = ["{1}", "{2}", "{3}"]
            .map(|event| vec![Piece::Bytes(Bytes::from_static(event.as_bytes()))])
            .into();
        assert_eq!(
            play(&stream(
                &events,
                framing,
                Duration::from_millis(pause),
                &turn,
                false
            )),
            expected
        );
    }

    fn end(after: usize, words: &'static str) -> Turn {
        Turn::End {
            after,
            words: Bytes::from_static(words.as_bytes()),
        }
    }

    #[test]
    fn streams_are_framed() {
        check(
            Framing::Sse,
            0,
            Turn::None,
            "data: {1}\r\n\r\ndata: {2}\r\n\r\ndata: {3}\r\n\r\n",
        );
        check(Framing::Array, 0, Turn::None, "[{1},\n{2},\n{3}]");
        check(
            Framing::OpenAi,
            5,
            Turn::None,
            "data: {1}\n\n(5)data: {2}\n\n(5)data: {3}\n\ndata: [DONE]\n\n",
        );
    }

    #[test]
    fn streams_break_where_they_are_told() {
        check(
            Framing::Sse,
            0,
            Turn::Reset { after: 1 },
            "data: {1}\r\n\r\n(20)!",
        );
        check(
            Framing::Sse,
            0,
            Turn::Reset { after: 9 },
            "data: {1}\r\n\r\ndata: {2}\r\n\r\ndata: {3}\r\n\r\n(20)!",
        );
        check(
            Framing::Sse,
            0,
            end(2, ""),
            "data: {1}\r\n\r\ndata: {2}\r\n\r\n",
        );
        check(
            Framing::Sse,
            0,
            end(1, "{error}"),
            "data: {1}\r\n\r\n{error}",
        );
        check(Framing::Array, 0, end(1, "{error}"), "[{1},\n{error}]");
        check(Framing::Array, 0, end(0, "{error}"), "[{error}]");
        check(
            Framing::Array,
            7,
            Turn::Stall {
                after: 1,
                millis: 90,
            },
            "[{1}(90)(7),\n{2}(7),\n{3}]",
        );
    }
}
