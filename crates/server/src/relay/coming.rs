//! The body of Google's answer, plain in whatever coding it comes.
//!
//! Everything that looks at a good answer, its head's judge, the veil and the watch, reads it from here.
//! One that broke stays broken: who reads it again is told so again, and not that it is at its end.

use super::answer::Broken;
use super::unpack::{Unpacked, Unpacker};
use bytes::Bytes;
use gemini_relay_core::coding::Coding;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body as it comes.
pub(crate) struct Coming {
    incoming: Incoming,
    unpacker: Option<Box<Unpacker>>,
    broken: bool,
}

impl Coming {
    pub(crate) fn new(incoming: Incoming, coding: Coding) -> Self {
        Self {
            incoming,
            unpacker: Unpacker::new(coding).map(Box::new),
            broken: false,
        }
    }

    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|_| "broken")))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        loop {
            match self.unpacker.as_mut().map(|unpacker| unpacker.next()) {
                None => return self.poll_plain(cx),
                Some(Unpacked::Piece(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Unpacked::End) => return Poll::Ready(None),
                Some(Unpacked::Corrupt) => return Poll::Ready(Some(Err("corrupt"))),
                Some(Unpacked::Hungry) => {}
            }
            let frame = ready!(self.poll_plain(cx)).transpose();
            match (frame, &mut self.unpacker) {
                (Err(why), _) => return Poll::Ready(Some(Err(why))),
                // Trailers are of what was compressed.
                (Ok(Some(frame)), Some(unpacker)) => {
                    if let Ok(piece) = frame.into_data() {
                        unpacker.feed(piece);
                    }
                }
                (Ok(None), Some(unpacker)) => unpacker.finish(),
                (Ok(frame), None) => return Poll::Ready(frame.map(Ok)),
            }
        }
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.broken {
            return Poll::Ready(Some(Err(Broken("broken"))));
        }
        let frame = ready!(self.poll(cx));
        if let Some(Err(_)) = &frame {
            self.broken = true;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Broken)))
    }

    fn size_hint(&self) -> SizeHint {
        match self.unpacker {
            Some(_) => SizeHint::default(),
            None => self.incoming.size_hint(),
        }
    }
}
