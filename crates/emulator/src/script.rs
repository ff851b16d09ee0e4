//! An answer's body as a list of steps: bytes, pauses, and the ways it can break off.
//!
//! Whatever goes wrong inside a stream is decided before its first byte and written down here, so
//! that the body itself only plays. It is also what knows how an answer ended: hyper drops the
//! body of a request whose client went away, at once and also while the body is silent, and a
//! [`Script`] that is dropped before its last step was cancelled.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::answer::{Framing, Piece};
use crate::connection::Link;
use crate::gzip::Packer;
use crate::journal::Outcome;
use crate::ticket::Ticket;

/// One step of a body.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Data(Bytes),
    /// So many letters `A`.
    Fill(usize),
    Pause(Duration),
    /// The connection is reset.
    Reset,
}

/// What becomes of a body on its way.
#[derive(Debug, Clone, Default)]
pub(crate) enum Turn {
    /// It is sent to the end.
    #[default]
    None,
    Stall {
        after: usize,
        millis: u64,
    },
    Reset {
        after: usize,
    },
    /// It ends in order, with this for its last words.
    End {
        after: usize,
        words: Bytes,
    },
}

/// The steps of a stream.
pub(crate) fn stream(events: &[Vec<Piece>], framing: Framing, pause: Duration, turn: &Turn, gzip: bool) -> Vec<Step> {
    let (first, before, after, last): (&[u8], &[u8], &[u8], &[u8]) = match framing {
        Framing::Sse => (b"", b"data: ", b"\r\n\r\n", b""),
        Framing::Array => (b"[", b"", b"", b"]"),
        Framing::OpenAi => (b"", b"data: ", b"\n\n", b"data: [DONE]\n\n"),
    };
    let mut out = Writer { steps: Vec::new(), packer: gzip.then(Packer::new) };
    out.bytes(first);
    for (index, event) in events.iter().enumerate() {
        match turn {
            Turn::Stall { after, millis } if *after == index => out.pause(Duration::from_millis(*millis)),
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
        out.bytes(if framing == Framing::Array && index > 0 { b",\n" } else { before });
        event.iter().for_each(|piece| out.piece(piece));
        out.bytes(after);
        out.flush();
    }
    match turn {
        Turn::Stall { after, millis } if *after >= events.len() => out.pause(Duration::from_millis(*millis)),
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
    let mut out = Writer { steps: Vec::new(), packer: gzip.then(Packer::new) };
    let (first, second) = halves(pieces);
    match turn {
        Turn::Stall { after: 0, millis } | Turn::Stall { after: _, millis } => {
            let late = matches!(turn, Turn::Stall { after, .. } if *after > 0);
            if late {
                first.iter().for_each(|piece| out.piece(piece));
                out.flush();
            }
            out.pause(Duration::from_millis(*millis));
            if !late {
                first.iter().for_each(|piece| out.piece(piece));
            }
            second.iter().for_each(|piece| out.piece(piece));
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
            let (head, tail) = (bytes.slice(..bytes.len() / 2), bytes.slice(bytes.len() / 2..));
            let second = std::iter::once(Piece::Bytes(tail)).chain(rest.iter().cloned()).collect();
            (vec![Piece::Bytes(head)], second)
        }
        _ => (Vec::new(), pieces.to_vec()),
    }
}

/// Gathers steps, compressed or not. Bytes with no pause between them become one step.
struct Writer {
    steps: Vec<Step>,
    packer: Option<Packer>,
}

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.packer {
            Some(packer) => packer.push(bytes),
            None => self.steps.push(Step::Data(Bytes::copy_from_slice(bytes))),
        }
    }

    fn piece(&mut self, piece: &Piece) {
        match (piece, &mut self.packer) {
            (Piece::Bytes(bytes), Some(packer)) => packer.push(bytes),
            (Piece::Bytes(bytes), None) => self.steps.push(Step::Data(bytes.clone())),
            (Piece::Fill(count), None) => self.steps.push(Step::Fill(*count)),
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
        if let Some(packer) = &mut self.packer {
            self.steps.push(Step::Data(packer.take()));
            return;
        }
        // One event, one write: as Google's streams arrive.
        let mut joined = Vec::new();
        while let Some(Step::Data(bytes)) = self.steps.last() {
            if bytes.ends_with(EVENT_END) && !joined.is_empty() {
                break;
            }
            joined.push(bytes.clone());
            self.steps.pop();
        }
        joined.reverse();
        self.steps.push(Step::Data(Bytes::from(joined.concat())));
    }

    fn pause(&mut self, length: Duration) {
        if self.packer.is_some() {
            self.flush();
        }
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
        if let Some(packer) = self.packer.take() {
            self.steps.push(Step::Data(packer.finish()));
        }
        self.steps
    }
}

/// A body that plays its steps.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether its length is told in a header.
    sized: bool,
    ticket: Option<(Ticket, Outcome)>,
    link: Option<Arc<Link>>,
}

impl Script {
    /// A body that ends as `outcome`, on a connection that its steps may reset.
    pub(crate) fn new(steps: Vec<Step>, sized: bool, ticket: Ticket, outcome: Outcome, link: Arc<Link>) -> Script {
        let mut script = Script {
            steps: steps.into(),
            sleep: None,
            sized,
            ticket: Some((ticket, outcome)),
            link: Some(link),
        };
        if script.steps.is_empty() {
            script.close();
        }
        script
    }

    /// A body that nobody keeps a record of.
    pub(crate) fn plain(bytes: Bytes) -> Script {
        Script { steps: VecDeque::from([Step::Data(bytes)]), sleep: None, sized: true, ticket: None, link: None }
    }

    fn close(&mut self) {
        if let Some((ticket, outcome)) = self.ticket.take() {
            ticket.close(outcome);
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            let bytes = match this.steps.front_mut() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    this.steps.pop_front();
                    bytes
                }
                Some(Step::Fill(left)) => {
                    let now = (*left).min(FILL.len());
                    *left -= now;
                    if *left == 0 {
                        this.steps.pop_front();
                    }
                    Bytes::from_static(&FILL[..now])
                }
                Some(Step::Pause(length)) => {
                    let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(*length)));
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    this.sleep = None;
                    this.steps.pop_front();
                    if this.steps.is_empty() {
                        this.close();
                    }
                    continue;
                }
                Some(Step::Reset) => {
                    this.steps.clear();
                    this.close();
                    if let Some(link) = &this.link {
                        link.reset();
                    }
                    return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionReset))));
                }
            };
            if this.steps.is_empty() {
                this.close();
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let length = |step: &Step| match step {
            Step::Data(bytes) => bytes.len() as u64,
            Step::Fill(count) => *count as u64,
            Step::Pause(_) | Step::Reset => 0,
        };
        SizeHint::with_exact(self.steps.iter().map(length).sum())
    }
}

static FILL: [u8; 64 << 10] = [b'A'; 64 << 10];

const EVENT_END: &[u8] = b"\n\n";

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
        let events: Vec<Vec<Piece>> =
            ["{1}", "{2}", "{3}"].map(|event| vec![Piece::Bytes(Bytes::from_static(event.as_bytes()))]).into();
        assert_eq!(play(&stream(&events, framing, Duration::from_millis(pause), &turn, false)), expected);
    }

    fn end(after: usize, words: &'static str) -> Turn {
        Turn::End { after, words: Bytes::from_static(words.as_bytes()) }
    }

    #[test]
    fn streams_are_framed() {
        check(Framing::Sse, 0, Turn::None, "data: {1}\r\n\r\ndata: {2}\r\n\r\ndata: {3}\r\n\r\n");
        check(Framing::Array, 0, Turn::None, "[{1},\n{2},\n{3}]");
        check(Framing::OpenAi, 5, Turn::None, "data: {1}\n\n(5)data: {2}\n\n(5)data: {3}\n\ndata: [DONE]\n\n");
    }

    #[test]
    fn streams_break_where_they_are_told() {
        check(Framing::Sse, 0, Turn::Reset { after: 1 }, "data: {1}\r\n\r\n(20)!");
        check(Framing::Sse, 0, Turn::Reset { after: 9 }, "data: {1}\r\n\r\ndata: {2}\r\n\r\ndata: {3}\r\n\r\n(20)!");
        check(Framing::Sse, 0, end(2, ""), "data: {1}\r\n\r\ndata: {2}\r\n\r\n");
        check(Framing::Sse, 0, end(1, "{error}"), "data: {1}\r\n\r\n{error}");
        check(Framing::Array, 0, end(1, "{error}"), "[{1},\n{error}]");
        check(Framing::Array, 0, end(0, "{error}"), "[{error}]");
        check(Framing::Array, 7, Turn::Stall { after: 1, millis: 90 }, "[{1}(90)(7),\n{2}(7),\n{3}]");
    }
}
